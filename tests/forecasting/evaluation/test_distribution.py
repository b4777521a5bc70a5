"""Probabilities from quantiles beside laws that are known.

Between neighbouring levels both the law and its reconstruction lie between these levels, so P(X <= x) is never wrong
by more than the largest gap of the levels (the outermost ones and 0 or 1 included). That is the bound tested here; a
law that is normal is found exactly.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.interpolate import PchipInterpolator

from forecasting.evaluation.distribution import Distribution, probability, quantile

LAWS = {
    "normal": stats.norm(50, 7),
    "uniform": stats.uniform(2, 3),
    "exponential": stats.expon(scale=5),
    "gamma": stats.gamma(2, scale=3),
    "lognormal": stats.lognorm(0.8),
}


def even(n: int) -> np.ndarray:
    """n levels with equal gaps."""
    return np.linspace(0, 1, n + 2)[1:-1]


@pytest.mark.parametrize("n", [3, 9, 19, 99])
@pytest.mark.parametrize("name", ["uniform", "exponential", "gamma", "lognormal"])
def test_known_laws_within_the_gap_of_the_levels(name: str, n: int) -> None:
    law, levels, gap = LAWS[name], even(n), 1 / (n + 1)
    found = Distribution.of(levels, law.ppf(levels))
    x = law.ppf(np.linspace(1e-6, 1 - 1e-6, 2001))
    wrong = np.abs(found.cumulative(x) - law.cdf(x))
    assert wrong.max() <= gap
    # Between the outermost levels the curve is smooth: a tenth of a gap, where a step function would be a whole one.
    assert wrong[(x >= found.values[0]) & (x <= found.values[-1])].max() <= 0.1 * gap
    low, high = law.ppf([0.22, 0.71])
    assert found.probability(low, high) == pytest.approx(0.49, abs=0.2 * gap)
    assert found.probability(low=high) == pytest.approx(0.29, abs=0.1 * gap)


@pytest.mark.parametrize("levels", [(0.1, 0.5, 0.9), (0.025, 0.3, 0.6, 0.99), (0.4, 0.5)])
def test_a_normal_law_is_exact_with_its_tails(levels: tuple[float, ...]) -> None:
    law = LAWS["normal"]
    found = Distribution.of(levels, law.ppf(levels))
    x = np.linspace(50 - 8 * 7, 50 + 8 * 7, 501)
    np.testing.assert_allclose(found.cumulative(x), law.cdf(x), rtol=1e-10)
    np.testing.assert_allclose(found.probability(low=x), law.sf(x), rtol=1e-10)  # far out too: no 1 - 0.9999…
    np.testing.assert_allclose(found.quantile(law.cdf(x[100:400])), x[100:400], rtol=1e-9)


@pytest.mark.parametrize(("mean", "n"), [(0.3, 9), (2.5, 19), (40.0, 99)])
def test_poisson_counts_are_point_masses(mean: float, n: int) -> None:
    law, levels, gap = stats.poisson(mean), even(n), 1 / (n + 1)
    found = Distribution.of(levels, law.ppf(levels), lower=0.0)
    k = np.arange(0, int(mean + 10 * np.sqrt(mean)) + 1)
    assert np.abs(found.cumulative(k) - law.cdf(k)).max() <= gap
    wide = k[law.pmf(k) > 2 * gap]  # such a count takes at least two levels: equal quantiles
    masses = dict(found.atoms)
    for count in wide:
        assert masses[float(count)] == pytest.approx(law.pmf(count), abs=2 * gap)
        assert found.probability(count, count) == masses[float(count)]
    assert found.probability(None, -0.5) == 0.0
    if mean < 1:
        assert len(wide) > 0


def test_the_law_of_demand_that_ends_at_zero() -> None:
    """max(N, 0): quantiles of 0 below the level at which the normal law is 0, and without any bound given too."""
    levels, inner = even(19), stats.norm(1.0, 2.0)
    values = np.maximum(inner.ppf(levels), 0.0)
    for lower in (None, 0.0):
        law = Distribution.of(levels, values, lower=lower)
        assert law.probability(high=-1e-9) == 0.0
        assert law.probability(0.0, 0.0) == pytest.approx(inner.cdf(0), abs=0.05)
        assert law.probability(low=2.0) == pytest.approx(inner.sf(2.0), abs=1e-9)
    cut = Distribution.of(levels, inner.ppf(levels), lower=0.0)  # the bound does the same by itself, and exactly
    assert cut.probability(high=0.0) == pytest.approx(inner.cdf(0), rel=1e-12)
    assert cut.probability(low=1e-300) == pytest.approx(inner.sf(0), rel=1e-12)
    assert cut.quantile([0.0, 0.2, 1.0]).tolist() == [0.0, 0.0, np.inf]


def test_open_and_closed_ends() -> None:
    law = Distribution.of((0.2, 0.5, 0.7, 0.9), (3.0, 3.0, 5.0, 8.0), lower=3.0)
    assert law.probability(3.0, 3.0) == pytest.approx(0.5)
    assert law.probability(high=3.0) == pytest.approx(0.5)
    assert law.probability(low=3.0) == 1.0
    assert 1 - law.probability(high=3.0) == pytest.approx(law.probability(low=np.nextafter(3.0, 4.0)))
    whole = Distribution.of((0.1, 0.9), (3.0, 3.0))
    assert whole.probability([2.0, 3.0, 3.1], [2.9, 3.0, 9.0]).tolist() == [0.0, 1.0, 0.0]
    assert whole.quantile([0.0, 0.01, 1.0]).tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("levels", [(0.1, 0.5, 0.9), tuple(even(9)), (0.01, 0.02, 0.6, 0.95)])
def test_the_curve_equals_scipys_with_lines_at_both_ends(levels: tuple[float, ...]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        x = np.sort(np.round(rng.exponential(5, len(levels)), 0 if rng.random() < 0.3 else 8))
        z = stats.norm.ppf(levels)
        below, above = (x[1] - x[0]) / (z[1] - z[0]), (x[-1] - x[-2]) / (z[-1] - z[-2])
        far = np.array([0.5, 1.0, 2.0, 8.0])
        ends = np.concatenate([x[0] - below * far[::-1], x, x[-1] + above * far])
        scipys = PchipInterpolator(np.concatenate([z[0] - far[::-1], z, z[-1] + far]), ends)
        p = np.linspace(0.001, 0.999, 500)
        np.testing.assert_allclose(quantile(levels, x[None], p), scipys(stats.norm.ppf(p)), rtol=1e-9, atol=1e-9)


values = st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=4, max_size=4).map(sorted)
LEVELS = (0.05, 0.3, 0.6, 0.9)
bound = st.none() | st.floats(-500, 500)
number = st.floats(-2e3, 2e3) | st.sampled_from([-np.inf, np.inf])


@given(values, bound, bound, st.lists(number, min_size=2, max_size=6))
@settings(max_examples=300, deadline=None)
def test_probabilities_are_those_of_a_law(
    x: list[float], lower: float | None, upper: float | None, places: list[float]
) -> None:
    assume(lower is None or upper is None or lower <= upper)
    law = Distribution.of(LEVELS, x, lower, upper)
    at = np.sort([*places, *x])
    reached = law.cumulative(at)
    assert ((reached >= 0) & (reached <= 1)).all()
    assert (np.diff(reached) >= -1e-12).all()  # but for rounding
    assert law.probability() == 1.0
    assert law.probability(-np.inf, np.inf) == 1.0
    for low, high in itertools.pairwise(at):
        inside = law.probability(low, high)
        assert inside == pytest.approx(
            law.cumulative(high) - law.cumulative(low) + law.probability(low, low), abs=1e-9
        )
        assert inside == 0.0 or low <= high
    assert law.probability(1.0, 0.0) == 0.0


@given(values, bound, st.floats(0.001, 0.999))
@settings(max_examples=300, deadline=None)
def test_each_is_the_inverse_of_the_other(x: list[float], lower: float | None, p: float) -> None:
    law = Distribution.of(LEVELS, x, lower)
    at = float(law.quantile(p))
    room = 1e-9 * max(1.0, abs(at))  # what the rounding of x hides
    assert law.cumulative(at + room) >= p - 1e-9
    assert law.cumulative(at - room) <= p + 1e-9
    if law.probability(at - room, at + room) < 1e-6:  # no mass there: strictly inverse
        assert law.cumulative(at) == pytest.approx(p, abs=1e-6)


def test_arrays_of_laws_are_laws_one_by_one() -> None:
    rng = np.random.default_rng(5)
    tables = np.sort(np.round(rng.gamma(2, 3, (4, 6, 4)), 1), axis=2)
    stock = rng.uniform(0, 12, (4, 1))
    found = probability(LEVELS, tables, high=stock, lower=0.0)
    back = quantile(LEVELS, tables, 0.8, lower=0.0)
    assert found.shape == back.shape == (4, 6)
    for i, h in np.ndindex(4, 6):
        law = Distribution.of(LEVELS, tables[i, h], lower=0.0)
        assert found[i, h] == law.cumulative(stock[i, 0])
        assert back[i, h] == law.quantile(0.8)
    tables[0, 0, 2] = np.nan
    assert np.isnan(probability(LEVELS, tables, 0.0, 1.0)).sum() == 1
    assert np.isnan(probability(LEVELS, tables[1], np.nan)).all()
    assert probability(LEVELS, tables[1, 1], [1.0, 2.0, 3.0], lower=[0.0, 1.0, 2.0]).shape == (3,)


@pytest.mark.parametrize(
    ("levels", "x", "message"),
    [
        ((0.5,), [1.0], "two or more"),
        ((0.1, 0.1), [1.0, 2.0], "increase"),
        ((0.0, 0.5), [1.0, 2.0], "between 0 and 1"),
        ((0.1, 0.5), [2.0, 1.0], "decrease"),
        ((0.1, 0.5), [[1.0, 2.0, 3.0]], "last axis"),
    ],
)
def test_what_is_no_law(levels: tuple[float, ...], x: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        probability(levels, x)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        quantile((0.1, 0.9), [1.0, 2.0], 1.2)
