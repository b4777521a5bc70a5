"""The verb `ingest`: sources into the lake's tables and the packed series."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from jobs import tables
from jobs.context import ConfigSource, Frames, Job, open_job
from udfs.cleaning import REASONS
from udfs.errors import InputError
from udfs.holiday_table import keep_calendar
from udfs.ingest import IngestReport, ingest_sources

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def ingest(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    target: DataFrame | None = None,
    related: Sequence[DataFrame | None] = (),
    items: Sequence[DataFrame | None] = (),
    calendar: DataFrame | None = None,
    overrides: Iterable[str] = (),
) -> IngestReport:
    """Read and check the sources of the config and bring the lake up to date; the same sources again change nothing.

    target, related, items: Spark DataFrames in place of the config's sources, in its order (None: the config's own).
    calendar: one in place of holidays.calendar, for the runs on this lake.
    Raises InputError, with the lake as it was, when the input is not there or cannot be used.
    """
    job, frames = frames_of(
        config, spark, target=target, related=related, items=items, calendar=calendar, overrides=overrides
    )
    report = ingest_sources(job.lake, job.config, frames)
    if calendar is not None:
        keep_calendar(job.lake, job.config, calendar)
    return report


def frames_of(
    config: ConfigSource,
    spark: SparkSession | None,
    *,
    target: DataFrame | None,
    related: Sequence[DataFrame | None],
    items: Sequence[DataFrame | None],
    calendar: DataFrame | None = None,
    overrides: Iterable[str] = (),
) -> tuple[Job, dict[str, DataFrame]]:
    """The job, and the DataFrames by the role that they stand in for. Raises InputError for more of them than the
    config has sources, and for what is no Spark DataFrame."""
    given = Frames(target=target, related=related, items=items, calendar=calendar)  # type: ignore[arg-type]
    job = open_job(config, spark, overrides=overrides, frames=given)
    data = job.config.data
    frames = {} if target is None else {"target": target}
    for kind, listed, known in (("related", related, data.related), ("items", items, data.items)):
        if len(listed) > len(known):
            raise InputError(f"got {len(listed)} DataFrames for {kind}, and the config has {len(known)} data.{kind}")
        frames |= {f"{kind}:{i}": frame for i, frame in enumerate(listed) if frame is not None}
    checked = frames if calendar is None else frames | {"calendar": calendar}
    for name, frame in checked.items():
        if not hasattr(frame, "sparkSession"):
            kind = type(frame).__name__
            raise InputError(f"{name} is a {kind}; expected a Spark DataFrame: spark.createDataFrame(...) makes one")
    return job, frames


def render(report: IngestReport, console: Console | None = None) -> None:
    """Print the counts."""
    out = console or tables.console()
    n = report.sources
    changes = ", ".join(f"{n.get(what, 0):,} {what}" for what in ("new", "changed", "removed", "unchanged"))
    if not report.changed:
        out.print(f"ingest: nothing to do, the sources are as they were ({changes})", highlight=False)
    else:
        out.print(f"ingest: sources: {changes}", highlight=False)
        rows = [(role, n, report.accepted.get(role, 0)) for role, n in report.rows.items()]
        counts = [(role, f"{n:,}", f"{accepted:,}", f"{n - accepted:,}") for role, n, accepted in rows]
        out.print(tables.table(["read for", "rows", "accepted", "refused"], counts))
    for reason, refused in report.rejected.items():
        out.print(f"  refused: {refused:,} {reason} ({REASONS[reason]})", highlight=False, markup=False)
    if report.rejected:
        out.print("  they are in the table `rejects`, as they were read", highlight=False)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.lifecycle.items())
    out.print(f"series: {report.n_series:,} on the grid {report.frequency} ({kinds})", highlight=False)
    for note in report.notes:
        out.print(f"note: {note}", highlight=False, markup=False)


if __name__ == "__main__":
    from jobs.cli import main

    main("ingest")
