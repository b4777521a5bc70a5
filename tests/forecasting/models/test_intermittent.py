"""Intermittent demand: means against statsforecast's, laws against scipy's and plain counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import forecasting
from forecasting import Forecast, SeriesBatch, Status
from forecasting.models.intermittent.law import AUTO, COUNT, EMPIRICAL, count_quantiles, law_quantiles, unit_of

FAMILIES = ("croston_sba", "tsb", "adida", "imapa")
LEVELS = np.array([0.1, 0.25, 0.5, 0.75, 0.9, 0.99])


def forecast(arrays: list[Any], model: str, **options: Any) -> Forecast:
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "MS")
    return forecasting.forecast(batch, model, 3, tuple(LEVELS), fallback=False, **options)


def demand(count: int = 250) -> list[np.ndarray]:
    """Histories of 12 to 80 periods with a demand in every second to tenth, sizes whole or not."""
    rng = np.random.default_rng(4)
    out = []
    for i in range(count):
        n = int(rng.integers(12, 81))
        sizes = rng.negative_binomial(2, 0.3, n) + 1.0 if i % 2 else rng.lognormal(1, 0.7, n)
        y = np.where(rng.random(n) < rng.uniform(0.1, 0.5), sizes, 0.0)
        y[int(rng.integers(n))] = 3.0
        out.append(y)
    return out


@pytest.mark.judge
@pytest.mark.parametrize("family", FAMILIES)
def test_means_equal_statsforecasts(family: str) -> None:
    from statsforecast.models import ADIDA, IMAPA, TSB, CrostonSBA

    judge = {"croston_sba": CrostonSBA(), "tsb": TSB(0.2, 0.15), "adida": ADIDA(), "imapa": IMAPA()}[family]
    options = {"alpha_size": 0.2, "alpha_rate": 0.15} if family == "tsb" else {}
    arrays = demand()
    expected = [judge.forecast(y, 1)["mean"][0] for y in arrays]
    gaps = [np.insert(y, [2, 2, 9], np.nan) for y in arrays]  # left out, as the judge needs it
    for histories in (arrays, gaps):
        np.testing.assert_allclose(forecast(histories, family, **options).mean[:, 2], expected, rtol=1e-6)


@pytest.mark.judge
def test_croston_optimised_equals_statsforecast_but_for_the_correction() -> None:
    from statsforecast.models import CrostonOptimized

    arrays = demand(100)
    ours = forecast(arrays, "croston_sba", alpha_size=None, alpha_rate=None).mean[:, 0]
    theirs = np.array([CrostonOptimized().forecast(y, 1)["mean"][0] for y in arrays])
    factor = ours / theirs
    assert (factor > 0.85 - 1e-6).all()  # 1 - alpha / 2 with alpha between 0.1 and 0.3
    assert (factor < 0.95 + 1e-6).all()


def test_without_a_zero_croston_is_not_corrected() -> None:
    """On purpose not statsforecast's: every interval is 1, and one over it has no bias to correct."""
    answer = forecast([np.full(20, 5.0), np.arange(1.0, 30.0)], "croston_sba")
    assert answer.mean[0, 0] == 5.0
    level = 1.0
    for x in np.arange(1.0, 30.0):
        level += 0.1 * (x - level)
    assert answer.mean[1, 0] == pytest.approx(level)
    assert answer.reason[1] == "no_zeros"


@given(mean=st.floats(0.01, 200), dispersion=st.floats(1, 50))
@settings(max_examples=200, deadline=None)
def test_count_quantiles_equal_scipys(mean: float, dispersion: float) -> None:
    out = np.empty(len(LEVELS))
    count_quantiles(mean, dispersion, LEVELS, out)
    if dispersion < 1 + 1e-6:
        law = stats.poisson(mean)
    else:
        law = stats.nbinom(mean / (dispersion - 1), 1 / dispersion)
    for q, level in zip(out, LEVELS, strict=True):  # the smallest count that reaches the level, up to rounding
        assert law.cdf(q) >= level - 1e-7
        assert q == 0 or law.cdf(q - 1) <= level + 1e-7


@pytest.mark.parametrize(
    ("values", "unit"),
    [([0, 6, 12, 18], 6.0), ([0, 3, 5], 1.0), ([0.25, 1.5], 0.25), ([0, 0.1, 0.3], 0.0), ([0.0, 123457, 1], 0.0)],
)
def test_units(values: list[float], unit: float) -> None:
    assert unit_of(np.array(values), len(values)) == unit


def quantiles(y: np.ndarray, mean: float, law: int = AUTO) -> np.ndarray:
    return law_quantiles(y, len(y), mean, law, LEVELS, np.empty(len(y) + 1), np.empty(len(y) + 1))


def test_counts_keep_mean_and_dispersion() -> None:
    y = np.array([0, 0, 0, 5, 0, 0, 1, 0, 9, 0, 0, 2.0])
    dispersion = y.var(ddof=1) / y.mean()
    law = stats.nbinom(1.2 / (dispersion - 1), 1 / dispersion)
    np.testing.assert_array_equal(quantiles(y, 1.2), law.ppf(LEVELS))
    np.testing.assert_array_equal(quantiles(6 * y, 6 * 1.2), 6 * law.ppf(LEVELS))


def test_the_empirical_law_by_plain_counting() -> None:
    y = np.array([0, 0, 2.5, 0, 1.5, 0, 0, 4.25])
    mean = 1.1
    sizes = y[y > 0]
    share = mean / sizes.mean()
    draws = np.r_[np.zeros(round(1e5 * (1 - share))), np.repeat(np.sort(sizes), round(1e5 * share / 3))]
    np.testing.assert_array_equal(quantiles(y, mean, EMPIRICAL), np.quantile(draws, LEVELS, method="inverted_cdf"))


def test_counts_that_vary_less_than_poisson_follow_the_history() -> None:
    y = np.array([5, 6, 5, 5, 6, 5, 6, 5.0])
    assert set(np.round(quantiles(y, y.mean()), 9)) <= {5.0, 6.0}
    np.testing.assert_array_equal(quantiles(y, y.mean(), COUNT), stats.poisson(y.mean()).ppf(LEVELS))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("law", ["auto", "count", "empirical"])
def test_no_quantile_is_negative(family: str, law: str) -> None:
    answer = forecast(demand(60), family, law=law)
    assert (answer.quantiles >= 0).all()
    assert (answer.mean >= 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_negative_values_are_smoothed_and_said(family: str) -> None:
    y = np.array([0, -2, 0, 3, 0, 0, -1, 4.0])
    answer = forecast([y], family)
    assert answer.status[0] == Status.FALLBACK
    assert answer.reason[0] == "negative_values"
    assert (np.diff(answer.quantiles[0, 0]) >= 0).all()
    assert answer.quantiles[0, 0, -1] - answer.quantiles[0, 0, 0] == pytest.approx(6.0)


def test_a_dying_demand_fades_except_for_croston() -> None:
    y = np.r_[np.tile([0, 0, 6.0], 10), np.zeros(40)]
    means = {family: forecast([y], family).mean[0, 0] for family in FAMILIES}
    assert means["tsb"] < 0.1
    assert means["croston_sba"] > 1.5
    assert forecast([y], "croston_sba").quantiles[0, 0, 4] == 0.0  # 0.9: its quantiles know
