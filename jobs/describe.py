"""The verb `describe`: what is in the lake."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jobs.context import ConfigSource, open_job
from jobs.picture import draw_classes
from jobs.tables import console as default_console
from jobs.tables import shown, table
from udfs import runs
from udfs.config.segments import DEMAND_CLASS
from udfs.derive_sums import SELECTED
from udfs.errors import InputError
from udfs.holiday_table import described
from udfs.lake import Lake, LakeInfo
from udfs.pieces import latest
from udfs.series_rows import ALL_WINDOWS
from udfs.views import existing_tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


MEDIANS = ("adi", "cv2", "trend_strength", "seasonal_strength", "spectral_entropy")
SHOWN = 5000
"""Series in the picture at most."""


@dataclass(frozen=True)
class TableFacts:
    """A table of the lake."""

    name: str
    rows: int
    version: int


@dataclass(frozen=True)
class SeriesFacts:
    """The series. first, last: labels of the first and the last observed period of all. classes: series by class of
    demand (`forecasting.profiles`). medians: of the numbers of their profiles, over the series that have them."""

    lifecycle: Mapping[str, int]
    first: datetime | None
    last: datetime | None
    classes: Mapping[str, int] = field(default_factory=dict)
    medians: Mapping[str, float | None] = field(default_factory=dict)


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
    """What is in a lake; info is None for a lake that is not there yet. holidays: what is frozen, in words.
    successors: series with a predecessor, by what its scale is made of. events: by kind, of the newest run that looked
    for any."""

    place: str
    info: LakeInfo | None
    tables: tuple[TableFacts, ...] = ()
    series: SeriesFacts | None = None
    rejects: Mapping[str, int] = field(default_factory=dict)
    runs: tuple[RunFacts, ...] = ()
    holidays: str | None = None
    successors: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)


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
        rejects=_counts(lake.read("rejects"), "reason") if "rejects" in names else {},
        runs=_runs(lake, "metrics" in names),
        holidays=described(lake) if "holidays" in names else None,
        successors=_counts(lake.read("successors").where("position = 1"), "scale_from")
        if "successors" in names
        else {},
        events=_events(lake) if "events" in names else {},
    )


def _series(lake: Lake) -> SeriesFacts:
    from pyspark.sql import functions as F

    rows = lake.read("series")
    whole = latest(rows.select(*lake.layout.key, "segment", "lifecycle", "profile"), lake.layout.key)
    span = rows.where(F.col("n") > 0).agg(F.min("start"), F.max("profile.last_observed")).first()
    first, last = (span[0], span[1]) if span is not None else (None, None)
    lifecycle = dict(sorted(_counts(whole, "lifecycle").items()))
    if not _has_classes(rows):
        return SeriesFacts(lifecycle, first, last)
    profiles = whole.select("profile.*")
    classes = _counts(profiles.where(F.col(DEMAND_CLASS).isNotNull()), DEMAND_CLASS)
    medians = profiles.agg(*(F.median(name).alias(name) for name in MEDIANS)).first()
    return SeriesFacts(lifecycle, first, last, classes, medians.asDict() if medians is not None else {})


def _events(lake: Lake) -> dict[str, int]:
    from pyspark.sql import functions as F

    rows = lake.read("events")
    held = {row["run_id"] for row in rows.select("run_id").distinct().collect()}
    newest = next((run.run_id for run in runs.newest(lake) if run.run_id in held), None)
    return _counts(rows.where(F.col("run_id") == F.lit(newest)), "kind")


def _has_classes(series: DataFrame) -> bool:
    """Whether the series were packed since profiles say what kind of demand they are."""
    return DEMAND_CLASS in series.select("profile.*").columns


def draw(config: ConfigSource, out: Path, spark: SparkSession | None = None, *, overrides: Iterable[str] = ()) -> Path:
    """A picture of the classes of demand: squared variation of the sizes over the average interval, a point a series.

    Of more than SHOWN series those with the smallest hash of the key are drawn. Raises InputError where there is no
    profile, where matplotlib is missing or `out` is not a picture's name.
    """
    from pyspark.sql import functions as F

    lake = open_job(config, spark, overrides=overrides).lake
    lake.identity()
    rows = lake.read("series").select(*lake.layout.key, "segment", "profile")
    series = latest(rows, lake.layout.key)
    if not _has_classes(series):
        raise InputError("the series were packed before profiles had a class; run `almanac ingest` on changed sources")
    known = series.where(F.col("profile.adi").isNotNull() & F.col("profile.cv2").isNotNull())
    some = known.orderBy(F.xxhash64(*lake.layout.key)).limit(SHOWN).select("profile.*")
    points = some.select("adi", "cv2", DEMAND_CLASS).collect()
    draw_classes([point.asDict() for point in points], known.count(), out)
    return out


def _counts(rows: DataFrame, column: str) -> dict[str, int]:
    """How often each value of a column is there, the most frequent first."""
    counted = rows.groupBy(column).count().collect()
    return {row[column]: row["count"] for row in sorted(counted, key=lambda r: (-r["count"], r[column]))}


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
        if series.classes:
            facts.append(("Demand", ", ".join(f"{n} {name}" for name, n in series.classes.items())))
            numbers = {name: value for name, value in series.medians.items() if value is not None}
            facts.append(("Medians", ", ".join(f"{name} {value:.3g}" for name, value in numbers.items()) or "none"))
    if description.events:
        facts.append(("Events", ", ".join(f"{n} {kind}" for kind, n in description.events.items())))
    if description.holidays is not None:
        facts.append(("Holidays", description.holidays))
    if description.successors:
        kinds = ", ".join(f"{n} {made_of}" for made_of, n in description.successors.items())
        facts.append(("Successors", f"{sum(description.successors.values())} (scale: {kinds})"))
    refused = ", ".join(f"{n} {reason}" for reason, n in description.rejects.items())
    facts.append(("Refused rows", refused or "none"))
    return facts


if __name__ == "__main__":
    from jobs.cli import main

    main("describe")
