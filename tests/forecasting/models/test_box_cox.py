"""The Box-Cox transform that families share: beside scipy's, coreforecast's and numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats
from scipy.integrate import quad
from scipy.special import boxcox, inv_boxcox

from forecasting.models.arima import ArimaHyperparameters
from forecasting.models.box_cox import LARGEST, back, bent, choose_rows, guerrero, transformed, untransformed
from forecasting.models.ets import EtsHyperparameters

POWERS = (-2.0, -0.7, -1e-9, 0.0, 1e-12, 0.3, 1.0, 1.7)


@pytest.mark.parametrize("power", POWERS)
def test_the_transform_is_scipys_and_has_its_inverse(power: float) -> None:
    y = np.geomspace(1e-3, 1e3, 25)
    x = np.array([transformed(v, power) for v in y])
    np.testing.assert_allclose(x, boxcox(y, power), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(untransformed(boxcox(y, power), np.float64(power)), y, rtol=1e-9)


def test_beyond_the_range_there_is_zero_or_a_very_large_number() -> None:
    x = np.array([-1.9, -2.0, -2.1, -1e9, 2.0, 2.1, 1e9, np.nan])
    np.testing.assert_array_equal(untransformed(x[[0, 1, 2, 3, 7]], np.float64(0.5))[1:], [0.0, 0.0, 0.0, np.nan])
    np.testing.assert_array_equal(untransformed(x[4:], np.float64(-0.5)), [LARGEST, LARGEST, LARGEST, np.nan])
    assert untransformed(np.array([800.0]), np.float64(0.0))[0] == LARGEST


def positive(seed: int, power: float, n: int = 84) -> np.ndarray:
    """A monthly series whose transform is a line, a season and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    x = 1 + 0.01 * t + 0.2 * np.sin(2 * np.pi * t / 12) + rng.normal(0, 0.1, n)
    return np.asarray(inv_boxcox(np.maximum(x, -0.9 / max(power, 0.1)) if power >= 0 else np.minimum(x, 1.9), power))


@pytest.mark.judge
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_chosen_power_is_coreforecasts(power: float) -> None:
    """To half a step of the grid, from 0 to 2."""
    scalers = pytest.importorskip("coreforecast.scalers")
    for seed in range(8):
        y = positive(seed, power)
        theirs = scalers.boxcox_lambda(y, "guerrero", 12, lower=0.0, upper=2.0)
        assert guerrero(y, len(y), 12) == pytest.approx(theirs, abs=0.03)


def choice(arrays: list[np.ndarray], m: int, given: float = np.nan, settled: tuple[float, float] | None = None):
    values = np.concatenate(arrays)
    end = np.cumsum([len(y) for y in arrays])
    begin = end - [len(y) for y in arrays]
    n = len(arrays)
    unit, power, refused = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
    if settled is not None:
        unit[:], power[:] = settled
    choose_rows(values, begin, end, m, given, np.full(n, settled is not None), unit, power, refused)
    return values, begin, end, unit, power, refused


def test_rows_choose_each_for_itself_and_refuse_what_is_not_positive() -> None:
    y = positive(3, 0.0)
    holes = np.r_[np.nan, y, np.nan]
    arrays = [y, holes, 1e6 * y, np.r_[y, 0.0], -y, np.full(9, 3.0), np.array([np.nan, 2.0]), np.r_[y, 1e-300]]
    given = -1.0
    *_, unit, power, refused = choice(arrays, 12)
    assert power[0] == power[1] == guerrero(y, len(y), 12)
    assert power[2] == pytest.approx(power[0])
    np.testing.assert_allclose(unit[:3], [y.mean(), y.mean(), 1e6 * y.mean()])
    assert np.isnan(power[3:7]).all()
    np.testing.assert_array_equal(refused[:7], [False, False, False, True, True, False, False])
    *_, power, refused = choice(arrays, 12, given)
    np.testing.assert_array_equal(power[:3], given)
    assert refused[7]  # 1e300 when inverted
    *_, unit, power, refused = choice(arrays, 12, settled=(5.0, 0.25))
    assert (unit[:3] == 5.0).all()
    assert (power[:3] == 0.25).all()
    assert np.isnan(power[3:7]).all()
    np.testing.assert_array_equal(refused[3:7], [True, True, False, False])


def test_bent_rows_are_copies_with_values_out_of_range_missing() -> None:
    y = np.array([1.0, 4.0, np.nan, 0.0, -2.0, 16.0])
    values = np.r_[y, y]
    unit, power = np.array([2.0, np.nan]), np.array([0.5, np.nan])
    out, begin, end = bent(values, np.array([1, 6]), np.array([6, 12]), unit, power)
    np.testing.assert_array_equal(begin, [0, 5])
    np.testing.assert_array_equal(end, [5, 11])
    x = boxcox(np.array([2.0, 8.0]), 0.5)
    np.testing.assert_allclose(out[:5], [x[0], np.nan, np.nan, np.nan, x[1]], rtol=1e-14)
    np.testing.assert_array_equal(out[5:], y)


def law(power: float, mean: float, deviation: float, levels: np.ndarray, bias_adjust: bool = True):
    m, s = np.array([[mean]]), np.array([[deviation]])
    q = mean + deviation * stats.norm.ppf(levels)[None, None, :]
    found = back(m, s, q, np.array([3.0]), np.array([power]), bias_adjust)
    return float(found[0][0, 0]) / 3.0, found[1][0, 0] / 3.0


LEVELS = np.array([0.01, 0.1, 0.5, 0.9, 0.99])


@pytest.mark.parametrize("power", [-1.0, -0.4, 0.0, 0.5, 1.0, 1.6])
def test_quantiles_are_those_of_the_law(power: float) -> None:
    """With a power below 0 of the normal law cut at the end of the range, as scipy has it."""
    mean, deviation = 0.3, 0.5
    _, quantiles = law(power, mean, deviation, LEVELS)
    top = (-1.0 / power - mean) / deviation if power < 0 else np.inf
    x = stats.truncnorm(-np.inf, top, mean, deviation).ppf(LEVELS)
    np.testing.assert_allclose(quantiles, np.nan_to_num(inv_boxcox(x, power)), rtol=1e-9)  # NaN below the range


@pytest.mark.parametrize("power", [-0.4, 0.0, 0.5, 1.0, 1.6])
def test_the_mean_is_that_of_the_law_to_second_order(power: float) -> None:
    """Its error falls with the third power of the deviation at least."""
    mean, errors = 0.3, []
    for deviation in (0.1, 0.05):
        found, _ = law(power, mean, deviation, LEVELS)
        exact = quad(lambda z, s=deviation: inv_boxcox(mean + s * z, power) * stats.norm.pdf(z), -7, 7, epsabs=1e-13)[
            0
        ]
        errors.append(abs(found - exact))
        assert found == pytest.approx(exact, rel=5e-4)
    assert errors[1] <= errors[0] / 8 + 1e-10
    assert law(power, mean, 0.1, LEVELS, bias_adjust=False)[0] == pytest.approx(inv_boxcox(mean, power), rel=1e-9)


@pytest.mark.parametrize("bias_adjust", [True, False])
def test_any_law_gives_finite_ordered_numbers(bias_adjust: bool) -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    power = np.r_[rng.uniform(-2, 2, n - 2000), rng.choice([-1.0, 0.0, 0.5, 1.0], 2000)]
    m = rng.normal(0, 1, (n, 1)) * 10.0 ** rng.uniform(-6, 4, (n, 1))
    s = 10.0 ** rng.uniform(-9, 4, (n, 1)) * (rng.random((n, 1)) < 0.95)
    q = m[..., None] + s[..., None] * stats.norm.ppf(LEVELS)
    mean, quantiles = back(m, s, q, np.full(n, 2.0), power, bias_adjust)
    assert np.isfinite(mean).all()
    assert np.isfinite(quantiles).all()
    assert (quantiles >= 0).all()
    assert (mean >= 0).all()
    assert (np.diff(quantiles, axis=-1) >= -1e-9 * quantiles[..., 1:]).all()


def test_rows_without_a_transform_come_back_as_they_are() -> None:
    m, s, q = np.array([[1.0, -2.0]]), np.ones((1, 2)), np.array([[[0.0, 1.0], [-3.0, np.nan]]])
    mean, quantiles = back(m, s, q, np.array([np.nan]), np.array([np.nan]), True)
    np.testing.assert_array_equal(mean, m)
    np.testing.assert_array_equal(quantiles, q)


@pytest.mark.parametrize("options", [EtsHyperparameters, ArimaHyperparameters])
def test_powers_that_may_be_asked_for(options: type) -> None:
    assert options(box_cox="auto").box_cox == "auto"
    assert options(box_cox=0).box_cox == 0.0
    for wrong in (2.5, -3, "guerrero"):
        with pytest.raises(ValidationError, match="box_cox"):
            options(box_cox=wrong)
