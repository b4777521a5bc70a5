"""What a Spark task does with the series it is given: every model of each series, rows for `results` out.

A task is one thread. It never sees a Spark object and the same code runs in a test on plain record batches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from forecasting.api import FALLBACK_MODEL, FittedBatch, Forecast, fit
from forecasting.batch import FloatArray
from forecasting.evaluation.moving import window_fits
from forecasting.frequency import Int64Array
from forecasting.log_score import log_density
from forecasting.models.contract import Fitted, Rows, Status
from forecasting.models.registry import get_model
from forecasting.postprocess import history_facts
from forecasting.stored import form_digest, keeps_numbers
from udfs import stored
from udfs.arrow import fixed_lists, forecast_columns, nulls, ragged_lists, repeated, texts, timestamps
from udfs.cold import cold_apart, with_neighbours
from udfs.deep_forecasts import noting_missing, stored_forecast
from udfs.living import all_zero, lived, noted, scored_density
from udfs.members import ENSEMBLE, Gathered, blended, members_apart, unrounded, weights_of, with_final
from udfs.parts import Part, parts_of, pieces
from udfs.results import DEEPAR
from udfs.results_schema import STATISTICS
from udfs.row_numbers import no_statistics, with_statistics
from udfs.shut import shut, with_whole_seasons
from udfs.spec import ModelSpec, TaskSpec
from udfs.treated import treatment_columns

SHORT_HISTORY = "short_history"
Columns = dict[str, pa.Array]


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
    rows = _rows(spec, units, batches)
    scored = spec.stage == "backtest" and STATISTICS in spec.columns
    yield from with_statistics(rows, spec.quantiles) if scored else rows


def _rows(spec: TaskSpec, units: tuple[int, ...], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    sys.path.extend(path for path in spec.paths if path not in sys.path)
    unit_of = np.asarray(units, dtype=np.int32)
    clock = time.perf_counter()
    for batch in batches:
        for piece in pieces(batch, spec):
            for part, models in parts_of(piece, spec):
                if spec.cold is not None:
                    answers, part = cold_apart(part, spec)
                    yield from _cold(answers, spec, unit_of)
                    if not len(part.series):
                        continue
                if spec.members is not None:
                    models = (*models, ModelSpec(DEEPAR)) if spec.members.deepar else models
                    for some in members_apart(part, models, spec):
                        yield from _members(some, models, spec, unit_of)
                    clock = time.perf_counter()
                    continue
                shared = _shared_columns(part, spec, unit_of)
                for model in models:
                    for begun in _by_start(part, model, spec):
                        for rows, raw, numbers in _answers(begun, model, spec):
                            forecast = shut(rows, raw)
                            columns = shared if rows is part else _shared_columns(rows, spec, unit_of)
                            now = time.perf_counter()
                            seconds = _with_overhead(forecast.seconds.reshape(-1), now - clock)
                            clock = now
                            yield _record_batch(rows, lived(forecast, rows), numbers, columns, seconds, model, spec)


def _cold(
    answers: Iterator[tuple[Part, Forecast]], spec: TaskSpec, unit_of: np.ndarray[Any, Any]
) -> Iterator[pa.RecordBatch]:
    """Rows for series with hardly any history, with the neighbours that they were forecast from."""
    clock = time.perf_counter()
    for rows, raw in answers:
        forecast = lived(shut(rows, raw), rows)
        shared = _shared_columns(rows, spec, unit_of)
        now = time.perf_counter()
        seconds = _with_overhead(forecast.seconds.reshape(-1), now - clock)
        clock = now
        made = _record_batch(rows, forecast, None, shared, seconds, ModelSpec(forecast.model), spec)
        yield with_neighbours(made, forecast)


def _members(
    part: Part, models: tuple[ModelSpec, ...], spec: TaskSpec, unit_of: np.ndarray[Any, Any]
) -> Iterator[pa.RecordBatch]:
    """Rows for series whose models `selection` chose: members, and their blend where there are several."""
    clock = time.perf_counter()
    weights = weights_of(part, models)
    place = np.zeros(len(part.source), dtype=np.int64)
    place[part.positions] = np.arange(len(part.series))
    gathered = Gathered.empty(len(part.series), len(models), spec)
    rows_of: list[tuple[Int64Array, pa.RecordBatch]] = []
    for m, model in enumerate(models):
        index = np.flatnonzero(weights[:, m] > 0)
        for begun in _by_start(part.take(index), model, spec) if len(index) else ():
            for rows, forecast, numbers in _answers(begun, model, unrounded(spec)):
                at = place[rows.positions]
                gathered.add(at, m, forecast)
                now = time.perf_counter()
                seconds = _with_overhead(forecast.seconds.reshape(-1), now - clock)
                clock = now
                shared = _shared_columns(rows, spec, unit_of)
                made = noted(noting_missing(forecast, rows), rows)
                batch = _record_batch(rows, made, numbers, shared, seconds, model, spec)
                rows_of.append((at, batch))
    blend = noting_missing(blended(part, weights, gathered, spec), part)
    final = lived(shut(part, blend), part)
    single = (weights > 0).sum(axis=1) == 1
    for at, made in rows_of:
        yield with_final(made, at, single, final)
    several = np.flatnonzero(~single)
    if len(several):
        rows = part.take(several)
        mine = final.take(several)
        shared = _shared_columns(rows, spec, unit_of)
        yield _record_batch(rows, mine, None, shared, mine.seconds, ModelSpec(ENSEMBLE), spec)


def _by_start(part: Part, model: ModelSpec, spec: TaskSpec) -> Iterator[Part]:
    """The series that go on from stored numbers, and those that are fitted anew."""
    plain = spec.refit == stored.FULL or spec.stage != "forecast" or model.name == DEEPAR
    if plain or not keeps_numbers(get_model(model.name)):
        yield part
        return
    why = stored.refusals(part.source, part.positions, part.series, model.name, model.hyperparameters, part.form)
    how = np.array([f"{stored.FULL}: {reason}" if reason else spec.refit for reason in why], dtype=object)
    for anew in (False, True):
        index = np.flatnonzero((why != "") == anew)
        if len(index):
            yield replace(part.take(index), refit=how[index])


def _fits(part: Part, model: ModelSpec, spec: TaskSpec) -> list[tuple[Part, FittedBatch]]:
    """The fit of all rows, or of backtest windows that share an estimate a fit each."""
    options: dict[str, Any] = {"seed": spec.seed, "max_evaluations": spec.max_evaluations}
    if part.refit is not None and part.refit[0] == spec.refit:
        place = (part.source, part.positions, part.series)
        return [(part, stored.begun(*place, model.name, model.hyperparameters, spec.refit, **options))]
    options |= model.hyperparameters
    if part.ends is None:
        return [(part, fit(part.series, model.name, **options))]
    options["history"] = spec.history
    fits = window_fits(part.series, model.name, part.ends, spec.backtest_refit, **options)
    if len(fits) == 1:
        return [(part, fits[0])]
    return [(part.between(window, window + 1), fitted) for window, fitted in enumerate(fits)]


def _answers(part: Part, model: ModelSpec, spec: TaskSpec) -> Iterator[tuple[Part, Forecast, Fitted | None]]:
    """The model's forecasts. A family keeps what concerns one row to that row; should it raise all the same, the
    batch is halved until the series that it cannot bear stands alone and gets the fallback."""
    if part.short:
        yield part, _skipped(part, model, spec), None
        return
    if part.ended:
        yield part, all_zero(_skipped(part, model, spec)), None
        return
    if model.name == DEEPAR:
        yield part, stored_forecast(part, spec), None
        return
    part = with_whole_seasons(part, model)
    try:
        fits = _fits(part, model, spec)
        made = [(rows, f.predict(spec.horizon, spec.quantiles, bounds=spec.bounds), f.numbers) for rows, f in fits]
        yield from made
        return
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
    n = len(part.series)
    if n > 1:
        for index in np.array_split(np.arange(n), 2):
            yield from _answers(part.take(index), model, spec)
        return
    history = None if part.ends is None else spec.history
    stand_in = fit(part.series, FALLBACK_MODEL, part.ends, seed=spec.seed, history=history)
    forecast = stand_in.predict(spec.horizon, spec.quantiles, bounds=spec.bounds)
    forecast.status[...] = Status.FALLBACK
    forecast.reason[...] = reason
    yield part, forecast, None


def _skipped(part: Part, model: ModelSpec, spec: TaskSpec) -> Forecast:
    """What stands for windows that are not fitted: no numbers, what the series have there, and why."""
    rows = Rows.of(part.series, model.name, part.ends, history=spec.history)
    shape = part.cutoffs.shape
    facts, none = history_facts(rows), np.zeros(shape, dtype=np.int64)
    begun = none if part.own is None else part.own > 0  # front fill tells nothing of a series that is yet to begin
    return Forecast(
        model=model.name,
        levels=spec.quantiles,
        mean=np.full((*shape, spec.horizon), np.nan),
        quantiles=np.full((*shape, spec.horizon, len(spec.quantiles)), np.nan),
        status=np.full(shape, Status.SKIPPED, dtype=np.int8),
        reason=np.full(shape, SHORT_HISTORY, dtype=object),
        seconds=np.zeros(shape),
        n_obs=facts.n_obs.reshape(shape),
        n_filled=facts.n_filled.reshape(shape) * begun,
        n_clipped=none,
        evaluations=none,
        first_step=rows.first_step.reshape(shape),
    )


def answered(
    part: Part, answer: Callable[[Part], Forecast], model: ModelSpec, spec: TaskSpec, unit_of: np.ndarray[Any, Any]
) -> pa.RecordBatch:
    """Rows for a part whose forecast comes from elsewhere, such as the global model; what needs no model, and what an
    item's life and closed periods make of a forecast, as for all."""
    clock = time.perf_counter()
    if part.short or part.ended:
        none = _skipped(part, model, spec)
        raw = none if part.short else all_zero(none)
    else:
        raw = shut(part, answer(part))
    seconds = _with_overhead(raw.seconds.reshape(-1), time.perf_counter() - clock)
    shared = _shared_columns(part, spec, unit_of)
    return _record_batch(part, lived(raw, part), None, shared, seconds, model, spec)


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
        columns["window"] = pa.array(
            np.tile(np.arange(part.window, part.window + width, dtype=np.int32), len(part.series))
        )
        columns["actuals"] = fixed_lists(part.actuals.reshape(rows, -1))
    none = np.zeros(rows, dtype=np.int64)
    columns["n_masked"] = pa.array(none if part.masked is None else np.ascontiguousarray(part.masked.reshape(-1)))
    columns["n_closed"] = pa.array(none if part.closed is None else part.closed.sum(axis=2).reshape(-1))
    columns["mase_scale"] = pa.array(np.ascontiguousarray(part.scale.reshape(-1)))
    columns["rmsse_scale"] = pa.array(np.ascontiguousarray(part.squared_scale.reshape(-1)))
    return columns | treatment_columns(part, width)


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
    if part.short:
        columns |= {name: nulls(lists, rows) for name in ("mean", "quantiles")}
    columns["parameters"] = nulls(lists, rows) if numbers is None else fixed_lists(numbers.parameters)
    keep_states = numbers is not None and spec.stage == "forecast"
    columns["states"] = (
        ragged_lists(numbers.states, numbers.state_offsets) if keep_states and numbers else nulls(lists, rows)
    )
    columns |= _start_columns(part, numbers, model) if keep_states and numbers else _no_start(rows)
    density = None
    if numbers is not None and part.actuals is not None:
        density = scored_density(log_density(get_model(model.name), numbers, forecast, part.actuals), part)
    columns["log_density"] = nulls(lists, rows) if density is None else fixed_lists(density)
    columns |= no_statistics(rows)
    return pa.RecordBatch.from_arrays([columns[name] for name in spec.columns], names=list(spec.columns))


def _start_columns(part: Part, numbers: Fitted, model: ModelSpec) -> Columns:
    """What a later run needs to know before it goes on from these numbers, and how this one came to them."""
    rows = len(part.series)
    form = form_digest(model.name, part.series, **model.hyperparameters) + part.form
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
