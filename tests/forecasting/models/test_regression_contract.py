"""What every family that regresses on related series and holidays owes its callers, with the fallback switched off."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

import forecasting
from forecasting import SeriesBatch, Status
from forecasting.frequency import Frequency
from forecasting.holidays import holiday_calendar
from forecasting.models.contract import RegressionHyperparameters
from forecasting.models.registry import get_model, model_names

FAMILIES = [n for n in model_names() if issubclass(get_model(n).Hyperparameters, RegressionHyperparameters)]
every_family = pytest.mark.parametrize("model", FAMILIES)
N, H, SERIES = 200, 14, 3
START = date(2024, 1, 1)
EFFECT, LIFT = -4.0, 30.0
ON = [START + timedelta(days=d) for d in (17, 45, 66, 101, 129, 162, 190, 205)]
"""Days of the holiday; the last one lies in the horizon."""

rng = np.random.default_rng(11)
PRICE = 10 + rng.normal(0, 1, (SERIES, N + H))
NOISE = rng.normal(0, 0.5, (SERIES, N))
WEEK = 3 * np.sin(np.arange(N + H) * 2 * np.pi / 7)
CALENDAR = holiday_calendar(
    {"": {"Feast": ON}}, Frequency.parse("D"), (START - date(1970, 1, 1)).days, (START - date(1970, 1, 1)).days + N + H
)
DAY = CALENDAR.values[0, : N + H, 0]


def batch_of(
    effect: Any = 0.0, related: dict[str, Any] | None = None, known: tuple[str, ...] = (), *, feast: bool = False
) -> SeriesBatch:
    """100, a week, noise, and an effect [.., N + H] over the history."""
    y = 100 + (WEEK + np.broadcast_to(effect, (SERIES, N + H)))[:, :N] + NOISE
    columns = {name: list(values) for name, values in (related or {}).items()}
    batch = SeriesBatch.from_arrays(list(y), str(START), "D", related=columns, known_in_future=known)
    return replace(batch, holidays=CALENDAR.of(np.zeros(SERIES, dtype=np.int64))) if feast else batch


def forecast(batch: SeriesBatch, model: str, ends: Any = None, **options: Any) -> forecasting.Forecast:
    result = forecasting.fit(batch, model, ends, **options).predict(H, fallback=False)
    assert np.isin(result.status, [Status.OK, Status.TIMEOUT]).all(), set(result.reason.ravel())
    assert np.isfinite(result.quantiles).all()
    return result


@every_family
def test_the_effect_of_a_price_is_found_and_used(model: str) -> None:
    batch = batch_of(EFFECT * (PRICE - 10), {"price": PRICE}, ("price",))
    truth = 100 + WEEK[N:] + EFFECT * (PRICE[:, N:] - 10)
    assert np.abs(forecast(batch, model).mean - truth).max() < 2.0
    dearer = np.c_[PRICE[:, :N], PRICE[:, N:] + 2.0]  # the same history, another future
    other = batch_of(EFFECT * (PRICE - 10), {"price": dearer}, ("price",))
    change = forecast(other, model).mean - forecast(batch, model).mean
    assert np.allclose(change, 2 * EFFECT, rtol=0.1)


@every_family
def test_the_effect_of_a_holiday_is_found_and_used(model: str) -> None:
    batch = batch_of(LIFT * DAY, feast=True)
    assert DAY[N:].sum() == 1
    off = forecast(batch, model).mean - (100 + WEEK[N:] + LIFT * DAY[N:])
    assert np.abs(off).max() < 0.2 * LIFT
    blind = forecast(batch, model, use_holidays=False).mean[:, DAY[N:] > 0]
    assert (blind < 100 + LIFT / 2).all()


@every_family
@pytest.mark.parametrize("kind", ["constant", "missing", "zero"])
def test_a_regressor_that_says_nothing_changes_nothing(model: str, kind: str) -> None:
    column = {"constant": 7.0, "missing": np.nan, "zero": 0.0}[kind]
    idle = np.full((SERIES, N + H), column)
    plain = forecast(batch_of(), model)
    result = forecast(batch_of(related={"idle": idle}, known=("idle",)), model)
    np.testing.assert_allclose(result.mean, plain.mean, rtol=1e-6)
    np.testing.assert_allclose(result.quantiles, plain.quantiles, rtol=1e-6)


@every_family
def test_gaps_in_a_regressor_are_borne(model: str) -> None:
    torn = np.where(np.random.default_rng(2).random(PRICE.shape) < 0.1, np.nan, PRICE)
    result = forecast(batch_of(EFFECT * (PRICE - 10), {"price": torn}, ("price",)), model)
    assert np.abs(result.mean - 100).max() < 40


@every_family
def test_what_is_only_known_afterwards_is_left_alone(model: str) -> None:
    plain = forecast(batch_of(EFFECT * (PRICE - 10)), model)
    result = forecast(batch_of(EFFECT * (PRICE - 10), {"price": PRICE}), model)
    assert np.array_equal(result.mean, plain.mean)
    assert np.array_equal(result.quantiles, plain.quantiles)


@every_family
def test_no_window_sees_past_values_that_came_after_its_cutoff(model: str) -> None:
    cut = N - 2 * H
    ends = np.tile([cut, N - H], (SERIES, 1))
    effect = EFFECT * np.roll(PRICE - 10, H, axis=1)
    later = PRICE.copy()
    later[:, cut:] += 3.0
    options: dict[str, Any] = {"lags": {"price": H}}
    honest = forecast(batch_of(effect, {"price": PRICE}), model, ends, **options)
    poisoned = forecast(batch_of(effect, {"price": later}), model, ends, **options)
    assert np.array_equal(honest.mean[:, 0], poisoned.mean[:, 0])
    assert np.array_equal(honest.quantiles[:, 0], poisoned.quantiles[:, 0])
    truth = 100 + WEEK[cut : cut + H] + effect[:, cut : cut + H]
    assert np.abs(honest.mean[:, 0] - truth).max() < 3.0  # and the lag is of use


@every_family
def test_the_unit_of_a_regressor_does_not_matter(model: str) -> None:
    plain = forecast(batch_of(EFFECT * (PRICE - 10), {"price": PRICE}, ("price",)), model)
    for factor in (2.0**-20, 2.0**20):
        scaled = forecast(batch_of(EFFECT * (PRICE - 10), {"price": factor * PRICE}, ("price",)), model)
        np.testing.assert_allclose(scaled.mean, plain.mean, rtol=1e-5)


@every_family
def test_mistakes_are_known_before_any_row_is_read(model: str) -> None:
    family = get_model(model)
    related = {"price": True, "traffic": False}

    def problems(**options: Any) -> str:
        return "\n".join(family.problems(family.Hyperparameters.model_validate(options), related, H))

    assert problems() == ""
    assert problems(regressors=["price"], lags={"traffic": H}) == ""
    assert "'prise' is not a related series" in problems(regressors=["prise"])
    assert "not known in the future" in problems(regressors=["traffic"])
    assert "must be at least the horizon" in problems(lags={"traffic": H - 1})
