"""Ensembles, against plain loops and properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.evaluation.ensemble import (
    BEND,
    GAIN,
    SHARPNESS,
    STEPS,
    TRIMMED,
    blend,
    greedy_weights,
    middle,
    series_weights,
)

NAN = np.nan
LEVELS = np.array([0.1, 0.5, 0.9])


def pinball(actual, forecast, levels):
    total = 0.0
    for y, row in zip(actual, forecast, strict=True):
        for q, f in zip(levels, row, strict=True):
            if not np.isnan(y):
                total += max(q * (y - f), (q - 1) * (y - f))
    return total


def greedy_by_hand(forecasts, actual, scale):
    """Caruana and others' selection with replacement; the best ensemble met."""
    bag, best, kept = [], np.inf, None
    for _ in range(STEPS):
        losses = []
        for m in range(forecasts.shape[1]):
            mean = forecasts[:, [*bag, m]].mean(axis=1)
            losses.append(sum(s * pinball(y, f, LEVELS) for s, y, f in zip(scale, actual, mean, strict=True)))
        bag.append(int(np.argmin(losses)))
        if kept is None or min(losses) < best * (1 - GAIN):
            best, kept = min(losses), list(bag)
    return np.bincount(kept, minlength=forecasts.shape[1]) / len(kept)


def sample(seed, series=3, models=4, points=6):
    rng = np.random.default_rng(seed)
    actual = rng.normal(10, 2, (series, points))
    centre = actual[:, None, :, None] + rng.normal(0, 1.5, (series, models, points, 1))
    forecasts = centre + rng.uniform(0.5, 2, (1, models, 1, 1)) * np.array([-1.3, 0.0, 1.3])
    actual[0, 2] = NAN
    return forecasts, actual, rng.uniform(0.5, 2, series)


@pytest.mark.parametrize("seed", range(8))
def test_greedy_selection_equals_a_plain_loop(seed):
    forecasts, actual, scale = sample(seed)
    got = greedy_weights(forecasts, actual, np.tile(LEVELS, (3, 1)), scale)
    np.testing.assert_allclose(got, greedy_by_hand(forecasts, actual, scale))
    assert got.sum() == pytest.approx(1.0)
    assert (got >= 0).all()


def test_two_biased_models_are_mixed_and_a_perfect_one_stands_alone():
    actual = np.full((5, 4), 10.0)
    spread = np.array([-1.0, 0.0, 1.0])
    low, high, exact = (np.broadcast_to(c + spread, (5, 4, 3)) for c in (8.0, 12.0, 10.0))
    levels, scale = np.tile(LEVELS, (5, 1)), np.ones(5)
    mixed = greedy_weights(np.stack([low, high], axis=1), actual, levels, scale)
    np.testing.assert_allclose(mixed, [0.5, 0.5])
    point = np.full((5, 4, 3), 10.0)
    alone = greedy_weights(np.stack([low, point, high, exact], axis=1), actual, levels, scale)
    np.testing.assert_allclose(alone, [0, 1, 0, 0])


def test_greedy_selection_by_squared_error():
    actual = np.full((2, 3), 10.0)
    forecasts = np.stack([np.full((2, 3, 1), 7.0), np.full((2, 3, 1), 11.0)], axis=1)
    weights = greedy_weights(forecasts, actual, np.zeros((2, 1)), np.ones(2), squared=True)
    assert weights @ [7.0, 11.0] == pytest.approx(10.0)  # a quarter and three quarters


def test_nothing_to_learn_from_gives_no_weights():
    assert greedy_weights(np.empty((0, 2, 3, 3)), np.empty((0, 3)), np.empty((0, 3)), np.empty(0)).tolist() == [0, 0]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.3]))
def test_series_weights_are_a_distribution_over_candidates(seed, smallest):
    rng = np.random.default_rng(seed)
    scores = np.where(rng.random((5, 4)) < 0.3, NAN, rng.uniform(0, 1, (5, 4)))
    segment = rng.dirichlet(np.ones(4), 5) * (rng.random((5, 1)) < 0.8)
    crowd = np.where(rng.random((5, 4)) < 0.2, NAN, rng.uniform(0, 1, (5, 4)))
    got = series_weights(scores, segment, crowd, smallest)
    for i in range(5):
        candidates = [m for m in range(4) if not np.isnan(scores[i, m])]
        soft = {m: np.exp(-SHARPNESS * (scores[i, m] - min(scores[i, candidates]))) for m in candidates}
        beyond = {m: 0.0 if np.isnan(scores[i, m] - crowd[i, m]) else scores[i, m] - crowd[i, m] for m in range(4)}
        shared = {m: segment[i, m] * np.exp(-BEND * beyond[m]) for m in (candidates or range(4))}
        parts = [{m: v / sum(p.values()) for m, v in p.items()} for p in (soft, shared) if sum(p.values()) > 0]
        want = np.zeros(4)
        for part, m in itertools.product(parts, range(4)):
            want[m] += part.get(m, 0.0) / len(parts)
        want[(want < smallest) & (want < want.max())] = 0.0
        np.testing.assert_allclose(got[i], want / want.sum() if want.any() else want, atol=1e-12)


def test_a_series_moves_its_segments_weights_by_what_it_adds_to_the_segments_scores():
    segment, crowd = np.array([[0.5, 0.5, 0.0]] * 3), np.array([[0.0, 0.3, 0.1]] * 3)
    same, worse, silent = crowd[0], np.array([0.0, 0.8, 0.1]), np.full(3, NAN)
    scores = np.array([same, worse, silent])
    got = series_weights(scores, segment, crowd, 0.0)
    soft = np.exp(-SHARPNESS * scores) / np.exp(-SHARPNESS * scores).sum(axis=1, keepdims=True)
    odds = np.exp(-BEND * 0.5)
    np.testing.assert_allclose(got[0], (soft[0] + segment[0]) / 2)
    np.testing.assert_allclose(got[1], (soft[1] + np.array([1, odds, 0]) / (1 + odds)) / 2)
    np.testing.assert_allclose(got[2], segment[2])


def test_a_blend_is_the_weighted_mean_of_what_is_finite():
    forecasts = np.array([[[1.0, 2.0], [3.0, 6.0], [NAN, 0.0]], [[NAN, NAN]] * 3])
    weights = np.array([[0.25, 0.25, 0.5], [0.5, 0.5, 0.0]])
    got = blend(forecasts, weights)
    np.testing.assert_allclose(got[0], [2.0, 4.0])
    assert np.isnan(got[1]).all()


@given(st.integers(0, 10_000), st.booleans())
def test_median_and_trimmed_mean_equal_numpy(seed, trimmed):
    rng = np.random.default_rng(seed)
    forecasts = rng.normal(size=(4, 7, 3))
    weights = (rng.random((4, 7)) < 0.6).astype(float)
    got = middle(forecasts, weights, trimmed=trimmed)
    for i in range(4):
        mine = np.sort(forecasts[i, weights[i] > 0], axis=0)
        if not len(mine):
            assert np.isnan(got[i]).all()
            continue
        cut = int(TRIMMED * len(mine))
        want = mine[cut : len(mine) - cut].mean(axis=0) if trimmed else np.median(mine, axis=0)
        np.testing.assert_allclose(got[i], want)
