"""Bounded, fixed and admissible smoothing parameters, refits and components of ETS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forecasting import FittedBatch, SeriesBatch, Status, fit
from forecasting.batch import FloatArray
from forecasting.models.ets import EtsHyperparameters, form_name, log_likelihood
from forecasting.models.ets.region import admissible

M = 4


def quarterly(seed: int, n: int = 60) -> FloatArray:
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    walk = np.cumsum(rng.normal(0.3, 1.0, n))
    return np.asarray(60 + walk + (4 + 0.05 * walk) * np.cos(2 * np.pi * t / M) + rng.normal(0, 1.0, n))


def batch(arrays: list[FloatArray]) -> SeriesBatch:
    return SeriesBatch.from_arrays(arrays, "2000-01-01", "QS")


def numbers(fitted: FittedBatch) -> dict[str, FloatArray]:
    return dict(zip(fitted.model.parameter_names, fitted.numbers.parameters.T, strict=True))


def forecasts_forget(alpha: float, beta: float, gamma: float, phi: float, m: int, trend: bool) -> bool:
    """Whether errors in the initial states die out of the one-step forecasts of the state space form itself.

    D = F - g w' of the additive model (Hyndman et al. 2008, section 10.1). Its unit eigenvalues that no forecast sees
    (an unnormalised season) do no harm, so the weights w' D^j g themselves are looked at.
    """
    size = 1 + trend + m * (m > 1)
    f, w, g = np.zeros((size, size)), np.zeros(size), np.zeros(size)
    f[0, 0], w[0], g[0] = 1.0, 1.0, alpha
    if trend:
        f[0, 1], f[1, 1], w[1], g[1] = phi, phi, phi, beta
    if m > 1:
        k = 1 + trend
        f[k, -1], w[-1], g[k] = 1.0, 1.0, gamma
        for i in range(1, m):
            f[k + i, k + i - 1] = 1.0
    d = f - np.outer(g, w)
    with np.errstate(all="ignore"):
        weights = [float(w @ np.linalg.matrix_power(d, j) @ g) for j in range(2_000_000, 2_000_004)]
    return bool(np.abs(weights).max() < 1e-6)


@settings(max_examples=150, deadline=None)
@given(
    st.floats(0.01, 2.2), st.floats(0.01, 2.0), st.floats(0.01, 1.5), st.floats(0.8, 1.0), st.sampled_from([1, 2, 4]),
    st.booleans(),
)  # fmt: skip
def test_admissible_parameters_forget_old_observations(
    alpha: float, beta: float, gamma: float, phi: float, m: int, trend: bool
) -> None:
    beta, phi = (beta, phi) if trend else (0.0, 1.0)
    gamma = gamma if m > 1 else 0.0
    scratch = np.zeros(2 * m + 12)
    near = {admissible(alpha + da, beta, gamma, phi, m, scratch) for da in (-5e-3, 0.0, 5e-3)}
    assume(len(near) == 1)  # next to the edge the weights fall too slowly to tell
    assert admissible(alpha, beta, gamma, phi, m, scratch) == forecasts_forget(alpha, beta, gamma, phi, m, trend)


@pytest.mark.parametrize("form", ["AAN", "AAdA", "MAM", "ANA"])
def test_wider_regions_fit_no_worse(form: str) -> None:
    data = batch([quarterly(i) for i in range(6)])
    likelihood = {
        bounds: numbers(fit(data, "ets", form=form, parameter_bounds=bounds))["log_likelihood"]
        for bounds in ("tight", "usual", "admissible", "both")
    }
    assert (likelihood["usual"] >= likelihood["tight"] - 0.2).all()
    assert (likelihood["admissible"] >= likelihood["usual"] - 0.2).all()
    assert (likelihood["admissible"] >= likelihood["both"] - 0.2).all()


@pytest.mark.parametrize("form", ["AAN", "AAdA", "MAM", "ANA"])
@pytest.mark.parametrize("bounds", ["admissible", "both"])
def test_fits_lie_in_the_region_asked_for(form: str, bounds: str) -> None:
    rng = np.random.default_rng(3)
    over = [100 + np.cumsum(rng.normal(0, 1, 80) + 0.9 * np.r_[0, rng.normal(0, 1, 79)]) for _ in range(4)]
    found = numbers(fit(batch([*over, *(quarterly(i) for i in range(4))]), "ets", form=form, parameter_bounds=bounds))
    scratch = np.zeros(2 * M + 12)
    for alpha, beta, gamma, phi in zip(*(found[x] for x in ("alpha", "beta", "gamma", "phi")), strict=True):
        b, g, p = np.nan_to_num(beta), np.nan_to_num(gamma), 1.0 if np.isnan(phi) else phi
        assert admissible(alpha, b, g, p, M if form[-1] != "N" else 1, scratch)
        if bounds == "both":
            assert b <= alpha * (1 + 1e-9)
            assert g <= (1 - alpha) * (1 + 1e-9)


def test_alpha_above_one_is_found_where_the_data_have_it() -> None:
    rng = np.random.default_rng(1)
    e = rng.normal(0, 1, 400)
    y = 50 + np.r_[0, np.cumsum(1.4 * e[:-1])] + e
    usual, wide = (numbers(fit(batch([y]), "ets", form="ANN", parameter_bounds=b)) for b in ("usual", "admissible"))
    assert wide["alpha"][0] == pytest.approx(1.4, abs=0.15)
    assert wide["log_likelihood"][0] > usual["log_likelihood"][0] + 5


def test_fixed_and_bounded_parameters_are_kept_and_not_counted() -> None:
    data = batch([quarterly(i) for i in range(5)])
    free = numbers(fit(data, "ets", form="AAdA", parameter_bounds="usual", criterion="aic"))
    fixed = numbers(
        fit(
            data,
            "ets",
            form="AAdA",
            parameter_bounds="usual",
            criterion="aic",
            alpha=0.3,
            beta=0.05,
            gamma=0.2,
            phi=0.9,
        )
    )
    for name, value in (("alpha", 0.3), ("beta", 0.05), ("gamma", 0.2), ("phi", 0.9)):
        np.testing.assert_allclose(fixed[name], value, rtol=1e-12)
    assert (fixed["log_likelihood"] <= free["log_likelihood"] + 1e-2).all()
    lost = 2 * (free["log_likelihood"] - fixed["log_likelihood"])
    np.testing.assert_allclose(fixed["criterion"] - free["criterion"], lost - 2 * 4, atol=1e-8)
    ranged = numbers(fit(data, "ets", form="AAA", beta=(0.2, 0.25), gamma=(0.1, 0.15)))
    assert ((ranged["beta"] >= 0.2 - 1e-12) & (ranged["beta"] <= 0.25 + 1e-12)).all()
    assert ((ranged["gamma"] >= 0.1 - 1e-12) & (ranged["gamma"] <= 0.15 + 1e-12)).all()
    still = numbers(fit(data, "ets", form="AAA", beta=0.0, gamma=0.0, parameter_bounds="both"))
    assert not still["beta"].any()
    assert not still["gamma"].any()


def test_the_same_box_in_both_coordinates_has_the_same_optimum() -> None:
    """usual as ratios, and as natural parameters with limits that do not bind."""
    data = batch([quarterly(i) for i in range(6)])
    for form in ("AAA", "MAdM", "AAdN"):
        ratios = numbers(fit(data, "ets", form=form, parameter_bounds="usual"))["log_likelihood"]
        natural = numbers(fit(data, "ets", form=form, parameter_bounds="usual", beta=(1e-6, 1), gamma=(1e-6, 1)))
        np.testing.assert_allclose(natural["log_likelihood"], ratios, atol=0.2)


def test_parameters_outside_the_region_are_said() -> None:
    fitted = fit(batch([quarterly(0)]), "ets", form="ANA", parameter_bounds="admissible", alpha=1.9, gamma=0.5)
    result = fitted.predict(4, fallback=False)
    assert (result.status[0], result.reason[0]) == (Status.FALLBACK, "outside_bounds")
    assert np.isfinite(result.quantiles).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 1.2},
        {"alpha": 0.0},
        {"beta": 0.6, "alpha": 0.5},
        {"gamma": 0.6, "alpha": 0.5},
        {"beta": 0.6, "gamma": 0.6},
        {"beta": (0.3, 0.2)},
        {"beta": -0.1},
        {"phi": 1.0},
        {"additive_only": True, "form": "MZZ"},
    ],
)
def test_limits_that_leave_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EtsHyperparameters(**wrong)


def test_additive_only_leaves_six_forms() -> None:
    assert EtsHyperparameters(additive_only=True).forms().sum() == 6


@pytest.mark.parametrize("form", ["ANN", "MAN", "AAdA", "MAM", "ZZZ"])
def test_refit_keeps_the_form_and_is_as_good_as_a_fit_of_that_form(form: str) -> None:
    arrays = [quarterly(i, 84) for i in range(8)]
    older, newer = batch([y[:70] for y in arrays]), batch(arrays)
    before = fit(older, "ets", form=form)
    after = before.refit(newer)
    old, new = numbers(before), numbers(after)
    np.testing.assert_array_equal(new["form"], old["form"])
    for r, y in enumerate(arrays):
        name = form_name(old["form"][r])
        p = {k: v[r] for k, v in old.items()}
        begin = before.numbers.state_offsets[r] + 2 + M
        stored = log_likelihood(
            y,
            name,
            alpha=p["alpha"],
            beta=np.nan_to_num(p["beta"]),
            gamma=np.nan_to_num(p["gamma"]),
            phi=1.0 if np.isnan(p["phi"]) else p["phi"],
            level=p["initial_level"],
            slope=np.nan_to_num(p["initial_slope"]),
            seasonal=before.numbers.states[begin : begin + M] if name[-1] != "N" else None,
        )
        assert new["log_likelihood"][r] >= stored - 1e-6
        full = fit(batch([y]), "ets", form=name, restrict=False)
        assert new["log_likelihood"][r] >= numbers(full)["log_likelihood"][0] - 0.1
    assert after.numbers.evaluations.sum() < fit(newer, "ets").numbers.evaluations.sum()


def test_refit_of_what_had_no_estimate_is_a_fit() -> None:
    y = quarterly(3)
    after = fit(batch([y[:1], y[:3], np.full(4, 5.0), np.full(4, np.nan)]), "ets").refit(batch([y] * 4))
    fresh = fit(batch([y] * 4), "ets")
    np.testing.assert_array_equal(after.numbers.parameters, fresh.numbers.parameters)


def test_refit_gives_way_where_the_form_no_longer_fits_the_data() -> None:
    y = quarterly(2)
    fitted = fit(batch([y]), "ets", form="MAM").refit(batch([np.r_[y, 0.0]]))
    result = fitted.predict(3, fallback=False)
    assert (result.status[0], result.reason[0]) == (Status.FALLBACK, "not_positive")
    assert form_name(numbers(fitted)["form"][0]) == "AAA"


@pytest.mark.parametrize("form", ["ANN", "AAdN", "AAA", "MAdM", "MNM"])
def test_components_are_the_states_before_each_period(form: str) -> None:
    """By a plain loop over the book's equations."""
    y = quarterly(5)
    y[[20, 21]] = np.nan
    fitted = fit(batch([y[:50]]), "ets", form=form).update(batch([y]))
    p = {k: v[0] for k, v in numbers(fitted).items()}
    parts = fitted.components(5)
    assert parts is not None
    assert parts.names == ("level", "trend", "season_4", "remainder")
    l, b = p["initial_level"], np.nan_to_num(p["initial_slope"])
    phi, beta, gamma = 1.0 if np.isnan(p["phi"]) else p["phi"], np.nan_to_num(p["beta"]), np.nan_to_num(p["gamma"])
    season = list(fitted.numbers.states[2 + M :]) if form[-1] != "N" else [0.0] * M
    for t in range(len(y)):
        q, s = l + phi * b, season[t % M]
        mean = q * s if form[-1] == "M" else q + s
        np.testing.assert_allclose(parts.values[t, :3], [l, phi * b, mean - q], rtol=1e-9, atol=1e-9)
        if np.isnan(y[t]):
            assert np.isnan(parts.values[t, 3])
            l, b = q, phi * b
        elif form[-1] == "M":
            l, b = q + p["alpha"] * (y[t] / s - q), phi * b + beta * (y[t] / s - q)
            season[t % M] = s + gamma * (y[t] / q - s)
        else:
            e = y[t] - mean
            l, b, season[t % M] = q + p["alpha"] * e, phi * b + beta * e, s + gamma * e


def test_components_of_a_history_that_begins_later_are_missing() -> None:
    y = quarterly(6)
    fitted = fit(batch([y[:50]]), "ets", form="AAA")
    trimmed = SeriesBatch.from_arrays([y[9:]], "2002-04-01", "QS")
    parts = fitted.update(trimmed).components(3)
    assert parts is not None
    assert np.isnan(parts.values).all()
