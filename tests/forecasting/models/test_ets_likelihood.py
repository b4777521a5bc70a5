"""The ETS recursion against statsmodels, and its derivatives against differences."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from forecasting.batch import FloatArray, read_only
from forecasting.models.ets import form_name, log_likelihood
from forecasting.models.ets.derivatives import evaluate
from forecasting.models.ets.descent import counts
from forecasting.models.ets.likelihood import run
from forecasting.models.ets.workspace import Series, workspace

FORMS = range(18)
M = 4


def history(n: int = 60, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    return np.asarray((10 + 0.1 * t) * (1 + 0.2 * np.sin(2 * np.pi * t / M)) * np.exp(0.05 * rng.normal(size=n)))


@pytest.mark.judge
@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_log_likelihood_equals_statsmodels(form: int) -> None:
    """With a multiplicative season only at gamma = 0: statsmodels updates it by y / l_t, the level after the update
    (Winters' original), where the book's table 2.2, R, statsforecast and we take y / q_t, the level before."""
    error, trend, season = form // 9, form % 9 // 3, form % 3
    gamma = 0.0 if season == 2 else 0.2
    y = history()
    values = {"alpha": 0.3, "level": 10.5}
    known: dict[str, object] = {"initial_level": 10.5}
    parameters = {"smoothing_level": 0.3}
    if trend:
        values |= {"beta": 0.05, "slope": 0.12}
        known["initial_trend"] = 0.12
        parameters["smoothing_trend"] = 0.05
    if season:
        terms = np.array([0.1, 0.9, -0.2, -0.8]) if season == 1 else np.array([1.01, 1.2, 0.98, 0.81])
        values |= {"gamma": gamma, "seasonal": terms}
        known["initial_seasonal"] = terms
        parameters["smoothing_seasonal"] = gamma
    if trend == 2:
        values["phi"] = 0.9
        parameters["damping_trend"] = 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge = ETSModel(
            y,
            error=("add", "mul")[error],
            trend="add" if trend else None,
            damped_trend=trend == 2,
            seasonal=(None, "add", "mul")[season],
            seasonal_periods=M if season else None,
            initialization_method="known",
            **known,
        )
        names = judge.param_names
        expected = judge.loglike(np.array([parameters[name] for name in names if name in parameters]))
    assert log_likelihood(y, form_name(form), **values) == pytest.approx(expected, rel=1e-9)


@pytest.mark.judge
@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_log_likelihood_equals_statsforecast(form: int) -> None:
    """All forms, the season moving: its value is n log(sum eps^2) + 2 sum log |r|."""
    judge = pytest.importorskip("statsforecast.ets")
    error, trend, season = form // 9, form % 9 // 3, form % 3
    y = history(seed=3)
    terms = np.array([0.1, 0.9, -0.2, -0.8]) if season == 1 else np.array([1.01, 1.2, 0.98, 0.81])
    slope, phi = (0.12, 0.9 if trend == 2 else 1.0) if trend else (0.0, 1.0)
    state = np.r_[10.5, [slope] * (trend > 0), terms[::-1] if season else []]
    beta, gamma = (0.05 if trend else 0.0), (0.2 if season else 0.0)
    letters = "AM"[error], "NAA"[trend], "NAM"[season]
    minus_two = judge.pegelsresid_C(
        y, M if season else 1, state, *letters, trend == 2, 0.3, beta, gamma, phi if trend else np.nan, 3
    )[-1]
    values = {"alpha": 0.3, "beta": beta, "gamma": gamma, "phi": phi, "level": 10.5, "slope": slope}
    found = log_likelihood(y, form_name(form), **values, seasonal=terms if season else None)
    n = len(y)
    assert found == pytest.approx(-0.5 * (minus_two + n * (np.log(2 * np.pi / n) + 1)), rel=1e-9)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_gradient_equals_differences(form: int, gaps: bool) -> None:
    error, trend, season = form // 9, form % 9 // 3, form % 3
    y = history() / 10
    if gaps:
        y[[5, 17, 18]] = np.nan
    n_obs = int(np.isfinite(y).sum())
    n_smooth, width = counts(form, M)
    p = [0.3] + [0.2] * (season > 0) + [0.15] * (trend > 0) + [0.9] * (trend == 2) + [0.01] * (trend > 0)
    wave = 0.2 * np.sin(2 * np.pi * np.arange(M) / M)[::-1]
    p = np.array(p + ([1.02] if season == 0 else list(wave + (season == 2))))
    assert len(p) == width

    def minus_two_log(p: FloatArray) -> float:
        smooth = list(p[:n_smooth])
        alpha = smooth.pop(0)
        gamma = (1 - alpha) * smooth.pop(0) if season else 0.0
        beta = alpha * smooth.pop(0) if trend else 0.0
        phi = smooth.pop(0) if trend == 2 else 1.0
        slope = p[n_smooth] if trend else 0.0
        state = np.r_[1.02, slope, p[-M:][::-1]] if season else np.array([p[-1], slope])
        m = M if season else 1
        n, total, logs = run(read_only(y), 0, len(y), 0, error, season, m, alpha, beta, gamma, phi, state)
        return float(n * np.log(total) + 2 * logs)

    work = workspace(len(y), M)
    found, total = evaluate(Series(y, len(y), n_obs, M), form, p, 1.02, width, work.matrices[0], work)
    gradient = -2 * n_obs * work.matrices[0][width, :width] / total
    steps = 1e-6 * np.eye(width)
    differences = np.array([(minus_two_log(p + h) - minus_two_log(p - h)) / 2e-6 for h in steps])
    assert found == pytest.approx(minus_two_log(p), rel=1e-12)
    np.testing.assert_allclose(gradient, differences, atol=1e-6 * np.abs(differences).max())


def test_missing_values_move_the_states_without_an_error() -> None:
    """A plain loop over Holt's linear trend with an additive season."""
    y = history()
    y[[3, 10, 11, 12]] = np.nan
    l, b, s = 10.0, 0.1, [0.1, 0.9, -0.2, -0.8]
    errors = []
    for t, value in enumerate(y):
        mean = l + b + s[t % M]
        e = 0.0 if np.isnan(value) else value - mean
        if not np.isnan(value):
            errors.append(e)
        l, b, s[t % M] = l + b + 0.3 * e, b + 0.05 * e, s[t % M] + 0.2 * e
    n, variance = len(errors), np.mean(np.square(errors))
    expected = -0.5 * n * (np.log(2 * np.pi * variance) + 1)
    seasonal = np.array([0.1, 0.9, -0.2, -0.8])
    found = log_likelihood(y, "AAA", alpha=0.3, beta=0.05, gamma=0.2, level=10.0, slope=0.1, seasonal=seasonal)
    assert found == pytest.approx(expected, rel=1e-12)
