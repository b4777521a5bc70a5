"""The verb `optimize`: series packed again from pieces, small files put together, files of old versions removed."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

from jobs import tables
from jobs.context import ConfigSource, open_job
from jobs.stage import ingested
from udfs import runs
from udfs.upkeep import SAFE_HOURS, Files, bin_pack, check_retention, compact_series, files_of, vacuum
from udfs.views import existing_tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Optimized:
    """What became of the lake. buckets: of `series`, packed again. files: table -> before and after. busy: unfinished
    runs, whose partitions were left alone; skipped: tables that were left alone for them."""

    buckets: int
    files: Mapping[str, tuple[Files, Files]]
    retain_hours: float
    busy: tuple[str, ...] = ()
    skipped: tuple[str, ...] = field(default=())


def optimize(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    retain_hours: float = SAFE_HOURS,
    force: bool = False,
    overrides: Iterable[str] = (),
) -> Optimized:
    """Compact a lake. retain_hours: how long files of older versions stay; less than a week needs `force`.

    Nothing that an unfinished run writes or reads is touched. Raises InputError for an empty lake, an interrupted
    ingest, or a retention shorter than a week or than some run, with the lake as it was.
    """
    job = open_job(config, spark, overrides=overrides)
    ingested(job)
    check_retention(job.lake, retain_hours, force=force)
    names = existing_tables(job.lake)
    before = {name: files_of(job.lake, name) for name in names}
    buckets = compact_series(job.lake, job.config)
    busy = tuple(run.run_id for run in runs.newest(job.lake) if run.state != runs.FINISHED)
    skipped = tuple(name for name in names if not bin_pack(job.lake, name, busy))
    vacuum(job.lake, names, retain_hours)
    files = {name: (before[name], files_of(job.lake, name)) for name in names}
    return Optimized(buckets, files, retain_hours, busy, skipped)


def render(found: Optimized, console: Console | None = None) -> None:
    """Print files and bytes before and after."""
    out = console or tables.console()
    out.print(f"optimize: {found.buckets} buckets of `series` packed again from their pieces", highlight=False)
    rows = [
        (name, old.files, new.files, f"{old.bytes / 2**20:.1f}", f"{new.bytes / 2**20:.1f}")
        for name, (old, new) in found.files.items()
    ]
    out.print(tables.table(["table", "files before", "after", "MB before", "after"], rows))
    out.print(f"Files of versions that ended more than {found.retain_hours:g} hours ago are gone", highlight=False)
    if found.busy:
        left = f", and the tables {', '.join(found.skipped)}" if found.skipped else ""
        out.print(f"note: left alone, what unfinished runs write: {', '.join(found.busy)}{left}", highlight=False)


if __name__ == "__main__":
    from jobs.cli import main

    main("optimize")
