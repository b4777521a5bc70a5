"""statsmodels' models behind the contract: equal to a direct call, and what is wrong is said."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.api import SARIMAX, AutoReg, ExponentialSmoothing, UnobservedComponents
from statsmodels.tsa.forecasting.theta import ThetaModel

import forecasting
from forecasting import Forecast, SeriesBatch, Status
from forecasting.models.registry import get_model

Z = 1.2815515655446004


def history(n: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    return np.asarray(50 + 0.3 * t + 10 * np.sin(t * np.pi / 6) + rng.normal(0, 2, n))


def forecast(arrays: list[Any], name: str, horizon: int = 4, related: Any = None, **options: Any) -> Forecast:
    batch = SeriesBatch.from_arrays(arrays, "2019-03-01", "MS", related=related, known_in_future=list(related or {}))
    return forecasting.forecast(batch, f"statsmodels:{name}", horizon, fallback=False, **options)


def direct(fitted: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fitted()


def test_state_space_models_equal_a_direct_call_with_gaps() -> None:
    y = history()
    y[[7, 20, 21, 59]] = np.nan
    for name, model, params in (
        ("SARIMAX", SARIMAX, {"order": (1, 0, 1), "trend": "c"}),
        ("UnobservedComponents", UnobservedComponents, {"level": "local linear trend"}),
    ):
        answer = forecast([y], name, params=params)
        judge = direct(lambda model=model, params=params: model(pd.Series(y), **params).fit(disp=0).get_forecast(4))
        np.testing.assert_allclose(answer.mean[0], judge.predicted_mean, rtol=1e-9)
        np.testing.assert_allclose(answer.quantiles[0, :, 2], judge.predicted_mean + Z * judge.se_mean, rtol=1e-9)


def test_simulated_quantiles_have_the_models_mean_and_repeat() -> None:
    y = history()
    options = {"params": {"trend": "add", "seasonal": "add"}, "n_paths": 5000}
    answer, again = forecast([y], "ExponentialSmoothing", **options), forecast([y], "ExponentialSmoothing", **options)
    judge = direct(ExponentialSmoothing(y, trend="add", seasonal="add", seasonal_periods=12).fit)
    np.testing.assert_allclose(answer.mean[0], judge.forecast(4), rtol=1e-9)
    np.testing.assert_array_equal(answer.quantiles, again.quantiles)
    spread = np.std(judge.resid)
    np.testing.assert_allclose(answer.quantiles[0, 0, 2] - answer.quantiles[0, 0, 0], 2 * Z * spread, rtol=0.25)


def test_predictions_and_intervals_equal_a_direct_call() -> None:
    y = history()
    answer = forecast([y], "AutoReg", params={"lags": 3})
    judge = direct(lambda: AutoReg(y, 3).fit().get_prediction(60, 63))
    np.testing.assert_allclose(answer.quantiles[0, :, 0], judge.predicted_mean - Z * judge.se_mean, rtol=1e-9)
    answer = forecast([y], "ThetaModel")
    theta = direct(lambda: ThetaModel(pd.Series(y), period=12).fit())
    np.testing.assert_allclose(answer.mean[0], theta.forecast(4), rtol=1e-6)
    np.testing.assert_allclose(answer.quantiles[0, :, 0], theta.prediction_intervals(4, alpha=0.2)["lower"], rtol=1e-6)


def test_gaps_are_filled_for_models_that_take_none_and_this_is_said() -> None:
    y = history()
    gaps, filled = y.copy(), y.copy()
    gaps[[0, 30, 31, 59]] = np.nan
    filled[30:32] = filled[29] + (filled[32] - filled[29]) * np.array([1, 2]) / 3
    answer = forecast([gaps], "AutoReg", params={"lags": 2})
    judge = direct(lambda: AutoReg(filled[1:59], 2).fit().forecast(5))
    np.testing.assert_allclose(answer.mean[0], judge[1:], rtol=1e-9)
    assert answer.reason[0] == "gaps_filled"
    assert answer.status[0] == Status.OK


def test_regressors_are_handed_on() -> None:
    rng = np.random.default_rng(2)
    price = rng.normal(10, 2, 64)
    y = 100 - 4 * price[:60] + rng.normal(0, 0.5, 60)
    answer = forecast([y], "SARIMAX", related={"price": [price]}, params={"order": [1, 0, 0], "trend": "c"})
    np.testing.assert_allclose(answer.mean[0], 100 - 4 * price[60:], atol=1.5)
    blind = forecast([y], "SARIMAX", related={"price": [price]}, regressors="none", params={"trend": "c"})
    assert np.ptp(blind.mean[0]) < 5 < np.ptp(answer.mean[0])


def test_one_rows_failure_stays_its_own() -> None:
    answer = forecast([history(), [3.0], [np.nan]], "AutoReg", params={"lags": 2})
    assert list(answer.status) == [Status.OK, Status.FAILED, Status.FAILED]
    assert answer.reason[1].startswith("ValueError: ")
    assert answer.reason[2] == "no_observations"
    assert np.isnan(answer.mean[1:]).all()


def test_newer_points_are_seen() -> None:
    y = history()
    make = lambda n: SeriesBatch.from_arrays([y[:n]], "2019-03-01", "MS")  # noqa: E731
    fitted = forecasting.fit(make(50), "statsmodels:AutoReg", params={"lags": 1})
    fresh = forecasting.fit(make(60), "statsmodels:AutoReg", params={"lags": 1})
    np.testing.assert_array_equal(fitted.update(make(60)).predict(3).mean, fresh.predict(3).mean)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SARIMA", "did you mean 'SARIMAX'"),
        ("tsa.nothing.Model", "cannot be loaded"),
        ("tsa.holtwinters.HoltWintersResults", "a class with a `fit`"),
        ("duration.survfunc.SurvfuncRight", "a class with a `fit`"),
    ],
)
def test_unknown_classes(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_model(f"statsmodels:{name}")


def test_unknown_keywords() -> None:
    with pytest.raises(ValueError, match="'ordr' is not an argument; did you mean 'order'"):
        forecast([history()], "SARIMAX", params={"ordr": (1, 0, 0)})
    with pytest.raises(ValueError, match="'maxitr' is not an argument"):
        forecast([history()], "ExponentialSmoothing", fit={"maxitr": 3})
    problems = get_model("statsmodels:Holt")
    options = problems.Hyperparameters.model_validate({"regressors": ["price"]})
    assert "takes no regressors" in problems.problems(options, {"price": True}, 3)[0]
