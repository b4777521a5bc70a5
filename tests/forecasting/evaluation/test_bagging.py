"""Bagged ensemble weights, against plain loops and properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.evaluation import bagging
from forecasting.evaluation.bagging import bagged_weights
from forecasting.evaluation.ensemble import GAIN, STEPS, greedy_weights

NAN = np.nan
LEVELS = np.array([0.1, 0.5, 0.9])


def loss(points, weights):
    """points: (scale, actual, quantiles of each model [M, L])."""
    total = 0.0
    for scale, y, of_models in points:
        for q, f in zip(LEVELS, weights @ of_models, strict=True):
            total += scale * max(q * (y - f), (q - 1) * (y - f))
    return total


def selected(points, models):
    """Caruana and others' selection with replacement among some models: the best ensemble met, as weights."""
    bag, best, kept = [], np.inf, None
    for _ in range(STEPS):
        tried = {m: loss(points, np.bincount([*bag, m], minlength=models[-1] + 1) / (len(bag) + 1)) for m in models}
        bag.append(min(models, key=lambda m: (tried[m], m)))
        if kept is None or tried[bag[-1]] < best * (1 - GAIN):
            best, kept = tried[bag[-1]], list(bag)
    return np.bincount(kept, minlength=models[-1] + 1) / len(kept)


def by_hand(forecasts, actual, scale, cell_series):
    """One selection names the members; each window's folds select among them; a cell counts for its series."""
    series, models, windows, horizon, _ = forecasts.shape
    every = [
        (i, w, (scale[i], actual[i, w, h], forecasts[i, :, w, h]))
        for i in range(series)
        for w in range(windows)
        for h in range(horizon)
        if not np.isnan(actual[i, w, h]) and not np.isnan(forecasts[i, :, w, h]).any()
    ]
    first = selected([p for *_, p in every], list(range(models)))
    members = [m for m in range(len(first)) if first[m] > 0]
    total, count = np.zeros(models), 0
    for w in range(windows):
        mine = sorted({i for i, window, _ in every if window == w})
        folds = max(1, round(len(mine) / cell_series))
        for fold in range(folds):
            cell = [i for place, i in enumerate(mine) if place % folds == fold]
            if cell:
                padded = [(s, y, f[: members[-1] + 1]) for i, window, (s, y, f) in every if window == w and i in cell]
                total[: members[-1] + 1] += len(cell) * selected(padded, members)
                count += len(cell)
    return total / count


def sample(seed, series=7, models=4, windows=3, horizon=2):
    rng = np.random.default_rng(seed)
    actual = rng.normal(10, 2, (series, windows, horizon))
    centre = actual[:, None, :, :, None] + rng.normal(0, 1.5, (series, models, windows, horizon, 1))
    forecasts = centre + rng.uniform(0.5, 2, (1, models, 1, 1, 1)) * np.array([-1.3, 0.0, 1.3])
    actual[0, 0], actual[1, 2, 1] = NAN, NAN
    forecasts[2, 1, 1] = NAN
    return forecasts, actual, rng.uniform(0.5, 2, series)


@pytest.mark.parametrize("seed", range(6))
def test_bagged_weights_equal_a_plain_loop(seed, monkeypatch):
    monkeypatch.setattr(bagging, "CELL_SERIES", 2)
    forecasts, actual, scale = sample(seed)
    got = bagged_weights(forecasts, actual, np.tile(LEVELS, (7, 1)), scale)
    np.testing.assert_allclose(got, by_hand(forecasts, actual, scale, 2), atol=1e-12)


def test_a_window_that_disagrees_moves_the_weights_by_its_share_alone():
    actual = np.full((10, 3, 4), 10.0)
    forecasts = np.empty((10, 2, 3, 4, 3))
    forecasts[:, 0], forecasts[:, 1] = 9.0, 8.0  # two windows say the first model
    forecasts[:, 0, 2], forecasts[:, 1, 2] = -90.0, 10.0  # one, with errors a hundred times as large, the second
    levels = np.tile(LEVELS, (10, 1))
    at_once = greedy_weights(forecasts.reshape(10, 2, 12, 3), actual.reshape(10, 12), levels, np.ones(10))
    assert at_once[1] == 1.0
    forecasts[:, 1, :2] = 8.999
    forecasts[:, 0, 2] = 9.0
    forecasts[:, 1, 2] = 11.0  # now a mixture of the two is best there, and both are members
    got = bagged_weights(forecasts, actual, levels, np.ones(10))
    np.testing.assert_allclose(got, [(1 + 1 + 0.5) / 3, 0.5 / 3])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 3), st.booleans())
def test_weights_are_a_distribution_over_what_one_selection_draws(seed, series, windows, squared):
    forecasts, actual, scale = sample(seed, max(series, 3), windows=max(windows, 3))
    forecasts, actual, scale = forecasts[:series, :, :windows], actual[:series, :windows], scale[:series]
    levels = np.tile(LEVELS, (series, 1))
    if squared:
        forecasts, levels = forecasts[..., :1], np.zeros((series, 1))
    got = bagged_weights(forecasts, actual, levels, scale, squared=squared)
    flat = forecasts.reshape(series, 4, -1, levels.shape[1])
    once = greedy_weights(flat, actual.reshape(series, -1), levels, scale, squared=squared)
    assert (got >= 0).all()
    assert not got[once == 0].any()
    scored = np.isfinite(actual) & np.isfinite(forecasts).all(axis=(1, 4))
    assert got.sum() == pytest.approx(float(scored.any()))
    again = bagged_weights(forecasts, actual, levels, 3 * scale, squared=squared)
    np.testing.assert_allclose(again, got, atol=1e-9)


def test_a_series_without_a_scale_says_nothing():
    forecasts, actual, scale = sample(3, series=60)
    levels, known = np.tile(LEVELS, (60, 1)), np.arange(60) % 3 > 0
    got = bagged_weights(forecasts, actual, levels, np.where(known, scale, 0.0))
    np.testing.assert_allclose(got, bagged_weights(forecasts[known], actual[known], levels[known], scale[known]))
    assert not bagged_weights(forecasts, actual, levels, np.zeros(60)).any()


def test_nothing_to_learn_from_gives_no_weights():
    none = bagged_weights(np.empty((0, 2, 1, 3, 3)), np.empty((0, 1, 3)), np.empty((0, 3)), np.empty(0))
    assert none.tolist() == [0, 0]
