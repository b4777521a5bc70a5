"""Log densities beside scipy's laws and beside the slope of each family's own quantile function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from forecasting.api import FittedBatch, fit
from forecasting.batch import SeriesBatch
from forecasting.log_score import log_density
from forecasting.models.contract import Status

H = 6
RNG = np.random.default_rng(11)
T = np.arange(72)
LEVEL = 40.0 + 0.2 * T + RNG.normal(0, 2, 72)
SEASON = LEVEL * (1 + 0.2 * np.sin(2 * np.pi * T / 12))
GAPS = np.where(np.isin(T, (30, 31, 70, 71)), np.nan, SEASON)


def fitted(model: str, *arrays: np.ndarray, **options: Any) -> FittedBatch:
    return fit(SeriesBatch.from_arrays(list(arrays), "2018-01-01", "MS"), model, **options)


def density_of(made: FittedBatch, actual: np.ndarray) -> np.ndarray:
    found = made.model.log_density(made.numbers, np.ascontiguousarray(actual))
    assert found is not None
    assert found.shape == actual.shape
    return found


def raw_quantiles(made: FittedBatch, levels: Any) -> np.ndarray:
    return made.model.predict(made.numbers, H, tuple(levels)).quantiles


FORMS = ("ANN", "AAN", "AAdA", "MNN", "MAM", "MNA", "MAdN")
CLOSED: list[tuple[str, dict[str, Any]]] = [
    ("naive", {}),
    ("seasonal_naive", {}),
    ("mean", {}),
    ("mean", {"window_length": 20}),
    *(("theta", {"form": form}) for form in ("STM", "OTM", "DSTM", "DOTM")),
    ("theta", {"decomposition": "additive"}),
    *(("ets", {"form": form, "interval": "exact"}) for form in FORMS),
    ("arima", {}),
    ("arima", {"order": (1, 1, 1), "seasonal_order": (0, 1, 1)}),
    *(("arima", {"order": (1, 0, 0), "box_cox": power, "bias_adjust": True}) for power in (0.0, 0.5, -0.5, 1.5)),
    *(("ets", {"form": "AZZ", "box_cox": power}) for power in (0.0, 0.5, -0.5, 1.5, "auto")),
]  # fmt: skip


@pytest.mark.parametrize(("model", "options"), CLOSED, ids=str)
def test_it_is_one_over_the_slope_of_the_familys_own_quantile_function(model: str, options: dict[str, Any]) -> None:
    made = fitted(model, SEASON, GAPS, LEVEL, **options)
    step = 1e-5
    for p in (0.05, 0.3, 0.5, 0.8, 0.99):
        below, here, above = np.moveaxis(raw_quantiles(made, (p - step, p, p + step)), 2, 0)
        # The central difference is wrong by a share of step^2 q''' / 6 q': below 1e-6 at these levels.
        assert np.allclose(density_of(made, here), np.log(2 * step) - np.log(above - below), atol=1e-4)


def test_naive_forecasts_equal_scipys_normal_law_with_moments_by_hand() -> None:
    y = np.array([3.0, 5.0, 4.0, 8.0, 7.0])
    sigma = np.sqrt(np.mean(np.diff(y) ** 2))
    actual = np.array([[7.5, 6.0, np.nan, 20.0]])
    expected = stats.norm.logpdf(actual, y[-1], sigma * np.sqrt([1, 2, 3, 4]))
    assert np.allclose(density_of(fitted("naive", y), actual), expected, rtol=1e-12, equal_nan=True)
    spread = y.std(ddof=1) * np.sqrt(1 + 1 / len(y))
    expected = stats.norm.logpdf(actual, y.mean(), spread)
    assert np.allclose(density_of(fitted("mean", y), actual), expected, rtol=1e-9, equal_nan=True)


WHITE_NOISE = {"arima": {"order": (0, 0, 0), "constant": "always"}, "ets": {"form": "ANN", "alpha": 1e-9}}


@pytest.mark.parametrize("family", WHITE_NOISE)
@pytest.mark.parametrize("power", [0.3, 0.0, -0.4, -1.0])
def test_a_transformed_law_has_the_mass_of_one(power: float, family: str) -> None:
    y = np.exp(RNG.normal(1.0, 0.8, 60))
    made = fitted(family, y, **WHITE_NOISE[family], box_cox=power)
    grid = np.geomspace(1e-40, 1e40, 400_001)
    log_at = density_of(made, grid[None, :])[0]  # white noise: every step has the same law
    inside = np.trapezoid(np.exp(log_at) * grid, np.log(grid))
    at_zero = np.exp(density_of(made, np.zeros((1, 1)))[0, 0])
    assert density_of(made, np.array([[-1.0]]))[0, 0] == -np.inf
    assert inside + at_zero == pytest.approx(1.0, abs=1e-9)
    assert (at_zero > 0.0) == (power > 0.0)
    if power > 0.0:
        below, above = raw_quantiles(made, (0.999 * at_zero, 1.001 * at_zero))[0, 0]
        assert below == 0.0 < above
    else:
        assert np.isfinite(raw_quantiles(made, (1e-9, 1.0 - 1e-9))).all()


COUNTS = RNG.negative_binomial(0.8, 0.4, 80).astype(float)


@pytest.mark.parametrize("family", ["tsb", "adida", "imapa"])
def test_counts_equal_scipys_negative_binomial_law(family: str) -> None:
    for unit in (1.0, 6.0):
        y = unit * COUNTS
        made = fitted(family, y, law="count")
        mean = made.predict(1).mean[0, 0] / unit
        dispersion = COUNTS.var(ddof=1) / COUNTS.mean()
        k = np.arange(12.0)
        expected = stats.nbinom.logpmf(k, mean / (dispersion - 1), 1 / dispersion) - np.log(unit)
        assert np.allclose(density_of(made, (unit * k)[None, :])[0], expected, rtol=1e-9)
        assert (density_of(made, np.array([[unit * 0.5, -unit]])) == -np.inf).all()


def test_counts_that_vary_little_equal_scipys_poisson_law() -> None:
    y = np.tile([0.0, 1.0, 1.0, 2.0], 20)
    made = fitted("tsb", y, law="count")
    k = np.arange(9.0)
    expected = stats.poisson.logpmf(k, made.predict(1).mean[0, 0])
    assert np.allclose(density_of(made, k[None, :])[0], expected, rtol=1e-9)
    assert np.isnan(density_of(fitted("tsb", y), k[None, :])).all()  # law auto: the history's own


@pytest.mark.parametrize("family", ["croston_sba", "tsb", "adida", "imapa"])
def test_running_sums_of_the_masses_meet_the_familys_own_quantiles(family: str) -> None:
    made = fitted(family, COUNTS, law="count")
    levels = np.linspace(0.01, 0.99, 99)
    reached = np.cumsum(np.exp(density_of(made, np.arange(60.0)[None, :])[0]))
    at = raw_quantiles(made, levels)[0, 0].astype(int)
    assert reached[-1] == pytest.approx(1.0, abs=1e-6)
    assert (reached[at] >= levels - 1e-9).all()
    assert (reached[at[at > 0] - 1] < levels[at > 0] + 1e-9).all()


@pytest.mark.parametrize(
    "options", [{"form": "AAM", "restrict": False}, {"form": "MAM", "interval": "simulated"}], ids=str
)
def test_simulated_rows_of_ets_have_none(options: dict[str, Any]) -> None:
    assert np.isnan(density_of(fitted("ets", SEASON, **options), np.full((1, H), 50.0))).all()


def test_auto_leaves_out_the_rows_that_it_simulates_and_no_others() -> None:
    wild = np.exp(RNG.normal(1.0, 0.9, 72))
    made = fitted("ets", SEASON, wild, form="MNN", interval="auto")
    normal = fitted("ets", SEASON, wild, form="MNN", interval="exact")
    same = (raw_quantiles(made, (0.1, 0.9)) == raw_quantiles(normal, (0.1, 0.9))).all(axis=(1, 2))
    assert same.tolist() == [True, False]
    assert np.isfinite(density_of(made, np.full((2, H), 45.0))).tolist() == [[True] * H, [False] * H]


@pytest.mark.parametrize("model", ["npts", "empirical", "ces"])
def test_families_without_a_density_say_none(model: str) -> None:
    made = fitted(model, SEASON)
    assert made.model.log_density(made.numbers, np.ones((1, H))) is None
    assert log_density(made.model, made.numbers, made.predict(H), np.ones((1, H))) is None


def test_points_and_missing_actuals_are_not_scored() -> None:
    made = fitted("naive", np.full(9, 4.0), np.arange(9.0))
    actual = np.array([[4.0, 5.0], [np.nan, 9.0]])
    found = log_density(made.model, made.numbers, made.predict(2), actual)
    assert found is not None
    assert np.isnan(found).tolist() == [[True, True], [True, False]]


def test_a_stand_in_is_scored_by_its_own_density() -> None:
    """Explosive: a demand that doubles every month runs away within three years."""
    y = 2.0 ** np.arange(13) * (1.0 + 0.01 * RNG.normal(size=13))
    made = fitted("arima", y, LEVEL[:13], order=(0, 1, 0), constant="always", box_cox=0.0, season_length=1)
    forecast = made.predict(40)
    assert forecast.status.tolist() == [Status.FALLBACK, Status.OK]
    stand_in = fitted("seasonal_naive", y, LEVEL[:13], season_length=1)
    actual = np.full((2, 40), 50.0)
    found = log_density(made.model, made.numbers, forecast, actual)
    assert found is not None
    assert np.array_equal(found[0], density_of(stand_in, actual)[0])
    assert np.array_equal(found[1], density_of(made, actual)[1])


def test_windows_of_a_backtest_are_rows() -> None:
    batch = SeriesBatch.from_arrays([SEASON, LEVEL], "2018-01-01", "MS")
    ends = np.array([[66, 60], [66, 60]])
    made = fit(batch, "naive", ends)
    actual = np.stack([[y[e : e + H] for e in (66, 60)] for y in (SEASON, LEVEL)])
    found = log_density(made.model, made.numbers, made.predict(H), actual)
    alone = fitted("naive", LEVEL[:60])
    assert found is not None
    assert found.shape == (4, H)
    assert np.array_equal(found[3], density_of(alone, LEVEL[None, 60:66])[0])
