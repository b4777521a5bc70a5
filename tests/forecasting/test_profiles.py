"""Profiles against statsmodels' STL and lowess, scipy's periodogram and plain loops."""

from __future__ import annotations

import math
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import periodogram
from statsmodels.nonparametric.smoothers_lowess import lowess
from statsmodels.tsa.seasonal import STL

from forecasting import SeriesBatch
from forecasting.models.mstl import stl as kernels
from forecasting.profile_kernels import MIN_OBSERVATIONS, loess_window
from forecasting.profiles import Profiles, profile

NAN = np.nan
NAMES = [field.name for field in fields(Profiles)]
MEASURES = [
    "trend_strength",
    "seasonal_strength",
    "spectral_entropy",
    "dominating_periods",
]


def describe(arrays: list, season_length: int | None = None, freq: str = "D") -> Profiles:
    return profile(SeriesBatch.from_arrays(arrays, "2020-01-01", freq), season_length)


def wave(n: int, *periods: float, noise: float = 0.5, slope: float = 0.02, seed: int = 0) -> np.ndarray:
    t, rng = np.arange(n), np.random.default_rng(seed)
    return (
        20
        + slope * t
        + sum(3 / (k + 1) * np.sin(2 * np.pi * t / p) for k, p in enumerate(periods))
        + noise * (rng.normal(size=n))
    )


def with_gaps(y: np.ndarray, *missing: int) -> np.ndarray:
    out = y.copy()
    out[list(missing)] = NAN
    return out


def assert_same(first: Profiles, second: Profiles, rtol: float = 0.0, atol: float = 0.0) -> None:
    for name in NAMES:
        one, other = getattr(first, name), getattr(second, name)
        if one.dtype == object or rtol == 0.0:
            np.testing.assert_array_equal(one, other, err_msg=name)
        else:
            np.testing.assert_allclose(one, other, rtol=rtol, atol=atol, err_msg=name)


# Counts and demand


def plain_demand(values: list[float]) -> tuple[float, float, str]:
    """ADI, CV2 and class by their definitions, in exact arithmetic."""
    seen = [Fraction(v) for v in values if not math.isnan(v)]
    sizes = [v for v in seen if v != 0]
    if not sizes:
        return NAN, NAN, "none" if len(seen) >= MIN_OBSERVATIONS else "unknown"
    adi, mean = Fraction(len(seen), len(sizes)), sum(sizes) / len(sizes)
    if mean == 0:
        return float(adi), NAN, "unknown"
    cv2 = sum((v - mean) ** 2 for v in sizes) / len(sizes) / mean**2
    if len(seen) < MIN_OBSERVATIONS:
        label = "unknown"
    elif adi <= Fraction("1.32"):
        label = "smooth" if cv2 <= Fraction("0.49") else "erratic"
    else:
        label = "intermittent" if cv2 <= Fraction("0.49") else "lumpy"
    return float(adi), float(cv2), label


demands = st.lists(st.one_of(st.integers(-20, 60).map(float), st.just(0.0), st.just(NAN)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.lists(demands, min_size=1, max_size=4))
def test_demand_equals_a_plain_loop(arrays: list[list[float]]) -> None:
    found = describe(arrays)
    for i, values in enumerate(arrays):
        missing, zero = sum(map(math.isnan, values)), values.count(0.0)
        seen = len(values) - missing
        assert (found.n_obs[i], found.n_missing[i], found.n_zero[i]) == (seen, missing, zero)
        np.testing.assert_equal(found.missing_share[i], missing / len(values) if values else NAN)
        np.testing.assert_equal(found.zero_share[i], zero / seen if seen else NAN)
        adi, cv2, label = plain_demand(values)
        np.testing.assert_allclose([found.adi[i], found.cv2[i]], [adi, cv2], rtol=1e-9, atol=1e-12)
        assert found.demand_class[i] == label


@pytest.mark.parametrize("scale", [1.0, 0.1, 1 / 3, 1e-9, 7e8])
def test_a_value_on_a_cut_belongs_below_it(scale: float) -> None:
    on_cv2, on_adi = [3.0, 17.0] * 6, [1.0] * 25 + [0.0] * 8
    above_cv2, above_adi = [2.9, 17.1] * 6, [1.0] * 25 + [0.0] * 9
    both = [2.9, 17.1, 0.0] * 6
    found = describe([scale * np.array(y) for y in (on_cv2, on_adi, above_cv2, above_adi, both)])
    assert list(found.demand_class) == ["smooth", "smooth", "erratic", "intermittent", "lumpy"]


def test_too_few_observations_have_no_class() -> None:
    few, enough = [2.0, NAN] * (MIN_OBSERVATIONS - 1), [2.0, NAN] * MIN_OBSERVATIONS
    found = describe([few, enough, [0.0] * (MIN_OBSERVATIONS - 1), [0.0] * MIN_OBSERVATIONS])
    assert list(found.demand_class) == ["unknown", "smooth", "unknown", "none"]


# Strengths


def strength(part: np.ndarray, remainder: np.ndarray, seen: np.ndarray) -> float:
    return max(0.0, 1 - np.var(remainder[seen]) / np.var((part + remainder)[seen]))


@pytest.mark.parametrize(("n", "m"), [(14, 7), (8, 4), (50, 12), (100, 7), (365, 7), (300, 24), (41, 2)])
@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_strengths_equal_those_of_statsmodels_stl(n: int, m: int, noise: float) -> None:
    y = wave(n, m if m > 2 else 4, noise=noise)
    fit = STL(y, period=m, seasonal=11, seasonal_deg=0).fit(inner_iter=2, outer_iter=0)
    found, everything = describe([y], m), np.ones(n, dtype=bool)
    expected = [strength(part, fit.resid, everything) for part in (fit.trend, fit.seasonal)]
    np.testing.assert_allclose([found.trend_strength[0], found.seasonal_strength[0]], expected, rtol=1e-8)


def test_strengths_with_gaps_are_over_what_is_seen() -> None:
    whole = wave(120, 12)
    y = with_gaps(whole, 0, 1, 20, 21, 22, 70, 119)
    inside = y[2:119]
    seen = np.isfinite(inside)
    t = np.arange(len(inside))
    filled = np.interp(t, t[seen], inside[seen])
    trend, seasonal = np.zeros(len(t)), np.zeros(len(t))
    plan = kernels.Plan(0, 1, False, 2, 0)
    kernels.stl(filled - filled.mean(), len(t), 12, 11, plan, seen.astype(float), False, trend, seasonal)
    remainder = filled - filled.mean() - trend - seasonal
    found = describe([y, whole], 12)
    expected = [strength(part, remainder, seen) for part in (trend, seasonal)]
    np.testing.assert_allclose([found.trend_strength[0], found.seasonal_strength[0]], expected, rtol=1e-8)
    assert abs(found.trend_strength[0] - found.trend_strength[1]) < 0.03
    assert abs(found.seasonal_strength[0] - found.seasonal_strength[1]) < 0.03


@pytest.mark.parametrize("n", [8, 9, 25, 100, 700])
def test_trend_without_season_equals_lowess(n: int) -> None:
    y, window = wave(n, 1.7 * n), loess_window(n)
    trend = lowess(y, np.arange(n), frac=window / n, it=0, delta=0.0, return_sorted=False)
    found = describe([y], 1)
    np.testing.assert_allclose(found.trend_strength[0], strength(trend, y - trend, np.ones(n, dtype=bool)), rtol=1e-8)
    assert np.isnan(found.seasonal_strength[0])
    assert window % 2 == 1
    assert window >= min(2 * n / 3, 201)


def test_trend_without_season_leaves_gaps_out() -> None:
    y = with_gaps(wave(60, 80), 5, 6, 7, 30, 44)
    t, half = np.arange(60), loess_window(60) // 2
    seen, trend = np.isfinite(y), np.zeros(60)
    for i in t:
        window = t[np.clip(i - half, 0, 60 - 2 * half - 1) :][: 2 * half + 1]
        far = np.abs(window - i).max()
        weights = np.clip(1 - (np.abs(window - i) / far) ** 3, 0, None) ** 3
        used = seen[window] & (weights > 0)
        trend[i] = np.polyval(np.polyfit(window[used] - i, y[window[used]], 1, w=np.sqrt(weights[used])), 0)
    np.testing.assert_allclose(describe([y], 1).trend_strength[0], strength(trend, y - trend, seen), rtol=1e-6)


def test_a_season_needs_two_cycles_and_enough_observations() -> None:
    sparse = np.full(30, NAN)
    sparse[np.linspace(0, 29, 13).astype(int)] = wave(13, 5)
    found = describe([wave(23, 12), wave(24, 12), sparse], 12)
    np.testing.assert_array_equal(np.isnan(found.seasonal_strength), [True, False, True])
    assert np.isfinite(found.trend_strength).all()


def test_clear_trends_and_seasons_are_strong() -> None:
    t = np.arange(120)
    line, season = 3.0 + 0.1 * t, np.tile(np.arange(12.0), 10)
    noise = np.random.default_rng(1).normal(size=1200)
    found = describe([line, season, line + season, noise], 12)
    np.testing.assert_allclose(found.trend_strength[[0, 2]], 1, atol=0.02)
    np.testing.assert_allclose(found.seasonal_strength[[1, 2]], 1, atol=1e-4)
    assert found.seasonal_strength[0] == 0
    assert found.trend_strength[1] == 0
    assert found.trend_strength[3] < 0.2
    assert found.seasonal_strength[3] < 0.35


@pytest.mark.parametrize(("freq", "m"), [("D", 7), ("MS", 12), ("h", 24), ("W", 52), ("QS", 4)])
def test_the_season_is_the_frequency_s(freq: str, m: int) -> None:
    y = [wave(130, m)]
    assert_same(describe(y, None, freq), describe(y, m, freq))
    assert describe(y, None, freq).seasonal_strength[0] != describe(y, m + 1, freq).seasonal_strength[0]
    assert np.isnan(describe(y, None, "YS").seasonal_strength[0])


def test_a_season_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="season_length is 0"):
        describe([[1.0]], 0)


# Spectrum


def inner_span(y: np.ndarray) -> np.ndarray:
    seen = np.flatnonzero(np.isfinite(y))
    return np.interp(np.arange(seen[0], seen[-1] + 1), seen, y[seen])


def plain_periods(y: np.ndarray) -> list[float]:
    """Largest peaks of scipy's periodogram, by Fisher's full series instead of its first term."""
    frequency, power = periodogram(y, detrend="linear")
    left = dict(enumerate(power[1:], 1))
    found: list[float] = []
    while len(found) < 3:
        peaks = [j for j in left if power[j] >= max([power[i] for i in (j - 1, j + 1) if 0 < i < len(power)])]
        if not peaks:
            break
        best = max(peaks, key=lambda j: power[j])
        g, q = power[best] / sum(left.values()), len(left)
        p = sum((-1) ** (j - 1) * math.comb(q, j) * (1 - j * g) ** (q - 1) for j in range(1, min(q, int(1 / g)) + 1))
        if p >= 0.01 or power[best] < 0.01 * power[1:].sum():
            break
        if best > 1:
            found.append(1 / frequency[best])
        for j in (best - 1, best, best + 1):
            left.pop(j, None)
    return found + [NAN] * (3 - len(found))


SPECTRA = [
    *(wave(n, *periods, noise=noise, seed=n) for n in (8, 9, 60, 97, 128, 365) for periods in ((7,), (12, 4, 2.5))
      for noise in (0.2, 1.5, 5.0)),
    np.cumsum(np.random.default_rng(2).normal(size=150)),
    np.tile([1.0, -1.0], 20) + wave(40, 9),
    with_gaps(wave(100, 7), 0, 1, 2, 40, 41, 60, 99),
]  # fmt: skip


@pytest.mark.parametrize("y", SPECTRA)
def test_entropy_and_periods_equal_those_of_scipy(y: np.ndarray) -> None:
    found, inside = describe([y]), inner_span(y)
    power = periodogram(inside, detrend="constant")[1][1:]
    shares = power / power.sum()
    expected = -(shares * np.log(shares)).sum() / np.log(len(shares))
    np.testing.assert_allclose(found.spectral_entropy[0], expected, rtol=1e-8)
    np.testing.assert_allclose(found.dominating_periods[0], plain_periods(inside), rtol=1e-12)


def test_the_cases_name_no_period_and_up_to_three() -> None:
    counts = {int(np.isfinite(describe([y]).dominating_periods).sum()) for y in SPECTRA}
    assert counts == {0, 1, 2, 3}


def test_known_periods_are_found_in_order() -> None:
    t = np.arange(240)
    y = np.sin(2 * np.pi * t / 12) + 2 * np.sin(2 * np.pi * t / 30) + 0.5 * np.cos(np.pi * t) + 0.3 * t
    np.testing.assert_allclose(describe([y]).dominating_periods[0], [30, 12, 2])
    one = describe([np.sin(2 * np.pi * t / 12), np.sin(2 * np.pi * t / 240)])
    np.testing.assert_array_equal(one.dominating_periods, [[12, NAN, NAN], [NAN, NAN, NAN]])
    np.testing.assert_allclose(one.spectral_entropy, 0, atol=1e-9)


def test_a_single_peak_of_demand_has_a_flat_spectrum_and_no_period() -> None:
    found = describe([np.where(np.arange(50) == 20, 4.0, 0.0)])
    np.testing.assert_allclose(found.spectral_entropy[0], 1, atol=0.01)
    assert np.isnan(found.dominating_periods).all()


def test_noise_seldom_has_a_period() -> None:
    noise = np.random.default_rng(3).normal(size=(3000, 61))
    found = describe(list(noise))
    assert 0.002 < np.isfinite(found.dominating_periods[:, 0]).mean() < 0.018
    np.testing.assert_allclose(found.spectral_entropy.mean(), 1 - (1 - np.euler_gamma) / np.log(30), atol=0.01)


def test_a_wave_of_less_than_a_hundredth_of_the_variance_is_not_named() -> None:
    t, noise = np.arange(6000), np.random.default_rng(4).normal(size=6000)
    shares = np.array([0.006, 0.02])  # both far beyond what noise does in so many points
    found = describe([noise + np.sqrt(2 * share / (1 - share)) * np.sin(2 * np.pi * t / 8) for share in shares])
    np.testing.assert_array_equal(found.dominating_periods[:, 0], [NAN, 8])


# What holds for every series

ODD_SERIES = [
    [],
    [NAN],
    [5.0],
    [NAN] * 30,
    [0.0] * 30,
    [-0.0] * 30,
    [0.1] * 30,
    [0.1, NAN] * 30,
    [0.0] * 29 + [1.0],
    [1.0, -1.0] * 15,
    [NAN] * 20 + [1.0, 2.0] + [NAN] * 20,
    list(np.arange(30) * 0.1),
    list(np.arange(9) * 0.1 + 7),
    [1e9 + 1e-6 * (i % 7) for i in range(40)],
    [5.0] * 39 + [5.0 + 1e-15],
    [math.inf if i == 3 else float(i % 5) for i in range(40)],
]


def odd_batch(scale: float) -> SeriesBatch:
    arrays = [np.array(y, dtype=np.float64) for y in ODD_SERIES]
    offsets = np.concatenate(([0], np.cumsum([len(y) for y in arrays])))
    batch = SeriesBatch.from_arrays([[0.0]], "2020-01-01", "D")
    return SeriesBatch(
        np.concatenate(arrays) * scale,
        offsets,
        np.zeros(len(arrays), dtype=np.int64),
        batch.frequency,
        [str(i) for i in range(len(arrays))],
    )


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e9, 1e298])
@pytest.mark.parametrize("m", [None, 1, 2, 4, 500])
def test_every_number_is_finite_or_missing(scale: float, m: int | None) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = profile(odd_batch(scale), m)
    for name in NAMES:
        values = getattr(found, name)
        assert len(values) == len(found) == len(ODD_SERIES)
        if name != "demand_class":
            assert not np.isinf(values).any(), name
    for name in ("trend_strength", "seasonal_strength", "spectral_entropy"):
        values = getattr(found, name)
        assert (np.isnan(values) | ((values >= 0) & (values <= 1))).all()
    constant = [4, 5, 6, 7, 14]
    for name in MEASURES:
        assert np.isnan(getattr(found, name)[constant]).all(), name
    assert (found.cv2[[6, 7]] == 0).all()
    assert np.isnan(found.dominating_periods[[11, 12]]).all()  # a line has no wave
    assert found.n_missing[15] == 1


def test_an_empty_batch_has_an_empty_profile() -> None:
    found = describe([])
    assert len(found) == 0
    assert found.dominating_periods.shape == (0, 3)
    assert found.demand_class.shape == (0,)


def test_types_are_as_said() -> None:
    found = describe([wave(30, 7), []])
    for name in NAMES:
        expected = np.int64 if name.startswith("n_") else object if name == "demand_class" else np.float64
        assert getattr(found, name).dtype == expected, name
    assert {type(label) for label in found.demand_class} == {str}


quarters = st.integers(-400, 4000).map(lambda v: v / 4)
points = st.one_of(quarters, quarters, quarters, st.just(0.0), st.just(NAN))


@settings(max_examples=200, deadline=None)
@given(st.lists(points, max_size=60), st.floats(1e-9, 1e9), st.sampled_from([1, 4, 7]))
def test_a_positive_factor_changes_nothing(values: list[float], factor: float, m: int) -> None:
    y = np.array(values, dtype=np.float64)
    plain = describe([y], m)
    assert_same(plain, describe([y * factor], m), rtol=1e-6, atol=1e-7)
    assert_same(plain, describe([y * 2.0**-30], m))


def test_a_series_does_not_know_its_neighbours() -> None:
    arrays = [*SPECTRA, np.array([]), np.full(20, NAN), np.zeros(50), wave(500, 7), with_gaps(wave(80, 7), 3, 4)]
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "D")
    together = profile(batch)
    assert_same(together, profile(batch))
    for i in range(len(batch)):
        alone = profile(batch.take([i]))
        for name in NAMES:
            np.testing.assert_array_equal(getattr(together, name)[i], getattr(alone, name)[0], err_msg=f"{name} {i}")
    part = SeriesBatch(batch.values, batch.offsets[5:], batch.start[5:], batch.frequency, batch.keys[5:])
    for name in NAMES:
        np.testing.assert_array_equal(getattr(profile(part), name), getattr(together, name)[5:], err_msg=name)


def test_values_are_taken_as_they_stand() -> None:
    y = wave(40, 7)
    batch = SeriesBatch.from_arrays([y], "2020-01-01", "D")
    marked = SeriesBatch(
        batch.values, batch.offsets, batch.start, batch.frequency, batch.keys, filled=np.ones(40, dtype=np.uint8)
    )
    assert_same(profile(batch), profile(marked))
