"""Keeping a lake compact: pieces of series packed again, small files put together, files of old versions removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from udfs import runs
from udfs.changes import PENDING, known_sources, sequences
from udfs.config import Config
from udfs.errors import InputError
from udfs.ingest import common_end
from udfs.lake import Lake, predicate
from udfs.packing import Packing, packed_series
from udfs.plan import cores
from udfs.session_settings import settings

if TYPE_CHECKING:
    pass

SAFE_HOURS = 168
_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
_LISTING, _FEW_TASKS = "spark.sql.sources.parallelPartitionDiscovery.parallelism", 16
"""Into how many tasks a listing is cut: 10,000 unless told, which takes a minute for an empty table."""
_BUCKETS_AT_ONCE = 16
_BY_RUNS = ("runs", "hpo_trials")
"""Tables that runs write to without a partition of their own."""


@dataclass(frozen=True)
class Files:
    """Files of a table's newest version, and their bytes."""

    files: int
    bytes: int


def files_of(lake: Lake, table: str) -> Files:
    """What a table's newest version consists of."""
    row = lake.spark.sql(f"DESCRIBE DETAIL {lake.identifier(table)}").select("numFiles", "sizeInBytes").first()
    assert row is not None
    return Files(int(row[0]), int(row[1]))


def compact_series(lake: Lake, config: Config) -> int:
    """Pack the buckets again in which some series lies in several pieces; returns how many.

    Raises InputError where an ingest was interrupted: what is in the tables then is not what it ought to be.
    """
    from pyspark.sql import functions as F

    known = known_sources(lake)
    if any(source.fingerprint == PENDING for source in known):
        raise InputError("the last ingest did not end; run `almanac ingest` first, then optimize")
    found = lake.read("series").where(F.col("segment") > 0).select("bucket").distinct().collect()
    buckets = sorted(row["bucket"] for row in found)
    packing = Packing(lake, config, lake.identity(), sequences(known), common_end(lake, known))
    for begin in range(0, len(buckets), _BUCKETS_AT_ONCE):
        some = buckets[begin : begin + _BUCKETS_AT_ONCE]
        lake.replace("series", packed_series(packing, some), {"bucket": some})
    return len(buckets)


def bin_pack(lake: Lake, table: str, busy: Sequence[str]) -> bool:
    """Put small files of a table together; what the runs `busy` are writing is left alone. Whether there was a try."""
    schema = lake.schemas[table]
    where = ""
    if busy and table in _BY_RUNS:
        return False
    if busy and "run_id" in schema.names:
        if "run_id" not in schema.partition_by:
            return False
        where = f" WHERE NOT ({predicate({'run_id': list(busy)})})"
    lake.spark.sql(f"OPTIMIZE {lake.identifier(table)}{where}")
    return True


def check_retention(lake: Lake, hours: float, *, force: bool) -> None:
    """Raise InputError for a time that is too short for readers of older versions, unless forced."""
    if force:
        return
    if hours < SAFE_HOURS:
        raise InputError(
            f"--retain-hours is {hours:g}: files that a run or a query still reads may go; "
            f"give {SAFE_HOURS} or more, or --force when nothing else uses the lake"
        )
    now, limit = datetime.now(), timedelta(hours=hours)
    for run in runs.newest(lake):
        lasted = (run.finished_at or now) - run.started_at
        if lasted > limit:
            state = "lasted" if run.finished_at else "is unfinished for"
            raise InputError(
                f"run {run.run_id} {state} {lasted.total_seconds() / 3600:.0f} hours, longer than --retain-hours "
                f"({hours:g}); give more, or --force when it will not be resumed"
            )


def vacuum(lake: Lake, tables: Sequence[str], hours: float) -> None:
    """Remove the files of versions that are older; a version whose files are gone cannot be read any more."""
    wanted = {_LISTING: str(max(_FEW_TASKS, 4 * cores(lake.spark)))}
    if hours < SAFE_HOURS:  # Delta refuses less than a week unless its check is off
        wanted[_CHECK] = "false"
    with settings(lake.spark, wanted, needed=True):
        for table in tables:
            lake.spark.sql(f"VACUUM {lake.identifier(table)} RETAIN {hours:g} HOURS")
