"""Filling against a plain loop, and the service's rules."""

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting import SeriesBatch
from forecasting.evaluation.windows import BacktestPlan, backtest_windows, window_cutoffs
from forecasting.filling import FillRules, RelatedFill, TargetFill, extend, fill

START = np.datetime64("2020-01-01")
NAN = np.nan


def make(series, shifts=None, related=None, known=()):
    shifts = shifts or [0] * len(series)
    starts = [START + np.timedelta64(s, "D") for s in shifts]
    return SeriesBatch.from_arrays(series, start=starts, freq="D", related=related, known_in_future=known)


def first_day(batch):
    return int(make([[0.0]]).start[0]) if batch is None else int(batch.start.min())


def plain_value(method, before):
    if method in ("nan", "none"):
        return NAN
    if method == "zero":
        return 0.0
    if not isinstance(method, str):
        return method
    named = {"mean": statistics.fmean, "median": statistics.median, "min": min, "max": max}
    return named[method](before[-64:]) if before else NAN


def plain_fill(values, front, middle, back):
    """One series without cutoffs, point by point."""
    observed = [j for j, v in enumerate(values) if not np.isnan(v)]
    out = list(values)
    for j, v in enumerate(values):
        if np.isnan(v):
            method = front if not observed or j < observed[0] else back if j > observed[-1] else middle
            out[j] = plain_value(method, [values[k] for k in observed if k < j])
    return out


points = st.one_of(st.floats(-100, 100), st.just(NAN), st.just(NAN))
anywhere = st.sampled_from(["nan", "zero", "mean", "median", "min", "max", 7.5])
at_front = st.sampled_from(["nan", "none", "zero", -3.0])


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(st.lists(points, max_size=14), st.integers(0, 5)), min_size=1, max_size=4),
    front=at_front,
    middle=anywhere,
    back=anywhere,
    later=st.integers(0, 4),
)
def test_filling_equals_a_plain_loop(rows, front, middle, back, later):
    batch = make([r[0] for r in rows], [r[1] for r in rows])
    global_start = first_day(None)
    global_end = int((batch.start + batch.lengths).max()) - 1 + later
    filled = fill(batch, FillRules(TargetFill(front, middle, back)), global_start, global_end)
    for i, (values, shift) in enumerate(rows):
        before = shift if front not in ("nan", "none") and values else 0
        after = global_end + 1 - global_start - shift - len(values) if back != "nan" and values else 0
        longer = [NAN] * before + values + [NAN] * after
        np.testing.assert_allclose(filled.series(i), plain_fill(longer, front, middle, back), rtol=1e-12, atol=1e-12)
        assert filled.start[i] == batch.start[i] - before
        if filled.filled is not None:
            mask = filled.filled[filled.offsets[i] : filled.offsets[i + 1]]
            np.testing.assert_array_equal(mask, np.isnan(longer) & ~np.isnan(filled.series(i)))


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(points, min_size=1, max_size=20), min_size=1, max_size=4),
    middle=anywhere,
    back=anywhere,
    windows=st.integers(1, 3),
    horizon=st.integers(1, 4),
)
def test_a_window_whose_cutoff_lies_in_a_gap_sees_what_a_truncated_series_would(rows, middle, back, windows, horizon):
    batch = make(rows)
    rules = FillRules(TargetFill(middle=middle, back=back))
    plan = BacktestPlan(horizon, windows)
    filled = fill(batch, rules, cutoffs=window_cutoffs(batch, plan, "per_series"))
    ends = backtest_windows(batch, plan, "per_series").ends
    for i, row in enumerate(rows):
        spanned = set()
        for w in reversed(range(windows)):  # from the earliest cutoff
            end = ends[i, w]
            want = plain_fill(row[:end], "nan", middle, back)
            observed = [j for j in range(end) if not np.isnan(row[j])]
            if observed and observed[-1] < end - 1:
                spanned |= set(range(observed[-1] + 1, end))
            for j in range(end):
                # A point of a gap that an earlier cutoff spans keeps the back rule; all others are as in the cut.
                if j in spanned:
                    want[j] = plain_value(back, [row[k] for k in range(j) if not np.isnan(row[k])])
            np.testing.assert_allclose(filled.series(i)[:end], want, rtol=1e-12, atol=1e-12)


def test_a_gap_that_spans_a_cutoff_takes_the_back_rule_up_to_it():
    batch = make([[1.0, NAN, NAN, NAN, 5.0, NAN, 7.0, NAN]])
    cutoffs = batch.start[:, None] + [[2]]
    filled = fill(batch, FillRules(TargetFill(middle="zero", back=9.0)), cutoffs=cutoffs)
    assert filled.values.tolist() == [1, 9, 9, 0, 5, 0, 7, 9]
    assert filled.filled.tolist() == [0, 1, 1, 1, 0, 1, 0, 1]
    assert fill(batch, FillRules(TargetFill(middle="zero", back=9.0))).values.tolist() == [1, 0, 0, 0, 5, 0, 7, 9]


def test_statistics_look_at_the_64_latest_observations_only():
    history = np.r_[np.full(10, 1e6), np.arange(64.0)]
    batch = make([np.r_[history, NAN, NAN, 1.0]])
    for method, want in (("mean", 31.5), ("median", 31.5), ("min", 0.0), ("max", 63.0)):
        assert fill(batch, FillRules(TargetFill(middle=method))).values[-3:].tolist() == [want, want, 1.0]


def test_filled_values_feed_no_statistic_and_keep_their_mark():
    batch = fill(make([[4.0, NAN, 4.0, NAN]]), FillRules(TargetFill(middle="zero")))
    again = fill(batch, FillRules(TargetFill(back="mean")))
    assert again.values.tolist() == [4, 0, 4, 4]
    assert again.filled.tolist() == [0, 1, 0, 1]


def test_nothing_to_do_returns_the_same_batch():
    batch = make([[1.0, NAN, 2.0], [3.0]], related={"x": [[NAN], [1.0]]})
    assert fill(batch, FillRules(), 0, 99_999) is batch
    assert fill(batch, FillRules(TargetFill(NAN, "none", "nan"), {"x": RelatedFill()}), 0, 99_999) is batch
    assert extend(batch, int(batch.start[0])) is batch
    full = make([[1.0, 2.0]], related={"x": [[1.0, 2.0]]})
    assert fill(full, FillRules(TargetFill(middle="zero"), {"x": RelatedFill("zero")})) is full


def test_extend_reaches_the_common_end_with_missing_points():
    batch = make([[1.0, 2.0], [3.0, 4.0, 5.0], []], [0, 1, 1], related={"x": [[1.0], [2.0, 3.0, 4.0, 5.0], []]})
    longer = extend(batch, int(batch.start[0]) + 3)
    np.testing.assert_array_equal(longer.values, [1, 2, NAN, NAN, 3, 4, 5])
    assert longer.offsets.tolist() == [0, 4, 7, 7]
    assert (longer.start + longer.lengths == batch.start[0] + 4).all()
    assert longer.related["x"].offsets.tolist() == [0, 1, 5, 5]
    assert longer.filled is None


def test_an_item_without_history_keeps_its_known_future_in_the_right_periods():
    batch = make([[1.0, 2.0, 3.0], []], [0, 1], related={"x": [[1.0], [10.0, 11.0, 12.0, 13.0]]}, known=["x"])
    longer = extend(batch, int(batch.start[0]) + 2)
    assert longer.start[1] == batch.start[0] + 3
    assert longer.related["x"].values[1:].tolist() == [12.0, 13.0]


def test_front_fill_shifts_related_columns_and_the_mask():
    batch = fill(make([[1.0, NAN, 2.0]], [3], related={"x": [[7.0, 8.0]]}), FillRules(TargetFill(middle="zero")))
    front = fill(batch, FillRules(TargetFill(front="zero")), int(batch.start[0]) - 2)
    assert front.values.tolist() == [0, 0, 1, 0, 2]
    assert front.filled.tolist() == [1, 1, 0, 1, 0]
    np.testing.assert_array_equal(front.related["x"].values, [NAN, NAN, 7, 8])


def test_related_columns_have_middle_back_and_future():
    rules = FillRules(related={"price": RelatedFill("mean", "max", "zero"), "rain": RelatedFill("min", 5.0, "zero")})
    price = [[NAN, 2.0, NAN, 4.0, NAN, NAN, NAN, 9.0]]
    batch = make([[1.0] * 5], related={"price": price, "rain": [[3.0, NAN, 1.0]]}, known=["price"])
    filled = fill(batch, rules, horizon=4)
    np.testing.assert_array_equal(filled.related["price"].values, [NAN, 2, 2, 4, 4, 0, 0, 9, 0])
    np.testing.assert_array_equal(filled.related["rain"].values, [3, 3, 1, 5, 5])  # not known in future: no future
    assert filled.values.tolist() == [1.0] * 5
    assert filled.related["price"].known_in_future


def test_a_related_column_that_is_not_known_in_future_follows_the_cutoffs_too():
    batch = make([[1.0] * 6], related={"x": [[1.0, NAN, NAN, NAN, 5.0, NAN]]})
    rules = FillRules(related={"x": RelatedFill(middle="zero", back=9.0)})
    cutoffs = batch.start[:, None] + [[2]]
    np.testing.assert_array_equal(fill(batch, rules, cutoffs=cutoffs).related["x"].values, [1, 9, 9, 0, 5, 9])


def test_unknown_methods_and_columns_are_errors_that_say_what_was_expected():
    with pytest.raises(ValueError, match=r"target middle fill 'average', expected nan, none, zero"):
        TargetFill(middle="average")
    with pytest.raises(ValueError, match="related future fill inf"):
        RelatedFill(future=np.inf)
    with pytest.raises(ValueError, match="nothing precedes"):
        TargetFill(front="mean")
    with pytest.raises(ValueError, match=r"columns \['prise'\], expected some of \['price'\]"):
        fill(make([[1.0]], related={"price": [[1.0]]}), FillRules(related={"prise": RelatedFill("zero")}))
