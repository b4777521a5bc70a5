"""The density that quantiles imply, against laws for which it is exact and against its own integral."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forecasting.evaluation.density import log_density, tail_factors

LEVELS = np.array([0.1, 0.25, 0.5, 0.75, 0.9])


def density(y, x, p, resolution):
    return np.array([log_density(float(v), x, p, *tail_factors(p), resolution) for v in np.atleast_1d(y)])


def test_an_exponential_tail_is_that_of_the_exponential_law():
    x = stats.expon.ppf(LEVELS)
    y = np.array([2.5, 4.0, 9.0, 60.0])
    np.testing.assert_allclose(density(y, x, LEVELS, 1e-4), stats.expon.logpdf(y), rtol=1e-8)
    mirrored = np.sort(-x)
    np.testing.assert_allclose(density(-y, mirrored, LEVELS, 1e-4), stats.expon.logpdf(y), rtol=1e-8)


def test_between_quantiles_it_is_that_of_a_uniform_law():
    x = stats.uniform.ppf(LEVELS, loc=3, scale=2)
    np.testing.assert_allclose(density([3.3, 4.0, 4.7], x, LEVELS, 1e-3), np.log(0.5), rtol=1e-12)


@pytest.mark.parametrize("resolution", [1e-3, 0.5])
def test_what_is_coarse_is_the_mean_of_what_is_fine(resolution):
    """The mass within half a resolution, over the resolution; tails are longer than that here."""
    x = np.array([-2.0, 0.5, 0.6, 2.0, 4.0])
    for y in (-3.0, -2.1, 0.55, 2.05, 4.1, 9.0):
        around = y + resolution * (np.arange(2001) + 0.5) / 2001 - resolution / 2
        fine = np.exp(density(around, x, LEVELS, 1e-7))
        assert np.exp(density(y, x, LEVELS, resolution)[0]) == pytest.approx(fine.mean(), rel=2e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-8, 8), min_size=2, max_size=5).map(sorted),
    st.sampled_from([0.05, 0.3, 2.0]),
    st.integers(0, 3),
)
def test_it_integrates_to_one_with_and_without_point_masses(values, resolution, first):
    p = np.linspace(0.05 + 0.1 * first, 0.9, len(values))
    x = np.array(values, dtype=float)
    lower = max((x[1] - x[0]) * tail_factors(p)[0], resolution)
    upper = max((x[-1] - x[-2]) * tail_factors(p)[1], resolution)
    grid = np.arange(x[0] - 14 * lower, x[-1] + 14 * upper, resolution / 16) + 1e-4
    assert np.exp(density(grid, x, p, resolution)).sum() * resolution / 16 == pytest.approx(1.0, abs=5e-3)


def test_a_point_mass_counts_over_the_resolution_and_nothing_is_impossible():
    zeros = np.zeros(5)
    near = density([0.0], zeros, LEVELS, 0.01)[0]
    tails = 0.2 * (1 - np.exp(-0.5))  # what the shortest tails leave within half a resolution
    assert np.exp(near) == pytest.approx((0.8 + tails) / 0.01)
    far = density([1.0, 1e9, -1e9], zeros, LEVELS, 0.01)
    assert np.isfinite(far).all()
    assert (np.diff(far[:2]) < 0).all()


def test_one_level_has_no_density():
    assert np.isnan(density(1.0, np.array([1.0]), np.array([0.5]), 0.1)).all()
