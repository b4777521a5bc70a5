"""The step of the target's timestamps, found beside the counts that ingest makes, and held against the frequency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from forecasting.frequency import DAY_US, HOUR_US, MINUTE_US, WEEK_US, Frequency
from forecasting.resolution import FIELDS, IRREGULAR, LEAST_ROWS, LEAST_STEPS, LENGTHS, MONTH_US, STEPS
from udfs.cleaning import REASON, TIME
from udfs.config.grid import FrequencyCheck
from udfs.errors import InputError
from udfs.grid import floor_div, months_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

SERIES = "#series"
ENOUGH_VOTES = 20
"""Series of a sample that say enough; with fewer all series are asked."""
_SOURCES_PER_SAMPLE = 8
_LARGEST_SAMPLE = 64
_SIZEABLE, _LARGE = 8 << 20, 256 << 20  # bytes
_CELL = ("source", "first", "last")


def code(time: Column) -> Column:
    """The code of a time in microseconds (see `forecasting.resolution`), as bigint."""
    from pyspark.sql import functions as F

    def part(divisor: int, modulus: int) -> Column:
        return F.pmod(floor_div(time, divisor), F.lit(modulus))

    day = F.date_from_unix_date(floor_div(time, DAY_US).cast("int"))
    months = months_of(time)
    values = {
        "second": part(1_000_000, 60), "minute5": part(MINUTE_US, 5), "minute3": part(MINUTE_US, 3),
        "minute4": part(MINUTE_US, 4), "hour8": part(HOUR_US, 8), "hour3": part(HOUR_US, 3),
        "weekday": part(DAY_US, 7), "week4": part(WEEK_US, 4), "day": F.day(day) - 1,
        "month_end": (F.last_day(day) == day).cast("bigint"),
        "month4": F.pmod(months, F.lit(4)), "month3": F.pmod(months, F.lit(3)),
    }  # fmt: skip
    total = F.lit(0).cast("bigint")
    for name, value in values.items():
        total = total + value.cast("bigint") * (1 << FIELDS[name])
    return total


def sample_of(sources: int) -> int:
    """One in how many series is asked: a series' rows in many sources cannot be brought together before they move."""
    return max(1, min(sources // _SOURCES_PER_SAMPLE, _LARGEST_SAMPLE))


def sample_for(raw: DataFrame, sources: int) -> int:
    """One in how many series is asked of rows as they are read: of much input a part tells as much and costs less."""
    try:
        size = int(str(raw._jdf.queryExecution().optimizedPlan().stats().sizeInBytes()))
    except Exception:  # a Connect session has no plan to look at
        size = 0
    return max(sample_of(sources), 64 if size > _LARGE else 8 if size > _SIZEABLE else 1)


def found_steps(rows: DataFrame, key: tuple[str, ...], sources: int, sample: int) -> DataFrame:
    """Of valid rows: source, first, last (microseconds), step (NULL where none is told), n_series (that have it).

    rows: cleaned rows, those with a reason to refuse them are left out. sources: how many they are of. sample: one in
    how many series is asked; 1: all.
    """
    from pyspark.sql import functions as F

    series = F.xxhash64(*key)
    if sample > 1:  # first: to clean the rows of the others would cost most of the time
        rows = rows.where(F.pmod(series, F.lit(sample)) == 0)
    valid = F.col(TIME).isNotNull()
    rows = rows.where(valid & F.col(REASON).isNull() if REASON in rows.columns else valid)
    written = code(F.col(TIME))
    cells = rows.groupBy("source", series.alias(SERIES)).agg(
        F.count(F.lit(1)).alias("n"),
        F.min(TIME).alias("first"),
        F.max(TIME).alias("last"),
        F.bit_and(written).alias("and"),
        F.bit_or(written).alias("or"),
    )
    if sources == 1:
        step = _step(F.col("and"), F.col("or"), F.col("n"), F.col("last") - F.col("first"))
        marked = cells.select(*_CELL, step.alias("step"))
    else:
        gathered = cells.groupBy(SERIES).agg(
            F.collect_list(F.struct(*_CELL)).alias("cells"),
            *(f(c).alias(c) for f, c in ((F.sum, "n"), (F.min, "first"), (F.max, "last"))),
            F.bit_and("and").alias("and"),
            F.bit_or("or").alias("or"),
        )
        step = _step(F.col("and"), F.col("or"), F.col("n"), F.col("last") - F.col("first"))
        once = F.when(F.col("at") == 0, F.col("step")).alias("step")
        each = gathered.select(step.alias("step"), F.posexplode("cells").alias("at", "cell"))
        marked = each.select(*(F.col("cell")[name].alias(name) for name in _CELL), once)
    return marked.groupBy("source", "step").agg(
        F.min("first").alias("first"), F.max("last").alias("last"), F.count("step").alias("n_series")
    )


def asked_steps(rows: DataFrame, key: tuple[str, ...], sources: int, sample: int) -> tuple[list[Row], int]:
    """Collected rows of `found_steps`, and the sample that they are of: all series where too few of it can tell."""
    found = found_steps(rows, key, sources, sample).collect()
    if sample > 1 and sum(row["n_series"] for row in found) < ENOUGH_VOTES:
        return found_steps(rows, key, sources, 1).collect(), 1
    return found, sample


def _step(all_and: Column, all_or: Column, n: Column, span: Column) -> Column:
    """`forecasting.resolution.step_of` as a Spark expression."""
    from pyspark.sql import functions as F

    differs = all_and.bitwiseXOR(all_or)
    chain = F.when(n < LEAST_ROWS, F.lit(None).cast("string"))
    for step in STEPS:
        fits = differs.bitwiseAND(F.lit(step.fixed)) == 0
        if step.ones:
            fits = fits & (all_and.bitwiseAND(F.lit(step.ones)) == step.ones)
        reaches = span >= 0.9 * LEAST_STEPS * step.length_us
        chain = chain.when(fits, F.when(reaches, F.lit(step.name)))
    return chain.otherwise(F.lit(IRREGULAR))


def frequency_notes(check: FrequencyCheck, grid: Frequency, aggregation: str, steps: Mapping[str, int]) -> list[str]:
    """What the report says of the steps. Raises InputError where too few series agree and the config says so.

    steps: step -> series.
    """
    total = sum(steps.values())
    if check.otherwise == "ignore" or not total:
        return []
    own = grid.months * MONTH_US if grid.months else grid.step_us
    sizes: dict[str, int] = {}
    for name, n in steps.items():
        length = LENGTHS.get(name, 0)
        kind = "coarser" if length > own else "finer" if length < own else "same"
        sizes[kind] = sizes.get(kind, 0) + n
    listed = ", ".join(
        f"{_spelled(name)} {n / total:.1%}" for name, n in sorted(steps.items(), key=lambda item: (-item[1], item[0]))
    )
    agree = 1 - sizes.get("coarser", 0) / total
    if agree < check.min_share:
        problem = (
            f"frequency is {grid.name}, and of the {total:,} series that have rows enough to tell only {agree:.1%} "
            f"have timestamps that often (ingest.frequency_check.min_share: {check.min_share:g}); their steps are "
            f"{listed}. Set frequency to the step of the data, or the share to what you know to be right"
        )
        if check.otherwise == "error":
            raise InputError(problem)
        return [problem]
    notes = []
    if sizes.get("finer", 0) > (1 - check.min_share) * total:
        notes.append(f"rows come more often than {grid.name} ({listed}) and were aggregated by {aggregation}")
    elif max(steps.values()) < check.min_share * total:
        notes.append(f"series have timestamps of different steps ({listed}) on the grid {grid.name}")
    return notes


def _spelled(name: str) -> str:
    return "no regular step" if name == IRREGULAR else name


def usual_step(steps: Mapping[str, int]) -> str:
    """The step that most series have, the finer of two; IRREGULAR where none tells."""
    if not steps:
        return IRREGULAR
    return max(steps, key=lambda name: (steps[name], -LENGTHS.get(name, 0)))


def times_and_steps(rows: Iterable[Row]) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """source -> its first and last valid time, and step -> series, of collected rows of `found_steps`."""
    times: dict[str, tuple[int, int]] = {}
    steps: dict[str, int] = {}
    for row in rows:
        if row["step"] is not None:
            steps[row["step"]] = steps.get(row["step"], 0) + int(row["n_series"])
        if row["first"] is not None:
            first, last = times.get(row["source"], (row["first"], row["last"]))
            times[row["source"]] = (min(first, row["first"]), max(last, row["last"]))
    return times, steps
