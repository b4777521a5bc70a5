"""Cold start in a task: which series and windows have hardly any history, and their forecasts from the donors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecasting.api import FALLBACK_MODEL, Forecast, fit
from forecasting.batch import FloatArray, read_only
from forecasting.cold_start import ColdModel, ColdTargets
from forecasting.frequency import Frequency, Int64Array
from forecasting.models.contract import ObjectArray, RawForecast, Rows, Status
from forecasting.postprocess import apply_bounds, finish, history_facts
from udfs.arrow import fixed_lists, label_microseconds
from udfs.deep_forecasts import INSTEAD, stored_forecast, takes_cold
from udfs.inheritance import inherits
from udfs.parts import Part
from udfs.spec import ColdStartSpec, TaskSpec

COLD_START = "cold_start"
"""The model of these forecasts."""
NO_DONORS = "no_donors"
FACTS = ("level", "error", "own")
"""What stands before the neighbours' weights in the parameters of a row."""
_SILENT_SEASONS = 2


@dataclass(frozen=True)
class ColdRows(Forecast):
    """Forecasts with what they were made from. numbers: [N, 3 + K], FACTS and the neighbours' weights. neighbours:
    float64 [N, K], positions among the donors, -1 for none."""

    numbers: FloatArray | None = None
    neighbours: FloatArray | None = None


def cold_apart(part: Part, spec: TaskSpec) -> tuple[Iterator[tuple[Part, Forecast]], Part]:
    """The forecasts of the series (in a backtest: of each window) that have fewer points than `spec.cold.below`; and
    the series that the models forecast: in a backtest all, where both are compared, else those with points enough."""
    cold = spec.cold
    if cold is None or part.ended:
        return iter(()), part
    few, points, born = few_points(part, cold.below, spec)
    rest = part if part.ends is not None else part.take(np.flatnonzero(~few[:, 0]))
    return _answers(part, few, points, born, cold, spec), rest


def _answers(
    part: Part,
    few: npt.NDArray[np.bool_],
    points: Int64Array,
    born: Int64Array,
    cold: ColdStartSpec,
    spec: TaskSpec,
) -> Iterator[tuple[Part, Forecast]]:
    for window in range(few.shape[1]):
        index = np.flatnonzero(few[:, window])
        if not len(index):
            continue
        number = part.window + window if part.ends is not None else 1
        model = cold.models[number - 1]
        if not model.donors and part.ends is not None:
            continue  # the window stays as it was: too short
        taken = takes_cold(part)[index]
        if taken.any():
            rows = part.take(index[taken])
            yield rows, _instead(stored_forecast(rows, spec), points[index[taken], window])
            index = index[~taken]
        if not len(index):
            continue
        rows = replace(part.take(index).between(window, window + 1), short=False)
        yield rows, _forecast(rows, model, points[index, window], born[index], cold, spec)


def _instead(forecast: Forecast, points: Int64Array) -> Forecast:
    """The global model's forecasts where it is better than cold start, with the reason."""
    return replace(forecast, reason=_reasons(points, INSTEAD))


def with_neighbours(rows: pa.RecordBatch, forecast: Forecast) -> pa.RecordBatch:
    """Rows of `results` with the neighbours: positions as states, facts and weights as parameters."""
    if not isinstance(forecast, ColdRows) or forecast.numbers is None or forecast.neighbours is None:
        return rows
    columns: dict[str, Any] = {name: rows.column(name) for name in rows.schema.names}
    columns |= {"parameters": fixed_lists(forecast.numbers), "states": fixed_lists(forecast.neighbours)}
    return pa.RecordBatch.from_arrays([columns[name] for name in rows.schema.names], names=rows.schema.names)


def few_points(part: Part, below: int, spec: TaskSpec) -> tuple[npt.NDArray[np.bool_], Int64Array, Int64Array]:
    """Which series and windows have fewer points than `below` [N, W], the points [N, W], and the ordinal of each
    series' first own period [N]. A point is an observation, or a period after the first one that a fill rule fills. A
    series that has been silent for two seasons has ended: nothing like it starts."""
    batch = part.series
    frequency = Frequency.parse(spec.frequency)
    source = part.source.column("start").take(pa.array(part.positions))
    born = frequency.ordinals(label_microseconds(source))
    born = np.where(batch.lengths > 0, np.maximum(born, batch.start), batch.start)
    born = np.where(inherits(part.source, part.positions), batch.start, born)  # what it replaces is its history
    end = batch.lengths[:, None] if part.ends is None else part.ends
    begin = np.minimum(born - batch.start, batch.lengths)
    points, silent = _points(
        batch.values, batch.offsets, read_only(begin), read_only(np.ascontiguousarray(end)), below
    )
    longest = _SILENT_SEASONS * max(frequency.season_length, below)
    few = (points < below) & ((points == 0) | (silent <= longest))
    if part.ends is not None:
        few &= born[:, None] <= part.cutoffs + spec.horizon  # else there is nothing to judge
    return few, points, born


@numba.njit(cache=True)
def _points(
    values: FloatArray, offsets: Int64Array, begin: Int64Array, end: Int64Array, enough: int
) -> tuple[Int64Array, Int64Array]:
    """Values from position `begin` to `end` of each series and window, counted back from the end up to `enough`; and
    periods from the last one to the end."""
    n, windows = end.shape
    points, silent = np.zeros((n, windows), dtype=np.int64), np.zeros((n, windows), dtype=np.int64)
    for i in range(n):
        for w in range(windows):
            t = end[i, w] - 1
            while t >= begin[i] and points[i, w] < enough:
                if not np.isnan(values[offsets[i] + t]):
                    if points[i, w] == 0:
                        silent[i, w] = end[i, w] - 1 - t
                    points[i, w] += 1
                t -= 1
    return points, silent


def _forecast(
    part: Part, model: ColdModel, points: Int64Array, born: Int64Array, cold: ColdStartSpec, spec: TaskSpec
) -> Forecast:
    started = time.perf_counter()
    if not model.donors:
        return _without_donors(part, spec)
    batch = part.series
    rows = Rows.of(batch, COLD_START, part.ends, history=spec.history)
    begin = np.minimum(np.maximum(rows.begin, batch.offsets[:-1] + born - batch.start), rows.end)
    texts, numbers = _features(part, begin, rows, model, cold, spec)
    targets = ColdTargets(
        values=batch.values,
        begin=begin,
        end=rows.end,
        start=batch.start + begin - batch.offsets[:-1],
        first_step=rows.first_step,
        features=cold.space.encode(texts, numbers, len(batch)),
        key_hash=batch.key_hash,
    )
    made = model.forecast(targets, spec.horizon, spec.quantiles, cold.neighbours)
    raw, clipped = apply_bounds(RawForecast(mean=made.mean, quantiles=made.quantiles), spec.bounds)
    raw = finish(raw, spec.bounds)
    shape, facts = part.cutoffs.shape, history_facts(rows)
    numbers_of = np.column_stack([made.level, made.error, made.own, made.weights])
    return ColdRows(
        model=COLD_START,
        levels=spec.quantiles,
        mean=raw.mean.reshape(*shape, spec.horizon),
        quantiles=raw.quantiles.reshape(*shape, spec.horizon, len(spec.quantiles)),
        status=np.full(shape, Status.OK, dtype=np.int8),
        reason=_reasons(points).reshape(shape),
        seconds=np.full(shape, (time.perf_counter() - started) / max(len(batch), 1)),
        n_obs=facts.n_obs.reshape(shape),
        n_filled=np.minimum(facts.n_filled, points).reshape(shape),
        n_clipped=clipped.reshape(shape),
        evaluations=np.zeros(shape, dtype=np.int64),
        first_step=rows.first_step.reshape(shape),
        numbers=numbers_of,
        neighbours=made.neighbours.astype(np.float64),
    )


def _reasons(points: Int64Array, who: str = COLD_START) -> ObjectArray:
    return np.array([f"{who}: {n} observation{'' if n == 1 else 's'}" for n in points.tolist()], dtype=object)


def _without_donors(part: Part, spec: TaskSpec) -> Forecast:
    stand_in = fit(part.series, FALLBACK_MODEL, part.ends, seed=spec.seed)
    forecast = stand_in.predict(spec.horizon, spec.quantiles, bounds=spec.bounds)
    forecast = replace(forecast, model=COLD_START)
    forecast.status[...] = Status.FALLBACK
    forecast.reason[...] = NO_DONORS
    return forecast


def _features(
    part: Part, begin: Int64Array, rows: Rows, model: ColdModel, cold: ColdStartSpec, spec: TaskSpec
) -> tuple[dict[str, list[str | None]], dict[str, FloatArray]]:
    """What the space takes: texts by feature, and the mean price as far as it is known."""
    index = pa.array(part.positions)
    texts = {name: part.source.column(column).take(index).to_pylist() for name, column in cold.columns.items()}
    if cold.price is None:
        return texts, {}
    batch = part.series
    price = batch.related[cold.price]
    ahead = spec.horizon if price.known_in_future else 0
    end = rows.end - batch.offsets[:-1] + ahead
    low = np.maximum(begin - batch.offsets[:-1], rows.end - batch.offsets[:-1] - model.window)
    return texts, {cold.price: mean_between(price.values, price.offsets, low, end)}


def mean_between(values: FloatArray, offsets: Int64Array, begin: Int64Array, end: Int64Array) -> FloatArray:
    """The mean of each series' finite values at positions `begin` to `end`, NaN where there is none."""
    arrays = (values, offsets, begin, end)
    return _means(*(read_only(np.ascontiguousarray(array)) for array in arrays))


@numba.njit(cache=True)
def _means(values: FloatArray, offsets: Int64Array, begin: Int64Array, end: Int64Array) -> FloatArray:
    out = np.full(len(begin), np.nan)
    for i in range(len(begin)):
        total, n = 0.0, 0
        for t in range(offsets[i] + max(begin[i], 0), min(offsets[i] + end[i], offsets[i + 1])):
            if np.isfinite(values[t]):
                total += values[t]
                n += 1
        if n:
            out[i] = total / n
    return out
