"""The table `components`: each series' fit and forecast taken apart, on request.

Made from what a run has: the series it read and the fits that it stored in `parameters`. So nothing is fitted again,
the forecast stage writes nothing that most readers do not want, and a finished run can be taken apart later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray, offsets_of
from forecasting.frequency import Int64Array
from forecasting.models.contract import Components
from forecasting.models.registry import get_model
from udfs import stored
from udfs.arrow import ragged_lists, repeated, timestamps
from udfs.parts import Part, by_choice, pieces, prepare
from udfs.run_rows import run_rows
from udfs.runs import Run
from udfs.spec import ModelSpec, TaskSpec
from udfs.stage import StageInput, task_spec
from udfs.treated import treated_parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PIECE_POINTS = 500_000
"""Periods that are taken apart at a time: with ten components, 40 MB."""


def derive_components(source: StageInput, run: Run, models: bool | Collection[str]) -> None:
    """`components` of a run's forecasts, for all models that have any or for those named; replaces what was there.

    source: what the stage forecast read, with the run's own rows of `parameters` as its stored fits.
    """
    lake = source.lake
    lake.ensure("components")
    lake.replace("components", component_rows(source, run, models), {"run_id": run.run_id})


def component_rows(source: StageInput, run: Run, models: bool | Collection[str]) -> DataFrame:
    """Rows of `components`, one a series and component."""
    spec = task_spec("forecast", source, run.plan)
    wanted = frozenset(model.name for model in source.models.values())
    if not isinstance(models, bool):
        wanted &= frozenset(models)
    return run_rows(source, run, "components", lambda batch, names: taken_apart(batch, spec, wanted, names))


def taken_apart(
    batch: pa.RecordBatch, spec: TaskSpec, models: Collection[str], names: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    """The components of the series in a batch of a task (see `udfs.task.process`) that has their stored fits beside
    them. names: the columns that come out, in order. A series without a fit of its own has no row."""
    for piece in pieces(batch, spec):
        for whole, choices in by_choice(prepare(piece, spec), spec):
            part = next(treated_parts(whole, spec))  # a forecast's series are one part
            for model in choices:
                if model.name in models and has_components(model.name):
                    for some in _chunks(_with_fit(part, model)):
                        yield from _rows(some, model, spec, names)


def has_components(model: str) -> bool:
    """Whether a family can take its fits apart."""
    from forecasting.models.contract import Model

    return type(get_model(model)).components is not Model.components


def _with_fit(part: Part, model: ModelSpec) -> Part:
    why = stored.refusals(part.source, part.positions, part.series, model.name, model.hyperparameters, part.form)
    return part.take(np.flatnonzero(why == ""))


def _chunks(part: Part) -> Iterator[Part]:
    begin, ends = 0, np.cumsum(part.series.lengths)
    while begin < len(ends):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + PIECE_POINTS, side="right")))
        yield part.take(np.arange(begin, end))
        begin = end


def _rows(part: Part, model: ModelSpec, spec: TaskSpec, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    place = (part.source, part.positions, part.series)
    fitted = stored.restored(
        *place, model.name, model.hyperparameters, seed=spec.seed, max_evaluations=spec.max_evaluations
    )
    components = fitted.components(spec.horizon)
    if components is None:
        return
    whole = np.flatnonzero(np.isfinite(components.values[components.offsets[1:] - 1]).all(axis=1))
    grid, series = part.series.frequency, part.series.take(whole)
    shared = {name: part.source.column(name) for name in (*spec.key, "bucket")}
    at = pa.array(part.positions[whole])
    columns = {name: values.take(at) for name, values in shared.items()}
    columns["model"] = repeated(model.name, pa.string(), len(whole))
    columns["start"] = timestamps(grid.labels(series.start))
    columns["forecast_start"] = timestamps(grid.labels(series.start + series.lengths))
    for c, component in enumerate(components.names):
        values, offsets = _picked(components, c, whole)
        mine = {"component": repeated(component, pa.string(), len(whole)), "values": ragged_lists(values, offsets)}
        yield pa.RecordBatch.from_arrays([(columns | mine)[name] for name in names], names=list(names))


def _picked(components: Components, c: int, rows: Int64Array) -> tuple[FloatArray, Int64Array]:
    """Component c of some rows, flat with offsets."""
    first, last = components.offsets[:-1][rows], components.offsets[1:][rows]
    offsets = offsets_of(last - first)
    index = np.repeat(first - offsets[:-1], last - first) + np.arange(offsets[-1])
    return components.values[index, c], offsets
