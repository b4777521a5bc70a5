"""Stored fits in a task: which of its series can go on from the numbers of an earlier run, and the fit itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.api import FittedBatch
from forecasting.batch import SeriesBatch
from forecasting.frequency import Int64Array
from forecasting.models.contract import ObjectArray, Status
from forecasting.models.registry import get_model
from forecasting.stored import form_digest, observed, restore
from udfs.arrow import label_microseconds, list_buffers

Refit = Literal["full", "warm", "never"]
FULL: Refit = "full"
COLUMNS = (
    "model", "hyperparameters", "season_length", "fitted_start", "fitted_end", "n_obs", "status", "reason",
    "parameters", "states",
)  # fmt: skip
"""Of the table `parameters`, what a task gets beside a series."""
FITS = "stored:fits"
"""The column of a task's batch that holds them: a list of structs, one a model."""
NONE_STORED = "no_stored_parameters"
OTHER_FORM = "other_hyperparameters"
OTHER_SEASON = "other_season_length"
OTHER_HISTORY = "other_history"


def fits_of(source: pa.RecordBatch, model: str, positions: Int64Array) -> pa.RecordBatch:
    """What is stored of a model for some rows of a task's batch, in their order; NULL where there is nothing."""
    column = source.column(FITS)
    rows = column.flatten()
    mine = np.flatnonzero(_texts(rows.field("model")) == model)
    place = np.full(len(source), -1, dtype=np.int64)
    place[np.repeat(np.arange(len(source)), np.diff(column.offsets.to_numpy()))[mine]] = mine
    index = pa.array(place[positions], mask=place[positions] < 0)
    return pa.RecordBatch.from_arrays([rows.field(name).take(index) for name in COLUMNS], names=list(COLUMNS))


def refusals(
    source: pa.RecordBatch,
    positions: Int64Array,
    series: SeriesBatch,
    model: str,
    hyperparameters: Mapping[str, Any],
    beside: str = "",
) -> ObjectArray:
    """Why each series must be fitted anew, [N]; "" where its stored numbers can be gone on from.

    Numbers are taken for the same family, form and season, and for a history that is the one they were fitted to: it
    starts in the same period, ends no earlier and has as many observations up to the fitted end. A value that was
    revised in place is not noticed: that is what `refit: warm` and `full` are for. beside: what a fit must share
    beside the model's own form, as it was stored with it.
    """
    why = np.full(len(series), "", dtype=object)
    fits = fits_of(source, model, positions)
    stored = _texts(fits.column("model"))
    family = get_model(model)
    length = family.Hyperparameters.model_validate(dict(hyperparameters)).season_length
    season = _numbers(fits.column("season_length"))
    form = _texts(fits.column("hyperparameters"))
    start = series.frequency.ordinals(label_microseconds(fits.column("fitted_start")))
    seen = seen_points(fits, series)
    inside = (start == series.start) & (seen >= 0) & (seen <= series.lengths)
    same = observed(series, np.where(inside, seen, 0)) == _numbers(fits.column("n_obs"))
    why[~(inside & same)] = OTHER_HISTORY
    why[season != (length or series.frequency.season_length)] = OTHER_SEASON
    width = _numbers(pc.list_value_length(fits.column("parameters")))
    other = form != form_digest(model, series, **hyperparameters) + beside
    why[other | (width != len(family.parameter_names))] = OTHER_FORM
    why[stored != model] = NONE_STORED
    return why


def seen_points(fits: pa.RecordBatch, series: SeriesBatch) -> Int64Array:
    """How many points of each series its stored fit saw, [N]."""
    end = series.frequency.ordinals(label_microseconds(fits.column("fitted_end")))
    return np.asarray(end - series.start + 1, dtype=np.int64)


def restored(
    source: pa.RecordBatch,
    positions: Int64Array,
    series: SeriesBatch,
    model: str,
    hyperparameters: Mapping[str, Any],
    *,
    seed: int,
    max_evaluations: int,
) -> FittedBatch:
    """The stored fits of series that `refusals` let pass, as they ended."""
    n = len(series)
    fits = fits_of(source, model, positions)
    table, _ = list_buffers(fits.column("parameters"))
    states, state_offsets = list_buffers(fits.column("states"))
    width = len(get_model(model).parameter_names)
    names = _texts(fits.column("status"))
    status = np.array([Status[str(name).upper()] for name in names], dtype=np.int8)
    return restore(
        series,
        model,
        seen_points(fits, series),
        table.reshape(n, width).copy(),
        states.copy(),
        np.array(state_offsets),
        status,
        _texts(fits.column("reason")),
        seed=seed,
        max_evaluations=max_evaluations,
        **hyperparameters,
    )


def begun(
    source: pa.RecordBatch,
    positions: Int64Array,
    series: SeriesBatch,
    model: str,
    hyperparameters: Mapping[str, Any],
    refit: Refit,
    **options: int,
) -> FittedBatch:
    """The stored fits brought to the end of the series: states moved on (never), or estimated again from there
    (warm)."""
    start = restored(source, positions, series, model, hyperparameters, **options)
    return start.update(series) if refit == "never" else start.refit(series)


def _texts(values: pa.Array) -> ObjectArray:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=object)


def _numbers(values: pa.Array) -> Int64Array:
    return np.asarray(pc.fill_null(values, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
