"""ARIMA against statsmodels at the same parameters, and against statsforecast's choices (golden file)."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
from statsmodels.tsa.arima_process import ArmaProcess
from statsmodels.tsa.seasonal import STL
from statsmodels.tsa.statespace.sarimax import SARIMAX
from statsmodels.tsa.stattools import kpss as statsmodels_kpss

import forecasting
from forecasting import SeriesBatch
from forecasting.models.arima import layout
from forecasting.models.arima.differences import kpss, seasonal_strength

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "arima.csv"


def batch(y: np.ndarray, x: np.ndarray | None = None) -> SeriesBatch:
    related = {} if x is None else {"x": [x]}
    return SeriesBatch.from_arrays([y], "2010-01-01", "MS", related=related, known_in_future=list(related))


def seasonal(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    e, y = rng.normal(size=n), np.zeros(n)
    for t in range(n):
        y[t] = 0.5 * y[t - 1] + e[t] + (0.4 * e[t - 12] if t >= 12 else 0.0) if t else e[0]
    return 20.0 + y


def numbers(fitted: forecasting.FittedBatch) -> tuple[dict[str, float], np.ndarray]:
    p = fitted.numbers.parameters[0]
    return dict(zip(layout.NAMES, p, strict=True)), p[layout.COEFFICIENTS :][~np.isnan(p[layout.COEFFICIENTS :])]


@pytest.mark.parametrize("gaps", [(), (3, 17, 18, 19, 60)])
@pytest.mark.parametrize("with_x", [False, True])
@pytest.mark.parametrize(
    ("order", "seasonal_order"), [((1, 0, 1), (0, 0, 0)), ((2, 0, 0), (1, 0, 1)), ((0, 0, 2), (0, 0, 1))]
)
def test_the_likelihood_is_statsmodels(
    order: tuple[int, int, int], seasonal_order: tuple[int, int, int], with_x: bool, gaps: tuple[int, ...]
) -> None:
    y = seasonal(96, 4)
    x = np.random.default_rng(1).normal(5, 2, 96)
    y = y + 0.7 * x if with_x else y
    y[list(gaps)] = np.nan
    fitted = forecasting.fit(batch(y, x if with_x else None), "arima", order=order, seasonal_order=seasonal_order)
    p, coefficients = numbers(fitted)
    beta = [p["offset"] + p["scale"] * p["mean"]]
    columns = [np.ones(96)]
    if with_x:
        beta.append(p["scale"] * fitted.numbers.states[-1])
        columns.append(x)
    season = (*seasonal_order, 12 if any(seasonal_order) else 0)
    peer = SARIMAX(y, exog=np.stack(columns, 1), order=order, seasonal_order=season, concentrate_scale=True)
    expected = peer.loglike(np.r_[beta, coefficients])
    assert p["log_likelihood"] == pytest.approx(expected, rel=1e-6)


def test_the_likelihood_with_differences_is_that_of_the_differences() -> None:
    y = np.cumsum(seasonal(80, 2) - 19.8)
    p, coefficients = numbers(forecasting.fit(batch(y), "arima", order=(1, 1, 1), constant="never"))
    expected = SARIMAX(np.diff(y), order=(1, 0, 1), concentrate_scale=True).loglike(coefficients)
    assert p["log_likelihood"] == pytest.approx(expected, rel=1e-6)


def test_forecasts_are_statsmodels() -> None:
    """Mean and deviation, with differences, a seasonal factor and a regressor known ahead."""
    x = np.random.default_rng(1).normal(5, 2, 132)
    y = np.cumsum(seasonal(120, 7) - 20.0) + 0.7 * x[:120]
    fitted = forecasting.fit(batch(y, x), "arima", order=(1, 1, 1), seasonal_order=(0, 0, 1), constant="never")
    p, coefficients = numbers(fitted)
    ours = fitted.predict(12, (0.1, 0.5, 0.9), fallback=False)
    peer = SARIMAX(y, exog=x[:120], order=(1, 1, 1), seasonal_order=(0, 0, 1, 12))
    beta = p["scale"] * fitted.numbers.states[-1]
    theirs = peer.smooth(np.r_[beta, coefficients, (p["scale"] * p["sigma"]) ** 2]).get_forecast(12, exog=x[120:])
    np.testing.assert_allclose(ours.mean[0], theirs.predicted_mean, rtol=1e-5)
    deviation = (ours.quantiles[0, :, 2] - ours.quantiles[0, :, 1]) / 1.2815515655446004
    np.testing.assert_allclose(deviation, theirs.se_mean, rtol=1e-3)


@pytest.mark.parametrize("d", [0, 1])
@pytest.mark.parametrize(("phi", "theta"), [((0.6, 0.2), ()), ((), (0.5,)), ((0.7,), (-0.4,))])
def test_the_mean_is_as_unsure_as_kriging_says(d: int, phi: tuple[float, ...], theta: tuple[float, ...]) -> None:
    """Universal kriging: the exact variance of the best linear unbiased forecast when the mean is estimated, by dense
    covariances (Cressie 1993, "Statistics for spatial data", equation 3.4.4)."""
    n, horizon = 60, 8
    y = seasonal(n + d, 5)
    y = np.cumsum(y - 19.0) if d else y
    fitted = forecasting.fit(batch(y), "arima", order=(len(phi), d, len(theta)), constant="always")
    p, c = numbers(fitted)
    ar, ma = np.r_[1.0, -c[: len(phi)]], np.r_[1.0, c[len(phi) :]]
    gamma = ArmaProcess(ar, ma).acovf(n + horizon)
    whole = gamma[np.abs(np.subtract.outer(np.arange(n + horizon), np.arange(n + horizon)))]
    sums = np.tril(np.ones((horizon, horizon))) if d else np.eye(horizon)
    inverse = np.linalg.inv(whole[:n, :n])
    weights = whole[n:, :n] @ inverse
    known = sums @ (whole[n:, n:] - weights @ whole[:n, n:]) @ sums.T
    missed = sums @ (np.ones(horizon) - weights @ np.ones(n))
    added = missed**2 / inverse.sum()
    ours = [
        np.diff(fitted_.predict(horizon, (0.5, 0.9), fallback=False).quantiles[0], axis=1)[:, 0] / 1.2815515655446004
        for fitted_ in (
            fitted,
            forecasting.fit(
                batch(y), "arima", order=(len(phi), d, len(theta)), constant="always", mean_uncertainty=False
            ),
        )
    ]
    variance = (p["scale"] * p["sigma"]) ** 2
    np.testing.assert_allclose(ours[1] ** 2, variance * np.diag(known), rtol=1e-5)
    np.testing.assert_allclose(ours[0] ** 2, variance * (np.diag(known) + added), rtol=1e-5)


def test_components_add_up() -> None:
    x = np.random.default_rng(1).normal(5, 2, 102)
    y = seasonal(96, 3) + 0.7 * x[:96]
    fitted = forecasting.fit(batch(y, x), "arima")
    parts = fitted.components(6)
    assert parts is not None
    assert parts.names == ("level", "x", "remainder")
    total = parts.values.sum(axis=1)
    np.testing.assert_allclose(total[:96], y, rtol=1e-9)
    np.testing.assert_allclose(total[96:], fitted.predict(6).mean[0], rtol=1e-9)


def test_components_of_a_transformed_fit_are_what_each_adds() -> None:
    """Of logarithms: factors, beside the parts of a fit of the logarithms themselves."""
    x = np.random.default_rng(1).normal(0, 1, 102)
    y = np.exp(seasonal(96, 3) / 50 + 0.3 * x[:96])
    options = {"order": (1, 0, 0), "seasonality": "none"}
    bent = forecasting.fit(batch(y, x), "arima", box_cox=0.0, **options)
    logs = forecasting.fit(batch(np.log(y / y.mean()), x), "arima", **options).components(6)
    parts = bent.components(6)
    assert parts is not None
    assert logs is not None
    assert parts.names == logs.names == ("level", "x", "remainder")
    sums = y.mean() * np.exp(np.cumsum(logs.values, axis=1))
    mean = bent.predict(6, fallback=False).mean[0]
    np.testing.assert_allclose(parts.values[:, 0][:96], sums[:96, 0], rtol=1e-6)
    np.testing.assert_allclose(parts.values[:, 1], sums[:, 1] - sums[:, 0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(parts.values.sum(axis=1), np.r_[y, mean], rtol=1e-9)


def test_box_cox_keeps_forecasts_positive() -> None:
    y = np.exp(np.random.default_rng(5).normal(0, 1.0, 60))
    result = forecasting.forecast(batch(y), "arima", 6, fallback=False, box_cox=0.0)
    assert (result.quantiles > 0).all()
    assert (result.mean > result.quantiles[:, :, 1]).all()


@pytest.mark.parametrize(("n", "more_lags"), [(13, 0), (13, 1), (90, 1)])
def test_kpss_is_statsmodels(n: int, more_lags: int) -> None:
    y = np.cumsum(np.random.default_rng(n).normal(size=n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # p-values beyond its table
        expected = statsmodels_kpss(y, "c", nlags=int(3 * np.sqrt(n) / 13) + more_lags)[0]
    assert kpss(y, n, more_lags) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("n", "m", "shift"), [(48, 12, 0.0), (48, 12, -6.0), (84, 12, 0.0), (50, 4, 0.0), (200, 7, 3.0)]
)
def test_strength_of_the_season_is_that_of_statsmodels_stl(n: int, m: int, shift: float) -> None:
    y = (
        seasonal(n, 3)[:n]
        if m == 12
        else np.random.default_rng(4).normal(size=n) + np.sin(2 * np.pi * np.arange(n) / m)
    )
    y = y + shift * np.std(y) * (np.arange(n) >= n - 14)
    parts = STL(y, period=m, seasonal=11, seasonal_deg=0).fit(inner_iter=2, outer_iter=0)
    expected = max(0.0, 1 - parts.resid.var() / (parts.resid + parts.seasonal).var())
    assert seasonal_strength(y, n, m, np.zeros((3, n))) == pytest.approx(expected, abs=1e-8)


def test_a_level_shift_is_no_season() -> None:
    """A year at a new level: with a seasonal difference it would be foretold to shift again, down to about 0."""
    rng = np.random.default_rng(6)
    y = np.concatenate([rng.normal(100.0, 5.0, 36), rng.normal(50.0, 3.0, 12)])
    found = forecasting.fit(batch(y), "arima", season_length=12)
    ahead = forecasting.forecast(batch(y), "arima", 12, (0.5,), season_length=12).quantiles[0, :, 0]
    assert numbers(found)[0]["D"] == 0
    assert np.all(ahead > 25.0)


def test_roots_of_searched_models_keep_their_distance() -> None:
    """A steady season makes the seasonal MA factor pile up at the border, 1.01 to the power -12."""
    rng = np.random.default_rng(3)
    y = 50 + 10 * np.sin(2 * np.pi * np.arange(144) / 12) + rng.normal(size=144)
    p, _ = numbers(forecasting.fit(batch(y), "arima", season_length=12))
    assert (p["D"], p["Q"]) == (1, 1)
    assert -p["sma_1"] == pytest.approx(1.01**-12, rel=1e-3)


def test_a_root_at_the_border_stays_where_the_evidence_is_strong() -> None:
    """Noise about a level, differenced: an MA(1) at the border. What else there is, is worse by more than 10; in a
    short series it is not, and the border is left alone."""
    rng = np.random.default_rng(8)
    y = 50 + rng.normal(size=400)
    p, c = numbers(forecasting.fit(batch(y), "arima", season_length=1, d=1, constant="never"))
    assert (p["p"], p["q"]) == (0, 1)
    assert c[0] == pytest.approx(-1 / 1.01, rel=1e-3)
    best = min(SARIMAX(y, order=(k, 1, 0), concentrate_scale=True).fit(disp=False).aicc for k in range(1, 6))
    assert p["criterion"] < best - 10
    short, c = numbers(forecasting.fit(batch(y[:12]), "arima", season_length=1, d=1, constant="never"))
    assert not np.any(np.isclose(np.abs(c[: int(short["p"] + short["q"])]), 1 / 1.01, rtol=1e-3))


def test_optima_and_choices_beside_statsforecast() -> None:
    """Log-likelihood at its orders no worse on 95 %; AICc of our choice, at equal d and D, no worse on average."""
    worse, gained = [], []
    with GOLDEN.open() as file:
        for row in csv.DictReader(file):
            m, y = int(row["m"]), np.array([float(v) for v in row["values"].split()])
            p, d, q, sp, sd, sq = (int(row[name]) for name in ("p", "d", "q", "P", "D", "Q"))
            free = forecasting.fit(batch(y), "arima", season_length=m)
            chosen, _ = numbers(free)
            if (chosen["d"], chosen["D"]) == (d, sd):
                gained.append(chosen["criterion"] - float(row["aicc"]))
            if int(row["constant"]) or d + sd > 0:
                same = forecasting.fit(
                    batch(y),
                    "arima",
                    season_length=m,
                    order=(p, d, q),
                    seasonal_order=(sp, sd, sq),
                    constant="always" if int(row["constant"]) else "never",
                )
                worse.append(numbers(same)[0]["log_likelihood"] < float(row["log_likelihood"]) - 1e-2)
    assert len(worse) > 20
    assert np.mean(worse) <= 0.05
    assert np.mean(gained) <= 0.0


def _aicc(y: np.ndarray, exog: np.ndarray | None, d: int) -> float:
    """AICc of ARMA(1, 1) for the differences, as statsmodels fits it."""
    y, n = np.diff(y, d), len(y) - d
    exog = None if exog is None else np.diff(exog, d, axis=0)
    model = SARIMAX(y, exog, order=(1, 0, 1), trend="c" if d == 0 else "n")
    k = len(model.param_names)
    return float(-2 * model.fit(disp=False, maxiter=200).llf + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def test_terms_of_a_long_season_stay_where_the_criterion_is_lower_with_them() -> None:
    t = np.arange(125)
    turns = 2 * np.pi * np.outer(t, [1, 2, 3, 4]) / 52
    exog = np.hstack([np.sin(turns), np.cos(turns)])
    arrays, expected = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        error = rng.normal(0, 1, 125)
        y = 50 + (seed % 3) * np.sin(turns[:, 0]) + (error.cumsum() if seed % 2 else error)
        gain = _aicc(y, None, seed % 2) - _aicc(y, exog, seed % 2)
        if abs(gain) > 2:  # else the two searches may end on either side
            arrays.append(y)
            expected.append(gain > 0)
    assert 2 <= sum(expected) <= len(expected) - 2
    weeks = SeriesBatch.from_arrays(arrays, "2020-01-06", "W-MON")
    terms, always = (
        forecasting.fit(weeks, "arima", season_length=52, **options) for options in ({}, {"seasonality": "fourier"})
    )

    def used(fitted: forecasting.FittedBatch) -> list[bool]:
        ends = fitted.numbers.state_offsets[1:]
        return [bool(fitted.numbers.states[end - 8 : end].any()) for end in ends]

    assert used(terms) == expected
    assert all(used(always))
    again = terms.refit(SeriesBatch.from_arrays([np.r_[y, y[-1]] for y in arrays], "2020-01-06", "W-MON"))
    assert used(again) == expected
