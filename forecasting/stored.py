"""A fit put together again from stored numbers, and what must be the same for that to make sense."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.api import FittedBatch
from forecasting.batch import FloatArray, SeriesBatch
from forecasting.covariates import related_names
from forecasting.frequency import Int64Array
from forecasting.models.contract import Fitted, Model, ObjectArray, RegressionHyperparameters, Rows
from forecasting.models.registry import get_model
from forecasting.postprocess import history_facts


def keeps_numbers(model: Model) -> bool:
    """Whether a fit of this family is more than the history itself."""
    return bool(model.parameter_names) or not model.needs_history


def form_digest(model: str, batch: SeriesBatch, **hyperparameters: Any) -> str:
    """A digest of all that gives stored numbers their meaning: the family and the names of its parameters, every
    hyperparameter (defaults included), and the regressors. Raises ValueError for unknown ones."""
    family = get_model(model)
    options = family.Hyperparameters.model_validate(hyperparameters)
    columns: list[str] = []
    if isinstance(options, RegressionHyperparameters):
        columns += related_names(batch, options)
        if options.use_holidays and batch.holidays is not None:
            columns += batch.holidays.names
    content = [model, family.parameter_names, options.model_dump(mode="json"), columns]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def observed(batch: SeriesBatch, seen: npt.ArrayLike) -> Int64Array:
    """Observations (not filled ones) among the first `seen` [N] points of each series, [N]."""
    return history_facts(_rows(batch, "", np.asarray(seen, dtype=np.int64), None, 0, 1)).n_obs


def restore(
    batch: SeriesBatch,
    model: str,
    seen: npt.ArrayLike,
    parameters: FloatArray,
    states: FloatArray,
    state_offsets: Int64Array,
    status: npt.NDArray[np.int8],
    reason: ObjectArray,
    *,
    seed: int = 0,
    max_evaluations: int = 20_000,
    **hyperparameters: Any,
) -> FittedBatch:
    """What `fit` gave when it saw the first `seen` [N] points of each series, from its numbers.

    parameters [N, P], states and state_offsets [N + 1], status and reason [N]: as `Fitted` holds them; the other
    arguments as `fit` got them. `predict`, `update` (to the whole of `batch`, say) and `refit` go on from there.
    Nothing has been spent yet, so evaluations are 0. Raises ValueError for numbers of another shape.
    """
    family = get_model(model)
    options = family.Hyperparameters.model_validate(hyperparameters)
    rows = _rows(batch, model, np.asarray(seen, dtype=np.int64), options.season_length, seed, max_evaluations)
    n = len(rows)
    if parameters.shape != (n, len(family.parameter_names)) or len(state_offsets) != n + 1:
        raise ValueError(
            f"got parameters {parameters.shape} and {len(state_offsets)} state offsets for {n} series of {model}; "
            f"expected {(n, len(family.parameter_names))} and {n + 1}"
        )
    numbers = Fitted(
        rows=rows,
        hyperparameters=options,
        parameters=parameters,
        states=states,
        state_offsets=state_offsets,
        status=status,
        reason=reason,
        evaluations=np.zeros(n, dtype=np.int64),
    )
    return FittedBatch(model=family, numbers=numbers, windows=None, seconds=np.zeros(n))


def _rows(
    batch: SeriesBatch, model: str, seen: Int64Array, season_length: int | None, seed: int, max_evaluations: int
) -> Rows:
    whole = Rows.of(batch, model, season_length=season_length, seed=seed, max_evaluations=max_evaluations)
    if ((seen < 0) | (seen > batch.lengths)).any():
        raise ValueError("`seen` must lie between 0 and the length of its series")
    return replace(whole, end=whole.begin + seen)
