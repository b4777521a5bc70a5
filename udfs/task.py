"""What a Spark task does with the series it is given: every model of each series, rows for `results` out.

A task is one thread. It never sees a Spark object and the same code runs in a test on plain record batches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from forecasting.api import FALLBACK_MODEL, FittedBatch, Forecast, fit
from forecasting.batch import FloatArray, SeriesBatch
from forecasting.evaluation.metrics import mase_scale
from forecasting.evaluation.windows import BacktestPlan, ForecastStart, backtest_windows, window_cutoffs
from forecasting.filling import FillRules, extend, fill
from forecasting.frequency import Frequency, Int64Array
from forecasting.holidays import HolidayCalendar
from forecasting.models.contract import Fitted, ObjectArray, Status
from forecasting.models.registry import get_model
from forecasting.postprocess import Bounds
from forecasting.stored import form_digest, keeps_numbers
from udfs import stored
from udfs.arrow import (
    fixed_lists,
    forecast_columns,
    list_buffers,
    nulls,
    ragged_lists,
    repeated,
    texts,
    timestamps,
    to_series_batch,
)
from udfs.holiday_table import REGION, group_positions

Stage = Literal["backtest", "forecast"]
Columns = dict[str, pa.Array]

PIECE_VALUES = 4_000_000
"""Numbers in one array that a task makes at most: 32 MB."""


@dataclass(frozen=True)
class ModelSpec:
    """A model with its hyperparameters."""

    name: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSpec:
    """All that a task needs to know; goes to the workers.

    frequency: canonical name. global_start, global_end: ordinals of the first and last period of the whole data set.
    choices: lists of models; a row's column `choice` says which list it runs. related: the related series to read,
    and whether their future is known. calendar: the holidays, None for none; a batch with the column REGION says which
    group of it a series belongs to. columns: names and order of what comes out. paths: folders in which a user's
    module may be found. refit: whether the stage forecast goes on from stored numbers (see `udfs.stored`).
    """

    stage: Stage
    key: tuple[str, ...]
    frequency: str
    horizon: int
    quantiles: tuple[float, ...]
    windows: int
    offset: int
    forecast_start: ForecastStart
    global_start: int
    global_end: int
    choices: tuple[tuple[ModelSpec, ...], ...]
    columns: tuple[str, ...]
    seed: int = 0
    max_evaluations: int = 20_000
    mase_season_length: int = 1
    score_filled: bool = False
    fill: FillRules = field(default_factory=FillRules)
    bounds: Bounds = field(default_factory=Bounds)
    related: Mapping[str, bool] = field(default_factory=dict)
    calendar: HolidayCalendar | None = None
    paths: tuple[str, ...] = ()
    refit: stored.Refit = stored.FULL

    @property
    def n_windows(self) -> int:
        """Rows that a series and model make."""
        return self.windows if self.stage == "backtest" else 1


@dataclass(frozen=True)
class Part:
    """Series ready for the models: positions are rows of `source`.

    ends: int64 [N, W], None in the stage forecast. cutoffs: int64 [N, W], last visible ordinal. actuals, mase_scale:
    pyarrow columns in row order, by name. refit: how each series comes to its fit, None where all are fitted anew.
    """

    source: pa.RecordBatch
    positions: Int64Array
    series: SeriesBatch
    ends: Int64Array | None
    cutoffs: Int64Array
    actuals: FloatArray | None
    scale: FloatArray
    refit: ObjectArray | None = None

    def take(self, index: Int64Array) -> Part:
        if len(index) == len(self.series):
            return self
        return Part(
            source=self.source,
            positions=self.positions[index],
            series=self.series.take(index),
            ends=None if self.ends is None else self.ends[index],
            cutoffs=self.cutoffs[index],
            actuals=None if self.actuals is None else self.actuals[index],
            scale=self.scale[index],
            refit=None if self.refit is None else self.refit[index],
        )


def task(spec: TaskSpec, units: tuple[int, ...]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for mapInArrow. units: the work unit that each value of the column `place` stands for."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return process(spec, units, batches)

    return run


def process(spec: TaskSpec, units: tuple[int, ...], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows of `results` for the series in `batches`.

    A batch has the key columns, `start`, `target`, `bucket`, `choice` (position in spec.choices), `place` (position
    in units) and `related:<name>` for each of spec.related.
    """
    sys.path.extend(path for path in spec.paths if path not in sys.path)
    unit_of = np.asarray(units, dtype=np.int32)
    clock = time.perf_counter()
    for batch in batches:
        for piece in pieces(batch, spec):
            for part, models in by_choice(prepare(piece, spec), spec):
                shared = _shared_columns(part, spec, unit_of)
                for model in models:
                    for begun in _by_start(part, model, spec):
                        for rows, forecast, numbers in _answers(begun, model, spec):
                            columns = shared if rows is part else _shared_columns(rows, spec, unit_of)
                            now = time.perf_counter()
                            seconds = _with_overhead(forecast.seconds.reshape(-1), now - clock)
                            clock = now
                            yield _record_batch(rows, forecast, numbers, columns, seconds, model, spec)


def pieces(batch: pa.RecordBatch, spec: TaskSpec) -> Iterator[pa.RecordBatch]:
    """Cut a batch so that no array made from it grows beyond PIECE_VALUES numbers; slices, nothing is copied."""
    rows = len(batch)
    per_row = spec.n_windows * spec.horizon * len(spec.quantiles)
    if spec.forecast_start == "global":
        per_row = max(per_row, spec.global_end - spec.global_start + 1)
    most_rows = max(1, PIECE_VALUES // per_row)
    _, offsets = list_buffers(batch.column("target"))
    begin = 0
    while begin < rows:
        by_values = int(np.searchsorted(offsets, offsets[begin] + PIECE_VALUES, side="right")) - 1
        end = max(begin + 1, min(rows, begin + most_rows, by_values))
        yield batch.slice(begin, end - begin)
        begin = end


def prepare(piece: pa.RecordBatch, spec: TaskSpec) -> Part:
    """Extended, filled and cut into windows."""
    frequency = Frequency.parse(spec.frequency)
    batch = to_series_batch(piece, spec.key, frequency, spec.related)
    common = spec.forecast_start == "global"
    end = spec.global_end if common else None
    if common:
        batch = extend(batch, spec.global_end)
    plan = BacktestPlan(horizon=spec.horizon, windows=max(spec.windows, 1), offset=spec.offset)
    season = spec.mase_season_length
    if spec.stage == "forecast":
        batch = fill(batch, spec.fill, spec.global_start, end, horizon=spec.horizon)
        last = batch.start + batch.lengths - 1
        ends, cutoffs, actuals = None, last[:, None], None
        visible = batch.lengths[:, None]
    else:
        cutoffs = window_cutoffs(batch, plan, spec.forecast_start, end)
        batch = fill(batch, spec.fill, spec.global_start, end, horizon=spec.horizon, cutoffs=cutoffs)
        windows = backtest_windows(batch, plan, spec.forecast_start, end)
        ends, cutoffs = windows.ends, windows.cutoffs
        actuals = windows.actuals(batch, score_filled=spec.score_filled)
        visible = ends
    if spec.calendar is not None:
        region = piece.column(REGION) if REGION in piece.schema.names else None
        batch = replace(batch, holidays=spec.calendar.of(group_positions(spec.calendar, region, len(batch))))
    first = np.broadcast_to(batch.offsets[:-1, None], visible.shape)
    scale = mase_scale(_scored(batch, spec.score_filled), first, first + visible, season)
    return Part(piece, np.arange(len(batch)), batch, ends, cutoffs, actuals, scale)


def _scored(batch: SeriesBatch, score_filled: bool) -> FloatArray:
    """The values that errors are measured on: what is not scored does not set the scale either."""
    if batch.filled is None or score_filled:
        return batch.values
    return np.where(batch.filled != 0, np.nan, batch.values)


def by_choice(part: Part, spec: TaskSpec) -> Iterator[tuple[Part, tuple[ModelSpec, ...]]]:
    choice = part.source.column("choice").to_numpy()
    for value in np.unique(choice):
        yield part.take(np.flatnonzero(choice == value)), spec.choices[int(value)]


def _by_start(part: Part, model: ModelSpec, spec: TaskSpec) -> Iterator[Part]:
    """The series that go on from stored numbers, and those that are fitted anew."""
    if spec.refit == stored.FULL or spec.stage != "forecast" or not keeps_numbers(get_model(model.name)):
        yield part
        return
    why = stored.refusals(part.source, part.positions, part.series, model.name, model.hyperparameters)
    how = np.array([f"{stored.FULL}: {reason}" if reason else spec.refit for reason in why], dtype=object)
    for anew in (False, True):
        index = np.flatnonzero((why != "") == anew)
        if len(index):
            yield replace(part.take(index), refit=how[index])


def _fitted(part: Part, model: ModelSpec, spec: TaskSpec) -> FittedBatch:
    options: dict[str, Any] = {"seed": spec.seed, "max_evaluations": spec.max_evaluations}
    if part.refit is None or part.refit[0] != spec.refit:
        return fit(part.series, model.name, part.ends, **options, **model.hyperparameters)
    place = (part.source, part.positions, part.series)
    return stored.begun(*place, model.name, model.hyperparameters, spec.refit, **options)


def _answers(part: Part, model: ModelSpec, spec: TaskSpec) -> Iterator[tuple[Part, Forecast, Fitted | None]]:
    """The model's forecasts. A family keeps what concerns one row to that row; should it raise all the same, the
    batch is halved until the series that it cannot bear stands alone and gets the fallback."""
    try:
        fitted = _fitted(part, model, spec)
        yield part, fitted.predict(spec.horizon, spec.quantiles, bounds=spec.bounds), fitted.numbers
        return
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
    n = len(part.series)
    if n > 1:
        for index in np.array_split(np.arange(n), 2):
            yield from _answers(part.take(index), model, spec)
        return
    stand_in = fit(part.series, FALLBACK_MODEL, part.ends, seed=spec.seed)
    forecast = stand_in.predict(spec.horizon, spec.quantiles, bounds=spec.bounds)
    forecast.status[...] = Status.FALLBACK
    forecast.reason[...] = reason
    yield part, forecast, None


def _with_overhead(seconds: FloatArray, elapsed: float) -> FloatArray:
    """Each row's share of the time since the last rows went out: its model's, and an equal part of everything else."""
    return np.asarray(seconds + max(elapsed - seconds.sum(), 0.0) / max(len(seconds), 1), dtype=np.float64)


def _shared_columns(part: Part, spec: TaskSpec, unit_of: np.ndarray[Any, Any]) -> Columns:
    """What is the same for all models of a part."""
    width = part.cutoffs.shape[1]
    index = pa.array(np.repeat(part.positions, width))
    columns = {name: part.source.column(name).take(index) for name in (*spec.key, "bucket")}
    columns["unit"] = pa.array(unit_of[part.source.column("place").to_numpy()[np.repeat(part.positions, width)]])
    rows = len(index)
    if part.actuals is None:
        columns["window"] = repeated(0, pa.int32(), rows)
        columns["actuals"] = nulls(pa.list_(pa.float64()), rows)
    else:
        columns["window"] = pa.array(np.tile(np.arange(1, width + 1, dtype=np.int32), len(part.series)))
        columns["actuals"] = fixed_lists(part.actuals.reshape(rows, -1))
    columns["mase_scale"] = pa.array(np.ascontiguousarray(part.scale.reshape(-1)))
    return columns


def _record_batch(
    part: Part,
    forecast: Forecast,
    numbers: Fitted | None,
    shared: Columns,
    seconds: FloatArray,
    model: ModelSpec,
    spec: TaskSpec,
) -> pa.RecordBatch:
    labels = part.series.frequency.labels(part.cutoffs.reshape(-1) + 1)
    columns = shared | forecast_columns(forecast, labels, seconds)
    rows = len(seconds)
    columns["model"] = repeated(model.name, pa.string(), rows)
    lists = pa.list_(pa.float64())
    columns["parameters"] = nulls(lists, rows) if numbers is None else fixed_lists(numbers.parameters)
    keep_states = numbers is not None and spec.stage == "forecast"
    columns["states"] = (
        ragged_lists(numbers.states, numbers.state_offsets) if keep_states and numbers else nulls(lists, rows)
    )
    columns |= _start_columns(part, numbers, model) if keep_states and numbers else _no_start(rows)
    return pa.RecordBatch.from_arrays([columns[name] for name in spec.columns], names=list(spec.columns))


def _start_columns(part: Part, numbers: Fitted, model: ModelSpec) -> Columns:
    """What a later run needs to know before it goes on from these numbers, and how this one came to them."""
    rows = len(part.series)
    form = form_digest(model.name, part.series, **model.hyperparameters)
    return {
        "fitted_start": timestamps(part.series.frequency.labels(part.series.start)),
        "hyperparameters": repeated(form, pa.string(), rows),
        "season_length": repeated(numbers.rows.season_length, pa.int32(), rows),
        "refit": repeated(stored.FULL, pa.string(), rows) if part.refit is None else texts(part.refit),
    }


def _no_start(rows: int) -> Columns:
    kinds = {"fitted_start": pa.timestamp("us"), "season_length": pa.int32()}
    names = ("fitted_start", "hyperparameters", "season_length", "refit")
    return {name: nulls(kinds.get(name, pa.string()), rows) for name in names}
