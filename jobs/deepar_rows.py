"""What the global model answers for series that are made ready: rows of `results`, and how good they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from forecasting.evaluation.metrics import row_statistics
from udfs.arrow import list_buffers
from udfs.deep_source import DEEPAR, metadata_of
from udfs.errors import InputError
from udfs.parts import Part
from udfs.spec import ModelSpec, TaskSpec
from udfs.task import answered as whole_rows

if TYPE_CHECKING:
    from forecasting import Forecast
    from forecasting.batch import FloatArray
    from forecasting.deepar import DeepAR, ItemMetadata

NO_UNIT = -1
"""These rows belong to no work unit of the run's plan."""


def metadata_for(model: DeepAR, part: Part) -> ItemMetadata:
    """The metadata that a model reads, of the series of a part."""
    facts = model.facts
    return metadata_of(
        part.source, part.positions, [c.name for c in facts.categories], [n.name for n in facts.numbers]
    )


def scored(made: pa.RecordBatch, part: Part, spec: TaskSpec) -> FloatArray:
    """The sums of some backtest rows."""
    mean, quantiles, actual = (list_buffers(made.column(name))[0] for name in ("mean", "quantiles", "actuals"))
    shape = (len(made), spec.horizon)
    rows = row_statistics(
        mean.reshape(shape),
        quantiles.reshape(*shape, -1),
        actual.reshape(shape),
        part.scale.reshape(-1),
        spec.quantiles,
        rmsse_scale=part.squared_scale.reshape(-1),
    )
    return np.asarray(rows.sum(axis=0), dtype=np.float64)


def answered(model: DeepAR, part: Part, spec: TaskSpec) -> pa.RecordBatch:
    """Rows of `results` for a part. Raises InputError for series that lack what the model needs."""

    def answer(rows: Part) -> Forecast:
        options: dict[str, Any] = {"ends": rows.ends, "seed": spec.seed, "bounds": spec.bounds}
        try:
            return model.predict(rows.series, spec.horizon, spec.quantiles, metadata_for(model, rows), **options)
        except ValueError as error:
            raise InputError(f"the model cannot forecast these series: {error}") from error

    return whole_rows(part, answer, ModelSpec(DEEPAR), spec, np.array([NO_UNIT], dtype=np.int32))


__all__ = ["answered", "metadata_for", "scored"]
