"""Spark's errors about input, in one sentence for the person who wrote the config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

from udfs.errors import AlmanacError, InputError

_CONDITION = re.compile(r"\[([A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)?)\]")
_FILE = re.compile(r"(?:reading file|does not exist:|Path:|file:)\s*(\S+?)[.,;]?(?:\s|$)")
_HINTS = {
    "PATH_NOT_FOUND": "does not exist",
    "UNABLE_TO_INFER_SCHEMA": "holds no data that can be read",
    "TABLE_OR_VIEW_NOT_FOUND": "is not a table or view that Spark knows",
    "INVALID_DATETIME_PATTERN": "is given a timestamp_format that is not a datetime pattern of Spark",
}


def is_nanoseconds(error: Exception) -> bool:
    """Whether Spark refused a Parquet file for its timestamps in nanoseconds."""
    text = str(error)
    return "PARQUET_TYPE_ILLEGAL" in text and "NANOS" in text


def _from_spark(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("pyspark", "py4j", "delta")


@contextmanager
def explained(place: str, inputs: Mapping[str, str]) -> Iterator[None]:
    """Turn an error of Spark's into an InputError that names the place in the config and the file.

    place: where in the config, used where `inputs` (place -> what it reads) does not lead to a better one.
    """
    try:
        yield
    except AlmanacError:
        raise
    except Exception as error:
        if not _from_spark(error):
            raise
        raise InputError(_sentence(place, inputs, str(error))) from error


def _sentence(place: str, inputs: Mapping[str, str], text: str) -> str:
    condition = match[1] if (match := _CONDITION.search(text)) else ""
    file = re.sub("^file:/+", "/", unquote(match[1])) if (match := _FILE.search(text)) else ""
    likely = [p for p, what in inputs.items() if file and _within(file, what)] or list(inputs)
    place = likely[0] if len(likely) == 1 else place
    what = file or inputs.get(place, "")
    named = f"{place}: {what}" if what else place
    for known, hint in _HINTS.items():
        if condition.startswith(known):
            detail = _named(text) if known == "TABLE_OR_VIEW_NOT_FOUND" else ""
            return f"{place}: {detail} {hint}" if detail else f"{named} {hint}"
    if "FOOTER" in condition or "is not a Parquet file" in text:
        return f"{named} is not a Parquet file; check it, or set format"
    if "CSV header does not conform" in text:
        return f"{named} has another header than the first file; give files with the same columns"
    if "No FileSystem for scheme" in text or "ClassNotFoundException" in text:
        return f"{named} is on a store whose connector Spark lacks; name it in spark.packages"
    if condition.startswith("FAILED_READ_FILE"):
        return f"{named} cannot be read: {_reason(text)}"
    return f"{named} cannot be read: {_first(text)}"


def _within(file: str, what: str) -> bool:
    return any(file.startswith(path.split("*")[0]) or path.lstrip("./") in file for path in what.split(", "))


def _named(text: str) -> str:
    match = re.search(r"view (`[^ ]+`|\S+)", text)
    return match[1].replace("`", "") if match else ""


def _reason(text: str) -> str:
    """The innermost cause, which says most about a broken file."""
    causes = re.findall(r"Caused by: [\w.$]+(?:Exception|Error): ([^\n]+)", text)
    return _first(causes[-1] if causes else text)


def _first(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    line = re.sub(r" ?SQLSTATE: \w+", "", _CONDITION.sub("", line)).strip()
    return line if len(line) <= 300 else line[:300] + "…"
