"""The verb `inspect`: what is in the data, as one HTML page that opens from disk."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its inspect.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.context import ConfigSource, open_job
from jobs.inspect_page import page
from jobs.inspect_sections import sections_of
from jobs.inspect_words import FINE
from jobs.tables import console as default_console
from udfs.errors import InputError
from udfs.inspection import Inspection, inspect_lake
from udfs.validation import validate_sources

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DEFAULT = "data_report.html"
_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class InspectionPage:
    """The page that was written. conclusions: what each section says, with `fine`, `note` or `look` before it."""

    path: Path
    facts: Inspection
    conclusions: tuple[tuple[str, str], ...]


def inspect(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    out: str | Path = DEFAULT,
    rules: bool = False,
    overrides: Iterable[str] = (),
) -> InspectionPage:
    """Write a page about the lake's data; the lake stays as it is, and the same lake gives the same bytes.

    out: a local .html file; its folder is made. rules: also read the sources again and check every rule of `validate`.
    Raises InputError for an empty lake, a lake of another group and a file that cannot be written.
    """
    path = writable(out)
    job = open_job(config, spark, overrides=overrides)
    facts = inspect_lake(job.lake, job.config)
    report = validate_sources(job.lake, job.config) if rules else None
    sections = sections_of(facts, report)
    try:
        path.write_text(page(facts, sections), encoding="utf-8")
    except OSError as error:
        raise InputError(f"the page cannot be written to {path}: {error.strerror or error}") from None
    return InspectionPage(path, facts, tuple((section.level, section.said) for section in sections))


def writable(out: str | Path) -> Path:
    """The path of the page, asked before any work. Raises InputError for another ending, a place that is no local
    file, and a folder that cannot be made or written to."""
    path = Path(out)
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"out is {str(out)!r}; expected a file that ends in {' or '.join(_SUFFIXES)}")
    if "://" in str(out):
        raise InputError(f"out is {str(out)!r}; expected a local file: copy it to the object store afterwards")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists()
        with path.open("a", encoding="utf-8"):
            pass
        if not there:
            path.unlink()
    except OSError as error:
        raise InputError(f"the page cannot be written to {path}: {error.strerror or error}") from None
    return path


def render(made: InspectionPage, console: Console | None = None) -> None:
    """Print what the sections conclude, and where the page is."""
    out = console or default_console()
    for level, said in made.conclusions:
        mark = " " if level == FINE else "*"
        out.print(f"{mark} {said}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"page: {made.path}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    from jobs.cli import main

    main("inspect")
