"""Our Prophet against the `prophet` package: matrices, golden parameters and law; the conditions of an optimum."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm

from forecasting import SeriesBatch, Status, fit, forecast
from forecasting.batch import Holidays
from forecasting.models.prophet import Prophet
from forecasting.models.prophet.design import Design, design
from forecasting.models.prophet.options import ProphetHyperparameters
from forecasting.models.prophet.uncertainty import MOST_NODES, characteristic, spread_quantile

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = Prophet.parameter_names


@cache
def golden() -> dict[str, dict[str, Any]]:
    return json.loads((GOLDEN / "prophet.json").read_text(encoding="utf-8"))


@cache
def cases() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("prophet_golden", GOLDEN / "prophet_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prophet_golden"] = module
    spec.loader.exec_module(module)
    return {case.name: case for case in module.cases()}


def batch_of(case: Any) -> SeriesBatch:
    """A case as our models take it; the holiday's columns in the order of the package."""
    batch = SeriesBatch.from_arrays(
        [case.y],
        case.start,
        case.freq,
        related={name: [values] for name, values in case.regressors.items()},
        known_in_future=list(case.regressors),
    )
    if not case.holidays:
        return batch
    days = np.array(case.holidays, dtype="M8[D]")
    names = ("feast", "feast_+1", "feast_-1")
    ordinals = np.arange(batch.start[0], batch.start[0] + len(case.frame))
    dates = batch.frequency.labels(ordinals).astype("M8[us]").astype("M8[D]")
    values = np.stack([np.isin(dates, days + offset) for offset in (0, 1, -1)], axis=1).astype(float)
    calendar = Holidays(names, ("feast",) * 3, int(batch.start[0]), values[None], np.zeros(1, dtype=np.int64))
    return replace(batch, holidays=calendar)


def ours(case: Any, **more: Any) -> Any:
    options = dict(case.options) | ({} if case.cap is None else {"cap": case.cap}) | more
    return fit(batch_of(case), "prophet", **options)


def in_use(case: Any, theirs: Any, parts: Design) -> np.ndarray:
    """Our columns that the package has too: ours leave room for seasons that a row does without."""
    names = {*theirs.seasonalities, *case.regressors, *(["feast"] if case.holidays else [])}
    return np.array([parts.components[c] in names for c in parts.columns.component])


class Posterior:
    """The log posterior of prophet.stan in plain numpy, on the package's own matrices."""

    def __init__(self, case: Any) -> None:
        model = self.model = case.prophet()
        self.data = model.preprocess(case.frame.iloc[: len(case.y)])
        self.case, self.t, self.y = case, np.asarray(self.data.t), np.asarray(self.data.y)
        self.x, self.scales = self.data.X.to_numpy(float), np.asarray(self.data.sigmas)
        self.additive, self.multiplicative = np.asarray(self.data.s_a), np.asarray(self.data.s_m)
        self.bends = np.asarray(self.data.t_change)
        self.ramps = np.maximum(self.t[:, None] - self.bends, 0.0)

    def __call__(self, k: float, m: float, delta: np.ndarray, beta: np.ndarray, sigma: float) -> float:
        kind = self.data.trend_indicator
        if kind == 1:
            trend = np.asarray(self.data.cap) / (1 + np.exp(-(k * (self.t - m) + self.ramps @ delta)))
        else:
            trend = m + (k * self.t + self.ramps @ delta if kind == 0 else 0.0)
        fitted = trend * (1 + self.x @ (self.multiplicative * beta)) + self.x @ (self.additive * beta)
        return float(
            norm.logpdf(self.y, fitted, sigma).sum()
            + 0.5 * len(self.y) * np.log(2 * np.pi)
            - (k**2 + m**2) / 50
            - np.abs(delta).sum() / self.data.tau
            - 2 * sigma**2
            - ((beta / self.scales) ** 2).sum() / 2
        )

    def of_golden(self) -> float:
        numbers = golden()[self.case.name]
        delta, beta = np.array(numbers["delta"]), np.array(numbers["beta"])
        return self(numbers["k"][0], numbers["m"][0], delta, beta, numbers["sigma_obs"][0])

    def of(self, fitted: Any) -> float:
        return self(*self.numbers(fitted))

    def numbers(self, fitted: Any) -> tuple[float, float, np.ndarray, np.ndarray, float]:
        """k, m, delta, beta and sigma of our fit, in the order of the package's columns."""
        p, numbers = dict(zip(NAMES, fitted.numbers.parameters[0], strict=True)), fitted.numbers.states
        most = 0 if self.case.options.get("growth") == "flat" else self.case.options.get("n_changepoints", 25)
        count = int(p["n_changepoints"])
        delta = np.zeros(len(self.bends))
        delta[:count] = numbers[most : most + count]
        parts = design(fitted.numbers.rows.batch, fitted.numbers.hyperparameters)
        beta = numbers[2 * most : 2 * most + len(parts.columns.component)][in_use(self.case, self.model, parts)]
        return p["rate"], p["offset"], delta, beta, p["sigma"]


def test_no_worse_than_the_package_and_the_same_forecast_at_the_optimum() -> None:
    """Its optimisers stop early: where they come within 0.005 of the optimum, forecasts agree to 1 % of the scale."""
    gains, apart = [], []
    for name, case in cases().items():
        fitted, posterior = ours(case), Posterior(case)
        gains.append(posterior.of(fitted) - posterior.of_golden())
        np.testing.assert_allclose(
            posterior.of(fitted), fitted.numbers.parameters[0, NAMES.index("log_posterior")], rtol=1e-7, atol=1e-6
        )
        if abs(gains[-1]) < 0.005:
            mean = fitted.predict(14).mean[0]
            apart.append(np.abs(mean - golden()[name]["yhat"]).max() / np.nanstd(case.y))
    assert len(gains) >= 100
    assert (np.array(gains) > -1e-4).mean() >= 0.95
    assert len(apart) >= 10
    assert max(apart) < 0.01


@pytest.mark.parametrize(
    "name",
    ["monthly 0", "daily 3", "daily with gaps 1", "hourly 0", "regressors 0", "holidays 0", "multiplicative 0",
     "logistic 0", "flat 0", "flights UA EWR"],
)  # fmt: skip
def test_the_optimum_meets_its_conditions(name: str) -> None:
    """Of the smooth part, by central differences: no slope in any free direction, and in a change of slope that is
    zero no more than the Laplace prior holds (Karush, Kuhn and Tucker)."""
    case = cases()[name]
    posterior, fitted = Posterior(case), ours(case)
    k, m, delta, beta, sigma = posterior.numbers(fitted)
    at = np.r_[k, m, delta, beta, sigma]
    s, rate = len(delta), 1 / posterior.data.tau

    def smooth(z: np.ndarray) -> float:
        bends = z[2 : 2 + s]
        return posterior(z[0], z[1], bends, z[2 + s : -1], z[-1]) + rate * np.abs(bends).sum()

    steps = np.diag(np.full(len(at), 1e-6))
    slopes = np.array([(smooth(at + step) - smooth(at - step)) / 2e-6 for step in steps])
    free = np.r_[slopes[:2], slopes[2 + s :]]
    if posterior.data.trend_indicator == 2:
        free = free[1:]
    np.testing.assert_allclose(free, 0, atol=0.05 * rate)
    if posterior.data.trend_indicator != 2:
        of_bends = slopes[2 : 2 + s]
        np.testing.assert_allclose(of_bends[delta != 0], rate * np.sign(delta[delta != 0]), atol=0.05 * rate)
        assert (np.abs(of_bends[delta == 0]) <= 1.05 * rate).all()


@pytest.mark.parametrize("name", ["monthly 0", "daily 3", "hourly 1", "regressors 2", "holidays 1", "flights UA EWR"])
def test_features_equal_the_package(name: str) -> None:
    case = cases()[name]
    theirs = case.prophet()
    data = theirs.preprocess(case.frame.iloc[: len(case.y)])
    fitted = ours(case)
    parts = design(batch_of(case), fitted.numbers.hyperparameters, 14)
    everything = np.c_[parts.grid.fourier, parts.grid.own]
    moments = fitted.numbers.states[2 * 25 + everything.shape[1] :].reshape(-1, 2)
    n = parts.columns.n_fourier
    everything[:, n:] = (everything[:, n:] - moments[:, 0]) / moments[:, 1]
    chosen = in_use(case, theirs, parts)
    future = theirs.setup_dataframe(case.frame.iloc[len(case.y) :].drop(columns="y"))
    ahead = theirs.make_all_seasonality_features(future)[0].to_numpy(float)
    seen = np.isfinite(case.y)
    np.testing.assert_allclose(everything[: len(case.y)][seen][:, chosen], data.X.to_numpy(float), atol=1e-9)
    np.testing.assert_allclose(everything[len(case.y) :][:, chosen], ahead, atol=1e-9)
    precision = parts.columns.precision[chosen]
    np.testing.assert_allclose(precision, 1 / np.square(data.sigmas))
    count = int(fitted.numbers.parameters[0, NAMES.index("n_changepoints")])
    np.testing.assert_allclose(fitted.numbers.states[:count], data.t_change, atol=1e-12)


@pytest.mark.parametrize(("span", "step", "expected"), [
    (729, "D", {"weekly"}), (731, "D", {"yearly", "weekly"}), (13, "D", set()), (15, "D", {"weekly"}),
    (26, "MS", {"yearly"}), (24, "MS", set()), (100, "h", {"daily"}), (400, "h", {"daily", "weekly"}),
])  # fmt: skip
def test_automatic_seasons_follow_the_packages_rules(span: int, step: str, expected: set[str]) -> None:
    import pandas as pd
    from prophet import Prophet as Package

    y = np.random.default_rng(0).normal(size=span)
    package = Package()
    package.preprocess(pd.DataFrame({"ds": pd.date_range("2015-01-01", periods=span, freq=step), "y": y}))
    batch = SeriesBatch.from_arrays([y], "2015-01-01", step)
    fitted = fit(batch, "prophet")
    parts = fitted.components(0)
    moving = {name for name in ("yearly", "weekly", "daily") if name in parts.names
              and np.abs(parts.values[:, parts.names.index(name)]).max() > 0}  # fmt: skip
    assert moving == expected == set(package.seasonalities)


@pytest.mark.parametrize(
    ("rate", "scale", "ahead", "sigma"), [(25, 0.05, 0.08, 0.03), (25, 0.3, 0.5, 0.02), (3, 1.0, 0.2, 0.1)]
)
def test_quantiles_by_inversion_equal_simulated_ones(rate: float, scale: float, ahead: float, sigma: float) -> None:
    rng = np.random.default_rng(5)
    n = 400_000
    counts = rng.poisson(rate * ahead, n)
    jumps = rng.laplace(0, scale, counts.sum()) * rng.uniform(0, ahead, counts.sum())
    total = np.bincount(np.repeat(np.arange(n), counts), weights=jumps, minlength=n) + rng.normal(0, sigma, n)
    phi = np.zeros(MOST_NODES)
    nodes, du = characteristic(rate, scale, ahead, sigma, phi)
    for level in (0.025, 0.1, 0.3, 0.5, 0.9, 0.99):
        x = spread_quantile(level, norm.ppf(level), rate, scale, ahead, sigma, nodes, du, phi)
        assert (total <= x).mean() == pytest.approx(level, abs=0.003)


def test_exact_and_simulated_intervals_agree() -> None:
    case = cases()["daily 2"]
    levels = (0.1, 0.5, 0.9)
    exact = ours(case).predict(14, levels)
    drawn = ours(case, interval="simulated", uncertainty_samples=40_000).predict(14, levels)
    np.testing.assert_array_equal(exact.mean, drawn.mean)
    width = (exact.quantiles[..., 2] - exact.quantiles[..., 0]).mean()
    np.testing.assert_allclose(drawn.quantiles, exact.quantiles, atol=0.03 * width)


def test_intervals_without_parameter_uncertainty_are_the_packages() -> None:
    """On a history that its optimiser does fit; 1,000 paths of its own."""
    from prophet import Prophet as Package

    case = cases()["flat 0"]
    model = Package(growth="flat", interval_width=0.8)
    frame = case.frame
    model.fit(frame.iloc[:300])
    np.random.seed(3)
    theirs = model.predict(frame.iloc[300:].drop(columns="y"))
    mine = ours(case, parameter_uncertainty=False).predict(14, (0.1, 0.9)).quantiles[0]
    width = (mine[:, 1] - mine[:, 0]).mean()
    np.testing.assert_allclose(mine, theirs[["yhat_lower", "yhat_upper"]], atol=0.12 * width)


def test_logistic_growth_stays_below_its_cap_and_takes_it_from_a_column() -> None:
    t = np.arange(200)
    y = 50 / (1 + np.exp(-(t - 80) / 20)) + np.random.default_rng(0).normal(0, 0.5, 200)
    number = SeriesBatch.from_arrays([y], "2020-01-01", "D")
    column = SeriesBatch.from_arrays(
        [y], "2020-01-01", "D", related={"most": [np.full(260, 50.0)]}, known_in_future=["most"]
    )
    options: dict[str, Any] = {"growth": "logistic", "weekly_seasonality": False}
    a = forecast(number, "prophet", 60, fallback=False, cap=50.0, **options)
    b = forecast(column, "prophet", 60, fallback=False, cap="most", **options)
    np.testing.assert_array_equal(a.quantiles, b.quantiles)
    np.testing.assert_allclose(a.mean[0], 50, atol=1.0)
    low = forecast(number, "prophet", 5, fallback=False, cap=10.0, floor=10.0 - 1e-9, **options)
    assert low.status[0] != Status.FAILED or low.reason[0]


def test_regressors_that_multiply_and_given_changepoints() -> None:
    rng = np.random.default_rng(2)
    t, offer = np.arange(330), (rng.random(330) < 0.15).astype(float)
    trend = 100 + np.where(t > 150, 0.8 * (t - 150), 0.0)
    y = (trend * (1 + 0.3 * offer))[:300] + rng.normal(0, 1, 300)
    batch = SeriesBatch.from_arrays([y], "2020-01-01", "D", related={"offer": [offer]}, known_in_future=["offer"])
    bend = (np.datetime64("2020-01-01") + 150).astype(object)
    result = fit(
        batch, "prophet", changepoints=(bend,), changepoint_prior_scale=5.0, weekly_seasonality=False,
        regressor_options={"offer": {"mode": "multiplicative"}},
    )  # fmt: skip
    expected = (trend * (1 + 0.3 * offer))[300:]
    np.testing.assert_allclose(result.predict(30).mean[0], expected, rtol=0.02)
    parts = result.components(30)
    assert parts.names == ("trend", "yearly", "offer", "remainder")
    np.testing.assert_allclose(parts.values[300:, :3].sum(axis=1), result.predict(30).mean[0], rtol=1e-12)


def test_a_season_of_ones_own_is_found() -> None:
    t = np.arange(120)
    y = 10 + 3 * np.sin(2 * np.pi * t / 9) + np.random.default_rng(1).normal(0, 0.2, 120)
    batch = SeriesBatch.from_arrays([y], "2020-01-01", "D")
    own = [{"name": "shift", "period": 9.0, "fourier_order": 2}]
    future = 10 + 3 * np.sin(2 * np.pi * np.arange(120, 138) / 9)
    for options in ({"seasonalities": own}, {"season_length": 9}):
        result = forecast(batch, "prophet", 18, fallback=False, weekly_seasonality=False, **options)
        np.testing.assert_allclose(result.mean[0], future, atol=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"growth": "logistic"}, "needs cap"),
        ({"cap": 3.0}, "take none"),
        ({"floor": 1.0}, "only logistic growth has a floor"),
        ({"growth": "logistic", "cap": 1.0, "floor": 2.0}, "greater than floor"),
        ({"seasonalities": [{"name": "a", "period": 3, "fourier_order": 1}] * 2}, "name of its own"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ProphetHyperparameters.model_validate(options)


def test_problems_are_known_before_the_run() -> None:
    options = ProphetHyperparameters(growth="logistic", cap="most", regressor_options={"prise": {}})
    found = Prophet().problems(options, {"most": False, "price": True}, 7)
    assert any("'most' is not known in the future" in line for line in found)
    assert any("regressor_options.prise" in line for line in found)
