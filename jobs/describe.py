"""The verb `describe`: what is in the lake."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jobs.context import ConfigSource, open_job
from jobs.tables import console as default_console
from jobs.tables import shown, table
from udfs import runs
from udfs.derive_sums import ALL_WINDOWS, SELECTED
from udfs.holiday_table import described
from udfs.lake import Lake, LakeInfo
from udfs.views import existing_tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class TableFacts:
    """A table of the lake."""

    name: str
    rows: int
    version: int


@dataclass(frozen=True)
class SeriesFacts:
    """The series. first, last: labels of the first and the last observed period of all."""

    lifecycle: Mapping[str, int]
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class RunFacts:
    """A run. mean_wqls: by model, over all backtest windows; arrived: of its forecasts against arrived actuals."""

    run_id: str
    state: str
    published: bool
    started_at: datetime
    series: int
    mean_wqls: Mapping[str, float | None] = field(default_factory=dict)
    arrived: float | None = None


@dataclass(frozen=True)
class Description:
    """What is in a lake; info is None for a lake that is not there yet. holidays: what is frozen, in words."""

    place: str
    info: LakeInfo | None
    tables: tuple[TableFacts, ...] = ()
    series: SeriesFacts | None = None
    rejects: Mapping[str, int] = field(default_factory=dict)
    runs: tuple[RunFacts, ...] = ()
    holidays: str | None = None


def describe(config: ConfigSource, spark: SparkSession | None = None, *, overrides: Iterable[str] = ()) -> Description:
    """The lake's tables with rows and versions, its series, what was refused, its runs and how good they were."""
    lake = open_job(config, spark, overrides=overrides).lake
    place = lake.place.path or ".".join(part for part in (lake.place.catalog, lake.place.schema_) if part)
    info = lake.info()
    if info is None:
        return Description(place, None)
    names = existing_tables(lake)
    return Description(
        place=place,
        info=info,
        tables=tuple(TableFacts(name, lake.read(name).count(), lake.version(name)) for name in names),
        series=_series(lake) if "series" in names else None,
        rejects=_counts(lake, "rejects", "reason") if "rejects" in names else {},
        runs=_runs(lake, "metrics" in names),
        holidays=described(lake) if "holidays" in names else None,
    )


def _series(lake: Lake) -> SeriesFacts:
    from pyspark.sql import functions as F

    rows = lake.read("series")
    counts = rows.where(F.col("segment") == 0).groupBy("lifecycle").count().collect()
    span = rows.where(F.col("n") > 0).agg(F.min("start"), F.max("profile.last_observed")).first()
    first, last = (span[0], span[1]) if span is not None else (None, None)
    return SeriesFacts({row["lifecycle"]: row["count"] for row in sorted(counts)}, first, last)


def _counts(lake: Lake, name: str, column: str) -> dict[str, int]:
    rows = lake.read(name).groupBy(column).count().collect()
    return {row[column]: row["count"] for row in sorted(rows, key=lambda r: (-r["count"], r[column]))}


def _runs(lake: Lake, scored: bool) -> tuple[RunFacts, ...]:
    from pyspark.sql import functions as F

    scores: dict[str, dict[int, dict[str, float | None]]] = {}
    if scored:
        totals = lake.read("metrics").where((F.col("scope") == "total") & F.col("window").isin(ALL_WINDOWS, 0))
        for row in totals.orderBy(F.col("mean_wQL").asc_nulls_last(), "model").collect():
            scores.setdefault(row["run_id"], {}).setdefault(row["window"], {})[row["model"]] = row["mean_wQL"]
    return tuple(
        RunFacts(
            run_id=run.run_id,
            state=run.state,
            published=run.published,
            started_at=run.started_at,
            series=run.plan.n_series,
            mean_wqls=scores.get(run.run_id, {}).get(ALL_WINDOWS, {}),
            arrived=scores.get(run.run_id, {}).get(0, {}).get(SELECTED),
        )
        for run in runs.newest(lake)
    )


def render(description: Description, console: Console | None = None) -> None:
    """Print the description."""
    out = console or default_console()
    if description.info is None:
        where = description.place
        out.print(f"The lake at {where} is empty; run `almanac ingest` (or `almanac run`).", soft_wrap=True)
        return
    for title, value in _facts(description):
        out.print(f"{title:<18}{value}", highlight=False, soft_wrap=True)
    rows: list[tuple[Any, ...]] = [(t.name, t.rows, t.version) for t in description.tables]
    out.print(table(("table", "rows", "version"), rows))
    if description.runs:
        columns = ("run", "state", "published", "started", "series", "mean wQL, best first", "arrived mean wQL")
        rows = [
            (r.run_id, r.state, "yes" if r.published else "", r.started_at, r.series, shown(r.mean_wqls), r.arrived)
            for r in description.runs
        ]
        out.print(table(columns, rows, title="Runs, newest first"))


def _facts(description: Description) -> list[tuple[str, str]]:
    info, series = description.info, description.series
    assert info is not None
    facts = [
        ("Dataset group", info.dataset_group),
        ("Lake", description.place),
        ("Frequency", info.frequency),
        ("Key", ", ".join(("item_id", *info.dimensions))),
    ]
    if series is not None:
        kinds = ", ".join(f"{n} {name}" for name, n in series.lifecycle.items())
        facts.append(("Series", f"{sum(series.lifecycle.values())} ({kinds})"))
        facts.append(("History", f"{shown(series.first)} to {shown(series.last)}"))
    if description.holidays is not None:
        facts.append(("Holidays", description.holidays))
    refused = ", ".join(f"{n} {reason}" for reason, n in description.rejects.items())
    facts.append(("Refused rows", refused or "none"))
    return facts


if __name__ == "__main__":
    from jobs.cli import main

    main("describe")
