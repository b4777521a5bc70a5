"""Everything that the page of `almanac inspect` tells, gathered from the lake's tables.

Counts, sums and histograms are Spark's; the driver gets a few hundred rows whatever the number of series. Nothing
depends on the partitioning: ties go by key, quantiles are exact over values of three digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from udfs import runs
from udfs.cleaning import TIME
from udfs.config import Config
from udfs.errors import InputError
from udfs.grid import microseconds
from udfs.inspection.coverage import Periods, Reach, changes_periods, periods_of, reach_of
from udfs.inspection.overview import (
    Attribute,
    Extent,
    Histogram,
    Totals,
    attributes_of,
    cycles_of,
    extent_of,
    firsts,
    histograms_of,
    kinds_of,
    name_column,
    series_facts,
    state_examples,
    totals_of,
)
from udfs.inspection.worst import Standout, standouts
from udfs.lake import Lake, LakeInfo
from udfs.resolution import asked_steps, sample_for, times_and_steps

if TYPE_CHECKING:
    pass

ROW_CHARACTERS = 300
"""Of a refused row at most."""


@dataclass(frozen=True)
class RoleRows:
    """Rows read for a role (`target`, `related:0`) and how many were refused."""

    role: str
    sources: int
    rows: int
    rejected: int


@dataclass(frozen=True)
class Refused:
    """Refused rows of one reason. examples: role, source, the row as it was read."""

    reason: str
    rows: int
    examples: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Steps:
    """How often the target's points come. series: step -> series that have it; asked: one in how many series was
    asked. rows, points: rows with a value in the data, and points on the grid that they became."""

    series: Mapping[str, int]
    asked: int
    rows: int
    points: int


@dataclass(frozen=True)
class Inherited:
    """Series with a predecessor. scales: by what the scale of the nearest link is made of. longest: predecessors of
    the longest chain. examples: series, predecessor, scale."""

    scales: Mapping[str, int]
    longest: int
    examples: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Abrupt:
    """Events of the newest run that looked for any. kinds: kind -> events and series that have one."""

    run_id: str
    kinds: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Inspection:
    """What is in a lake. periods: None where nothing is filled, masked or closed. inherited, events: None without."""

    info: LakeInfo
    config: Config
    extent: Extent
    totals: Totals
    sources: tuple[RoleRows, ...]
    refused: tuple[Refused, ...]
    steps: Steps | None
    lifecycle: Mapping[str, int]
    classes: Mapping[str, int]
    classes_by_state: Mapping[str, Mapping[str, int]]
    state_examples: Mapping[str, tuple[tuple[str, str], ...]]
    histograms: tuple[Histogram, ...]
    cycles: Mapping[int, int]
    attributes: tuple[Attribute, ...]
    reach: tuple[Reach, ...]
    periods: Periods | None
    inherited: Inherited | None
    events: Abrupt | None
    standouts: tuple[Standout, ...] = field(default=(), repr=False)

    @property
    def grid(self) -> Frequency:
        """The lake's grid."""
        return Frequency.parse(self.info.frequency)


def inspect_lake(lake: Lake, config: Config) -> Inspection:
    """Gather the facts. Raises InputError for a lake that is empty or holds no series."""
    info = lake.identity()
    extent = extent_of(lake)
    if not extent.n_series:
        raise InputError("the lake holds no series; run `almanac ingest` (or `almanac run`) first")
    series = series_facts(lake, extent)
    key = lake.layout.key
    states, classes, both = kinds_of(series)
    events = _events(lake)
    return Inspection(
        info=info,
        config=config,
        extent=extent,
        totals=totals_of(series, Frequency.parse(info.frequency).season_length, config.horizon),
        sources=_sources(lake),
        refused=_refused(lake),
        steps=_steps(lake),
        lifecycle=states,
        classes=classes,
        classes_by_state=both,
        state_examples=state_examples(series, key),
        histograms=histograms_of(series),
        cycles=cycles_of(series),
        attributes=attributes_of(series, lake.layout.attributes),
        reach=reach_of(lake, config, extent),
        periods=periods_of(lake, config, extent) if changes_periods(config) else None,
        inherited=_inherited(lake),
        events=events,
        standouts=standouts(
            lake, series, extent, None if events is None else events.run_id,
            silence=config.forecast_start == "global",
        ),
    )  # fmt: skip


def _sources(lake: Lake) -> tuple[RoleRows, ...]:
    from pyspark.sql import functions as F

    if not lake.exists("sources"):
        return ()
    rows = lake.read("sources").groupBy("role")
    sums = rows.agg(F.count("source").alias("sources"), F.sum("n_rows").alias("rows"), F.sum("n_rejected").alias("no"))
    found = [RoleRows(r["role"], int(r["sources"]), int(r["rows"]), int(r["no"])) for r in sums.collect()]
    order = {"target": 0, "related": 1, "items": 2}
    return tuple(sorted(found, key=lambda r: (order.get(r.role.partition(":")[0], 3), len(r.role), r.role)))


def _refused(lake: Lake) -> tuple[Refused, ...]:
    from pyspark.sql import functions as F

    if not lake.exists("rejects"):
        return ()
    rows = lake.read("rejects").select("role", "source", "reason", "row")
    counts = {r["reason"]: int(r["count"]) for r in rows.groupBy("reason").count().collect()}
    if not counts:
        return ()
    short = F.substring("row", 1, ROW_CHARACTERS).alias("row")
    cut = F.length("row") > ROW_CHARACTERS
    some = firsts(rows, "reason", ("role", "source", "row")).select(
        "reason", "role", "source", short, cut.alias("cut"), "#at"
    )
    examples: dict[str, list[tuple[str, str, str]]] = {}
    for r in sorted(some.collect(), key=lambda r: r["#at"]):
        examples.setdefault(r["reason"], []).append((r["role"], r["source"], r["row"] + ("…" if r["cut"] else "")))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Refused(reason, n, tuple(examples[reason])) for reason, n in ordered)  # fmt: skip


def _steps(lake: Lake) -> Steps | None:
    """The same check as ingest's, over the points of the table `target`: what lies within a period shows in `rows`."""
    from pyspark.sql import functions as F

    if not lake.exists("target"):
        return None
    target = lake.read("target")
    sums = target.agg(F.sum("n_rows").alias("rows"), F.count("target").alias("points")).first()
    assert sums is not None
    key = lake.layout.key
    time = microseconds(F.col("timestamp"))
    rows = target.select(*key, F.lit("").alias("source"), time.alias(TIME))
    told, asked = asked_steps(rows, key, 1, sample_for(target, 1))
    steps = times_and_steps(told)[1]
    ordered = sorted(steps.items(), key=lambda item: (-item[1], item[0]))
    return Steps(dict(ordered), asked, int(sums["rows"] or 0), int(sums["points"]))


def _inherited(lake: Lake) -> Inherited | None:
    from pyspark.sql import functions as F

    if not lake.exists("successors"):
        return None
    rows = lake.read("successors")
    nearest = rows.where("position = 1")
    counts = {r["scale_from"]: int(r["count"]) for r in nearest.groupBy("scale_from").count().collect()}
    if not counts:
        return None
    deepest = rows.agg(F.max("position").alias("longest")).first()
    assert deepest is not None
    key = lake.layout.key
    some = nearest.orderBy(*key).limit(3).select(name_column(key).alias("name"), "predecessor", "scale").collect()
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    examples = tuple((r["name"], r["predecessor"], float(r["scale"])) for r in some)
    return Inherited(ordered, int(deepest["longest"]), examples)


def _events(lake: Lake) -> Abrupt | None:
    from pyspark.sql import functions as F

    if not lake.exists("events"):
        return None
    rows = lake.read("events")
    held = {row["run_id"] for row in rows.select("run_id").distinct().collect()}
    newest = next((run.run_id for run in runs.newest(lake) if run.run_id in held), None)
    if newest is None:
        return None
    counts = rows.where(F.col("run_id") == newest).groupBy("kind")
    distinct = F.count_distinct(*(F.col(k) for k in lake.layout.key))
    found = counts.agg(F.count(F.lit(1)).alias("n"), distinct.alias("series")).collect()
    ordered = sorted(found, key=lambda r: (-r["n"], r["kind"]))
    return Abrupt(newest, {r["kind"]: (int(r["n"]), int(r["series"])) for r in ordered})
