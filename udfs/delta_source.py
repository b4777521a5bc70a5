"""A Delta table as a source that grows: only what was added since the lake read it.

Rows that were added between two ingests are a source of their own, `TABLE@VERSION`, as a new file would be. Where rows
were changed or removed, or nobody can tell, the whole table is read again in place of all that it gave before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from udfs.changes import Known
from udfs.sources import SOURCE, Located

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_FINGERPRINT = re.compile(r"delta:(\d+)@(\d+)")
_FEED = ("_change_type", "_commit_version", "_commit_timestamp")
_MOST_COMMITS = 1000


@dataclass(frozen=True)
class _Found:
    """Rows that were added, None where the table must be read whole, and why."""

    rows: DataFrame | None
    why: str = ""


def grown(
    spark: SparkSession, located: Sequence[Located], known: Sequence[Known]
) -> tuple[list[Located], tuple[str, ...]]:
    """Sources whose Delta tables only grew, with their new rows alone; and notes on those that are read whole."""
    out, notes = [], []
    for each in located:
        if each.format == "delta" and each.rows is not None:
            each, note = _grown(spark, each, known)
            notes += [note] if note else []
        out.append(each)
    return out, tuple(notes)


def superseded(located: Iterable[Located], known: Iterable[Known]) -> dict[str, frozenset[str]]:
    """Role -> parts of Delta tables that are read whole now."""
    gone: dict[str, frozenset[str]] = {}
    for each in located:
        if each.main:
            parts = {k.source for k in known if k.role == each.role.name and _is_part(k.source, each.main)}
            gone[each.role.name] = frozenset(parts - set(each.parts))
    return {name: parts for name, parts in gone.items() if parts}


def _is_part(source: str, main: str) -> bool:
    head, _, tail = source.rpartition("@")
    return source == main or (head == main and tail.isdigit())


def _grown(spark: SparkSession, located: Located, known: Sequence[Known]) -> tuple[Located, str]:
    (name, fingerprint), role = next(iter(located.parts.items())), located.role
    located = replace(located, main=name)
    held = [k for k in known if k.role == role.name and _is_part(k.source, name)]
    versions = [_FINGERPRINT.fullmatch(k.fingerprint) for k in held]
    now = _FINGERPRINT.fullmatch(fingerprint)
    if not held or now is None or any(k.mapping != role.mapping for k in held):
        return located, ""
    if not all(versions):  # an interrupted ingest
        return located, ""
    last = max(held, key=lambda k: int(_FINGERPRINT.fullmatch(k.fingerprint).group(1)))  # type: ignore[union-attr]
    parts = {k.source: k.fingerprint for k in held}
    if last.fingerprint == fingerprint:
        return replace(located, parts=parts), ""
    since, newest = int(_FINGERPRINT.fullmatch(last.fingerprint).group(1)), int(now.group(1))  # type: ignore[union-attr]
    found = _added(spark, located, since, newest) if newest > since else _Found(None, "it was made anew")
    if found.rows is None:
        return located, f"{role.place}: {name} is read whole again: {found.why}"
    part = f"{name}@{newest}"
    rows = found.rows.drop(SOURCE)
    from pyspark.sql import functions as F

    if not rows.columns or rows.isEmpty():  # optimized, or its properties changed
        return replace(located, parts=parts), ""
    return replace(located, parts={**parts, part: fingerprint}, rows=rows.withColumn(SOURCE, F.lit(part))), ""


def _added(spark: SparkSession, located: Located, since: int, newest: int) -> _Found:
    """The rows that the versions after `since` added."""
    from pyspark.sql import functions as F

    try:
        feed = _feed(spark, located, since, newest)
        changed = feed.where(F.col("_change_type") != "insert").limit(1).collect()
    except Exception:  # no change data feed, or not for all of these versions
        return _added_files(spark, located, since, newest)
    if changed:
        return _Found(None, f"rows were changed or deleted after version {since}")
    return _Found(feed.drop(*_FEED))


def _identifier(located: Located) -> str:
    source = located.role.source
    return source.table or "delta.`" + str(located.main).replace("`", "``") + "`"


def _feed(spark: SparkSession, located: Located, since: int, newest: int) -> DataFrame:
    reader = spark.read.format("delta").option("readChangeFeed", "true")
    reader = reader.option("startingVersion", since + 1).option("endingVersion", newest)
    table = located.role.source.table
    return reader.table(table) if table else reader.load(str(located.main))


def _added_files(spark: SparkSession, located: Located, since: int, newest: int) -> _Found:
    """The same from the log: the files that were added, where none was removed."""
    from pyspark.sql import functions as F

    if newest - since > _MOST_COMMITS:
        return _Found(None, f"version {since} is more than {_MOST_COMMITS} versions ago")
    detail = spark.sql(f"DESCRIBE DETAIL {_identifier(located)}").select("location", "partitionColumns", "properties")
    place = detail.first()
    assert place is not None
    if place["properties"].get("delta.columnMapping.mode", "none") != "none":
        return _Found(None, "its columns are mapped; set delta.enableChangeDataFeed on it to read only what is new")
    location = place["location"].rstrip("/")
    logs = [f"{location}/_delta_log/{version:020d}.json" for version in range(since + 1, newest + 1)]
    try:
        actions = [json.loads(row["value"]) for row in spark.read.text(logs).select(F.col("value")).collect()]
    except Exception:
        return _Found(None, f"the log since version {since} is gone")
    adds = [a["add"] for a in actions if a.get("add", {}).get("dataChange")]
    if any(a.get("remove", {}).get("dataChange") for a in actions) or any(a.get("deletionVector") for a in adds):
        return _Found(None, f"rows were changed or deleted after version {since}")
    whole = located.rows
    assert whole is not None
    if not adds:
        return _Found(whole.limit(0))
    files = [p if "://" in (p := unquote(add["path"])) else f"{location}/{p}" for add in adds]
    rows = spark.read.option("basePath", location).schema(whole.drop(SOURCE).schema).parquet(*files)
    return _Found(rows)
