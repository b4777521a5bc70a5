"""The log score of a forecast: the log of the predictive density of what happened (Good 1952, "Rational decisions").

The density is that of the model's own law, before bounds and whole units. Where another forecast stands in for a row,
it is that forecast's density, so that a model is not scored better for the rows that it cannot do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecasting.api import FALLBACK_MODEL, Forecast
from forecasting.batch import FloatArray
from forecasting.models.contract import Fitted, Model, Status
from forecasting.models.registry import get_model
from forecasting.postprocess import EXPLOSIVE, NOT_FINITE


def log_density(model: Model, fitted: Fitted, made: Forecast, actual: FloatArray) -> FloatArray | None:
    """log density [R, H] of actual [*S, H], the R rows of the fit in C order; `made` is what the fit predicted.

    NaN where there is no actual, no density (a law that is a point, one that is only simulated) or no forecast at all;
    -inf for what the law holds impossible. None for a family without a density of its own.
    """
    values = np.ascontiguousarray(actual, dtype=np.float64).reshape(len(fitted.rows), -1)
    own = model.log_density(fitted, values)
    if own is None:
        return None
    status, reason = made.status.reshape(-1), made.reason.reshape(-1)
    guarded = (reason == EXPLOSIVE) | (reason == NOT_FINITE)
    replaced = (status == Status.FALLBACK) & (guarded | (fitted.status == Status.FAILED))
    out = np.where(np.isnan(values) | (status == Status.FAILED)[:, None], np.nan, own)
    index = np.flatnonzero(replaced)
    if len(index):
        rows, family = fitted.rows, get_model(FALLBACK_MODEL)
        names = ("series", "begin", "end", "seeds")
        part = replace(rows, **{name: getattr(rows, name)[index] for name in names})
        stand_in = family.log_density(family.fit(part, family.Hyperparameters()), values[index])
        out[index] = np.nan if stand_in is None else stand_in
    return np.asarray(out)
