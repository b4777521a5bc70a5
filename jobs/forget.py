"""The verb `forget`: everything of an item out of every table, and kept out."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from jobs import tables
from jobs.context import ConfigSource, open_job
from udfs import forget as items
from udfs import runs
from udfs.errors import InputError
from udfs.upkeep import SAFE_HOURS, vacuum

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Forgotten:
    """What was deleted. rows: by table. dry_run: nothing was. again: sources may bring the item back. vacuumed: the
    bytes are gone too. unfinished: runs that pin older versions, where the item still is."""

    item: str
    rows: Mapping[str, int]
    dry_run: bool
    again: bool
    vacuumed: bool
    unfinished: tuple[str, ...] = ()


def forget(
    config: ConfigSource,
    item: str,
    spark: SparkSession | None = None,
    *,
    allow_again: bool = False,
    erase: bool = False,
    dry_run: bool = False,
    overrides: Iterable[str] = (),
) -> Forgotten:
    """Delete an item's rows from every table of the lake and remember a hash of it, so that no ingest brings it back.

    item: parts of the key joined by "/", or the first of them for all series that begin so. allow_again: sources may
    bring it back. erase: remove the files of all older versions of the touched tables too. dry_run: only count.
    A second call finds nothing and changes nothing. Raises InputError for an empty lake, for parts that are no key,
    and for `erase` while a run is unfinished.
    """
    job = open_job(config, spark, overrides=overrides)
    job.lake.identity()
    parts = items.parts_of(item, job.lake.layout.key)
    unfinished = tuple(run.run_id for run in runs.newest(job.lake) if run.state == runs.RUNNING)
    if erase and unfinished:
        raise InputError(
            f"run {unfinished[0]} is unfinished and reads older versions of the tables, which --vacuum removes; "
            "finish it with --resume, or forget without --vacuum"
        )
    if dry_run:
        return Forgotten(item, items.counted(job.lake, job.config, parts), True, allow_again, False, unfinished)
    rows = items.forget(job.lake, job.config, parts, again=allow_again)
    if erase:
        vacuum(job.lake, list(rows), 0)
    return Forgotten(item, rows, False, allow_again, erase, unfinished)


def render(found: Forgotten, console: Console | None = None) -> None:
    """Print the counts and what is left to do."""
    out = console or tables.console()
    what = "would delete (dry run)" if found.dry_run else "deleted"
    out.print(f"forget {found.item}: {sum(found.rows.values()):,} rows {what}", highlight=False, markup=False)
    out.print(tables.table(["table", "rows"], sorted(found.rows.items())))
    if found.dry_run:
        return
    if found.again:
        out.print("The next ingest that reads its sources again brings it back", highlight=False)
    else:
        out.print(
            "A hash of the key is kept: no ingest brings it back (forget --allow-again lifts it)", highlight=False
        )
    if found.vacuumed:
        out.print("Files of all older versions are gone: no earlier version can be read any more", highlight=False)
    else:
        out.print(
            f"note: older versions of the tables still hold the rows, until `almanac optimize` removes their files "
            f"after {SAFE_HOURS} hours; --vacuum removes them now, and with them every older version",
            highlight=False,
        )
    for run in found.unfinished:
        out.print(
            f"note: run {run} is unfinished and reads an older version: once it ends, forget again", markup=False
        )
    out.print("note: the sources themselves are not touched, nor are files of earlier exports", highlight=False)


if __name__ == "__main__":
    from jobs.cli import main

    main("forget")
