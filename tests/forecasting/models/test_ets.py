"""The ETS family behind the contract: what it does with awkward series, options, updates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forecasting import SeriesBatch, fit, forecast
from forecasting.batch import FloatArray
from forecasting.models.contract import Status
from forecasting.models.ets import EtsHyperparameters, form_name
from forecasting.models.ets.options import tight_trend


def one(y: object, freq: str = "D", **options: object):
    batch = SeriesBatch.from_arrays([np.asarray(y, dtype=float)], "2020-01-01", freq)
    return forecast(batch, "ets", 14, fallback=False, **options)


def seasonal(n: int = 70, seed: int = 0, noise: float = 0.05) -> FloatArray:
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    return np.asarray((50 + 0.2 * t) * (1 + 0.3 * np.sin(2 * np.pi * t / 7)) * np.exp(rng.normal(0, noise, n)))


@pytest.mark.parametrize(
    ("y", "status", "reason"),
    [
        ([], Status.FAILED, "no_observations"),
        ([np.nan, np.nan, np.nan], Status.FAILED, "no_observations"),
        ([5.0], Status.FALLBACK, "one_observation"),
        ([np.nan, 5.0, np.nan], Status.FALLBACK, "one_observation"),
        ([5.0, 7.0], Status.FALLBACK, "short_history"),
        ([5.0, 7.0, 6.0, 8.0], Status.FALLBACK, "short_history"),
        ([5.0, 7.0, 6.0, 8.0, 9.0, 7.0], Status.OK, "less_than_two_seasons"),
        ([3.0] * 30, Status.OK, "constant"),
        ([0.0] * 30, Status.OK, "constant"),
        (seasonal(), Status.OK, ""),
        (-seasonal(), Status.OK, ""),
        (seasonal() - 50.0, Status.OK, ""),
    ],
)
def test_ladder(y: object, status: Status, reason: str) -> None:
    result = one(y)
    assert (result.status[0], result.reason[0]) == (status, reason)
    if status is Status.FAILED:
        assert np.isnan(result.mean).all()
        return
    seen = np.asarray(y, dtype=float)[np.isfinite(np.asarray(y, dtype=float))]
    reach = 5 * max(float(np.ptp(seen)), 1e-12)
    assert np.isfinite(result.quantiles).all()
    assert result.quantiles.min() >= seen.min() - reach
    assert result.quantiles.max() <= seen.max() + reach


@pytest.mark.parametrize("scale", [1e-9, 2.0**-20, 1e9])
def test_scale_carries_through(scale: float) -> None:
    y = seasonal()
    plain, scaled = one(y), one(y * scale)
    np.testing.assert_allclose(scaled.quantiles, plain.quantiles * scale, rtol=1e-4)


@pytest.mark.parametrize("model", ["ets", "ces"])
@pytest.mark.parametrize("y", [[0.0, 2.2e-311], [5e-324, 0.0, 1e-320], [0.0, 1e-308, 2e-308, 1e-308, 3e-308] * 4])
def test_numbers_below_the_normal_ones_are_numbers(model: str, y: list[float]) -> None:
    batch = SeriesBatch.from_arrays([np.array(y)], "2020-01-01", "D")
    result = forecast(batch, model, 3, fallback=False)
    assert np.isfinite(result.quantiles).all()
    assert np.abs(result.mean).max() <= max(y)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.just(np.nan), st.just(0.0), st.floats(-1e6, 1e6), st.floats(1e-6, 1e-3)), min_size=1, max_size=40
    )
)
def test_any_short_series_gives_a_finite_ordered_forecast(y: list[float]) -> None:
    result = one(y)
    if np.isnan(np.asarray(y)).all():
        assert result.status[0] == Status.FAILED
        return
    assert result.status[0] in (Status.OK, Status.FALLBACK)
    assert np.isfinite(result.quantiles).all()
    assert (np.diff(result.quantiles, axis=2) >= 0).all()


def test_nearly_zero_values_do_not_explode() -> None:
    """Positive data with values near zero invite relative errors of thousands of percent."""
    rng = np.random.default_rng(8)
    t = np.arange(24 * 40)
    y = 100 * (1 + np.sin(2 * np.pi * t / 24)) * np.exp(rng.normal(0, 0.4, len(t))) + 1e-6
    y[rng.random(len(t)) < 0.05] = 1e-6
    result = one(y, "h")
    assert result.status[0] == Status.OK
    assert result.quantiles.min() >= -y.max()
    assert result.quantiles.max() <= 3 * y.max()


def test_a_series_does_not_depend_on_its_neighbours() -> None:
    arrays = [seasonal(70 + 5 * i, i, 0.5) for i in range(5)]
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "D", keys=list("abcde"))
    together = forecast(batch, "ets", 14, seed=5, interval="simulated")
    alone = forecast(batch.take([3]), "ets", 14, seed=5, interval="simulated")
    np.testing.assert_array_equal(alone.quantiles[0], together.quantiles[3])
    other = forecast(batch.take([3]), "ets", 14, seed=6, interval="simulated")
    assert (other.quantiles != alone.quantiles).any()


def test_windows_equal_shorter_histories() -> None:
    y = seasonal()
    batch = SeriesBatch.from_arrays([y], "2020-01-01", "D")
    windows = fit(batch, "ets", ends=[[50, 63]]).predict(7)
    shorter = forecast(SeriesBatch.from_arrays([y[:50]], "2020-01-01", "D"), "ets", 7)
    np.testing.assert_array_equal(windows.quantiles[0, 0], shorter.quantiles[0])


@pytest.mark.parametrize("form", ["AAdA", "MAM", "MAdA", "MNN"])
def test_update_moves_states_like_a_pass_over_everything(form: str) -> None:
    """Updating by pieces, gaps among them, equals updating at once, and parameters stay."""
    y = seasonal(90)
    y[[60, 61, 62, 75, 88, 89]] = np.nan

    def part(n: int) -> SeriesBatch:
        return SeriesBatch.from_arrays([y[:n]], "2020-01-01", "D")

    fitted = fit(part(58), "ets", form=form)
    at_once = fitted.update(part(90))
    by_pieces = fitted.update(part(61)).update(part(62)).update(part(76)).update(part(90))
    np.testing.assert_array_equal(by_pieces.numbers.states, at_once.numbers.states)
    names = list(fitted.model.parameter_names)
    for name in ("alpha", "beta", "gamma", "phi", "sigma"):
        np.testing.assert_array_equal(
            at_once.numbers.parameters[:, names.index(name)], fitted.numbers.parameters[:, names.index(name)]
        )
    assert at_once.numbers.parameters[0, names.index("gap")] == 2
    before, after = fitted.predict(40).mean[0, 32:], at_once.predict(8).mean[0]
    assert (before != after).any()
    np.testing.assert_allclose(after, before, rtol=0.5)


def test_asking_for_what_the_data_do_not_admit() -> None:
    y = seasonal()
    y[10] = 0.0
    result = one(y, form="MAM")
    assert (result.status[0], result.reason[0]) == (Status.FALLBACK, "not_positive")
    short = one(seasonal(13), form="MAM")
    assert (short.status[0], short.reason[0]) == (Status.FALLBACK, "less_than_two_seasons")


def test_evaluation_limit_is_a_timeout_with_a_forecast() -> None:
    batch = SeriesBatch.from_arrays([seasonal()], "2020-01-01", "D")
    result = fit(batch, "ets", max_evaluations=12).predict(7, fallback=False)
    assert result.status[0] == Status.TIMEOUT
    assert result.evaluations[0] <= 12
    assert np.isfinite(result.mean).all()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 15),
        ({"restrict": False}, 18),
        ({"form": "AAN"}, 1),
        ({"form": "AAN", "damped": True}, 1),
        ({"form": "ZZN"}, 6),
        ({"damped": False}, 10),
        ({"form": "ZAZ", "damped": True}, 5),
        ({"form": "AZA"}, 3),
    ],
)
def test_forms_asked_for(options: dict[str, object], expected: int) -> None:
    assert EtsHyperparameters(**options).forms().sum() == expected


@pytest.mark.parametrize(
    "options",
    [
        {"form": "XYZ"},
        {"form": "AMN"},
        {"form": "AAM"},
        {"form": "ANN", "damped": True},
        {"phi": (0.98, 0.8)},
        {"alpha": (0.0, 1.0)},
        {"n_paths": 3},
        {"nonsense": 1},
    ],
)
def test_mistakes_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EtsHyperparameters(**options)


def test_options_do_what_they_say() -> None:
    arrays = [seasonal(70, i, 0.2) for i in range(12)]
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "D")

    def column(name: str, **options: object) -> FloatArray:
        fitted = fit(batch, "ets", **options)
        return fitted.numbers.parameters[:, fitted.model.parameter_names.index(name)]

    assert {form_name(c)[1] for c in column("form", damped=True)} <= {"N", "A"}
    assert (column("alpha", form="ANA", alpha=(0.2, 0.3)) >= 0.2).all()
    assert (column("alpha", form="ANA", alpha=(0.2, 0.3)) <= 0.3).all()
    phi = column("phi", form="AAdN", phi=(0.85, 0.9))
    assert ((phi >= 0.85) & (phi <= 0.9)).all()
    assert (column("season_length", form="ANA", season_length=5) == 5).all()
    alpha, beta, gamma = (column(name, form="AAA") for name in ("alpha", "beta", "gamma"))
    assert (beta <= tight_trend(7) * alpha * (1 + 1e-9)).all()
    assert (gamma <= 0.5 * (1 - alpha) * (1 + 1e-9)).all()
    assert (column("criterion", criterion="aic") < column("criterion", criterion="aicc")).all()
    assert (column("criterion", criterion="bic") > column("criterion", criterion="aic")).all()


def test_usual_bounds_let_a_slope_follow() -> None:
    """A twice integrated walk needs a large beta: the tight bounds cost likelihood, which is what they are for."""
    rng = np.random.default_rng(9)
    batch = SeriesBatch.from_arrays([np.cumsum(np.cumsum(rng.normal(0, 1, 100)))], "2020-01-01", "D")
    tight, usual = (
        fit(batch, "ets", form="AAN", parameter_bounds=bounds).numbers.parameters[0] for bounds in ("tight", "usual")
    )
    names = fit(batch, "ets", form="AAN").model.parameter_names
    alpha, beta, value = (names.index(name) for name in ("alpha", "beta", "criterion"))
    assert tight[beta] <= tight_trend(7) * tight[alpha] * (1 + 1e-9)
    assert usual[beta] > 0.3 * usual[alpha]
    assert usual[value] < tight[value] - 10


def test_gaps_inside_hardly_matter() -> None:
    y = seasonal(140, noise=0.02)
    holes = y.copy()
    holes[[20, 21, 50, 77, 78, 79, 101]] = np.nan
    whole, gaps = one(y), one(holes)
    assert gaps.status[0] == Status.OK
    np.testing.assert_allclose(gaps.mean, whole.mean, rtol=0.05)
