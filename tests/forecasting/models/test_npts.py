"""NPTS against GluonTS' weights and samples, numpy's quantiles and plain loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gluonts.model.npts import NPTSPredictor
from gluonts.model.npts._model import NPTS
from gluonts.model.npts._predictor import KernelType
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import forecasting
from forecasting import FittedBatch, Forecast, SeriesBatch, Status
from forecasting.frequency import Frequency
from forecasting.models.npts import NO_OBSERVATIONS_IN_CONTEXT
from forecasting.models.npts_kernels import forecast_by_phase, forecast_scaled, observed
from forecasting.models.seasons import calendar, counted

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:gluonts", "ignore::UserWarning:gluonts")

START = "2021-02-04"  # a Thursday, so that it lies on the weekly grid below
PERIODS = {"MS": "M", "D": "D", "h": "h", "W-THU": "W-THU", "15min": "15min", "QS": "Q", "2h": "2h"}
LEVELS = (0.03, 0.1, 0.25, 0.5, 0.77, 0.9, 0.99)
VARIANTS = [(kernel, seasonal) for kernel in ("exponential", "uniform") for seasonal in (True, False)]
NAN = math.nan


def fit(batch: SeriesBatch, model: str, *arguments: Any, **options: Any) -> FittedBatch:
    """With the service's default, a season always."""
    return forecasting.fit(batch, model, *arguments, **{"use_seasonal_model": True, **options})


def forecast(
    batch: SeriesBatch, model: str, horizon: int, levels: Any = (0.1, 0.5, 0.9), fallback: bool = True, **options: Any
) -> Forecast:
    return fit(batch, model, **options).predict(horizon, levels, fallback=fallback)


def law_of(n: int, missing: Sequence[int], freq: str, horizon: int, **options: Any) -> np.ndarray:
    """p_h(i) [H, n] as the model has it: the mean forecast of the i-th unit vector is the probability of point i."""
    units = np.eye(n)
    units[:, list(missing)] = np.nan
    rows = [i for i in range(n) if i not in set(missing)]
    batch = SeriesBatch.from_arrays(list(units[rows]), start=START, freq=freq)
    law = np.zeros((horizon, n))
    law[:, rows] = forecast(batch, "npts", horizon, fallback=False, **options).mean.T
    return law


def law_from_weights(weights: Sequence[np.ndarray], n: int) -> np.ndarray:
    """The marginal law p_h(i) ∝ w(i, h) + Σ_{j<h} w(n + j, h) p_j(i), as a plain loop."""
    law = np.zeros((len(weights), n))
    for h, w in enumerate(weights):
        law[h] = w[:n]
        for j in range(h):
            law[h] += w[n + j] * law[j]
        law[h] /= law[h].sum()
    return law


def step_quantile(support: Sequence[tuple[float, float]], level: float) -> float:
    """The first of ascending (value, probability) pairs at which the sum of probabilities reaches the level."""
    total = 0.0
    for value, probability in support:
        total += probability
        if total >= level - 1e-12:
            return value
    return support[-1][0]


def gluonts_predictor(horizon: int, kernel: str, seasonal: bool, **options: Any) -> NPTSPredictor:
    return NPTSPredictor(
        prediction_length=horizon, kernel_type=KernelType[kernel], use_seasonal_model=seasonal, **options
    )


def gluonts_weights(predictor: NPTSPredictor, target: np.ndarray, freq: str) -> list[np.ndarray]:
    index = pd.period_range(pd.Period(START, PERIODS[freq]), periods=len(target), freq=PERIODS[freq])
    train, future = predictor._get_features(index, predictor.prediction_length)
    return list(
        NPTS.compute_weights(
            train, future, np.argwhere(np.isnan(target)), predictor.kernel, do_exp=predictor._is_exp_kernel()
        )
    )


@pytest.mark.judge
@pytest.mark.parametrize("freq", PERIODS)
@pytest.mark.parametrize(("kernel", "seasonal"), VARIANTS)
@pytest.mark.parametrize(
    "missing", [(), (3, 17, 39), tuple(range(28, 40))], ids=["whole", "holes", "no recent points"]
)
def test_gluonts_distance_has_gluonts_weights(
    freq: str, kernel: str, seasonal: bool, missing: tuple[int, ...]
) -> None:
    n, horizon = 40, 15
    target = np.ones(n)
    target[list(missing)] = np.nan
    weights = gluonts_weights(gluonts_predictor(horizon, kernel, seasonal), target, freq)
    ours = law_of(n, missing, freq, horizon, distance="gluonts", kernel_type=kernel, use_seasonal_model=seasonal)
    np.testing.assert_allclose(ours, law_from_weights(weights, n), rtol=0, atol=1e-12)


@pytest.mark.judge
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("alpha", [0.3, 1.0, 20.0])
def test_gluonts_distance_on_short_series_takes_near_or_all_phases_as_gluonts_does(n: int, alpha: float) -> None:
    """Phases without a point: their weights are tiny, or so small that all become 0 and everything counts alike."""
    horizon = 16
    for kernel in ("exponential", "uniform"):
        predictor = gluonts_predictor(horizon, kernel, True, exp_kernel_weights=alpha)
        weights = gluonts_weights(predictor, np.ones(n), "D")
        ours = law_of(n, (), "D", horizon, distance="gluonts", kernel_type=kernel, exp_kernel_weights=alpha)
        np.testing.assert_allclose(ours, law_from_weights(weights, n), rtol=0, atol=1e-12)


@pytest.mark.judge
def test_gluonts_distance_keeps_the_last_1100_points() -> None:
    n, horizon = 1105, 9
    law = law_of(n, range(0, n, 2), "D", horizon, distance="gluonts")
    target = np.where(np.arange(5, n) % 2 == 0, np.nan, 1.0)
    predictor = gluonts_predictor(horizon, "exponential", True)
    index = pd.period_range(pd.Period(START, "D") + 5, periods=1100, freq="D")
    train, future = predictor._get_features(index, horizon)
    weights = NPTS.compute_weights(train, future, np.argwhere(np.isnan(target)), predictor.kernel)
    assert not law[:, :5].any()
    np.testing.assert_allclose(law[:, 5:], law_from_weights(list(weights), 1100), rtol=0, atol=1e-12)


@pytest.mark.judge
@pytest.mark.parametrize(("freq", "season"), [("MS", 12), ("D", 7), ("D", 1), ("h", 24)])
@pytest.mark.parametrize("alpha", [None, 0.2, 3.0])
def test_distance_in_steps_is_gluonts_kernel_over_unscaled_features(
    freq: str, season: int, alpha: float | None
) -> None:
    """GluonTS' own weights when its features are the step number and, out of reach, the phase."""
    n, horizon, missing = 61, 2 * season + 3, (0, 7, 60)
    step = np.arange(n + horizon)
    features = np.vstack([step, 1e9 * (step % season)])
    kernel = NPTS.log_distance_kernel(alpha or 0.01)
    nan_positions = np.asarray(missing)[:, None]
    weights = list(NPTS.compute_weights(features[:, :n], features[:, n:], nan_positions, kernel))
    options: dict[str, Any] = {"use_seasonal_model": season > 1, "exp_kernel_weights": alpha}
    ours = law_of(n, missing, freq, horizon, **options)
    np.testing.assert_allclose(ours, law_from_weights(weights, n), rtol=0, atol=1e-12)


def test_a_phase_never_observed_takes_all_observations_alike() -> None:
    law = law_of(9, (1, 4), "MS", 14)
    observed = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1])
    np.testing.assert_allclose(law[[0, 1, 2, 4, 12]], np.tile(observed / 7, (5, 1)), atol=1e-15)
    np.testing.assert_array_equal(law[3], np.eye(9)[0])
    np.testing.assert_array_equal(law[5], np.eye(9)[2])


@pytest.mark.judge
@pytest.mark.parametrize(("kernel", "seasonal"), VARIANTS)
def test_gluonts_samples_lie_within_their_monte_carlo_bound(kernel: str, seasonal: bool) -> None:
    """Dvoretzky, Kiefer and Wolfowitz (1956), Massart (1990): P(sup |F_n - F| > e) <= 2 exp(-2 n e^2)."""
    draws, horizon, n = 20_000, 10, 28
    rng = np.random.default_rng(5)
    target = rng.integers(0, 30, n).astype(float)
    target[11] = np.nan
    np.random.seed(11)  # GluonTS draws from numpy's global state
    predictor = gluonts_predictor(horizon, kernel, seasonal)
    entry = {"start": pd.Period(START, "D"), "target": target}
    samples = next(iter(predictor.predict([entry], num_samples=draws))).samples
    batch = SeriesBatch.from_arrays([target], start=START, freq="D")
    ours = forecast(
        batch, "npts", horizon, LEVELS, distance="gluonts", kernel_type=kernel, use_seasonal_model=seasonal,
        fallback=False,
    )  # fmt: skip
    bound = math.sqrt(math.log(2e8) / (2 * draws))
    for h in range(horizon):
        assert abs(samples[:, h].mean() - ours.mean[0, h]) < 6 * samples[:, h].std() / math.sqrt(draws) + 1e-9
        for level, quantile in zip(LEVELS, ours.quantiles[0, h], strict=True):
            assert (samples[:, h] <= quantile).mean() >= level - bound
            assert (samples[:, h] < quantile).mean() <= level + bound


@given(
    values=st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(NAN)), min_size=1, max_size=40),
    distance=st.sampled_from(["steps", "gluonts"]),
    kernel=st.sampled_from(["exponential", "uniform"]),
    season=st.integers(1, 9),
    context=st.one_of(st.none(), st.integers(1, 50)),
)
@settings(max_examples=150, deadline=None)
def test_mean_and_quantiles_are_those_of_the_law(
    values: list[float], distance: str, kernel: str, season: int, context: int | None
) -> None:
    """The law comes from unit vectors; mean and step quantiles from it by a plain loop over the sorted values."""
    y, horizon = np.array(values), 11
    seen = y[-context:] if context else y
    options: dict[str, Any] = {
        "distance": distance, "kernel_type": kernel, "season_length": season, "context_length": context,
    }  # fmt: skip
    batch = SeriesBatch.from_arrays([y], start=START, freq="D")
    ours = forecast(batch, "npts", horizon, LEVELS, fallback=False, **options)
    if np.isnan(seen).all():
        assert ours.status[0] == Status.FAILED
        assert np.isnan(ours.mean).all()
        return
    law = law_of(len(y), np.flatnonzero(np.isnan(y)).tolist(), "D", horizon, **options)
    for h in range(horizon):
        support = sorted((v, p) for v, p in zip(y, law[h], strict=True) if not math.isnan(v))
        assert ours.mean[0, h] == pytest.approx(sum(v * p for v, p in support), abs=1e-12)
        for k, level in enumerate(LEVELS):
            assert ours.quantiles[0, h, k] == step_quantile(support, level)


def test_climatology_is_numpys_inverted_distribution_function() -> None:
    rng = np.random.default_rng(2)
    y = np.round(rng.gamma(2.0, 10.0, 211), 1)
    batch = SeriesBatch.from_arrays([y], start=START, freq="D")
    flat = forecast(batch, "npts", 9, LEVELS, kernel_type="uniform", use_seasonal_model=False)
    expected = np.quantile(y, LEVELS, method="inverted_cdf")
    np.testing.assert_array_equal(flat.quantiles[0], np.tile(expected, (9, 1)))
    assert flat.mean[0] == pytest.approx(np.full(9, y.mean()), rel=1e-14)
    seasonal = forecast(batch, "npts", 9, LEVELS, kernel_type="uniform")
    for h in range(9):
        same = y[(np.arange(211) - 211 - h) % 7 == 0]
        np.testing.assert_array_equal(seasonal.quantiles[0, h], np.quantile(same, LEVELS, method="inverted_cdf"))


def test_ten_equal_weights_reach_each_tenth_exactly() -> None:
    batch = SeriesBatch.from_arrays([np.arange(10.0)], start=START, freq="D")
    levels = [k / 10 for k in range(1, 10)]
    for distance in ("steps", "gluonts"):
        made = forecast(batch, "npts", 3, levels, kernel_type="uniform", use_seasonal_model=False, distance=distance)
        np.testing.assert_array_equal(made.quantiles[0], np.tile(np.arange(9.0), (3, 1)))


def test_recent_points_count_twice_as_much_as_those_69_steps_older() -> None:
    law = law_of(200, (), "D", 2, use_seasonal_model=False)
    assert law[0, 199] / law[0, 130] == pytest.approx(2.0, rel=0.005)
    faster = law_of(200, (), "D", 2, use_seasonal_model=False, exp_kernel_weights=math.log(2.0))
    assert faster[1, 150] / faster[1, 149] == pytest.approx(2.0)


def test_a_steep_kernel_does_not_underflow_across_a_long_gap() -> None:
    y = np.full(3000, np.nan)
    y[:14] = np.arange(14.0)
    batch = SeriesBatch.from_arrays([y], start=START, freq="D")
    made = forecast(batch, "npts", 7, (0.1, 0.9), exp_kernel_weights=50.0, fallback=False)
    np.testing.assert_array_equal(np.sort(made.mean[0]), np.arange(7.0, 14.0))


def test_context_length_hides_what_is_older() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=60)
    long = SeriesBatch.from_arrays([y], start="2024-01-01", freq="D")
    short = SeriesBatch.from_arrays([y[-21:]], start="2024-02-09", freq="D")
    a = forecast(long, "npts", 9, context_length=21)
    b = forecast(short, "npts", 9)
    np.testing.assert_array_equal(a.quantiles, b.quantiles)
    np.testing.assert_array_equal(a.mean, b.mean)


def test_status_says_what_was_missing() -> None:
    whole = np.arange(24.0)
    empty_context = whole.copy()
    empty_context[-6:] = np.nan
    arrays = [whole, whole[:5], whole[:1], np.full(30, np.nan), np.empty(0), empty_context]
    batch = SeriesBatch.from_arrays(arrays, start=START, freq="MS")
    result = fit(batch, "npts").predict(3, fallback=False)
    assert list(result.status) == [0, Status.FALLBACK, Status.FALLBACK, Status.FAILED, Status.FAILED, 0]
    expected = ["", "less_than_one_season", "one_observation", "no_observations", "no_observations", ""]
    assert list(result.reason) == expected
    near = fit(batch, "npts", context_length=6).predict(3, fallback=False)
    assert near.reason[5] == NO_OBSERVATIONS_IN_CONTEXT
    assert near.status[5] == Status.FAILED
    assert near.reason[0] == "less_than_one_season"


def test_season_of_weeks_is_the_day_of_the_month_unless_counted() -> None:
    n = 300
    days = pd.date_range("2015-01-01", periods=n + 5, freq="7D").day
    batch = SeriesBatch.from_arrays([np.arange(float(n))], start="2015-01-01", freq="W-THU")
    by_day = forecast(batch, "npts", 5, (0.0001, 0.9999), kernel_type="uniform")
    counts = forecast(batch, "npts", 5, (0.0001, 0.9999), kernel_type="uniform", use_default_time_features=False)
    given_length = forecast(batch, "npts", 5, (0.0001, 0.9999), kernel_type="uniform", season_length=52)
    for h in range(5):
        same_day = np.flatnonzero(days[:n] == days[n + h])
        assert by_day.mean[0, h] == pytest.approx(same_day.mean())
        assert list(by_day.quantiles[0, h]) == [same_day.min(), same_day.max()]
        assert counts.mean[0, h] == pytest.approx(np.arange((n + h) % 52, n, 52).mean())
    np.testing.assert_array_equal(given_length.quantiles, counts.quantiles)


@pytest.mark.judge
@pytest.mark.parametrize(
    ("freq", "part"),
    [("min", "minute"), ("7min", "minute"), ("15min", "minute"), ("90min", "minute"), ("h", "hour"), ("5h", "hour"),
     ("D", "dayofweek"), ("3D", "dayofweek"), ("W-SUN", "day"), ("2W", "day"), ("MS", "month"), ("ME", "month"),
     ("2MS", "month"), ("QS-FEB", "month")],
)  # fmt: skip
def test_calendar_phases_are_pandas_date_parts(freq: str, part: str) -> None:
    grid = Frequency.parse(freq).aligned_to(int(np.datetime64("2022-05-08", "us").astype(np.int64)))
    first = int(grid.ordinals(np.datetime64("2022-05-08", "us").astype(np.int64)))
    ordinals = np.arange(first, first + 500)
    phases = calendar(grid, first, first + 499)
    ours = phases.table[(ordinals - phases.origin) % len(phases.table)]
    theirs = np.asarray(getattr(pd.DatetimeIndex(grid.labels(ordinals).astype("M8[us]")), part))
    lowest, highest = {"minute": (0, 59), "hour": (0, 23), "dayofweek": (0, 6), "day": (1, 31), "month": (1, 12)}[part]
    np.testing.assert_allclose(phases.feature[ours], (theirs - lowest) / (highest - lowest) - 0.5, atol=1e-15)
    assert len(np.unique(ours)) == len(np.unique(theirs))


def test_years_have_no_season_and_counted_phases_are_scaled() -> None:
    assert calendar(Frequency.parse("YS"), 0, 10).count == 1
    np.testing.assert_array_equal(counted(3).feature, [-0.5, 0.0, 0.5])


@pytest.mark.parametrize(
    "wrong",
    [{"context_length": 0}, {"kernel_type": "gaussian"}, {"exp_kernel_weights": 0.0}, {"exp_kernel_weights": math.inf},
     {"distance": "days"}, {"season_length": 0}, {"feature_scale": 10.0}],
)  # fmt: skip
def test_wrong_hyperparameters_name_the_field(wrong: dict[str, Any]) -> None:
    batch = SeriesBatch.from_arrays([np.arange(5.0)], start=START, freq="D")
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        fit(batch, "npts", **wrong)


def test_update_sees_the_newer_points() -> None:
    y = np.random.default_rng(4).normal(size=90)
    older = SeriesBatch.from_arrays([y[:70], y[:3]], start=START, freq="D")
    newer = SeriesBatch.from_arrays([y, y], start=START, freq="D")
    updated = fit(older, "npts").update(newer).predict(10)
    fresh = fit(newer, "npts").predict(10)
    np.testing.assert_array_equal(updated.quantiles, fresh.quantiles)
    np.testing.assert_array_equal(updated.status, fresh.status)


def test_each_kernel_has_compiled_once_whatever_the_batch_came_from() -> None:
    y = np.arange(30.0)
    whole = SeriesBatch.from_arrays([y, y], start=START, freq="D")
    foreign = SeriesBatch(np.r_[y, y], np.array([0, 30, 60]), np.zeros(2), whole.frequency, ["a", "b"])
    for distance in ("steps", "gluonts"):
        for batch in (whole, whole.take([1, 0]), foreign):
            for ends in (None, [[20, 30], [25, 30]]):
                fit(batch, "npts", ends, distance=distance).predict(3)
        fit(whole, "npts", distance=distance).update(with_one_more_point(whole)).predict(3)
    for kernel in (observed, forecast_by_phase, forecast_scaled):
        assert len(kernel.signatures) == 1


def with_one_more_point(batch: SeriesBatch) -> SeriesBatch:
    arrays = [np.r_[batch.series(i), 1.0] for i in range(len(batch))]
    return SeriesBatch.from_arrays(arrays, start=START, freq="D")
