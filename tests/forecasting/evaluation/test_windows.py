"""Backtest windows against plain loops over dictionaries from period to value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting import SeriesBatch, fit
from forecasting.evaluation.metrics import mase_scale
from forecasting.evaluation.windows import BacktestPlan, actuals, backtest_windows, visible_points, window_cutoffs
from forecasting.filling import FillRules, TargetFill, extend, fill

START = np.datetime64("2020-01-01")


def make(series, shifts):
    """Daily series; series i begins shifts[i] days after 2020-01-01."""
    return SeriesBatch.from_arrays(series, start=[START + np.timedelta64(s, "D") for s in shifts], freq="D")


def periods(batch, i):
    return {int(batch.start[i]) + j: v for j, v in enumerate(batch.series(i))}


values = st.one_of(st.floats(-100, 100), st.just(np.nan))
batches = st.lists(st.tuples(st.lists(values, max_size=12), st.integers(0, 12)), min_size=1, max_size=5).map(
    lambda rows: make([r[0] for r in rows], [r[1] for r in rows])
)
plans = st.builds(
    lambda horizon, windows, more, stride, history: BacktestPlan(horizon, windows, horizon + more, stride, history),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 3),
    st.none() | st.integers(1, 6),
    st.none() | st.integers(1, 5),
)


@settings(max_examples=200, deadline=None)
@given(batch=batches, plan=plans, mode=st.sampled_from(["global", "per_series"]))
def test_windows_equal_a_plain_loop(batch, plan, mode):
    end = int((batch.start + batch.lengths).max())
    batch = extend(batch, end) if mode == "global" else batch
    windows = backtest_windows(batch, plan, mode, common_end=end)
    happened = windows.actuals(batch)
    for i in range(len(batch)):
        history = periods(batch, i)
        last = end if mode == "global" else int(batch.start[i] + batch.lengths[i]) - 1
        for k in range(1, plan.windows + 1):
            cutoff = last - (plan.offset + (k - 1) * (plan.stride or plan.offset))
            assert windows.cutoffs[i, k - 1] == cutoff
            visible = [t for t in history if t <= cutoff]
            assert windows.ends[i, k - 1] == len(visible)
            seen = visible if plan.history is None else visible[-plan.history :]
            assert windows.begins[i, k - 1] == len(visible) - len(seen)
            wanted = [history.get(cutoff + h, np.nan) for h in range(1, plan.horizon + 1)]
            np.testing.assert_array_equal(happened[i, k - 1], wanted)


def test_offset_defaults_to_the_horizon_and_window_one_is_the_latest():
    batch = make([np.arange(10.0)], [0])
    windows = backtest_windows(batch, BacktestPlan(horizon=3, windows=2), "per_series")
    assert windows.ends.tolist() == [[7, 4]]
    assert windows.actuals(batch).tolist() == [[[7, 8, 9], [4, 5, 6]]]


def test_windows_overlap_with_a_short_stride():
    windows = backtest_windows(make([np.arange(10.0)], [0]), BacktestPlan(4, 3, stride=1, history=2), "per_series")
    assert windows.ends.tolist() == [[6, 5, 4]]
    assert windows.begins.tolist() == [[4, 3, 2]]
    assert windows.actuals(make([np.arange(10.0)], [0])).tolist() == [[[6, 7, 8, 9], [5, 6, 7, 8], [4, 5, 6, 7]]]


def test_the_common_end_of_a_batch_alone_is_its_latest_period():
    batch = extend(make([np.arange(10.0), np.arange(4.0), []], [0, 1, 3]), int(make([[0.0]], [9]).start[0]))
    cutoffs = window_cutoffs(batch, BacktestPlan(horizon=2))
    assert (cutoffs == batch.start[0] + 7).all()
    assert visible_points(batch, cutoffs).tolist() == [[8], [7], [0]]


def test_a_series_shorter_than_the_cut_has_an_empty_row_and_is_still_forecast_a_status():
    batch = make([np.arange(20.0), [1.0, 2.0]], [0, 18])
    windows = backtest_windows(batch, BacktestPlan(horizon=5, windows=2))
    assert windows.ends.tolist() == [[15, 10], [0, 0]]
    np.testing.assert_array_equal(windows.actuals(batch)[1], [[np.nan] * 3 + [1, 2], [np.nan] * 5])
    result = fit(batch, model="naive", ends=windows.ends).predict(5)
    assert result.status[1].tolist() == [1, 1]  # a fallback, said so
    assert np.isfinite(result.mean).all()


def test_filled_points_are_scored_only_when_asked():
    batch = make([[1.0, np.nan, 3.0, np.nan, 5.0]], [0])
    filled = fill(batch, FillRules(TargetFill(middle="zero")))
    cutoffs = batch.start[:, None] + 1
    np.testing.assert_array_equal(actuals(filled, cutoffs, 3), [[[3.0, np.nan, 5.0]]])
    np.testing.assert_array_equal(actuals(filled, cutoffs, 3, score_filled=True), [[[3.0, 0.0, 5.0]]])


@pytest.mark.parametrize("swap", [True, False], ids=["gaps close and open", "all missing"])
def test_changing_the_data_after_a_cutoff_changes_nothing_in_its_window(swap):
    rng = np.random.default_rng(3)
    series = [np.where(rng.random(n) < 0.3, np.nan, rng.normal(50, 9, n)) for n in (60, 45, 30)]
    series[0][[-9, -8, -16, -15]] = np.nan  # gaps that span the cutoffs of windows 1 and 2
    batch = make(series, [0, 15, 30])
    plan = BacktestPlan(horizon=7, windows=3)
    rules = FillRules(TargetFill(middle="mean", back="zero"))

    def seen(data, window):
        cutoffs = window_cutoffs(data, plan)
        filled = fill(data, rules, cutoffs=cutoffs)
        windows = backtest_windows(filled, plan)
        begin = filled.offsets[:-1]
        scale = mase_scale(filled.values, begin, begin + windows.ends[:, window], 7)
        result = fit(filled, model="seasonal_naive", ends=windows.ends).predict(7)
        return result.mean[:, window], result.quantiles[:, window], scale

    for window in range(3):
        changed = batch.values.copy()
        for i in range(3):
            after = slice(batch.offsets[i] + backtest_windows(batch, plan).ends[i, window], batch.offsets[i + 1])
            changed[after] = np.where(np.isnan(changed[after]), 1e6, np.nan) if swap else np.nan
        other = SeriesBatch(changed, batch.offsets, batch.start, batch.frequency, batch.keys)
        for before, now in zip(seen(batch, window), seen(other, window), strict=True):
            np.testing.assert_array_equal(before, now)


def test_a_plan_says_what_does_not_fit():
    BacktestPlan(horizon=5, windows=2).check_fits(11)
    with pytest.raises(
        ValueError, match=r"got 2 .* horizon of 5 .* offset of 5 .* expected fewer than the 10 periods"
    ):
        BacktestPlan(horizon=5, windows=2).check_fits(10)
    BacktestPlan(horizon=5, windows=3, offset=6, stride=1).check_fits(12, min_history=4)
    with pytest.raises(ValueError, match=r"stride of 1: they cut off 8 periods.* the 11 periods .* at least 4"):
        BacktestPlan(horizon=5, windows=3, offset=6, stride=1).check_fits(11, min_history=4)
    with pytest.raises(ValueError, match=r"cut off 30 periods.* 20 periods of the longest history"):
        BacktestPlan(horizon=30).check_fits(20)
    with pytest.raises(ValueError, match="stride of 0"):
        BacktestPlan(horizon=4, stride=0)
    with pytest.raises(ValueError, match="history of 0"):
        BacktestPlan(horizon=4, history=0)
    with pytest.raises(ValueError, match="offset of 3 for a horizon of 4"):
        BacktestPlan(horizon=4, offset=3)
    with pytest.raises(ValueError, match="horizon 0"):
        BacktestPlan(horizon=0)
    with pytest.raises(ValueError, match="0 windows"):
        BacktestPlan(horizon=1, windows=0)


def test_a_series_that_ends_before_a_cutoff_is_refused():
    batch = make([np.arange(30.0), np.arange(5.0)], [0, 0])
    with pytest.raises(ValueError, match=r"1 series end before a backtest cutoff, first '1'.*extend"):
        backtest_windows(batch, BacktestPlan(horizon=7))
    with pytest.raises(ValueError, match="forecast_start 'local', expected"):
        backtest_windows(batch, BacktestPlan(horizon=7), "local")
