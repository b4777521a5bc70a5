"""Any univariate time-series model of statsmodels behind the contract: `statsmodels:SARIMAX` and the like.

The model is built with `params` and the values of a row, fitted with `fit`, and asked for its forecast; all of it when
`predict` is called, so nothing is stored and a newer history is fitted anew. An exception in one row is that row's
failure, with the reason.

Values: a row begins at its first observation. State space models (SARIMAX, ARIMA, UnobservedComponents) take missing
values as they are. For the others it also ends at an observation (periods after it are forecast first) and gaps
inside are filled on the line between their neighbours; the reason then says `gaps_filled`.

Quantiles, the first of these that the model's results offer: normal with the standard errors of `get_forecast` or
`get_prediction`; quantiles of paths from `simulate`; `prediction_intervals`; normal with the deviation of the
residuals at every step.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field, ValidationInfo, field_validator
from scipy.special import ndtri

from forecasting.batch import FloatArray
from forecasting.covariates import Regressors, regressors
from forecasting.models.contract import (
    Blank,
    Fitted,
    Model,
    RawForecast,
    RegressionHyperparameters,
    Rows,
    Status,
)
from forecasting.models.reasons import NO_OBSERVATIONS

PREFIX = "statsmodels:"
GAPS_FILLED = "gaps_filled"
NOT_CONVERGED = "not_converged"

_MODELS = {
    "ARDL": "tsa.ardl",
    "ARIMA": "tsa.arima.model",
    "AutoReg": "tsa.ar_model",
    "ETSModel": "tsa.exponential_smoothing.ets",
    "ExponentialSmoothing": "tsa.holtwinters",
    "Holt": "tsa.holtwinters",
    "SARIMAX": "tsa.statespace.sarimax",
    "STLForecast": "tsa.forecasting.stl",
    "SimpleExpSmoothing": "tsa.holtwinters",
    "ThetaModel": "tsa.forecasting.theta",
    "UnobservedComponents": "tsa.statespace.structural",
}
"""Class -> module below statsmodels; any other class is named with its module."""
_OURS = {"self", "endog", "exog", "dates", "freq", "missing"}
"""Arguments that the plug-in gives itself."""


class StatsmodelsHyperparameters(RegressionHyperparameters):
    """What to build and how to fit it."""

    params: dict[str, Any] = Field(default_factory=dict)
    """Keywords of the model's class, such as {order: [1, 1, 1]}. A `period` or `seasonal_periods` that is not given is
    the season length; `model` of STLForecast is a class's name."""
    fit: dict[str, Any] = Field(default_factory=dict)
    """Keywords of its `fit`."""
    n_paths: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Simulated paths, where the quantiles come from simulation."""

    takes: ClassVar[tuple[str, ...]] = ()
    takes_fit: ClassVar[tuple[str, ...] | None] = None

    @field_validator("params", "fit")
    @classmethod
    def _known(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """The keywords are arguments of the class (of its `fit`, where that names them all)."""
        known = cls.takes if info.field_name == "params" else cls.takes_fit
        for name in given:
            if known is not None and name not in known:
                raise ValueError(f"{name!r} is not an argument{_hint(name, known)}; there are {', '.join(known)}")
        return given


class StatsmodelsModel(Model):
    """Fits a class of statsmodels to every row; `name` is statsmodels:Class or statsmodels:module.Class."""

    cost = 500.0
    needs_history = True

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
        self._class = _load(name)
        accepted = inspect.signature(self._class).parameters
        self._takes_exog = "exog" in accepted
        self._takes_missing = any(base.__name__ == "MLEModel" for base in self._class.__mro__)
        self.uses_related = self._takes_exog  # type: ignore[misc]
        fit_accepts = inspect.signature(self._class.fit).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in fit_accepts.values())
        self._quiet = {"disp": False} if "disp" in fit_accepts else {}
        self.Hyperparameters = type(  # type: ignore[misc]
            f"{self._class.__name__}Hyperparameters",
            (StatsmodelsHyperparameters,),
            {
                "__doc__": StatsmodelsHyperparameters.__doc__,
                "__module__": __name__,
                "takes": tuple(key for key, p in accepted.items() if key not in _OURS and p.kind is not p.VAR_KEYWORD),
                "takes_fit": None if open_ended else tuple(key for key in fit_accepts if key != "self"),
                "__annotations__": {"takes": ClassVar, "takes_fit": ClassVar},
            },
        )

    def problems(self, hyperparameters: Any, related: Mapping[str, bool], horizon: int) -> list[str]:
        found = super().problems(hyperparameters, related, horizon)
        if not self._takes_exog and isinstance(hyperparameters.regressors, tuple) and hyperparameters.regressors:
            found.append(f"{self.name} takes no regressors; leave `regressors` out")
        return found

    def fit(self, rows: Rows, hyperparameters: Any) -> Fitted:
        blank = Blank.of(len(rows))
        for r in range(len(rows)):
            seen = np.isfinite(rows.batch.values[rows.begin[r] : rows.end[r]])
            if not seen.any():
                blank.status[r], blank.reason[r] = Status.FAILED, NO_OBSERVATIONS
            elif not self._takes_missing and not seen[seen.argmax() : len(seen) - seen[::-1].argmax()].all():
                blank.reason[r] = GAPS_FILLED
        blank.evaluations[:] = 1
        return blank.without_numbers(rows, hyperparameters)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        return self.fit(rows, fitted.hyperparameters)

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        rows, options = fitted.rows, fitted.hyperparameters
        assert isinstance(options, StatsmodelsHyperparameters)
        levels = np.asarray(quantiles, dtype=np.float64)
        mean = np.full((len(rows), horizon), np.nan)
        table = np.full((len(rows), horizon, len(levels)), np.nan)
        columns = regressors(rows.batch, options, horizon) if self._takes_exog else None
        for r in np.flatnonzero(fitted.status != Status.FAILED).tolist():
            try:
                converged = self._forecast(rows, r, options, columns, levels, mean[r], table[r])
                if not converged and fitted.reason[r] == "":
                    fitted.reason[r] = NOT_CONVERGED
            except Exception as error:
                mean[r], table[r] = np.nan, np.nan
                fitted.status[r] = Status.FAILED
                fitted.reason[r] = f"{type(error).__name__}: {error}"[:200]
        return RawForecast(mean=mean, quantiles=table)

    def _forecast(
        self,
        rows: Rows,
        r: int,
        options: StatsmodelsHyperparameters,
        columns: Regressors | None,
        levels: FloatArray,
        mean: FloatArray,
        table: FloatArray,
    ) -> bool:
        """Fill mean [H] and table [H, Q] of row r; whether the fit says that it converged."""
        begin, end, horizon = int(rows.begin[r]), int(rows.end[r]), len(mean)
        y = rows.batch.values[begin:end].copy()
        seen = np.flatnonzero(np.isfinite(y))
        y, seen, begin = y[seen[0] :], seen - seen[0], begin + int(seen[0])
        if not self._takes_missing:
            end = begin + int(seen[-1]) + 1
            y = np.interp(np.arange(seen[-1] + 1), seen, y[seen])
        steps = int(rows.end[r]) - end + horizon
        arguments = _with_season(self._class, options.params, rows.season_length)
        ahead = {}
        if columns is not None and len(columns):
            first = columns.offsets[rows.series[r]] + begin - rows.batch.offsets[rows.series[r]]
            matrix = columns.values[first : first + len(y) + steps]
            matrix = matrix[:, np.ptp(matrix[: len(y)], axis=0) > 0.0]
            if matrix.shape[1]:
                arguments["exog"], ahead["exog"] = matrix[: len(y)], matrix[len(y) :]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            results = self._class(pd.Series(y), **arguments).fit(**{**self._quiet, **options.fit})
            rng = np.random.default_rng(int(rows.seeds[r]))
            point, at_levels = _distribution(results, len(y), steps, ahead, levels, rng, options.n_paths)
        mean[:], table[:] = point[-horizon:], at_levels[-horizon:]
        if not (np.isfinite(mean).all() and np.isfinite(table).all()):
            raise ValueError("the model's forecast is not finite")
        return bool((getattr(results, "mle_retvals", None) or {}).get("converged", True))


def _distribution(
    results: Any,
    n: int,
    steps: int,
    ahead: dict[str, FloatArray],
    levels: FloatArray,
    rng: np.random.Generator,
    n_paths: int,
) -> tuple[FloatArray, FloatArray]:
    """Mean [S] and quantiles [S, Q] for the steps after n points, by what the results offer."""
    z = ndtri(levels)
    if hasattr(results, "get_forecast"):
        answer = results.get_forecast(steps, **ahead)
        return _normal(answer.predicted_mean, answer.se_mean, z)
    if hasattr(results, "get_prediction"):
        future = {"exog_oos": ahead["exog"]} if "exog" in ahead else {}
        exact = {"method": "exact"} if "method" in inspect.signature(results.get_prediction).parameters else {}
        with contextlib.suppress(NotImplementedError, AttributeError):
            answer = results.get_prediction(n, n + steps - 1, **future, **exact)
            variance = getattr(answer, "forecast_variance", None)
            error = answer.se_mean if variance is None else np.sqrt(variance)
            return _normal(answer.predicted_mean, error, z)
    point = np.asarray(results.forecast(steps), dtype=np.float64)
    if hasattr(results, "simulate"):
        seeded = "rng" if "rng" in inspect.signature(results.simulate).parameters else "random_state"
        paths = np.asarray(results.simulate(steps, anchor="end", repetitions=n_paths, **{seeded: rng}))
        return point, np.quantile(paths.reshape(steps, n_paths), levels, axis=1).T
    if hasattr(results, "prediction_intervals"):
        table = np.tile(point[:, None], (1, len(levels)))
        for q in np.flatnonzero(levels != 0.5):
            ends = results.prediction_intervals(steps, alpha=2 * min(levels[q], 1 - levels[q]))
            table[:, q] = ends["lower" if levels[q] < 0.5 else "upper"]
        return point, table
    deviation = np.nanstd(np.asarray(results.resid, dtype=np.float64), ddof=1)
    return _normal(point, np.full(steps, deviation), z)


def _normal(point: Any, deviation: Any, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    centre = np.asarray(point, dtype=np.float64)
    return centre, centre[:, None] + np.asarray(deviation, dtype=np.float64)[:, None] * z


def _with_season(model: Any, params: Mapping[str, Any], season_length: int) -> dict[str, Any]:
    """The keywords, with the season length where the class asks for one and none is given."""
    out = {key: tuple(value) if isinstance(value, list) else value for key, value in params.items()}
    accepted = inspect.signature(model).parameters
    if isinstance(out.get("model"), str) and "model_kwargs" in accepted:
        out["model"] = _load(f"{PREFIX}{out['model']}")
    if "period" in accepted:
        out.setdefault("period", season_length)
        if season_length == 1 and "deseasonalize" in accepted:
            out.setdefault("deseasonalize", False)
    start = accepted.get("initialization_method")
    if start is not None and start.default is None:  # some versions refuse their own default
        out.setdefault("initialization_method", "estimated")
    if "seasonal_periods" in accepted and out.get("seasonal") and season_length > 1:
        out.setdefault("seasonal_periods", season_length)
    return out


def _load(name: str) -> Any:
    """The class that the name asks for; ValueError with what there is where it cannot be had."""
    asked = name.removeprefix(PREFIX)
    module, _, attribute = asked.rpartition(".")
    if not module:
        if asked not in _MODELS:
            raise ValueError(
                f"model {name!r} is not known{_hint(asked, _MODELS)}; known are {', '.join(_MODELS)}, "
                "and any class with its module, as in statsmodels:tsa.holtwinters.Holt"
            )
        module = _MODELS[asked]
    path = module if module.startswith("statsmodels.") else f"statsmodels.{module}"
    try:
        found = getattr(importlib.import_module(path), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"model {name!r} cannot be loaded: {error}; give statsmodels:module.Class") from error
    if not (isinstance(found, type) and hasattr(found, "fit")):
        raise ValueError(f"model {name!r} is {found!r}; expected a class with a `fit`")
    if next(iter(inspect.signature(found).parameters), None) != "endog":
        raise ValueError(f"model {name!r} does not take a series as its first argument, `endog`")
    return found


def _hint(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
