"""Fits of rolling windows and of windows that share an estimate, against fits of series that were cut by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from forecasting import SeriesBatch, fit
from forecasting.api import Forecast
from forecasting.evaluation.moving import window_fits
from forecasting.frequency import Frequency
from forecasting.holidays import holiday_calendar
from forecasting.models.registry import get_model, model_names
from forecasting.stored import keeps_numbers

START = date(2024, 1, 1)
H, LENGTHS = 5, (80, 61)
ENDS = np.array([[75, 70, 65], [56, 51, 46]])
DAY_ZERO = (START - date(1970, 1, 1)).days
ON = [START + timedelta(days=d) for d in (14, 29, 44, 52, 63, 70, 77)]
CALENDAR = holiday_calendar({"": {"Feast": ON}}, Frequency.parse("D"), DAY_ZERO, DAY_ZERO + 100)
OPTIONS: dict[str, dict[str, Any]] = {
    "arima": {"regressors": ["price", "traffic"], "lags": {"traffic": H}},
    "prophet": {"regressors": ["price", "traffic"], "lags": {"traffic": H}},
    "npts": {"feature_weights": {"price": 1.0, "traffic": 0.5}, "lags": {"traffic": H}},
}
PRICE: dict[str, dict[str, Any]] = {
    "arima": {"regressors": ["price"]},
    "prophet": {"regressors": ["price"]},
    "npts": {"feature_weights": {"price": 1.0}},
}
every_model = pytest.mark.parametrize("model", model_names())


def arrays() -> tuple[list[np.ndarray], dict[str, list[np.ndarray]]]:
    rng = np.random.default_rng(2)
    price = [10 + rng.normal(0, 1, n + H) for n in LENGTHS]
    traffic = [rng.normal(30, 5, n) for n in LENGTHS]
    target = [
        50 + 6 * np.sin(np.arange(n) * 2 * np.pi / 7) - 2 * price[i][:n] + rng.normal(0, 1, n)
        for i, n in enumerate(LENGTHS)
    ]
    target[1][rng.random(61) < 0.1] = np.nan
    return target, {"price": price, "traffic": traffic}


def batch_of(begins: Any = (0, 0), ends: Any = LENGTHS) -> SeriesBatch:
    """Only these periods of the series, and of what is known H more."""
    target, related = arrays()
    made = SeriesBatch.from_arrays(
        [y[b:e] for y, b, e in zip(target, begins, ends, strict=True)],
        [str(START + timedelta(days=int(b))) for b in begins],
        "D",
        related={
            name: [c[b : e + (H if name == "price" else 0)] for c, b, e in zip(columns, begins, ends, strict=True)]
            for name, columns in related.items()
        },
        known_in_future=["price"],
    )
    return replace(made, holidays=CALENDAR.of(np.zeros(len(LENGTHS), dtype=np.int64)))


def assert_same(got: Forecast, window: int, wanted: Forecast, *, exact: bool = True) -> None:
    for name in ("status", "reason", "n_obs", "n_filled", "first_step", "evaluations"):
        np.testing.assert_array_equal(getattr(got, name)[:, window], getattr(wanted, name), err_msg=name)
    for name in ("mean", "quantiles"):
        a, b = getattr(got, name)[:, window], getattr(wanted, name)
        np.testing.assert_allclose(a, b, rtol=0 if exact else 1e-9, err_msg=name)


@every_model
@pytest.mark.parametrize("history", [12, 30, 60, 500])
def test_a_rolling_window_is_a_fit_of_the_latest_periods(model: str, history: int) -> None:
    options = PRICE.get(model, {})  # what is lagged may reach back before the window, which a cut series cannot
    (fitted,) = window_fits(batch_of(), model, ENDS, seed=3, max_evaluations=500, history=history, **options)
    got = fitted.predict(H)
    for window in range(ENDS.shape[1]):
        cut = batch_of(np.maximum(ENDS[:, window] - history, 0), ENDS[:, window])
        wanted = fit(cut, model, seed=3, max_evaluations=500, **options).predict(H)
        assert_same(got, window, wanted, exact=model not in ("arima", "prophet"))


@every_model
@pytest.mark.parametrize("history", [None, 40])
def test_one_estimate_moves_on_as_update_does(model: str, history: int | None) -> None:
    related = (OPTIONS if history is None else PRICE).get(model, {})
    options: dict[str, Any] = {"seed": 3, "max_evaluations": 500, **related}
    fits = window_fits(batch_of(), model, ENDS, "first", history=history, **options)
    if not keeps_numbers(get_model(model)):
        (each,) = window_fits(batch_of(), model, ENDS, history=history, **options)
        assert len(fits) == 1
        np.testing.assert_array_equal(fits[0].predict(H).mean, each.predict(H).mean)
        return
    begins = np.zeros(2, dtype=np.int64) if history is None else ENDS[:, -1] - history
    by_hand = fit(batch_of(begins, ENDS[:, -1]), model, **options)
    for window in range(ENDS.shape[1] - 1, -1, -1):
        if window < ENDS.shape[1] - 1:
            by_hand = by_hand.update(batch_of(begins, ENDS[:, window]))
        got, wanted = fits[window].predict(H), by_hand.predict(H)
        assert got.mean.shape == (2, 1, H)
        evaluations = wanted.evaluations if window == ENDS.shape[1] - 1 else None
        wanted = replace(wanted, evaluations=got.evaluations[:, 0] if evaluations is None else evaluations)
        assert_same(got, 0, wanted, exact=model not in ("arima", "prophet"))


def test_an_update_spends_nothing_and_keeps_the_parameters() -> None:
    fits = window_fits(batch_of(), "ets", ENDS, "first")
    assert (fits[2].numbers.evaluations > 0).all()
    for later in fits[:2]:
        assert not later.numbers.evaluations.any()
        moved_by_time = {"n_obs", "gap"}
        for k, name in enumerate(get_model("ets").parameter_names):
            if name not in moved_by_time:
                np.testing.assert_array_equal(later.numbers.parameters[:, k], fits[2].numbers.parameters[:, k], name)


def test_ends_that_increase_are_refused() -> None:
    with pytest.raises(ValueError, match="must not increase"):
        window_fits(batch_of(), "ets", ENDS[:, ::-1], "first")
