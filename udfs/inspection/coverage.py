"""How far related series reach, and what becomes of each period of the target: one pass over the packed arrays.

Every task adds up its batches; one row a batch and column comes out, and Spark adds those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.filling import CLOSED, MASKED
from forecasting.frequency import Frequency, Int64Array
from udfs.arrow import RELATED_PREFIX, label_microseconds, list_buffers
from udfs.config import Config
from udfs.inspection.overview import Extent
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.life_stage import successors_version
from udfs.parts import pieces, prepare
from udfs.pieces import joined_pieces
from udfs.spec import ModelSpec, TaskSpec
from udfs.stage import StageInput, task_spec
from udfs.work import RunPlan

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Reach:
    """How far a related series reaches, over all series of the target.

    past: periods of their histories. past_known: those with a value. future, future_known: the same of the horizon.
    n_any: series with a value in the history or the horizon. n_past_whole, n_future_whole: without a gap there.
    n_early: series with a value whose last one lies before the last step of the horizon.
    """

    name: str
    known_in_future: bool
    n_any: int
    past: int
    past_known: int
    n_past_whole: int
    future: int
    future_known: int
    n_future_whole: int
    n_early: int


@dataclass(frozen=True)
class Periods:
    """What a model sees of all histories. observed, filled, masked, closed and missing (no value, and none filled in)
    are periods that add up to all; n_filled, n_masked and n_closed are series with any. closed_steps: closed steps of
    the horizon, of all series. holidays: whether closed holidays are known (the first run freezes them)."""

    observed: int
    filled: int
    masked: int
    closed: int
    missing: int
    n_filled: int
    n_masked: int
    n_closed: int
    closed_steps: int
    holidays: bool = True


# --- related series ---

_REACH = ("n_any", "past", "past_known", "n_past_whole", "future", "future_known", "n_future_whole", "n_early")


def reach_of(lake: Lake, config: Config, extent: Extent) -> tuple[Reach, ...]:
    """The reach of every related series of the config, in its order."""
    from pyspark.sql import functions as F

    series = lake.read("series")
    held = set(series.select("related.*").columns) if "related" in series.columns else set()
    names = [name for name in config.data.related_columns if name in held]
    found: dict[str, dict[str, int]] = {}
    if names:
        key = lake.layout.key
        if extent.pieces:
            rows = joined_pieces(series, key, names).select("start", F.size("target").alias("n"), *map(quoted, names))
        else:
            rows = series.select("start", "n", *(F.col(f"related.{quoted(name)}").alias(name) for name in names))
        rows = rows.withColumnsRenamed({name: RELATED_PREFIX + name for name in names})
        end = extent.end if config.forecast_start == "global" else None
        step = _reach_step(names, lake.identity().frequency, end, config.horizon)
        ddl = ", ".join(["name string", *(f"{field} bigint" for field in _REACH)])
        sums = rows.mapInArrow(step, ddl).groupBy("name").agg(*(F.sum(field).alias(field) for field in _REACH))
        found = {row["name"]: {field: int(row[field]) for field in _REACH} for row in sums.collect()}
    nothing = dict.fromkeys(_REACH, 0)
    return tuple(
        Reach(name, column.known_in_future, **found.get(name, nothing))
        for name, column in config.data.related_columns.items()
    )


def _reach_step(names: Sequence[str], frequency: str, end: int | None, horizon: int) -> Any:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        grid = Frequency.parse(frequency)
        for batch in batches:
            n = batch.column("n").to_numpy().astype(np.int64)
            start = grid.ordinals(label_microseconds(batch.column("start")))
            history = n if end is None else np.where(n > 0, np.maximum(n, end + 1 - start), 0)
            sums = [reach(*list_buffers(batch.column(RELATED_PREFIX + name)), history, horizon) for name in names]
            yield _rows_of(names, sums, _REACH)

    return run


def reach(values: FloatArray, offsets: Int64Array, history: Int64Array, horizon: int) -> dict[str, int]:
    """The numbers of `Reach` for N packed columns that begin with their series. history: int64 [N], periods up to the
    end."""
    length = np.diff(offsets)
    known = np.concatenate(([0], np.cumsum(~np.isnan(values))))
    begin = known[offsets[:-1]]
    past = known[offsets[:-1] + np.minimum(length, history)] - begin
    both = known[offsets[:-1] + np.minimum(length, history + horizon)] - begin
    future = both - past
    some = (both > 0) | (known[offsets[1:]] > begin)
    last = _last_known(values, offsets)
    return {
        "n_any": int(some.sum()),
        "past": int(history.sum()),
        "past_known": int(past.sum()),
        "n_past_whole": int(((past == history) & (history > 0)).sum()),
        "future": horizon * len(length),
        "future_known": int(future.sum()),
        "n_future_whole": int((future == horizon).sum()),
        "n_early": int((some & (last < history + horizon - 1)).sum()),
    }


def _last_known(values: FloatArray, offsets: Int64Array) -> Int64Array:
    """The position of each column's last value from its begin, -1 for none."""
    places = np.concatenate(([-1], np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))))
    return np.maximum(places[offsets[1:]] - offsets[:-1], -1)


# --- what a model sees of the target ---

_PERIODS = (
    "observed", "filled", "masked", "closed", "missing", "n_filled", "n_masked", "n_closed", "closed_steps",
)  # fmt: skip


def changes_periods(config: Config) -> bool:
    """Whether anything in the config fills, masks, closes or inherits a period."""
    rules = [config.fill.target, *(g.target for g in config.fill.groups if g.target is not None)]
    fills = any(rule != "nan" for each in rules for rule in each.model_dump().values())
    return fills or bool(config.fill.mask) or config.opening is not None or config.lifecycle.successors is not None


def periods_of(lake: Lake, config: Config, extent: Extent) -> Periods:
    """What the stage forecast would see of every series: its own preparation, without a model."""
    from pyspark.sql import functions as F

    info = lake.identity()
    frozen = lake.version("holidays") if lake.exists("holidays") else None
    opening, holidays = config.opening, True
    if opening is not None and opening.closed_on_holidays and frozen is None:
        opening, holidays = opening.model_copy(update={"closed_on_holidays": False}), False
        if not opening.by_calendar and opening.column is None:
            opening = None
    bare = config.model_copy(
        update={
            "opening": opening, "cold_start": False, "features": None,
            "lifecycle": config.lifecycle.model_copy(update={"phase_out": None, "zero_after": "never"}),
        }
    )  # fmt: skip
    choices = ((ModelSpec("naive"),),) * (len(config.segments) + 1)
    source = StageInput(lake, bare, lake.version("series"), choices)
    plan = RunPlan(
        frequency=info.frequency, start=extent.start, end=extent.end, buckets=info.buckets, pieces=extent.pieces,
        n_series=extent.n_series, mean_length=0.0, holidays=frozen, successors=successors_version(lake, bare),
    )  # fmt: skip
    spec = task_spec("forecast", source, plan)
    rows = source.rows(plan, None, range(info.buckets))
    ddl = ", ".join(["name string", *(f"{field} bigint" for field in _PERIODS)])
    sums = rows.mapInArrow(_periods_step(spec), ddl).agg(*(F.sum(field).alias(field) for field in _PERIODS)).first()
    assert sums is not None
    return Periods(**{field: int(sums[field] or 0) for field in _PERIODS}, holidays=holidays)


def _periods_step(spec: TaskSpec) -> Any:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield _rows_of(["target"], [_periods(batch, spec)], _PERIODS)

    return run


def _periods(batch: pa.RecordBatch, spec: TaskSpec) -> dict[str, int]:
    sums = dict.fromkeys(_PERIODS, 0)
    for piece in pieces(batch, spec):
        part = prepare(piece, spec)
        series = part.series
        marks = np.zeros(len(series.values), dtype=np.uint8) if series.filled is None else series.filled
        known = np.isfinite(series.values)
        kinds = {
            "observed": known & (marks == 0),
            "filled": (marks > 0) & (marks < MASKED),
            "masked": marks == MASKED,
            "closed": marks == CLOSED,
            "missing": ~known & (marks == 0),
        }
        for name, where in kinds.items():
            sums[name] += int(where.sum())
        for name in ("filled", "masked", "closed"):
            total = np.concatenate(([0], np.cumsum(kinds[name])))
            sums[f"n_{name}"] += int((np.diff(total[series.offsets]) > 0).sum())
        sums["closed_steps"] += 0 if part.closed is None else int(part.closed.sum())
    return sums


def _rows_of(names: Sequence[str], sums: Sequence[dict[str, int]], fields: Sequence[str]) -> pa.RecordBatch:
    columns = {"name": pa.array(names, pa.string())}
    columns |= {field: pa.array([each[field] for each in sums], pa.int64()) for field in fields}
    return pa.RecordBatch.from_pydict(columns)
