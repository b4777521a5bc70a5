"""Metrics against other people's definitions of them: GluonTS, the guides of M4 and M5, the newsvendor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forecasting import SeriesBatch
from forecasting.evaluation.layout import Layout
from forecasting.evaluation.metrics import mase_scale, owa, ratios, rmsse_scale, row_statistics
from forecasting.evaluation.selection import selection_loss
from forecasting.evaluation.step_sums import StepSums

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NAN = np.nan


def made(seed, n=12, horizon=8, levels=LEVELS):
    """Forecasts of n series, their actuals and histories of 40 periods."""
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.gamma(3, 10, (n, horizon, len(levels))), axis=2)
    return quantiles, rng.gamma(3, 10, (n, horizon)), rng.gamma(3, 10, (n, 40))


def scales(history, m):
    batch = SeriesBatch.from_arrays(list(history), start="2020-01-01", freq="D")
    place = (batch.values, batch.offsets[:-1], batch.offsets[1:])
    return mase_scale(*place, m), rmsse_scale(*place)


def test_definitions_are_those_of_gluonts():
    theirs = pytest.importorskip("gluonts.evaluation.metrics")
    quantiles, actual, history = made(1)
    season, _ = scales(history, 7)
    sums = row_statistics(quantiles.mean(axis=2), quantiles, actual, season, LEVELS)
    total = ratios(sums.sum(axis=0), LEVELS)
    per_series = [theirs.calculate_seasonal_error(past, seasonality=7) for past in history]
    median, low, high = (quantiles[..., LEVELS.index(q)] for q in (0.5, 0.1, 0.9))
    n = range(len(actual))
    mean = {
        "MASE": np.mean([theirs.mase(actual[i], median[i], per_series[i]) for i in n]),
        "sMAPE": 100 * np.mean([theirs.smape(actual[i], median[i]) for i in n]),
        "MAPE": np.mean([theirs.mape(actual[i], median[i]) for i in n]),
        "RMSE": np.sqrt(theirs.mse(actual, quantiles.mean(axis=2))),
        "MSIS_80": np.mean([theirs.msis(actual[i], low[i], high[i], per_series[i], 0.2) for i in n]),
        "coverage_p90": theirs.coverage(actual, high),
        "WAPE": theirs.abs_error(actual, median) / theirs.abs_target_sum(actual),
    }
    losses = [theirs.quantile_loss(actual, quantiles[..., i], q) for i, q in enumerate(LEVELS)]
    mean["mean_wQL"] = np.mean(losses) / theirs.abs_target_sum(actual)
    mean["CRPS"] = np.mean(losses) / actual.size
    for name, value in mean.items():
        assert total[name] == pytest.approx(value, rel=1e-10), name


def test_rmsse_and_owa_are_those_of_the_guides():
    quantiles, actual, history = made(2)
    history[0, :11] = 0.0  # M5: a series begins with its first sale
    season, squared = scales(history, 7)
    mean, other = quantiles.mean(axis=2), quantiles[:, :, ::-1].copy()
    other.sort(axis=2)
    other += 3.0
    sums = row_statistics(mean, quantiles, actual, season, LEVELS, rmsse_scale=squared).sum(axis=0)
    reference = row_statistics(mean, other, actual, season, LEVELS).sum(axis=0)
    per_series, smape, scaled = [], [[], []], [[], []]
    for i, past in enumerate(history):
        sold = past[np.flatnonzero(past)[0] :]
        per_series.append(np.sqrt(np.mean((actual[i] - mean[i]) ** 2) / np.mean(np.diff(sold) ** 2)))
        naive_error = np.mean(np.abs(past[7:] - past[:-7]))
        for k, forecast in enumerate((quantiles[i, :, 4], other[i, :, 4])):
            error = np.abs(actual[i] - forecast)
            smape[k].append(np.mean(2 * error / (np.abs(actual[i]) + np.abs(forecast))))
            scaled[k].append(np.mean(error) / naive_error)
    assert ratios(sums, LEVELS)["RMSSE"] == pytest.approx(np.mean(per_series), rel=1e-12)
    relative = [np.mean(both[0]) / np.mean(both[1]) for both in (smape, scaled)]
    assert owa(sums, reference, LEVELS) == pytest.approx(np.mean(relative), rel=1e-12)
    assert owa(reference, reference, LEVELS) == pytest.approx(1.0)
    fewer = row_statistics(mean[1:], other[1:], actual[1:], season[1:], LEVELS).sum(axis=0)
    assert np.isnan(owa(sums, fewer, LEVELS)), "not the same points"
    assert np.isnan(owa(sums, np.full_like(sums, NAN), LEVELS)), "no reference"


def test_crps_of_many_levels_is_that_of_the_law():
    """Normal: sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) (Gneiting and Raftery 2007, section 4.2)."""
    levels = tuple((np.arange(999) + 1) / 1000)
    y, sigma = np.array([[0.0, 1.0, -2.5]]), 2.0
    quantiles = np.broadcast_to(stats.norm.ppf(levels, scale=sigma), (1, 3, 999))
    found = ratios(row_statistics(np.zeros((1, 3)), quantiles, y, [1.0], levels).sum(axis=0), levels)
    z = y[0] / sigma
    exact = sigma * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert found["CRPS"] == pytest.approx(exact.mean(), rel=2e-3)


@pytest.mark.parametrize(
    ("levels", "weights"),
    [
        ((0.3,), [1.0]),
        ((0.1, 0.5, 0.9), [1 / 3] * 3),
        ((0.025, 0.1, 0.5, 0.9, 0.975), [0.075 / 1.025, 0.2375 / 1.025, 0.4 / 1.025, 0.2375 / 1.025, 0.075 / 1.025]),
    ],
)
def test_a_level_weighs_as_much_as_the_probability_near_it(levels, weights):
    assert Layout.of(levels).weights == pytest.approx(weights)


def test_planning_by_cost_beats_any_other_level():
    """The expected cost is smallest at under / (under + over): the newsvendor's critical ratio."""
    demand = np.random.default_rng(3).gamma(4, 5, 20_000)
    grid = np.linspace(0.02, 0.98, 49)
    levels = tuple(float(q) for q in grid)
    quantiles = np.broadcast_to(np.quantile(demand, grid), (1, len(demand), 49))
    mean = np.full((1, len(demand)), demand.mean())
    for under, over in ((9.0, 1.0), (1.0, 3.0)):
        sums = row_statistics(mean, quantiles, demand[None], [1.0], levels, under=[under], over=[over])[0]
        found = ratios(sums, levels)
        plan = np.quantile(demand, grid)
        every = [np.sum(under * np.maximum(demand - f, 0) + over * np.maximum(f - demand, 0)) for f in plan]
        assert found["cost"] <= min(every) * (1 + 1e-6)
        assert found["cost"] == pytest.approx(found["cost_under"] + found["cost_over"])
        loss = selection_loss(sums[None, None], levels, "cost")
        assert loss[0, 0] == pytest.approx(found["cost"])
    outside = row_statistics(mean, quantiles, demand[None], [1.0], levels, under=[1.0], over=[0.0])[0]
    assert Layout.of(levels).part(outside, "cost_under") == pytest.approx(
        np.maximum(demand - np.quantile(demand, 0.98), 0).sum()
    ), "beyond the outermost level it is planned"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 20), max_size=4), st.randoms(use_true_random=False))
def test_sums_of_steps_do_not_depend_on_order_or_batches(seed, cuts, random):
    """And the steps of a group add up to its rows."""
    levels, layout = (0.1, 0.5, 0.9), Layout.of((0.1, 0.5, 0.9))
    quantiles, actual, history = made(seed, n=20, horizon=5, levels=levels)
    actual[::3, 2], actual[1::5] = NAN, 0.0
    season, squared = scales(history, 7)
    group = np.random.default_rng(seed).integers(0, 3, 20)
    mean = quantiles.mean(axis=2)

    def sums(order, cuts):
        steps, rows = StepSums(layout), []
        for part in np.split(np.array(order), sorted(cuts)):
            of_rows = {"rmsse_scale": squared[part], "under": np.full(len(part), 3.0), "over": np.ones(len(part))}
            place = (mean[part], quantiles[part], actual[part], season[part], levels)
            rows.append(row_statistics(*place, **of_rows, steps=steps, group=group[part]))
        return steps.totals, np.concatenate(rows)

    order = list(range(20))
    whole, rows = sums(order, [])
    random.shuffle(order)
    np.testing.assert_array_equal(sums(order, cuts)[0], whole)
    per_row = {"n_rows", "n_zero_rows", "mase", "n_mase", "rmsse", "n_rmsse"}
    for name in layout.names:
        if name not in per_row and not name.startswith("msis"):
            column = layout.names.index(name)
            for g in range(len(whole)):
                assert whole[g, :, column].sum() == pytest.approx(rows[group == g, column].sum(), rel=1e-9, abs=1e-9)


def test_a_step_is_a_row_of_one_point():
    levels = (0.1, 0.5, 0.9)
    quantiles, actual, history = made(5, n=6, horizon=4, levels=levels)
    actual[2, 1] = NAN
    season, squared = scales(history, 7)
    season[3], squared[4] = 0.0, NAN
    steps = StepSums(Layout.of(levels))
    mean = quantiles.mean(axis=2)
    row_statistics(mean, quantiles, actual, season, levels, rmsse_scale=squared, steps=steps, group=np.zeros(6, int))
    for h in range(4):
        found = ratios(steps.totals[0, h], levels)
        scored = [i for i in range(6) if not np.isnan(actual[i, h])]
        scaled = [abs(actual[i, h] - quantiles[i, h, 1]) / season[i] for i in scored if season[i] > 0]
        rooted = [abs(actual[i, h] - mean[i, h]) / np.sqrt(squared[i]) for i in scored if squared[i] > 0]
        assert found["MASE"] == pytest.approx(np.mean(scaled))
        assert found["RMSSE"] == pytest.approx(np.mean(rooted))


def test_an_item_of_zeros_is_counted_and_scored_where_that_means_something():
    levels = (0.1, 0.5, 0.9)
    quantiles, layout = np.tile([0.0, 0.0, 0.5], (2, 4, 1)), Layout.of(levels)
    actual = np.array([[0.0, 0.0, NAN, 0.0], [0.0, 2.0, 0.0, 0.0]])
    squared = rmsse_scale(np.zeros(5), [0], [5])
    assert np.isnan(squared).all(), "never sold: no scale"
    sums = row_statistics(
        quantiles[..., 1], quantiles, actual, [0.0, 0.0], levels, rmsse_scale=[NAN, NAN], under=[1, 1], over=[1, 1]
    )
    assert layout.part(sums, "n_zero_rows").tolist() == [1, 0]
    assert layout.part(sums, "n_zero_actual").tolist() == [3, 3]
    zeros = ratios(sums[0], levels)
    undefined = ("mean_wQL", "WAPE", "WAPE_mean", "MAPE", "MASE", "RMSSE", "MSIS_80")
    assert all(np.isnan(zeros[name]) for name in undefined)
    assert (zeros["sMAPE"], zeros["RMSE"], zeros["cost"], zeros["coverage_80"]) == (0.0, 0.0, 0.0, 1.0)
    assert zeros["CRPS"] == pytest.approx(2 * 0.1 * 0.5 / 3)
    assert np.isfinite(zeros["log_loss"])
    both = ratios(sums.sum(axis=0), levels)
    assert both["WAPE"] == 1.0  # 2 missed of 2
    assert both["MAPE"] == 1.0
