"""The backtests of what was selected: each series' members blended, calibrated and kept like any model's backtests.

The rows go to `results` with stage `selection` and model `selected`. A window is blended with the weights that the
other windows give and calibrated by these, so what the rows show was not fitted to it; only with one window it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray
from forecasting.evaluation.calibration import (
    Intervals,
    adjustments,
    calibrated,
    covered,
    histograms,
    series_factors,
)
from forecasting.evaluation.ensemble import blend, middle
from forecasting.frequency import Int64Array
from forecasting.models.contract import RawForecast
from forecasting.postprocess import Bounds, finish
from udfs.arrow import ArrowStep, fixed_lists, nulls, repeated
from udfs.derive_sums import SELECTED
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.member_rows import MEMBERS, OTHERS, PIECE_NUMBERS, RowForm, member_rows, pack_step
from udfs.packed_numbers import packed, unpacked
from udfs.results import BACKTEST, results_of
from udfs.results_schema import STATISTICS, STEP_STATISTICS
from udfs.row_numbers import no_statistics, with_statistics
from udfs.weights import dense_weights

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

STAGE = "selection"
OWN, HELPED = 1.0, 2.0
_FLAT = ("state", "starts", "scales", "squared", "numbers", "actual", "density")
_MADE = (
    "model", "window", "forecast_start", "mean", "quantiles", "actuals", "mase_scale", "rmsse_scale", "status",
    "seconds",
)  # fmt: skip
_COUNTS_DDL = "segment string, window int, counts binary"


@dataclass(frozen=True)
class Blender:
    """How the members of a series become one. mode: ensemble (and the modes of one model), mean or median. single:
    whether every series has one model, whose density of the actuals is then that of what was selected."""

    mode: str
    levels: tuple[float, ...]
    horizon: int
    windows: int
    bounds: Bounds = field(default_factory=Bounds)
    single: bool = False

    @property
    def form(self) -> RowForm:
        """How the members' rows are packed."""
        return RowForm(self.horizon, len(self.levels), self.single)

    @property
    def width(self) -> int:
        """Numbers of a step: mean and quantiles."""
        return 1 + len(self.levels)

    def of(self, forecasts: FloatArray, weights: FloatArray) -> FloatArray:
        """[S, M, K] to [S, K]."""
        if self.mode in ("mean", "median"):
            return middle(forecasts, weights, trimmed=self.mode == "mean")
        return blend(forecasts, weights)


def blended_backtests(
    lake: Lake, run_id: str, selection: DataFrame, blender: Blender, models: Sequence[str]
) -> DataFrame:
    """The rows of `selection` (with OTHERS, weights of `models`, and MEMBERS) with flat arrays over each series'
    windows, packed: `state`, `starts`, `scales` and `squared` (of MASE and RMSSE) [W], `numbers` [W H (1 + Q)],
    `actual` [W H] and, where the method picks one model, its own `density` of the actuals [W H]. A series without a
    forecast in any window has state 0 everywhere."""
    from pyspark.sql import functions as F

    key = lake.layout.key
    results = results_of(lake, run_id, BACKTEST).where("status <> 'skipped'")
    named = {r["model"] for r in selection.select(F.explode(quoted(MEMBERS)).alias("model")).distinct().collect()}
    names = [name for name in models if name in named]
    wanted = results.where(F.col("model").isin(names)).select(
        *key, "model", "window", "forecast_start", "mean", "quantiles", "actuals", "mase_scale",
        F.col("rmsse_scale") if "rmsse_scale" in results.columns else F.lit(None).cast("double").alias("rmsse_scale"),
        "status", *(("log_density",) if blender.single and "log_density" in results.columns else ()),
    )  # fmt: skip
    ddl = lake.schemas["results"].ddl(key)
    narrow = wanted.mapInArrow(pack_step(key, names, blender.form), f"{ddl}, numbers binary")
    joined = selection.join(narrow.groupBy(*key).agg(F.collect_list("numbers").alias("rows")), list(key), "left")
    chosen = [name for name in lake.schemas["selection"].names if name != "factors"]
    given = lake.schemas["selection"].ddl(chosen)
    step = _blend_step(chosen, models, names, blender)
    return joined.mapInArrow(step, ", ".join([given, *(f"{name} binary" for name in _FLAT)]))


def _blend_step(kept: Sequence[str], models: Sequence[str], used: Sequence[str], blender: Blender) -> ArrowStep:
    places = [models.index(name) for name in used]

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        size = max(1, PIECE_NUMBERS // (max(len(used), 1) * blender.windows * blender.form.numbers))
        for batch in batches:
            for begin in range(0, len(batch), size):
                part = batch.slice(begin, size)
                weights = unpacked(part.column(OTHERS), blender.windows * len(models))
                weights = weights.reshape(len(part), -1, len(models))[..., places]
                yield _blended(part, kept, weights, dense_weights(part.column("weights"), used), blender)

    return run


def _blended(
    batch: pa.RecordBatch, kept: Sequence[str], weights: FloatArray, final: FloatArray, blender: Blender
) -> pa.RecordBatch:
    """weights: [N, W, M], of each window. final: [N, M], for windows where none of these has a forecast."""
    n, windows, horizon = len(batch), blender.windows, blender.horizon
    series, rows = member_rows(batch.column("rows"), blender.form)
    finite = np.isfinite(rows.forecast).all(axis=1)
    has = np.zeros(weights.shape, dtype=bool)
    has[series[finite], rows.window[finite], rows.model[finite]] = True
    weights = np.where((has & (weights > 0)).any(axis=2, keepdims=True), weights, final[:, None])
    mine = weights[series, rows.window, rows.model] > 0
    series, rows = series[mine], rows.take(mine)
    model, window = rows.model, rows.window
    table = np.full((*weights.shape, horizon * blender.width), np.nan)
    table[series, window, model] = rows.forecast
    actual = np.full((n, windows, horizon), np.nan)
    actual[series, window] = rows.actual
    density = np.full((n, windows, rows.density.shape[1]), np.nan)
    density[series, window] = rows.density
    own = np.zeros(weights.shape, dtype=bool)
    own[series, window, model] = ~rows.helped
    scales, starts = np.full((2, n, windows), np.nan), np.zeros((n, windows))
    scales[:, series, window] = rows.scales.T
    starts[series, window] = rows.start
    flat = table.reshape(n * windows, weights.shape[2], -1)
    out = blender.of(flat, without_fallbacks(weights, own).reshape(n * windows, -1)).reshape(n, -1)
    there = np.isfinite(out.reshape(n, windows, -1)).all(axis=2)
    parts = {
        "state": np.where(there, np.where(own.any(axis=2), OWN, HELPED), 0.0),
        "starts": starts,
        "scales": scales[0],
        "squared": scales[1],
        "numbers": out,
        "actual": actual.reshape(n, -1),
        "density": density.reshape(n, -1),
    }
    columns = {name: batch.column(name) for name in kept} | {name: packed(parts[name]) for name in _FLAT}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def without_fallbacks(weights: FloatArray, own: npt.NDArray[np.bool_]) -> FloatArray:
    """Weights without the members whose forecast is a fallback's, where some member has one of its own.

    weights: [.., M]. own: bool [.., M], whether a member has a forecast of its own.
    """
    some = (own & (weights > 0)).any(axis=-1, keepdims=True)
    return np.asarray(np.where(some & ~own, 0.0, weights))


@dataclass(frozen=True)
class Backtests:
    """Blended backtests of N series: state [N, W] (0: no such window, OWN, HELPED: all members are fallbacks), mean
    [N, W, H], quantiles [N, W, H, Q], actual [N, W, H]."""

    state: FloatArray
    mean: FloatArray
    quantiles: FloatArray
    actual: FloatArray

    @classmethod
    def of(cls, batch: pa.RecordBatch, blender: Blender) -> Backtests:
        n, windows, horizon, levels = len(batch), blender.windows, blender.horizon, len(blender.levels)
        numbers = unpacked(batch.column("numbers"), windows * horizon * blender.width).reshape(n, windows, -1)
        return cls(
            unpacked(batch.column("state"), windows),
            numbers[:, :, :horizon],
            numbers[:, :, horizon:].reshape(n, windows, horizon, levels),
            unpacked(batch.column("actual"), windows * horizon).reshape(n, windows, horizon),
        )


@dataclass(frozen=True)
class Calibration:
    """The adjustments of G segments, from all windows and from all but one each.

    counts: [G, W, B, I, BINS]. whole: [G, B, I, C]. without: W of them, window k + 1 left out.
    """

    segments: tuple[str, ...]
    intervals: Intervals
    counts: FloatArray
    whole: FloatArray
    without: tuple[FloatArray, ...]
    strength: float

    @classmethod
    def none(cls, blender: Blender) -> Calibration:
        """What changes nothing."""
        intervals = Intervals.of(blender.levels, blender.horizon)
        empty = np.zeros((0, *intervals.shape[:2], 1))
        return cls(
            (), intervals, np.zeros((0, blender.windows, *intervals.shape)), empty, (empty,) * blender.windows, 1.0
        )

    def positions(self, segments: Sequence[str]) -> Int64Array:
        """The place of each segment, -1 for an unknown one."""
        place = {name: i for i, name in enumerate(self.segments)}
        return np.array([place.get(name, -1) for name in segments], dtype=np.int64)


def calibration(blended: DataFrame, blender: Blender, strength: float) -> Calibration:
    """The adjustments of the segments of some blended backtests: one pass, histograms to the driver."""
    intervals = Intervals.of(blender.levels, blender.horizon)
    parts = blended.mapInArrow(_counts_step(blender, intervals), _COUNTS_DDL).toArrow()
    size = int(np.prod(intervals.shape))
    found: dict[str, FloatArray] = {}
    for batch in parts.to_batches():
        table = unpacked(batch.column("counts"), size).reshape(-1, *intervals.shape)
        lines = zip(batch.column("segment").to_pylist(), batch.column("window").to_pylist(), table, strict=True)
        for segment, window, counts in lines:
            mine = found.setdefault(segment, np.zeros((blender.windows, *intervals.shape)))
            mine[window] += counts  # whole numbers: exact in any order
    names = tuple(sorted(found))
    counts = np.array([found[name] for name in names]).reshape(len(names), blender.windows, *intervals.shape)
    left_out = [adjustments(np.delete(counts, w, axis=1), intervals) for w in range(blender.windows)]
    return Calibration(names, intervals, counts, adjustments(counts, intervals), tuple(left_out), strength)


def _counts_step(blender: Blender, intervals: Intervals) -> ArrowStep:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names: dict[str, int] = {}
        total = np.zeros((0, blender.windows, *intervals.shape))
        for batch in batches:
            batch = batch.filter(pa.array((unpacked(batch.column("state"), blender.windows) > 0).any(axis=1)))
            if not len(batch):
                continue
            tests = Backtests.of(batch, blender)
            slot = np.array([names.setdefault(s, len(names)) for s in batch.column("segment").to_pylist()])
            if len(names) > len(total):
                total = np.concatenate([total, np.zeros((len(names) - len(total), *total.shape[1:]))])
            for w in range(blender.windows):
                total[:, w] += histograms(tests.quantiles[:, w], tests.actual[:, w], slot, len(names), intervals)
        for name, slot_ in names.items():
            windows = list(range(blender.windows))
            columns = [
                repeated(name, pa.string(), len(windows)),
                pa.array(windows, pa.int32()),
                packed(total[slot_].reshape(len(windows), -1)),
            ]
            yield pa.RecordBatch.from_arrays(columns, names=["segment", "window", "counts"])

    return run


def final_backtests(
    lake: Lake, run_id: str, blended: DataFrame, blender: Blender, calibration: Calibration
) -> DataFrame:
    """Rows of `results` with stage `selection`: the blended backtests, each window calibrated by the others."""
    from pyspark.sql import functions as F

    schema, key = lake.schemas["results"], lake.layout.key
    kept = (*key, "bucket", *_MADE, *(("log_density",) if blender.single else ()), STATISTICS, STEP_STATISTICS)
    rows = blended.mapInArrow(_final_step(kept, key, blender, calibration), schema.ddl(kept))
    fixed = {
        "run_id": F.lit(run_id),
        "stage": F.lit(STAGE),
        "unit": F.lit(0),
        "reason": F.lit(""),
    }
    zero = ("n_obs", "n_filled", "n_clipped", "evaluations")
    columns = []
    for column in schema.columns:
        if column.name in kept:
            columns.append(F.col(column.name))
        elif column.name in fixed:
            columns.append(fixed[column.name].alias(column.name))
        else:
            value = F.lit(0) if column.name in zero else F.lit(None)
            columns.append(value.cast(column.type).alias(column.name))
    return rows.select(*columns)


def _final_step(kept: Sequence[str], key: Sequence[str], blender: Blender, calibration: Calibration) -> ArrowStep:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from with_statistics(rows(batches), blender.levels)

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            tests = Backtests.of(batch, blender)
            at = calibration.positions(batch.column("segment").to_pylist())
            starts = unpacked(batch.column("starts"), blender.windows).astype(np.int64)
            scales, squared = (unpacked(batch.column(name), blender.windows) for name in ("scales", "squared"))
            density = unpacked(batch.column("density"), blender.windows * blender.horizon * blender.single)
            density = density.reshape(len(batch), blender.windows, -1)
            factors = _factors(tests, at, calibration)
            for w in range(blender.windows):
                some = np.flatnonzero(tests.state[:, w] > 0)
                if not len(some):
                    continue
                quantiles = calibrated(
                    tests.quantiles[some, w], calibration.without[w], at[some], factors[some], calibration.intervals
                )
                raw = finish(RawForecast(mean=tests.mean[some, w], quantiles=quantiles), blender.bounds)
                index = pa.array(some)
                columns = {name: batch.column(name).take(index) for name in (*key, "bucket")}
                columns |= {
                    "model": repeated(SELECTED, pa.string(), len(some)),
                    "seconds": repeated(0.0, pa.float64(), len(some)),
                    "window": repeated(w + 1, pa.int32(), len(some)),
                    "forecast_start": pa.array(starts[some, w]).cast(pa.timestamp("us")),
                    "mean": fixed_lists(raw.mean),
                    "quantiles": fixed_lists(raw.quantiles.reshape(len(some), -1)),
                    "actuals": fixed_lists(tests.actual[some, w]),
                    "mase_scale": pa.array(scales[some, w]),
                    "rmsse_scale": pa.array(squared[some, w]),
                    "status": pa.array(np.where(tests.state[some, w] == OWN, "ok", "fallback"), pa.string()),
                }
                if blender.single:
                    columns["log_density"] = fixed_lists(density[some, w])
                columns |= no_statistics(len(some))
                yield pa.RecordBatch.from_arrays([columns[n] for n in kept], names=list(kept))

    return run


def _factors(tests: Backtests, at: Int64Array, calibration: Calibration) -> FloatArray:
    """Each series' multiple of the nominal misses, [N, I], from windows calibrated by the others."""
    intervals = calibration.intervals
    n, pairs = len(at), len(intervals.pairs)
    if not len(calibration.segments) or not pairs:
        return np.ones((n, pairs))
    points, inside = np.zeros(n), np.zeros((n, pairs))
    for w, table in enumerate(calibration.without):
        plain = calibrated(tests.quantiles[:, w], table, at, np.ones((n, pairs)), intervals)
        more, within = covered(plain, tests.actual[:, w], intervals)
        points, inside = points + more, inside + within
    return series_factors(points, inside, intervals, calibration.strength)


def selection_with_factors(lake: Lake, blended: DataFrame, blender: Blender, calibration: Calibration) -> DataFrame:
    """Rows of `selection`: those that `blended` was made from, with the factors of the series that have backtests."""
    schema = lake.schemas["selection"]

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            tests = Backtests.of(batch, blender)
            at = calibration.positions(batch.column("segment").to_pylist())
            factors = fixed_lists(_factors(tests, at, calibration))
            some = pa.array((tests.state > 0).any(axis=1))
            given = {"factors": pc.if_else(some, factors, nulls(factors.type, len(batch)))}
            columns = [given[n] if n in given else batch.column(n) for n in schema.names]
            yield pa.RecordBatch.from_arrays(columns, names=list(schema.names))

    return blended.mapInArrow(run, schema.ddl())
