"""The forecast stage of a run whose series were given models by `selection`: members, blended, calibrated.

A series with one model has one row in `results`, that model's. One with several has a row `ensemble` with the
forecast, and a row for each member with what it was fitted to and what became of it, without numbers of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.api import Forecast
from forecasting.batch import FloatArray
from forecasting.evaluation.calibration import Intervals, calibrated
from forecasting.frequency import Int64Array
from forecasting.models.contract import ObjectArray, RawForecast, Status
from forecasting.postprocess import finish
from udfs.arrow import fixed_lists, nulls
from udfs.blend import Blender, without_fallbacks
from udfs.packed_numbers import dense
from udfs.parts import PIECE_VALUES, Part
from udfs.spec import ModelSpec, TaskSpec
from udfs.weights import dense_weights

ENSEMBLE = "ensemble"
"""The model of a series that several models forecast."""
WEIGHTS, SEGMENT, FACTORS = "selected:weights", "selected:segment", "selected:factors"
"""Columns beside a series: model -> weight, its segment, and per interval the multiple of the misses aimed at."""


@dataclass(frozen=True)
class Gathered:
    """The members' forecasts of N series: numbers [N, M, H (1 + Q)], NaN where a series has no such member; own: bool
    [N, M], whether it is the member's own and no fallback; what the members' rows say, per series."""

    numbers: FloatArray
    own: npt.NDArray[np.bool_]
    there: npt.NDArray[np.bool_]
    n_obs: Int64Array
    n_filled: Int64Array
    n_clipped: Int64Array
    evaluations: Int64Array
    first_step: Int64Array

    @classmethod
    def empty(cls, n: int, models: int, spec: TaskSpec) -> Gathered:
        counts = [np.zeros(n, dtype=np.int64) for _ in range(5)]
        width = spec.horizon * (1 + len(spec.quantiles))
        flags = [np.zeros((n, models), dtype=bool) for _ in range(2)]
        return cls(np.full((n, models, width), np.nan), *flags, *counts)

    def add(self, at: Int64Array, model: int, forecast: Forecast) -> None:
        """A member's forecasts of the series `at`."""
        rows = len(at)
        flat = [forecast.mean.reshape(rows, -1), forecast.quantiles.reshape(rows, -1)]
        self.numbers[at, model] = np.concatenate(flat, axis=1)
        status = forecast.status.reshape(-1)
        self.own[at, model] = (status == Status.OK) | (status == Status.TIMEOUT)
        self.there[at, model] = True
        self.n_obs[at], self.n_filled[at] = forecast.n_obs.reshape(-1), forecast.n_filled.reshape(-1)
        self.n_clipped[at] += forecast.n_clipped.reshape(-1)
        self.evaluations[at] += forecast.evaluations.reshape(-1)
        self.first_step[at] = forecast.first_step.reshape(-1)


def weights_of(part: Part, models: tuple[ModelSpec, ...]) -> FloatArray:
    """Each series' weights of the models of its list, [N, M]; a series that `selection` does not know, or whose models
    are not there any more, takes the first."""
    column = part.source.column(WEIGHTS).take(pa.array(part.positions))
    weights = dense_weights(column, [model.name for model in models])
    weights[~(weights > 0).any(axis=1), 0] = 1.0
    return weights


def members_apart(part: Part, models: tuple[ModelSpec, ...], spec: TaskSpec) -> Iterator[Part]:
    """The series in pieces that leave room for all members' forecasts."""
    size = max(1, PIECE_VALUES // (len(models) * spec.horizon * (1 + len(spec.quantiles))))
    for begin in range(0, len(part.series), size):
        yield part.take(np.arange(begin, min(begin + size, len(part.series))))


def blended(part: Part, weights: FloatArray, gathered: Gathered, spec: TaskSpec) -> Forecast:
    """The forecast of each series from its members': blended, calibrated, within bounds, in whole units where asked.

    A member whose forecast is a fallback's is left out where another has one of its own.
    """
    started = time.perf_counter()
    assert spec.members is not None
    n, horizon, levels = len(part.series), spec.horizon, len(spec.quantiles)
    used = without_fallbacks(weights, gathered.own & gathered.there)
    numbers = Blender(spec.members.mode, spec.quantiles, horizon, 1).of(gathered.numbers, used)
    mean, quantiles = numbers[:, :horizon], numbers[:, horizon:].reshape(n, horizon, levels)
    quantiles = _calibrated(part, quantiles, spec)
    raw = finish(RawForecast(mean=mean, quantiles=quantiles), spec.bounds)
    helped = np.asarray(~(gathered.own & (weights > 0)).any(axis=1))
    status = np.where(helped, Status.FALLBACK, Status.OK).astype(np.int8)
    return Forecast(
        model=ENSEMBLE,
        levels=spec.quantiles,
        mean=raw.mean,
        quantiles=raw.quantiles,
        status=status,
        reason=_lost(weights, gathered, part, helped),
        seconds=np.full(n, (time.perf_counter() - started) / max(n, 1)),
        n_obs=gathered.n_obs,
        n_filled=gathered.n_filled,
        n_clipped=gathered.n_clipped,
        evaluations=gathered.evaluations,
        first_step=gathered.first_step,
    )


MEMBERS_LOST = "members_lost"
ALL_MEMBERS_LOST = "all_members_lost"


def _lost(weights: FloatArray, gathered: Gathered, part: Part, helped: npt.NDArray[np.bool_]) -> ObjectArray:
    reason = np.full(len(part.series), "", dtype=object)
    reason[((weights > 0) & ~gathered.own).any(axis=1)] = MEMBERS_LOST
    reason[helped] = ALL_MEMBERS_LOST
    return reason


def _calibrated(part: Part, quantiles: FloatArray, spec: TaskSpec) -> FloatArray:
    members = spec.members
    intervals = Intervals.of(spec.quantiles, spec.horizon)
    if members is None or not len(members.segments):
        return quantiles
    index = pa.array(part.positions)
    place = {name: g for g, name in enumerate(members.segments)}
    names = part.source.column(SEGMENT).take(index).to_pylist()
    group = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    factors = dense(part.source.column(FACTORS).take(index), len(intervals.pairs))
    factors = np.where(np.isfinite(factors), factors, 1.0)
    return calibrated(quantiles, members.table, group, factors, intervals)


def unrounded(spec: TaskSpec) -> TaskSpec:
    """What members are forecast with: whole units are made of the blend."""
    return replace(spec, bounds=replace(spec.bounds, whole_units=False))


def with_final(rows: pa.RecordBatch, at: Int64Array, single: npt.NDArray[np.bool_], final: Forecast) -> pa.RecordBatch:
    """A member's rows of `results` with the final forecast where the series has no other member, and none elsewhere.

    at: positions of the rows' series in `final`. single: bool, by position there.
    """
    mine = pa.array(single[at])
    lists = pa.list_(pa.float64())
    columns: dict[str, Any] = {name: rows.column(name) for name in rows.schema.names}
    absent = nulls(lists, len(rows))
    columns["mean"] = pc.if_else(mine, fixed_lists(final.mean[at]), absent)
    columns["quantiles"] = pc.if_else(mine, fixed_lists(final.quantiles[at].reshape(len(at), -1)), absent)
    return pa.RecordBatch.from_arrays([columns[name] for name in rows.schema.names], names=rows.schema.names)
