"""The contract suite: what every local model family owes its callers, with the fallback switched off."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import forecasting
from forecasting import FittedBatch, Forecast, SeriesBatch, Status
from forecasting.models.contract import Model, Rows
from forecasting.models.registry import get_model, model_names

USER_MODEL = "user_models:drift"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in (*model_names(), USER_MODEL)},
    "ets admissible": ("ets", {"parameter_bounds": "admissible", "form": "ZZA"}),
    "ets growing": ("ets", {"allow_multiplicative_trend": True, "restrict": False}),
    "ets MMdN": ("ets", {"form": "MMdN"}),
    "ets MMdM": ("ets", {"form": "MMdM"}),
    "ets Box-Cox": ("ets", {"box_cox": "auto"}),
    "arima Box-Cox": ("arima", {"box_cox": "auto"}),
    "npts seasonal": ("npts", {"use_seasonal_model": True}),
    "npts gluonts": ("npts", {"distance": "gluonts"}),
    "npts plain": ("npts", {"use_seasonal_model": False, "exp_kernel_weights": 0.3, "context_length": 25}),
    "npts climatology": ("npts", {"kernel_type": "uniform", "use_default_time_features": False}),
}
"""Every family as it comes, and other variants of some: a model and its hyperparameters."""
RATES = {"ets growing", "ets MMdN", "ets MMdM"}
"""Those that carry a growth rate on, and so run away more often."""
RUNAWAY = {"ets MMdM": {"level shift"}}
"""Cases that a variant is right to call explosive: a rate without a form to choose against it."""
LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
START = "2019-03-01"
NAN = math.nan

STANDING = {"n_obs", "gap"}
"""Where a series stands, kept among the parameters: moved by `update`, unlike the estimates."""

every_model = pytest.mark.parametrize("model", MODELS)


def fit(batch: SeriesBatch, model: str, ends: Any = None, **options: Any) -> FittedBatch:
    name, variant = MODELS.get(model, (model, {}))
    return forecasting.fit(batch, name, ends, **{**variant, **options})


def forecast(batch: SeriesBatch, model: str, horizon: int, levels: Any = (0.1, 0.5, 0.9), **options: Any) -> Forecast:
    fallback = options.pop("fallback", True)
    return fit(batch, model, **options).predict(horizon, levels, fallback=fallback)


def monthly(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 50.0 + 0.3 * np.arange(n) + 10.0 * np.sin(np.arange(n) * math.pi / 6) + rng.normal(0, 2, n)


def with_gap(y: np.ndarray, begin: int, end: int) -> np.ndarray:
    out = y.copy()
    out[begin:end] = np.nan
    return out


CASES: dict[str, np.ndarray] = {
    "one point": np.array([3.0]),
    "two points": np.array([3.0, 5.0]),
    "one point after a gap": np.array([NAN, NAN, 4.0]),
    "one point before a gap": np.array([4.0, NAN, NAN]),
    "less than a season": monthly(7),
    "one season": monthly(12),
    "a season and a point": monthly(13),
    "six years": monthly(72),
    "constant": np.full(40, 7.25),
    "constant and short": np.full(3, 7.25),
    "zeros": np.zeros(40),
    "zeros, then one sale": np.r_[np.zeros(39), 1.0],
    "one sale, then zeros": np.r_[1.0, np.zeros(39)],
    "intermittent": np.where(np.arange(60) % 7 == 3, np.arange(60) % 5, 0).astype(float),
    "gap in front": with_gap(monthly(60), 0, 20),
    "gap in the middle": with_gap(monthly(60), 20, 37),
    "gap at the end": with_gap(monthly(60), 45, 60),
    "every other point": np.where(np.arange(60) % 2 == 0, monthly(60), np.nan),
    "one month never seen": np.where(np.arange(60) % 12 == 5, np.nan, monthly(60)),
    "tiny": 1e-9 * monthly(60),
    "huge": 1e9 * monthly(60),
    "huge offset": 1e9 + monthly(60),
    "negative": -monthly(60),
    "both signs": monthly(60) - 60.0,
    "level shift": np.where(np.arange(60) < 40, monthly(60), monthly(60) + 500.0),
    "outlier": np.where(np.arange(60) == 30, 1e4, monthly(60)),
    "steep": np.exp(0.1 * np.arange(60)),
    "alternating": np.where(np.arange(50) % 2 == 0, 1.0, -1.0),
    "whole numbers": np.random.default_rng(8).poisson(2.0, 60).astype(float),
}
NOTHING = {"empty": np.empty(0), "all missing": np.full(30, NAN), "one missing point": np.array([NAN])}


def batch_of(arrays: Any, **options: Any) -> SeriesBatch:
    return SeriesBatch.from_arrays(list(arrays), **{"start": START, "freq": "MS"} | options)


def assert_sound(result: Forecast, rows: Any = slice(None)) -> None:
    assert np.isfinite(result.mean[rows]).all()
    assert np.isfinite(result.quantiles[rows]).all()
    assert (np.diff(result.quantiles[rows], axis=-1) >= 0).all()


def assert_same(a: Forecast, b: Forecast) -> None:
    """Bit for bit."""
    for name in ("mean", "quantiles", "status", "reason", "n_obs", "first_step"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def random_series(count: int, seed: int) -> list[np.ndarray]:
    """Series of many kinds: lengths from 0 to 40, magnitudes from 1e-6 to 1e6, counts, gaps, constants, walks."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        n = int(rng.integers(0, 41))
        kinds = (
            lambda n: rng.normal(size=n),
            lambda n: rng.normal(size=n).cumsum(),
            lambda n: rng.poisson(0.4, n).astype(float),
            lambda n: np.full(n, rng.normal()),
            lambda n: np.exp(rng.normal(size=n).cumsum() / 2),
            lambda n: monthly(n, int(rng.integers(1000))),
        )
        y = kinds[i % len(kinds)](n) * 10.0 ** rng.integers(-6, 7)
        if i % 3 == 0:
            y[rng.random(n) < rng.random()] = np.nan
        out.append(y)
    return out


@every_model
@pytest.mark.parametrize("horizon", [1, 7, 30])
def test_every_kind_of_series_gets_a_sound_forecast(model: str, horizon: int) -> None:
    """Horizon 30 is longer than many of the histories and than the season."""
    result = forecast(batch_of(CASES.values()), model, horizon, LEVELS, fallback=False)
    failed = {name for name, status in zip(CASES, result.status, strict=True) if status == Status.FAILED}
    assert failed <= RUNAWAY.get(model, set())
    assert set(result.reason[result.status == Status.FAILED]) <= {"explosive"}
    assert result.mean.shape == (len(CASES), horizon)
    assert result.quantiles.shape == (len(CASES), horizon, len(LEVELS))
    assert_sound(result, result.status != Status.FAILED)
    assert (result.n_obs == [np.isfinite(y).sum() for y in CASES.values()]).all()


@every_model
@pytest.mark.parametrize("freq", ["YS", "W", "D", "h", "15min"])
def test_other_frequencies_and_their_seasons(model: str, freq: str) -> None:
    result = forecast(batch_of(CASES.values(), freq=freq), model, 5, LEVELS, fallback=False)
    assert (result.status != Status.FAILED).all()
    assert_sound(result)


@every_model
def test_nothing_to_go_by_is_said_and_gives_zero_only_as_a_fallback(model: str) -> None:
    batch = batch_of([*NOTHING.values(), monthly(30)])
    honest = forecast(batch, model, 4, LEVELS, fallback=False)
    assert list(honest.status[:3]) == [Status.FAILED] * 3
    assert list(honest.reason[:3]) == ["no_observations"] * 3
    assert np.isnan(honest.mean[:3]).all()
    assert np.isnan(honest.quantiles[:3]).all()
    assert_sound(honest, slice(3, 4))
    helped = forecast(batch, model, 4, LEVELS)
    assert list(helped.status[:3]) == [Status.FALLBACK] * 3
    assert not helped.mean[:3].any()
    assert not helped.quantiles[:3].any()
    np.testing.assert_array_equal(helped.mean[3], honest.mean[3])


@every_model
def test_a_batch_without_series(model: str) -> None:
    result = forecast(batch_of([]), model, 4, LEVELS)
    assert result.mean.shape == (0, 4)
    assert result.quantiles.shape == (0, 4, len(LEVELS))


@every_model
@pytest.mark.parametrize("level", [0.0, 7.25, -3.0, 1e-9, 1e9])
def test_a_constant_stays_what_it_is(model: str, level: float) -> None:
    result = forecast(batch_of([np.full(n, level) for n in (1, 2, 5, 40)]), model, 15, LEVELS, fallback=False)
    np.testing.assert_allclose(result.mean, level, rtol=1e-9, atol=0)
    np.testing.assert_allclose(result.quantiles, level, rtol=1e-6, atol=0)


@every_model
@pytest.mark.parametrize("factor", [2.0**-30, 2.0**30])
def test_forecasts_follow_the_unit(model: str, factor: float) -> None:
    """A power of two, so that the data themselves scale without rounding (about 1e-9 and 1e9)."""
    arrays = [y for name, y in CASES.items() if name not in ("tiny", "huge", "huge offset")]
    plain = forecast(batch_of(arrays), model, 8, LEVELS, fallback=False)
    scaled = forecast(batch_of([factor * y for y in arrays]), model, 8, LEVELS, fallback=False)
    np.testing.assert_allclose(scaled.mean / factor, plain.mean, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scaled.quantiles / factor, plain.quantiles, rtol=1e-6, atol=1e-9)


@every_model
def test_windows_equal_fits_of_the_truncated_series(model: str) -> None:
    arrays = [*CASES.values(), *NOTHING.values()]
    lengths = np.array([len(y) for y in arrays])
    ends = np.stack([lengths // 2, np.maximum(lengths - 3, 0), lengths], axis=1)
    windows = fit(batch_of(arrays), model, ends, seed=5).predict(6, LEVELS, fallback=False)
    assert windows.mean.shape == (len(arrays), 3, 6)
    assert windows.quantiles.shape == (len(arrays), 3, 6, len(LEVELS))
    for w in range(3):
        cut = [y[:end] for y, end in zip(arrays, ends[:, w], strict=True)]
        alone = forecast(batch_of(cut), model, 6, LEVELS, seed=5, fallback=False)
        np.testing.assert_array_equal(windows.mean[:, w], alone.mean)
        np.testing.assert_array_equal(windows.quantiles[:, w], alone.quantiles)
        np.testing.assert_array_equal(windows.status[:, w], alone.status)
        np.testing.assert_array_equal(windows.reason[:, w], alone.reason)
        np.testing.assert_array_equal(windows.first_step[:, w], alone.first_step)


@every_model
def test_a_window_does_not_see_what_comes_after_it(model: str) -> None:
    y = monthly(60)
    spoiled = np.r_[y[:40], np.full(20, 1e6)]
    a, b = (fit(batch_of([v]), model, [[40]]).predict(6, LEVELS, fallback=False) for v in (y, spoiled))
    assert_same(a, b)


@every_model
def test_neighbours_and_order_do_not_matter(model: str) -> None:
    arrays = [*random_series(60, seed=3), *CASES.values()]
    starts = np.datetime64("2015-01", "M") + np.random.default_rng(0).integers(0, 90, len(arrays))
    batch = batch_of(arrays, start=starts.astype("M8[us]"))
    whole = forecast(batch, model, 5, LEVELS, seed=1, fallback=False)
    order = np.random.default_rng(1).permutation(len(arrays))
    shuffled = forecast(batch.take(order), model, 5, LEVELS, seed=1, fallback=False)
    few = forecast(batch.take(order[:7]), model, 5, LEVELS, seed=1, fallback=False)
    for name in ("mean", "quantiles", "status", "reason", "n_obs", "first_step", "evaluations"):
        expected = getattr(whole, name)
        np.testing.assert_array_equal(getattr(shuffled, name), expected[order], err_msg=name)
        np.testing.assert_array_equal(getattr(few, name), expected[order[:7]], err_msg=name)


@every_model
def test_the_same_call_gives_the_same_bits(model: str) -> None:
    batch = batch_of(CASES.values())
    assert_same(forecast(batch, model, 5, LEVELS, seed=3), forecast(batch, model, 5, LEVELS, seed=3))


@every_model
def test_parameters_and_states_are_all_there_is(model: str) -> None:
    """Numbers that went through text and back predict the same; a model that needs no history gets none."""
    arrays = [*CASES.values(), *NOTHING.values()]
    fitted = fit(batch_of(arrays), model, seed=9)
    numbers = fitted.numbers
    assert numbers.parameters.shape == (len(arrays), len(fitted.model.parameter_names))
    assert numbers.state_offsets.shape == (len(arrays) + 1,)
    shown = batch_of(arrays if fitted.model.needs_history else [np.full(len(y), np.nan) for y in arrays])
    stored = replace(
        numbers,
        rows=Rows.of(shown, fitted.model.name, season_length=numbers.rows.season_length, seed=9),
        parameters=np.array(
            [[float(repr(float(x))) for x in row] for row in numbers.parameters], dtype=np.float64
        ).reshape(numbers.parameters.shape),
        states=np.array([float(repr(float(x))) for x in numbers.states]),
        state_offsets=np.array(numbers.state_offsets.tolist()),
    )
    family = fitted.model
    fresh = replace(numbers, status=numbers.status.copy(), reason=numbers.reason.copy())
    a, b = family.predict(fresh, 9, LEVELS), family.predict(stored, 9, LEVELS)
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.quantiles, b.quantiles)


@every_model
def test_predict_changes_nothing(model: str) -> None:
    fitted = fit(batch_of([*CASES.values(), *NOTHING.values()]), model)
    first = fitted.predict(6, LEVELS, fallback=False)
    fitted.predict(20, (0.5,))
    assert_same(first, fitted.predict(6, LEVELS, fallback=False))


@pytest.mark.parametrize("model", [m for m in MODELS if m != "npts gluonts"])  # its unit of distance is the horizon's
def test_a_longer_horizon_begins_with_the_shorter_one(model: str) -> None:
    fitted = fit(batch_of(y for name, y in CASES.items() if name not in RUNAWAY.get(model, set())), model)
    long, short = fitted.predict(25, LEVELS, fallback=False), fitted.predict(4, LEVELS, fallback=False)
    np.testing.assert_allclose(long.mean[:, :4], short.mean, rtol=1e-12)
    one = fitted.predict(4, (0.5,), fallback=False)
    np.testing.assert_allclose(one.quantiles[:, :, 0], short.quantiles[:, :, 2], rtol=1e-12)


def updated(model: str, arrays: list[np.ndarray], *lengths: int) -> FittedBatch:
    """Fitted on the first of the lengths, then updated to each of the others."""
    fitted = fit(batch_of([y[: lengths[0]] for y in arrays]), model, seed=2)
    for n in lengths[1:]:
        fitted = fitted.update(batch_of([y[:n] for y in arrays]))
    return fitted


@every_model
def test_update_by_steps_or_at_once_or_by_nothing(model: str) -> None:
    arrays = [y for y in CASES.values() if len(y) >= 40]
    base = updated(model, arrays, 30)
    assert_same(base.predict(5, LEVELS), updated(model, arrays, 30, 30).predict(5, LEVELS))
    at_once, by_steps = updated(model, arrays, 30, 39), updated(model, arrays, 30, 31, 34, 39)
    kept = [k for k, name in enumerate(base.model.parameter_names) if name not in STANDING]
    np.testing.assert_array_equal(at_once.numbers.parameters[:, kept], base.numbers.parameters[:, kept])
    assert_same(at_once.predict(5, LEVELS), by_steps.predict(5, LEVELS))
    assert (at_once.predict(5).first_step == base.predict(5).first_step + 9).all()
    moved = np.abs(at_once.predict(5).mean - base.predict(5).mean).max(axis=1)
    assert (moved > 0).mean() > 0.5


@pytest.mark.parametrize("model", [m for m in MODELS if get_model(MODELS[m][0]).needs_history])
def test_models_that_read_the_history_see_the_newer_one(model: str) -> None:
    arrays = [y for y in CASES.values() if len(y) >= 40]
    fresh = fit(batch_of([y[:39] for y in arrays]), model, seed=2)
    assert_same(updated(model, arrays, 30, 39).predict(5, LEVELS), fresh.predict(5, LEVELS))


FORM = {"form", "season_length", "transform", "growth", "p", "d", "q", "P", "D", "Q", "m", "constant", "drift"}
"""Parameters that say what kind of model a row has, in whatever family: a refit keeps them."""


@every_model
def test_refit_on_newer_data_keeps_the_form_and_is_sound(model: str) -> None:
    arrays = [*CASES.values(), *NOTHING.values()]
    older = [y if len(y) < 40 else y[:-6] for y in arrays]
    before = fit(batch_of(older), model, seed=4)
    after = before.refit(batch_of(arrays))
    result = after.predict(6, LEVELS, fallback=False)
    seen = np.array([np.isfinite(y).any() for y in arrays])
    assert (result.status[seen] != Status.FAILED).all()
    assert_sound(result, seen)
    assert (result.status[~seen] == Status.FAILED).all()
    fresh = fit(batch_of(arrays), model, seed=4).predict(6, LEVELS, fallback=False)
    np.testing.assert_array_equal(result.first_step, fresh.first_step)
    names = before.model.parameter_names
    if type(before.model).refit is Model.refit:  # nothing is kept: it is the fit of the newer data
        assert_same(result, fresh)
        return
    kept = [names.index(name) for name in FORM & set(names)]
    long_enough = [k for k, y in enumerate(older) if np.isfinite(y).sum() >= 34 and np.ptp(y[np.isfinite(y)]) > 0]
    was, now = before.numbers.parameters[long_enough], after.numbers.parameters[long_enough]
    np.testing.assert_array_equal(now[:, kept], was[:, kept])
    assert_same(result, before.refit(batch_of(arrays)).predict(6, LEVELS, fallback=False))


REFITTING = [m for m in MODELS if type(get_model(MODELS[m][0])).refit is not Model.refit]


@pytest.mark.parametrize(
    "model", [m for m in REFITTING if "log_likelihood" in get_model(MODELS[m][0]).parameter_names]
)
def test_refit_on_the_same_data_loses_no_likelihood(model: str) -> None:
    arrays = [y for y in CASES.values() if len(y) >= 40]
    before = fit(batch_of(arrays), model)
    after = before.refit(batch_of(arrays))
    at = before.model.parameter_names.index("log_likelihood")
    was, now = before.numbers.parameters[:, at], after.numbers.parameters[:, at]
    estimated = np.isfinite(was)
    assert (now[estimated] >= was[estimated] - 1e-6 * np.abs(was[estimated]) - 1e-6).all()


@pytest.mark.parametrize("model", REFITTING)
def test_a_refit_counts_and_keeps_to_the_evaluation_limit(model: str) -> None:
    arrays = [monthly(60, seed) for seed in range(6)]
    full = fit(batch_of(arrays), model)
    again = full.refit(batch_of(arrays))
    assert again.numbers.evaluations.sum() <= full.numbers.evaluations.sum()
    limited = fit(batch_of(arrays), model, max_evaluations=20).refit(batch_of(arrays))
    assert_sound(limited.predict(4, LEVELS, fallback=False))


TAKEN_APART = [m for m in MODELS if type(get_model(MODELS[m][0])).components is not Model.components]


@pytest.mark.parametrize("model", TAKEN_APART)
def test_components_add_up_to_values_and_means(model: str) -> None:
    """To 1e-9 of the row's largest value: the observed ones in the history, the mean over the horizon."""
    arrays, horizon = [*CASES.values(), *NOTHING.values()], 15
    fitted = fit(batch_of(arrays), model, seed=6)
    assert_components_add_up(fitted, arrays, horizon)
    longer = [y for y in CASES.values() if len(y) >= 40]
    moved = fit(batch_of([y[:-9] for y in longer]), model, seed=6).update(batch_of(longer))
    assert_components_add_up(moved, longer, horizon)


def assert_components_add_up(fitted: FittedBatch, arrays: list[np.ndarray], horizon: int) -> None:
    parts = fitted.components(horizon)
    assert parts is not None
    assert len(set(parts.names)) == len(parts.names) == parts.values.shape[1]
    assert "remainder" in parts.names
    np.testing.assert_array_equal(np.diff(parts.offsets), [len(y) + horizon for y in arrays])
    assert parts.offsets[-1] == len(parts.values)
    mean = fitted.model.predict(fitted.numbers, horizon, (0.5,)).mean
    status = fitted.numbers.status
    for r, y in enumerate(arrays):
        rows = parts.values[parts.offsets[r] : parts.offsets[r + 1]]
        if status[r] == Status.FAILED:
            assert np.isnan(rows).all()
            continue
        seen = np.isfinite(y)
        size = np.abs(np.r_[y[seen], mean[r]]).max()
        np.testing.assert_allclose(rows[: len(y)][seen].sum(axis=1), y[seen], rtol=1e-9, atol=1e-9 * size)
        np.testing.assert_allclose(rows[len(y) :].sum(axis=1), mean[r], rtol=1e-9, atol=1e-9 * size)
        assert not rows[len(y) :, parts.names.index("remainder")].any()
        assert np.isfinite(rows[len(y) :]).all()


@every_model
def test_ten_thousand_random_series_without_one_wrong_number(model: str) -> None:
    """With the fallback off and on."""
    arrays = random_series(10_000, seed=12)
    fitted = fit(batch_of(arrays), model)
    result = fitted.predict(6, LEVELS, fallback=False)
    seen = np.array([np.isfinite(y).any() for y in arrays])
    refused = seen & (result.status == Status.FAILED)
    assert set(result.reason[refused]) <= {"explosive", "no_observations_in_context"}
    most = 60 if model in RATES else 20
    assert (result.reason == "explosive").sum() <= most  # finite, but too wide on a few geometric random walks
    assert_sound(result, seen & ~refused)
    assert (result.status[~seen] == Status.FAILED).all()
    assert np.isnan(result.mean[~seen]).all()
    assert_sound(fitted.predict(6, LEVELS))


magnitudes = st.floats(-1e12, 1e12).map(lambda x: 0.0 if abs(x) < 1e-12 else x)


@every_model
@given(
    arrays=st.lists(st.lists(st.one_of(magnitudes, st.just(NAN)), max_size=30), min_size=1, max_size=6),
    horizon=st.integers(1, 20),
    season=st.sampled_from([None, 1, 2, 5, 12]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hypothesis_finds_no_series_that_breaks_a_model(
    model: str, arrays: list[list[float]], horizon: int, season: int | None
) -> None:
    fitted = fit(batch_of(arrays), model, **({} if season is None else {"season_length": season}))
    assert_sound(fitted.predict(horizon, LEVELS))
    honest = fitted.predict(horizon, LEVELS, fallback=False)
    seen = np.array([np.isfinite(y).any() for y in arrays])
    assert (honest.status[~seen] == Status.FAILED).all()
    assert_sound(honest, honest.status != Status.FAILED)
    allowed = {"explosive", "not_finite", "no_observations_in_context"}
    assert set(honest.reason[seen & (honest.status == Status.FAILED)]) <= allowed


def test_a_poisoned_series_among_100_is_the_only_one_hurt() -> None:
    rng = np.random.default_rng(6)
    arrays = [rng.normal(20, 3, 30) for _ in range(100)]
    clean = forecast(batch_of(arrays), "user_models:chokes_on_13", 5, LEVELS)
    assert (clean.status == Status.OK).all()
    arrays[37] = np.r_[arrays[37], 13.0]
    hurt = forecast(batch_of(arrays), "user_models:chokes_on_13", 5, LEVELS)
    others = np.arange(100) != 37
    np.testing.assert_array_equal(hurt.mean[others], clean.mean[others])
    np.testing.assert_array_equal(hurt.quantiles[others], clean.quantiles[others])
    assert (hurt.status[others] == Status.OK).all()
    assert hurt.status[37] == Status.FALLBACK
    assert hurt.reason[37] == "ArithmeticError: 13 is in the data"
    stand_in = forecast(batch_of(arrays[37:38], keys=["37"]), "seasonal_naive", 5, LEVELS)
    np.testing.assert_array_equal(hurt.quantiles[37], stand_in.quantiles[0])
    honest = forecast(batch_of(arrays), "user_models:chokes_on_13", 5, LEVELS, fallback=False)
    assert honest.status[37] == Status.FAILED
    assert np.isnan(honest.mean[37]).all()


def test_a_users_wrong_answer_is_named() -> None:
    result = forecast(batch_of([monthly(20), -monthly(20)]), "user_models:answers_wrongly", 5, LEVELS, fallback=False)
    assert "shapes (4,) and (5, 5), expected (5,) and (5, 5)" in result.reason[0]
    assert "not finite" in result.reason[1]


def test_a_users_hyperparameters_reach_the_function() -> None:
    y = np.arange(20.0)
    flat = forecast(batch_of([y]), USER_MODEL, 3, weight=0.0)
    sloped = forecast(batch_of([y]), USER_MODEL, 3)
    np.testing.assert_allclose(flat.mean[0], [19, 19, 19])
    np.testing.assert_allclose(sloped.mean[0], [20, 21, 22])
    wrong = forecast(batch_of([y]), USER_MODEL, 3, no_such_option=1)
    assert wrong.status[0] == Status.FALLBACK
    assert "no_such_option" in wrong.reason[0]


@pytest.mark.parametrize("name", ["user_models:nothing", "no_such_module:f"])
def test_a_user_model_that_cannot_be_loaded(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be loaded"):
        get_model(name)


def test_unknown_models_are_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'seasonal_naive'"):
        get_model("seasonal_naiv")
