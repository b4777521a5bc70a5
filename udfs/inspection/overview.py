"""What the packed series are, in counts: states, kinds of demand, profiles as histograms, metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from forecasting.demand import ADI_CUT, CV2_CUT
from forecasting.frequency import Frequency
from udfs.grid import period_ordinal
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.limits import ITEM_SEPARATOR
from udfs.pieces import whole_start
from udfs.schemas import PROFILE

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SHOWN = 3
"""Examples of each kind."""
_TENTHS = tuple(i / 10 for i in range(1, 11))
_SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
MEASURES: Mapping[str, tuple[float, ...]] = {
    "n_obs": (0, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000),
    "missing_share": _SHARES,
    "zero_share": _SHARES,
    "adi": (1, ADI_CUT, 2, 3, 5, 10, 20, 50),
    "cv2": (0.05, 0.1, 0.25, CV2_CUT, 1, 2, 5, 10),
    "trend_strength": _TENTHS,
    "seasonal_strength": _TENTHS,
    "spectral_entropy": _TENTHS,
}
"""Number of a profile -> the upper ends of its bins, which belong to them; one more bin holds what lies above."""


@dataclass(frozen=True)
class Extent:
    """All series together. pieces: whether some history lies in several rows. start, end: ordinals of the first and
    last period, 0 and -1 without any history."""

    n_series: int
    pieces: bool
    start: int
    end: int


@dataclass(frozen=True)
class Totals:
    """Sums over the series. n_empty: series without an observation. n_under_season, n_under_horizon: with fewer
    observations than a season, or the horizon, has periods (those without any too). first, last: labels."""

    n_empty: int
    n_under_season: int
    n_under_horizon: int
    n_obs: int
    n_missing: int
    n_zero: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Histogram:
    """A number of the profiles over the series that have it. counts: one more than `uppers` (see MEASURES).
    low, median, high: quantiles 0.1, 0.5 and 0.9, to three significant digits."""

    measure: str
    uppers: tuple[float, ...]
    counts: tuple[int, ...]
    low: float
    median: float
    high: float

    @property
    def n(self) -> int:
        """Series that have the number."""
        return sum(self.counts)


@dataclass(frozen=True)
class Attribute:
    """A metadata column. n: series that have it. values: how many different ones there are, about."""

    name: str
    n: int
    values: int


def extent_of(lake: Lake) -> Extent:
    """One pass over the narrow columns of `series`."""
    from pyspark.sql import functions as F

    grid = Frequency.parse(lake.identity().frequency)
    first, some = period_ordinal(grid, F.col("start")), F.col("n") > 0
    row = (
        lake.read("series")
        .agg(
            F.count_if(F.col("segment") == 0).alias("series"),
            F.max("segment").alias("segment"),
            F.min(F.when(some, first)).alias("start"),
            F.max(F.when(some, first + F.col("n") - 1)).alias("end"),
        )
        .first()
    )
    assert row is not None
    known = row["start"] is not None
    ends = (int(row["start"]), int(row["end"])) if known else (0, -1)
    return Extent(int(row["series"]), bool(row["segment"]), *ends)


def series_facts(lake: Lake, extent: Extent) -> DataFrame:
    """One row a series: key, bucket, start, lifecycle, metadata and the fields of the profile. Of a history in
    pieces the last one says what holds for the whole."""
    from pyspark.sql import functions as F

    rows = lake.read("series")
    key = list(lake.layout.key)
    if extent.pieces:
        others = [c for c in ("bucket", "lifecycle", "profile", "metadata") if c in rows.columns]
        last = F.max_by(F.struct(*others), "segment").alias("last")
        rows = rows.groupBy(*key).agg(whole_start(), last).select(*key, "start", "last.*")
    held = rows.select("profile.*").columns
    fields = [
        (F.col(f"profile.{name}") if name in held else F.lit(None).cast(kind)).alias(name)
        for name, kind in PROFILE.items()
    ]
    metadata = ["metadata"] if "metadata" in rows.columns else []
    return rows.select(*key, "bucket", "start", "lifecycle", *metadata, *fields)


def name_column(key: Sequence[str]) -> Column:
    """The key's parts in one text, as the other verbs write it."""
    from pyspark.sql import functions as F

    return F.concat_ws(ITEM_SEPARATOR, *(quoted(k) for k in key))


def totals_of(series: DataFrame, season: int, horizon: int) -> Totals:
    """Sums over the series. season: periods in the season of the grid, 1 for none."""
    from pyspark.sql import functions as F

    seen = F.coalesce(F.col("n_obs"), F.lit(0))
    row = series.agg(
        F.count_if(seen == 0).alias("n_empty"),
        F.count_if(seen < season).alias("n_under_season"),
        F.count_if(seen < horizon).alias("n_under_horizon"),
        *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in ("n_obs", "n_missing", "n_zero")),
        F.min(F.when(F.col("n_obs") > 0, F.col("start"))).alias("first"),
        F.max("last_observed").alias("last"),
    ).first()
    assert row is not None
    return Totals(**row.asDict())


def kinds_of(series: DataFrame) -> tuple[dict[str, int], dict[str, int], dict[str, dict[str, int]]]:
    """Series by lifecycle, by class of demand, and by class in each lifecycle."""
    both: dict[str, dict[str, int]] = {}
    states: dict[str, int] = {}
    classes: dict[str, int] = {}
    rows = series.groupBy("lifecycle", "demand_class").count().collect()
    for row in sorted(rows, key=lambda r: (r["lifecycle"], r["demand_class"] or "")):
        state, kind, n = row["lifecycle"], row["demand_class"] or "unknown", int(row["count"])
        states[state] = states.get(state, 0) + n
        classes[kind] = classes.get(kind, 0) + n
        inside = both.setdefault(state, {})
        inside[kind] = inside.get(kind, 0) + n
    return states, classes, both


def state_examples(series: DataFrame, key: Sequence[str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Lifecycle -> the first series by key, and why each is what it is; of those with something to say."""
    from pyspark.sql import functions as F

    told = series.where(F.col("lifecycle_reason").isNotNull())
    rows = firsts(told, "lifecycle", key).select(
        "lifecycle", name_column(key).alias("name"), "lifecycle_reason", "#at"
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for row in sorted(rows.collect(), key=lambda r: (r["lifecycle"], r["#at"])):
        found.setdefault(row["lifecycle"], []).append((row["name"], row["lifecycle_reason"]))
    return {state: tuple(rows) for state, rows in found.items()}


def firsts(rows: DataFrame, group: str, order: Sequence[Any]) -> DataFrame:
    """The first SHOWN rows of each group, numbered in `#at`."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    at = F.row_number().over(Window.partitionBy(group).orderBy(*order))
    return rows.withColumn("#at", at).where(F.col("#at") <= SHOWN)


def measured() -> dict[str, Column]:
    """The numbers of MEASURES as columns of `series_facts`."""
    from pyspark.sql import functions as F

    counts = {
        "missing_share": ("n_missing", F.col("n_obs") + F.col("n_missing")),
        "zero_share": ("n_zero", F.col("n_obs")),
    }
    return {
        name: F.col(counts[name][0]) / F.nullif(counts[name][1], F.lit(0)) if name in counts else F.col(name)
        for name in MEASURES
    }  # fmt: skip


def histograms_of(series: DataFrame) -> tuple[Histogram, ...]:
    """The histogram of each of MEASURES that some series has."""
    from pyspark.sql import functions as F

    cells = [
        F.struct(F.lit(name).alias("measure"), column.cast("double").alias("value"), _bin(column, MEASURES[name]))
        for name, column in measured().items()
    ]
    values = series.select(F.inline(F.array(*cells)).alias("measure", "value", "bin"))
    values = values.where(F.col("value").isNotNull() & ~F.isnan("value"))
    # Rounded, so that exact quantiles, which depend on nothing but the values, cost a small table of counts.
    spread = F.percentile(_three_digits(F.col("value")), F.array(*(F.lit(p) for p in (0.1, 0.5, 0.9))))
    quantiles = {r["measure"]: r["q"] for r in values.groupBy("measure").agg(spread.alias("q")).collect()}
    counts: dict[str, dict[int, int]] = {}
    for row in values.groupBy("measure", "bin").count().collect():
        counts.setdefault(row["measure"], {})[int(row["bin"])] = int(row["count"])
    return tuple(
        Histogram(name, uppers, tuple(counts[name].get(i, 0) for i in range(len(uppers) + 1)), *quantiles[name])
        for name, uppers in MEASURES.items()
        if name in counts
    )


def _bin(value: Column, uppers: Sequence[float]) -> Column:
    from pyspark.sql import functions as F

    place: Any = F
    for position, upper in enumerate(uppers):
        place = place.when(value <= upper, position)
    found: Column = place.otherwise(len(uppers))
    return found.alias("bin")


def _three_digits(value: Column) -> Column:
    from pyspark.sql import functions as F

    unit = F.pow(F.lit(10.0), F.floor(F.log10(F.abs(value))) - 2)
    return F.when(value == 0, F.lit(0.0)).otherwise(F.round(value / unit) * unit)


def cycles_of(series: DataFrame) -> dict[int, int]:
    """Strongest cycle of a series, in whole periods -> how many series have it; the five most frequent."""
    from pyspark.sql import functions as F

    strongest = F.round(F.get("dominating_periods", F.lit(0))).cast("int").alias("cycle")
    rows = series.select(strongest).where(F.col("cycle").isNotNull()).groupBy("cycle").count()
    found = rows.orderBy(F.desc("count"), "cycle").limit(5).collect()
    return {int(row["cycle"]): int(row["count"]) for row in found}


def attributes_of(series: DataFrame, names: Sequence[str]) -> tuple[Attribute, ...]:
    """How complete each metadata column is."""
    from pyspark.sql import functions as F

    if not names or "metadata" not in series.columns:
        return ()
    held = series.select("metadata.*").columns
    known = [name for name in names if name in held]
    columns = [F.col("metadata")[name] for name in known]
    row = series.agg(
        *(F.count(c).alias(f"n{i}") for i, c in enumerate(columns)),
        *(F.approx_count_distinct(c).alias(f"v{i}") for i, c in enumerate(columns)),
    ).first()
    assert row is not None
    found = {name: Attribute(name, int(row[f"n{i}"]), int(row[f"v{i}"])) for i, name in enumerate(known)}
    return tuple(found.get(name, Attribute(name, 0, 0)) for name in names)
