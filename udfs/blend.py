"""The backtests of what was selected: each series' members blended, calibrated and kept like any model's backtests.

The rows go to `results` with stage `selection` and model `selected`. A window's intervals are calibrated by the other
windows, so what the rows show of coverage was not fitted to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
from udfs.arrow import fixed_lists, repeated
from udfs.derive_sums import SELECTED, ArrowStep, dense, packed, unpacked
from udfs.lake import Lake, quoted
from udfs.results import BACKTEST, results_of
from udfs.weights import dense_weights

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

STAGE = "selection"
OWN, HELPED = 1.0, 2.0
_PIECE_NUMBERS = 4_000_000
_PACKED_DDL = "model string, window int, forecast_start timestamp_ntz, numbers binary"
_BESIDE = ("mase_scale", "rmsse_scale", "helped")
"""Numbers of a packed row behind its forecasts and actuals."""
_FLAT = ("state", "starts", "scales", "squared", "numbers", "actual")
_COUNTS_DDL = "segment string, window int, counts binary"


@dataclass(frozen=True)
class Blender:
    """How the members of a series become one. mode: ensemble (and the modes of one model), mean or median."""

    mode: str
    levels: tuple[float, ...]
    horizon: int
    windows: int
    bounds: Bounds = field(default_factory=Bounds)

    @property
    def width(self) -> int:
        """Numbers of a step: mean and quantiles."""
        return 1 + len(self.levels)

    def of(self, forecasts: FloatArray, weights: FloatArray) -> FloatArray:
        """[S, M, K] to [S, K]."""
        if self.mode in ("mean", "median"):
            return middle(forecasts, weights, trimmed=self.mode == "mean")
        return blend(forecasts, weights)


def blended_backtests(lake: Lake, run_id: str, selection: DataFrame, blender: Blender) -> DataFrame:
    """One row a series: the key, bucket, segment, and flat arrays over its windows: `state`, `starts`, `scales` and
    `squared` (of MASE and RMSSE) [W], `numbers` [W H (1 + Q)] and `actual` [W H], packed."""
    from pyspark.sql import functions as F

    key = lake.layout.key
    results = results_of(lake, run_id, BACKTEST).where("status <> 'skipped'")
    used = [r["model"] for r in selection.select(F.explode(F.map_keys("weights")).alias("model")).distinct().collect()]
    wanted = results.where(F.col("model").isin(used)).select(
        *key, "model", "window", "forecast_start", "mean", "quantiles", "actuals", "mase_scale",
        F.col("rmsse_scale") if "rmsse_scale" in results.columns else F.lit(None).cast("double").alias("rmsse_scale"),
        "status",
    )  # fmt: skip
    schema = lake.schemas["results"]
    ddl = ", ".join(f"{quoted(n)} {schema.column(n).type}" for n in key)
    narrow = wanted.mapInArrow(_pack_step(key, blender), f"{ddl}, {_PACKED_DDL}")
    row = F.struct("model", "window", "forecast_start", "numbers")
    grouped = narrow.groupBy(*key).agg(F.collect_list(row).alias("rows"))
    joined = selection.select(*key, "bucket", "segment", "weights").join(grouped, list(key))
    flat = ", ".join(f"{name} binary" for name in _FLAT)
    return joined.mapInArrow(_blend_step(key, blender), f"{ddl}, bucket int, segment string, {flat}")


def _pack_step(key: Sequence[str], blender: Blender) -> ArrowStep:
    """Mean, quantiles, actuals, scales and whether it is a fallback's as one binary value: Spark moves it as it is."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        horizon, levels = blender.horizon, len(blender.levels)
        for batch in batches:
            parts = [dense(batch.column("mean"), horizon), dense(batch.column("quantiles"), horizon * levels)]
            helped = np.asarray(batch.column("status").to_numpy(zero_copy_only=False) == "fallback", dtype=np.float64)
            scales = [batch.column(n).to_numpy(zero_copy_only=False) for n in ("mase_scale", "rmsse_scale")]
            beside = np.column_stack([*scales, helped]).astype(np.float64)
            numbers = np.concatenate([*parts, dense(batch.column("actuals"), horizon), beside], axis=1)
            names = [*key, "model", "window", "forecast_start"]
            columns = [batch.column(name) for name in names]
            yield pa.RecordBatch.from_arrays([*columns, packed(numbers)], names=[*names, "numbers"])

    return run


def _blend_step(key: Sequence[str], blender: Blender) -> ArrowStep:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            each = max(1, max(batch.column("rows").value_lengths().to_numpy(), default=1))
            size = max(1, _PIECE_NUMBERS // (each * blender.horizon * (blender.width + 1)))
            for begin in range(0, len(batch), size):
                yield _blended(batch.slice(begin, size), key, blender)

    return run


def _blended(batch: pa.RecordBatch, key: Sequence[str], blender: Blender) -> pa.RecordBatch:
    n, windows, horizon = len(batch), blender.windows, blender.horizon
    column = batch.column("rows")
    rows = column.flatten()
    series = np.repeat(np.arange(n), np.diff(column.offsets.to_numpy()))
    encoded = rows.field("model").dictionary_encode()
    models = encoded.dictionary.to_pylist()
    weights = dense_weights(batch.column("weights"), models)
    model, window = encoded.indices.to_numpy(), rows.field("window").to_numpy() - 1
    numbers = unpacked(rows.field("numbers"), horizon * (blender.width + 1) + len(_BESIDE))
    table = np.full((n, len(models), windows, horizon * blender.width), np.nan)
    mine = weights[series, model] > 0
    table[series[mine], model[mine], window[mine]] = numbers[mine, : horizon * blender.width]
    actual = np.full((n, windows, horizon), np.nan)
    actual[series[mine], window[mine]] = numbers[mine, horizon * blender.width : -len(_BESIDE)]
    beside = numbers[:, -len(_BESIDE) :]
    own = np.zeros((n, windows, len(models)), dtype=bool)
    own[series[mine], window[mine], model[mine]] = beside[mine, -1] == 0.0
    scales, starts = np.full((2, n, windows), np.nan), np.zeros((n, windows), dtype=np.int64)
    scales[:, series[mine], window[mine]] = beside[mine, :-1].T
    starts[series[mine], window[mine]] = rows.field("forecast_start").cast(pa.int64()).to_numpy()[mine]
    flat = table.transpose(0, 2, 1, 3).reshape(n * windows, len(models), -1)
    out = blender.of(flat, without_fallbacks(weights[:, None], own).reshape(n * windows, -1)).reshape(n, -1)
    there = np.isfinite(out.reshape(n, windows, -1)).all(axis=2)
    parts = {
        "state": np.where(there, np.where(own.any(axis=2), OWN, HELPED), 0.0),
        "starts": starts.astype(np.float64),
        "scales": scales[0],
        "squared": scales[1],
        "numbers": out,
        "actual": actual.reshape(n, -1),
    }
    shared = {name: batch.column(name) for name in (*key, "bucket", "segment")}
    columns = shared | {name: packed(values) for name, values in parts.items()}
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
    made = ("window", "forecast_start", "mean", "quantiles", "actuals", "mase_scale", "rmsse_scale", "status")
    kept = (*key, "bucket", *made)
    ddl = ", ".join(f"{quoted(n)} {schema.column(n).type}" for n in kept)
    rows = blended.mapInArrow(_final_step(kept, key, blender, calibration), ddl)
    fixed = {
        "run_id": F.lit(run_id),
        "stage": F.lit(STAGE),
        "unit": F.lit(0),
        "model": F.lit(SELECTED),
        "reason": F.lit(""),
        "seconds": F.lit(0.0),
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
        for batch in batches:
            tests = Backtests.of(batch, blender)
            at = calibration.positions(batch.column("segment").to_pylist())
            starts = unpacked(batch.column("starts"), blender.windows).astype(np.int64)
            scales, squared = (unpacked(batch.column(name), blender.windows) for name in ("scales", "squared"))
            factors = _factors(tests, at, calibration)
            for w in range(blender.windows):
                rows = np.flatnonzero(tests.state[:, w] > 0)
                if not len(rows):
                    continue
                quantiles = calibrated(
                    tests.quantiles[rows, w], calibration.without[w], at[rows], factors[rows], calibration.intervals
                )
                raw = finish(RawForecast(mean=tests.mean[rows, w], quantiles=quantiles), blender.bounds)
                index = pa.array(rows)
                columns = {name: batch.column(name).take(index) for name in (*key, "bucket")}
                columns |= {
                    "window": repeated(w + 1, pa.int32(), len(rows)),
                    "forecast_start": pa.array(starts[rows, w]).cast(pa.timestamp("us")),
                    "mean": fixed_lists(raw.mean),
                    "quantiles": fixed_lists(raw.quantiles.reshape(len(rows), -1)),
                    "actuals": fixed_lists(tests.actual[rows, w]),
                    "mase_scale": pa.array(scales[rows, w]),
                    "rmsse_scale": pa.array(squared[rows, w]),
                    "status": pa.array(np.where(tests.state[rows, w] == OWN, "ok", "fallback"), pa.string()),
                }
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


def factor_rows(lake: Lake, blended: DataFrame, blender: Blender, calibration: Calibration) -> DataFrame:
    """The key and `factors` of each series."""
    key = lake.layout.key
    schema = lake.schemas["results"]
    ddl = ", ".join(f"{quoted(n)} {schema.column(n).type}" for n in key) + ", factors array<double>"

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            at = calibration.positions(batch.column("segment").to_pylist())
            factors = _factors(Backtests.of(batch, blender), at, calibration)
            columns = [batch.column(name) for name in key]
            yield pa.RecordBatch.from_arrays([*columns, fixed_lists(factors)], names=[*key, "factors"])

    return blended.mapInArrow(run, ddl)
