"""The ensemble weights of each segment, learnt from a sample of its series.

The sample is drawn by the hash of the key, so it depends on the series alone; its lowest bits come first, so that it
lies in few of a large lake's buckets and the others are not read. A segment is one task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray
from forecasting.evaluation.bagging import bagged_weights
from forecasting.evaluation.metrics import Layout
from forecasting.frequency import Int64Array
from udfs.arrow import repeated
from udfs.contest import Contest, Standing
from udfs.lake import Lake
from udfs.packed_numbers import dense, packed, unpacked
from udfs.results import BACKTEST, results_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

MOST_MODELS = 12
"""Models that a segment's ensemble is made from: the best of the segment."""
MOST_NUMBERS = 20_000_000
"""Forecast values that a segment's sample may hold: 160 MB."""
_HASHES = 1 << 31
_SCORES = ("segment", "left_out", "weights")


def learn_weights(
    lake: Lake, run_id: str, series: DataFrame, standings: Sequence[Standing], left_out: Sequence[int], sample: int
) -> list[FloatArray]:
    """Weights of each segment's models, float64 [G, M], all zeros for a segment that nothing could be learnt for: by
    all windows, and without each of those left out.

    series: the key and `segment` of every series. standings: likewise. sample: series of a segment, about. Where the
    contest is about money the segment's weights are learnt by the quantile loss: it is what makes every level good to
    plan with.
    """
    from pyspark.sql import functions as F

    whole, key = standings[0], lake.layout.key
    contest = whole.contest
    weights = [np.zeros((len(standing.segments), len(contest.models))) for standing in standings]
    pools = [pool(standing) for standing in standings]
    competing = [name for m, name in enumerate(contest.models) if any(usable[:, m].any() for usable in pools)]
    if not competing:
        return weights
    draws = {name: Draw.of(sample / max(whole.series.get(name, 0), 1)) for name in whole.segments}
    sampled = series.where(_drawn(key, draws)).select(*key, "segment")
    results = results_of(lake, run_id, BACKTEST).where((F.col("status") != "skipped") & F.col("model").isin(competing))
    buckets = lake.identity().buckets
    apart = min((draw.gap(buckets) for draw in draws.values()), default=1)
    results = results if apart == 1 else results.where(F.col("bucket").isin(list(range(0, buckets, apart))))
    rows = results.join(F.broadcast(sampled), list(key)).select(
        "segment",
        F.xxhash64(*key).alias("series"),
        "model",
        "window",
        "actuals",
        "mase_scale",
        *(("mean",) if contest.metric == "RMSE" else ("quantiles",)),
    )
    usable = [
        {name: row.tolist() for name, row in zip(standing.segments, mine, strict=True)}
        for standing, mine in zip(standings, pools, strict=True)
    ]
    learn = _learner(contest, usable, (0, *left_out))
    learnt = rows.groupBy("segment").applyInArrow(learn, "segment string, left_out int, weights binary").toArrow()
    places = [{name: g for g, name in enumerate(standing.segments)} for standing in standings]
    for batch in learnt.to_batches():
        found = unpacked(batch.column("weights"), len(contest.models))
        lines = zip(batch.column("segment").to_pylist(), batch.column("left_out").to_pylist(), found, strict=True)
        for name, i, row in lines:
            weights[i][places[i][name]] = row
    return weights


def pool(standing: Standing) -> npt.NDArray[np.bool_]:
    """Which models a segment's ensemble is made from, bool [G, M]: the MOST_MODELS best of those that compete."""
    scores = np.where(standing.eligible, standing.crowd.scores, np.inf)
    rank = scores.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable") if scores.size else scores
    return np.asarray(standing.eligible & (rank < MOST_MODELS))


@dataclass(frozen=True)
class Draw:
    """Which hashes are drawn: those whose lowest `bits` bits are 0 and whose other bits lie below `limit`."""

    bits: int
    limit: int

    @classmethod
    def of(cls, share: float) -> Draw:
        """Those that are this share of all."""
        bits = 0 if share >= 1.0 else int(np.floor(-np.log2(share)))
        return cls(bits, int(min(1.0, share * 2**bits) * _HASHES))

    def gap(self, buckets: int) -> int:
        """g: a bucket is a hash modulo `buckets`, so only the buckets 0, g, 2 g, … hold any of them."""
        return math.gcd(1 << self.bits, buckets)

    def condition(self, hashed: Column) -> Column:
        """Whether a hash is one of them."""
        from pyspark.sql import functions as F

        rest = F.pmod(F.shiftrightunsigned(hashed, self.bits), F.lit(_HASHES))
        return (F.pmod(hashed, F.lit(1 << self.bits)) == 0) & (rest < F.lit(self.limit))


def _drawn(key: Sequence[str], draws: Mapping[str, Draw]) -> Column:
    """Whether a series is drawn, by its segment's draw."""
    from pyspark.sql import functions as F

    branch: Any = F
    for name, draw in draws.items():
        branch = branch.when(F.col("segment") == name, draw.condition(F.xxhash64(*key)))
    drawn: Column = branch.otherwise(F.lit(False))
    return drawn


def _learner(contest: Contest, usable: Sequence[Mapping[str, list[bool]]], left_out: Sequence[int]) -> Any:
    """For applyInArrow: the backtests of one segment's sample to its weights, a row for each window left out (0 for
    none). usable: by segment, for each of them."""

    def learn(rows: pa.Table) -> pa.Table:
        segment = rows.column("segment")[0].as_py()
        whole = rows.combine_chunks().to_batches()[0]
        weights = np.zeros((len(left_out), len(contest.models)))
        for i, window in enumerate(left_out):
            use = np.flatnonzero(np.array(usable[i].get(segment, ()), dtype=bool))
            others = whole.filter(pc.not_equal(whole.column("window"), window)) if window else whole
            if len(use) and len(others):
                weights[i, use] = _weights(others, contest, use)
        n = len(left_out)
        columns = [repeated(segment, pa.string(), n), pa.array(range(n), pa.int32()), packed(weights)]
        return pa.Table.from_arrays(columns, names=list(_SCORES))

    return learn


def _weights(batch: pa.RecordBatch, contest: Contest, use: Int64Array) -> FloatArray:
    """Weights of the models `use`."""
    model = _codes(batch.column("model"), [contest.models[m] for m in use])
    hashes, series = np.unique(batch.column("series").to_numpy(), return_inverse=True)
    windows, window = np.unique(batch.column("window").to_numpy(), return_inverse=True)
    actual = dense(batch.column("actuals"))
    squared = contest.metric == "RMSE"
    width = 1 if squared else len(contest.levels)
    values = dense(batch.column("mean" if squared else "quantiles"), actual.shape[1] * width)
    shape = (len(hashes), len(use), len(windows), actual.shape[1], width)
    most = max(1, MOST_NUMBERS // max(int(np.prod(shape[1:])), 1))
    mine = np.flatnonzero((model >= 0) & (series < most))
    forecasts = np.full((min(shape[0], most), *shape[1:]), np.nan)
    forecasts[series[mine], model[mine], window[mine]] = values[mine].reshape(-1, shape[3], width)
    happened = np.full((len(forecasts), shape[2], shape[3]), np.nan)
    happened[series[mine], window[mine]] = actual[mine]
    if not squared:
        forecasts = forecasts[..., _judged(contest)]
    levels, scale = _levels(contest, batch, series, happened)
    return bagged_weights(forecasts, happened, levels, scale, squared=squared)


def _judged(contest: Contest) -> list[int]:
    """The levels that the metric looks at."""
    median = Layout.of(contest.levels).median
    if contest.metric in ("mean_wQL", "cost") or median is None:
        return list(range(len(contest.levels)))
    return [median]


def _levels(
    contest: Contest, batch: pa.RecordBatch, series: Int64Array, happened: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The levels of each series' loss, [S, L], and what the loss is multiplied by, [S]."""
    n = len(happened)
    each = np.zeros(1) if contest.metric == "RMSE" else np.array(contest.levels)[_judged(contest)]
    levels, scale = np.tile(each, (n, 1)), np.ones(n)
    if contest.metric == "MASE":
        rows = np.flatnonzero(series < n)
        of_series = np.full(n, np.nan)
        of_series[series[rows]] = batch.column("mase_scale").to_numpy(zero_copy_only=False)[rows]
        scale = _inverse(of_series)
    elif contest.metric == "MAPE":
        sizes = np.where(happened == 0, np.nan, np.abs(happened)).reshape(n, -1)
        known = np.isfinite(sizes)
        scale = _inverse(
            np.divide(np.nansum(sizes, axis=1), known.sum(axis=1), out=np.zeros(n), where=known.any(axis=1))
        )
    return levels, scale


def _inverse(values: FloatArray) -> FloatArray:
    positive = np.isfinite(values) & (values > 0)
    return np.divide(1.0, values, out=np.zeros(len(values)), where=positive)


def _codes(column: pa.Array, names: Sequence[str]) -> Int64Array:
    """The place of each value in `names`, -1 for none."""
    encoded = column.dictionary_encode()
    place = {name: i for i, name in enumerate(names)}
    code = np.array([place.get(name, -1) for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    return code[encoded.indices.to_numpy(zero_copy_only=False)] if len(code) else np.empty(0, dtype=np.int64)
