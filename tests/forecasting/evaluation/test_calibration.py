"""Conformal calibration, against plain loops and laws whose coverage is known."""

import numpy as np
import pytest
from scipy.stats import norm

from forecasting.evaluation.calibration import (
    FACTORS,
    NARROWING,
    Intervals,
    adjustments,
    calibrated,
    coverage,
    covered,
    histograms,
    series_factors,
)

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
H = 6
INTERVALS = Intervals.of(LEVELS, H)


def quantiles_of(mean, spread):
    return mean[..., None] + spread * norm.ppf(np.array(LEVELS))


def table_of(quantiles, actual, windows):
    """Adjustments of one segment whose rows come window by window."""
    counts = histograms(quantiles, actual, np.repeat(np.arange(windows), len(actual) // windows), windows, INTERVALS)
    return adjustments(counts[None], INTERVALS), counts


def inside(quantiles, actual):
    points, within = covered(quantiles, actual, INTERVALS)
    return within.sum(axis=0) / points.sum()


def test_intervals_are_symmetric_pairs_and_blocks_of_steps():
    assert INTERVALS.pairs.tolist() == [[0, 4], [1, 3]]
    np.testing.assert_allclose(INTERVALS.nominal, [0.95, 0.8])
    assert INTERVALS.unit == 1
    assert INTERVALS.block.tolist() == [0, 0, 1, 2, 2, 3]
    np.testing.assert_allclose(INTERVALS.mixture.sum(axis=1), 1.0)
    assert len(Intervals.of((0.3, 0.9), 3).pairs) == 0


@pytest.mark.parametrize("stretch", [0.4, 0.7, 1.0])
def test_intervals_that_are_too_narrow_reach_their_coverage(stretch):
    """With many windows that agree, nearly all of the miss is taken back."""
    rng = np.random.default_rng(1)
    actual = rng.normal(0, 1, (4000, H))
    quantiles = quantiles_of(np.zeros((4000, H)), stretch)
    table, _ = table_of(quantiles, actual, 40)
    fresh = rng.normal(0, 1, (4000, H))
    ones = np.ones((4000, 2))
    got = inside(calibrated(quantiles, table, np.zeros(4000), ones, INTERVALS), fresh)
    np.testing.assert_allclose(got, [0.95, 0.8], atol=0.015)


def test_a_score_is_the_distance_outside_in_units_of_the_own_width():
    quantiles = np.array([[[0.0, 1.0, 2.0, 3.0, 4.0]] * H])
    actual = np.array([[3.5, 5.0, 0.0, 2.0, np.nan, 2.0]])  # of 80 %: 0.25, 1, 0.5, -0.5, no point, -0.5
    counts = histograms(quantiles, actual, [0], 1, INTERVALS)
    assert counts[0, :, 1].sum(axis=-1).tolist() == [2, 1, 1, 1]
    shift = np.full((1, 1, 4, 2), 0.26)
    np.testing.assert_allclose(coverage(counts[None], shift)[0, :, 1], [0.5, 0.0, 1.0, 1.0], atol=0.02)
    none = coverage(counts[None], np.zeros((1, 1, 4, 2)))
    np.testing.assert_array_equal(none[0, :, 1], [0.0, 0.0, 1.0, 1.0])


def test_the_adjustment_is_the_quantile_of_the_scores_shrunk_by_one_window():
    rng = np.random.default_rng(2)
    actual = rng.standard_t(3, (3000, H)) * 3
    quantiles = quantiles_of(np.zeros((3000, H)), 1.0)
    table, _ = table_of(quantiles, actual, 1)
    width = quantiles[0, 0, 3] - quantiles[0, 0, 1]
    nominal = int(np.abs(np.log(FACTORS)).argmin())
    for b in range(4):
        steps = np.flatnonzero(INTERVALS.block == b)
        for i, (low, high) in enumerate(INTERVALS.pairs):
            y, q = actual[:, steps], quantiles[:, steps]
            scores = np.maximum(q[..., low] - y, y - q[..., high]) / width
            want = np.quantile(scores, INTERVALS.nominal[i])
            want = (NARROWING if want < 0 else 1.0) * want / 2
            assert table[0, b, i, nominal] == pytest.approx(want, rel=0.03, abs=0.01)


@pytest.mark.parametrize("stretches", [(1.5, 2.0, 2.5), (2.0, 2.5), (0.8, 0.7), (0.9, 0.5, 0.6), (3.0, 1.1, 0.9)])
def test_few_windows_widen_by_a_standard_error_less_and_narrow_by_what_they_agree_on(stretches):
    """Actuals of each window spread `stretches` times as far as the quantiles say."""
    rng = np.random.default_rng(4)
    normal, count = rng.standard_normal((1500, H)), len(stretches)
    actual = np.concatenate([stretch * normal for stretch in stretches])
    table, _ = table_of(quantiles_of(np.zeros(actual.shape), 1.0), actual, count)
    alone = [table_of(quantiles_of(np.zeros(normal.shape), 1.0), s * normal, 1)[0] for s in stretches]
    each = np.array([2 * np.where(a < 0, a / NARROWING, a) for a in alone])  # one window alone is halved
    mean, variance = each.mean(axis=0), each.var(axis=0, ddof=1) / count
    kept = np.where(mean > 0, mean - np.sqrt(variance), NARROWING * (mean - variance / mean))
    want = np.where(np.sign(kept) == np.sign(mean), kept, 0.0) * count / (count + 1)
    np.testing.assert_allclose(table, want, rtol=1e-9, atol=1e-12)


def test_windows_that_disagree_change_nothing():
    rng = np.random.default_rng(3)
    actual = np.concatenate([rng.normal(0, 2.0, (500, H)), rng.normal(0, 0.4, (500, H))])
    quantiles = quantiles_of(np.zeros((1000, H)), 1.0)
    table, _ = table_of(quantiles, actual, 2)
    agreeing, _ = table_of(quantiles, np.concatenate([actual[:500], actual[:500]]), 2)
    nominal = int(np.abs(np.log(FACTORS)).argmin())
    assert np.abs(table[0, :, 1, nominal]).max() < 0.1 < np.abs(agreeing[0, :, 1, nominal]).min()


def test_without_windows_nothing_is_adjusted():
    none = adjustments(np.zeros((2, 0, *INTERVALS.shape)), INTERVALS)
    np.testing.assert_array_equal(none, np.zeros((2, 4, 2, len(FACTORS))))
    empty = adjustments(np.zeros((1, 3, *INTERVALS.shape)), INTERVALS)
    np.testing.assert_array_equal(empty, np.zeros((1, 4, 2, len(FACTORS))))


def test_the_median_stays_and_no_level_crosses_it():
    rng = np.random.default_rng(4)
    quantiles = np.sort(rng.normal(size=(50, H, 5)), axis=2)
    for size in (-3.0, 3.0):
        table = np.full((1, 4, 2, len(FACTORS)), size)
        got = calibrated(quantiles, table, np.zeros(50), np.ones((50, 2)), INTERVALS)
        np.testing.assert_array_equal(got[:, :, 2], quantiles[:, :, 2])
        assert (np.diff(got, axis=2) >= 0).all()
    kept = calibrated(quantiles, table, np.full(50, -1), np.ones((50, 2)), INTERVALS)
    np.testing.assert_array_equal(kept, quantiles)


def test_levels_without_a_partner_and_points_without_a_spread_stay():
    intervals = Intervals.of((0.1, 0.3, 0.9), 2)
    quantiles = np.array([[[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]])
    got = calibrated(quantiles, np.full((1, 2, 1, len(FACTORS)), 0.5), np.zeros(1), np.ones((1, 1)), intervals)
    np.testing.assert_allclose(got, [[[0.0, 2.0, 4.0], [5.0, 5.0, 5.0]]])


def test_a_series_that_misses_more_aims_at_fewer_misses():
    points, within = np.array([0.0, 1000.0, 1000.0, 1e9]), np.array([[0, 0], [950, 800], [900, 600], [0, 0]])
    got = series_factors(points, within, INTERVALS, strength=1000.0)
    np.testing.assert_allclose(got[0], 1.0)
    np.testing.assert_allclose(got[1], 1.0)
    np.testing.assert_allclose(got[2], [0.05 / 0.075, 0.2 / 0.3])
    np.testing.assert_allclose(got[3], FACTORS[0])
