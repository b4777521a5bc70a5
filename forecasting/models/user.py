"""A user's own model, `module:function`, behind the contract of the built-in families.

The function is called once a row:

    def drift(y, horizon, quantiles, season_length, **hyperparameters):
        ...
        return mean, quantile_table          # arrays [H] and [H, Q]

with y a float64 array in which NaN is missing. A parameter named `related` gets the related series of the row, name ->
float64 [len(y) + horizon] beside y and on through the horizon, NaN where the value is missing or not yet known. An
exception, or an answer that is not finite or of another shape, concerns that row only: it fails with the reason in
the ledger.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from forecasting.batch import FloatArray
from forecasting.models.contract import Blank, Fitted, Hyperparameters, Model, RawForecast, Rows, Status

UserFunction = Callable[..., tuple[npt.ArrayLike, npt.ArrayLike]]


class UserHyperparameters(Hyperparameters):
    """Any keyword: the function itself says which it takes."""

    model_config = ConfigDict(extra="allow", frozen=True)


class UserModel(Model):
    """Calls a Python function for every row; `name` is its `module:function`."""

    cost = 50.0
    Hyperparameters = UserHyperparameters
    needs_history = True

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
        module, _, attribute = name.partition(":")
        try:
            self._function: UserFunction = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"model {name!r} cannot be loaded: {error}; give an importable module:function"
            ) from error
        self.uses_related = _takes_related(self._function)  # type: ignore[misc]

    def fit(self, rows: Rows, hyperparameters: Any) -> Fitted:
        blank = Blank.of(len(rows))
        return blank.without_numbers(rows, hyperparameters)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        return replace(fitted, rows=rows)

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        rows = fitted.rows
        mean = np.full((len(rows), horizon), np.nan)
        table = np.full((len(rows), horizon, len(quantiles)), np.nan)
        options = fitted.hyperparameters.model_dump(exclude={"season_length"})
        for r in range(len(rows)):
            y = rows.batch.values[rows.begin[r] : rows.end[r]]
            if self.uses_related:
                options["related"] = _related(rows, r, horizon)
            try:
                mean[r], table[r] = self._call(y, horizon, quantiles, rows.season_length, options)
            except Exception as error:
                fitted.status[r] = Status.FAILED
                fitted.reason[r] = f"{type(error).__name__}: {error}"[:200]
        return RawForecast(mean=mean, quantiles=table)

    def _call(
        self, y: FloatArray, horizon: int, quantiles: Sequence[float], season_length: int, options: dict[str, Any]
    ) -> tuple[FloatArray, FloatArray]:
        answer = self._function(y.copy(), horizon, tuple(quantiles), season_length, **options)
        mean, table = (np.asarray(part, dtype=np.float64) for part in answer)
        if mean.shape != (horizon,) or table.shape != (horizon, len(quantiles)):
            raise ValueError(
                f"the model returned shapes {mean.shape} and {table.shape}, "
                f"expected {(horizon,)} and {(horizon, len(quantiles))}"
            )
        if not (np.isfinite(mean).all() and np.isfinite(table).all()):
            raise ValueError("the model returned values that are not finite")
        return mean, table


def _takes_related(function: UserFunction) -> bool:
    try:
        return "related" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False


def _related(rows: Rows, r: int, horizon: int) -> dict[str, FloatArray]:
    """What row r may know of each related series: to its end, and through the horizon where the future is known."""
    i, seen = rows.series[r], int(rows.end[r] - rows.begin[r])
    before = int(rows.begin[r] - rows.batch.offsets[i])
    out = {}
    for name, column in rows.batch.related.items():
        known = column.values[column.offsets[i] + before : column.offsets[i + 1]]
        known = known[: seen + horizon if column.known_in_future else seen]
        out[name] = np.full(seen + horizon, np.nan)
        out[name][: len(known)] = known
    return out
