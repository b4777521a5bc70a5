"""Related series and holidays as columns, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting import SeriesBatch
from forecasting.batch import Holidays
from forecasting.covariates import regressors
from forecasting.models.contract import RegressionHyperparameters
from forecasting.models.registry import get_model

NAN = np.nan


def batch(**options: object) -> SeriesBatch:
    price = [[NAN, 2.0, NAN, 4.0, 5.0, 6.0], [7.0, 8.0]]
    weather = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
    return SeriesBatch.from_arrays(
        [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]],
        ["2020-01-01", "2020-01-03"],
        "D",
        related={"price": price, "weather": weather},
        known_in_future=["price"],
        **options,  # type: ignore[arg-type]
    )


def test_known_series_reach_into_the_horizon_and_gaps_are_closed() -> None:
    found = regressors(batch(), RegressionHyperparameters(), horizon=2)
    assert found.names == ("price",)
    np.testing.assert_array_equal(found.offsets, [0, 5, 11])
    np.testing.assert_array_equal(found.values[:, 0], [2, 2, 2, 4, 5, 7, 8, 8, 8, 8, 8])


def test_a_lag_makes_a_past_series_usable() -> None:
    options = RegressionHyperparameters(regressors=("weather",), lags={"weather": 2})
    found = regressors(batch(), options, horizon=2)
    np.testing.assert_array_equal(found.values[:, 0], [1, 1, 1, 2, 3, 4, 4, 4, 5, 6, 7])
    assert not len(regressors(batch(), RegressionHyperparameters(regressors="none")))


def test_holidays_stand_in_the_periods_of_each_series() -> None:
    calendar = np.zeros((2, 4, 2))
    calendar[0, 1, 0] = calendar[1, 2, 1] = 1.0
    first = int(batch().frequency.ordinals(np.datetime64("2020-01-02", "us").astype(np.int64)))
    holidays = Holidays(("Easter", "Easter_+1"), ("Easter", "Easter"), first, calendar, np.array([0, 1]))
    with_them = SeriesBatch(**{**batch().__dict__, "holidays": holidays})  # type: ignore[arg-type]
    found = regressors(with_them, RegressionHyperparameters(regressors="none"), horizon=1)
    assert found.names == ("Easter", "Easter_+1")
    assert found.base == ("Easter", "Easter")
    expected = np.zeros((9, 2))
    expected[2, 0] = 1.0  # 3 January in the first series
    expected[5, 1] = 1.0  # 4 January in the second, which starts on the third
    np.testing.assert_array_equal(found.values, expected)
    swapped = regressors(with_them.take([1, 0]), RegressionHyperparameters(regressors="none"), horizon=1)
    np.testing.assert_array_equal(swapped.values, np.vstack([expected[4:], expected[:4]]))
    silent = RegressionHyperparameters(regressors="none", use_holidays=False)
    assert not len(regressors(with_them, silent))


def test_mistakes_are_known_before_the_run() -> None:
    family = get_model("naive")
    known = {"price": True, "weather": False}
    wrong = RegressionHyperparameters(regressors=("prise", "weather"), lags={"wind": 3})
    problems = family.problems(wrong, known, 7)
    assert len(problems) == 3
    assert "'prise' is not a related series" in problems[0]
    assert "'wind'" in problems[1]
    assert "give it a lag of at least 7" in problems[2]
    short = family.problems(RegressionHyperparameters(lags={"weather": 3}), known, 7)
    assert short == ["lags.weather is 3; it must be at least the horizon, 7"]
    assert family.problems(RegressionHyperparameters(lags={"weather": 7}), known, 7) == []


@pytest.mark.parametrize(("freq", "expected"), [("h", (24, 168)), ("D", (7, 365)), ("MS", (12,)), ("YS", ())])
def test_seasons_follow_the_frequency(freq: str, expected: tuple[int, ...]) -> None:
    series = SeriesBatch.from_arrays([[1.0]], "2020-01-01", freq)
    assert series.frequency.season_lengths == expected
