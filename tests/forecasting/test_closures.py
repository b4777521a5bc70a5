"""Masks and closed periods, and the fill rules beside them, against plain loops."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting import SeriesBatch
from forecasting.closures import Closures, Mask, Observing, OpeningHours, carried, closures, marked
from forecasting.filling import CLOSED, MASKED, FillRules, RelatedFill, TargetFill, fill
from forecasting.frequency import Frequency, to_microseconds
from forecasting.holidays import holiday_calendar

NAN = np.nan
DAYS = Frequency.parse("D")


def days(arrays: list[list[float]], start: str = "2024-01-01", **related: list[list[float]]) -> SeriesBatch:
    return SeriesBatch.from_arrays(arrays, start=start, freq="D", related=related)


def no_groups(batch: SeriesBatch) -> np.ndarray:
    return np.zeros(len(batch), dtype=np.int64)


@given(st.sampled_from(["h", "30min", "15min", "3h"]), st.integers(0, 60), st.integers(0, 300), st.booleans())
def test_opening_hours_are_those_of_a_loop(freq: str, start_day: int, span: int, zoned: bool) -> None:
    """Also over days on which Paris changes its clocks (10 and 31 March 2024 lie in reach)."""
    zone = "Europe/Paris" if zoned else None
    hours = {d: (9 * 60, 20 * 60) for d in range(5)} | {5: (10 * 60 + 30, 13 * 60)}
    opening = OpeningHours((0, 1, 2, 3, 4, 5), hours, zone)
    grid = Frequency.parse(freq)
    first = int(grid.ordinals(to_microseconds([f"2024-{2 + start_day // 29:02d}-{1 + start_day % 29:02d}"]))[0])
    found = opening.closed(grid, first, first + span)
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    for k, label in enumerate(grid.labels(np.arange(first, first + span + 1)).tolist()):
        at = epoch + timedelta(microseconds=label)
        local = at.astimezone(ZoneInfo(zone)) if zone else at
        begin = local.hour * 60 + local.minute
        opens, closes = hours.get(local.weekday(), (0, 1440))
        is_open = local.weekday() < 6 and any(
            opens <= minute < closes for minute in range(begin, begin + grid.step_us // 60_000_000)
        )
        assert bool(found[k]) is not is_open, (local, freq)


def test_holidays_close_by_group_and_name_without_their_windows() -> None:
    first = int(DAYS.ordinals(to_microseconds(["2024-12-20"]))[0])
    dates = {
        "": {"Christmas": [date(2024, 12, 25)]},
        "DE": {"Christmas": [date(2024, 12, 25)], "Boxing": [date(2024, 12, 26)]},
    }
    calendar = holiday_calendar(dates, DAYS, first, first + 20, windows={"Christmas": (2, 2)})
    every = closures(DAYS, first, first + 20, OpeningHours(), calendar)
    assert np.argwhere(every.closed).tolist() == [[0, 5], [1, 5], [1, 6]]
    some = closures(DAYS, first, first + 20, OpeningHours(), calendar, ("Boxing",))
    assert np.argwhere(some.closed).tolist() == [[1, 6]]
    far = np.array([first - 1, first + 21, first + 6])
    assert every.at(np.array([1, 1, 1]), far).tolist() == [False, False, True]


@given(st.data())
def test_what_is_masked_is_what_a_loop_masks(data: st.DataObject) -> None:
    numbers = st.one_of(st.just(NAN), st.integers(0, 3).map(float))
    arrays = data.draw(st.lists(st.lists(numbers, max_size=12), min_size=1, max_size=4))
    stock = [data.draw(st.lists(numbers, max_size=15)) for _ in arrays]
    isopen = [data.draw(st.lists(numbers, max_size=15)) for _ in arrays]
    batch = days(arrays, stock=stock, isopen=isopen)
    shut = Closures(int(batch.start[0]) + 2, np.array([[False] * 5, [True, False, True, False, False]]))
    group = np.array([data.draw(st.integers(0, 1)) for _ in arrays])
    rules = Observing((Mask("stock", (0.0,), above=2.5),), shut, "isopen")
    seen = rules.observed(batch, group)
    for i, values in enumerate(arrays):
        for t, value in enumerate(values):
            at = seen.offsets[i] + t
            masked = t < len(stock[i]) and (stock[i][t] == 0 or stock[i][t] > 2.5)
            closed = (t < len(isopen[i]) and isopen[i][t] <= 0) or (0 <= t - 2 < 5 and shut.closed[group[i], t - 2])
            mark = CLOSED if closed else MASKED if masked else 0
            assert (0 if seen.filled is None else seen.filled[at]) == mark
            np.testing.assert_equal(seen.values[at], NAN if mark else value)
    counted = marked(seen, seen.offsets[:-1], seen.offsets[1:])
    assert counted.sum() == (0 if seen.filled is None else (seen.filled >= MASKED).sum())
    cutoffs = batch.start[:, None] + np.array([[3, 6]])
    steps = rules.closed_steps(batch, group, cutoffs, 4)
    assert steps is not None
    for i in range(len(arrays)):
        for w in range(2):
            for h in range(4):
                t = [3, 6][w] + 1 + h
                closed = (t < len(isopen[i]) and isopen[i][t] <= 0) or (
                    0 <= t - 2 < 5 and shut.closed[group[i], t - 2]
                )
                assert bool(steps[i, w, h]) is bool(closed)


def test_a_masked_period_is_never_filled_and_tells_no_statistic() -> None:
    batch = days([[4.0, 9.0, NAN, 0.0, 2.0]], stock=[[1.0, 0.0, 1.0, 0.0, 1.0]])
    seen = Observing((Mask("stock", (0.0,)),)).observed(batch, no_groups(batch))
    filled = fill(seen, FillRules(TargetFill(middle="mean", back="zero")), None, int(batch.start[0]) + 5)
    np.testing.assert_array_equal(filled.values, [4.0, NAN, 4.0, NAN, 2.0, 0.0])
    assert filled.filled is not None
    assert filled.filled.tolist() == [0, MASKED, 1, MASKED, 0, 1]


def test_sundays_stay_closed_in_a_filled_front() -> None:
    batch = days([[5.0, 6.0]], start="2024-01-10")
    first = int(DAYS.ordinals(to_microseconds(["2024-01-05"]))[0])
    rules = Observing(closures=closures(DAYS, first, first + 20, OpeningHours((0, 1, 2, 3, 4, 5))))
    seen = rules.observed(batch, no_groups(batch))
    assert seen is batch
    filled = rules.still(fill(seen, FillRules(TargetFill(front="zero")), first), no_groups(batch))
    np.testing.assert_array_equal(filled.values, [0.0, 0.0, NAN, 0.0, 0.0, 5.0, 6.0])  # 7 January is a Sunday


def test_carried_values_stay_within_their_series() -> None:
    batch = days([[1.0, 2.0], [3.0, NAN, 4.0]], start="2024-01-06")
    first = int(batch.start[0])
    rules = Observing(closures=closures(DAYS, first, first + 9, OpeningHours((0, 2, 3, 4, 5))))
    seen = carried(rules.observed(batch, no_groups(batch)))
    np.testing.assert_array_equal(seen.values, [1.0, 1.0, 3.0, 3.0, 4.0])
    closed_first = days([[9.0, 3.0]], start="2024-01-07")
    np.testing.assert_array_equal(carried(rules.observed(closed_first, no_groups(closed_first))).values, [NAN, 3.0])
    assert carried(batch) is batch


@given(
    st.lists(st.one_of(st.just(NAN), st.floats(-9, 9)), min_size=1, max_size=25),
    st.lists(st.integers(0, 24), max_size=2),
    st.booleans(),
)
def test_linear_and_forward_fill_are_those_of_a_loop(values: list[float], ends: list[int], known: bool) -> None:
    batch = SeriesBatch.from_arrays(
        [[1.0] * len(values)],
        start="2024-01-01",
        freq="D",
        related={"x": [values]},
        known_in_future=["x"] if known else [],
    )
    rules = FillRules(related={"x": RelatedFill(middle="linear", back="ffill", future="ffill")})
    horizon = 3
    filled = fill(batch, rules, horizon=horizon, cutoffs=np.array([batch.start[0] + np.array(ends, dtype=int) - 1]))
    want = list(values) + [NAN] * (horizon if known else 0)
    seen = [t for t, v in enumerate(values) if not np.isnan(v)]
    for t in range(len(want)):
        before, after = [s for s in seen if s < t], [s for s in seen if s > t]
        if t in seen or not before:
            continue
        cuts = [] if known else [e for e in ends if before[-1] + 1 < e <= (after[0] if after else len(values))]
        if not after or any(t < e for e in cuts):
            want[t] = values[before[-1]]
        else:
            low, high = values[before[-1]], values[after[0]]
            want[t] = low + (high - low) * (t - before[-1]) / (after[0] - before[-1])
    np.testing.assert_allclose(filled.related["x"].values, want)


def test_each_group_has_its_rules() -> None:
    batch = days([[1.0, NAN, 3.0], [1.0, NAN, 3.0], [1.0, NAN, 3.0]], price=[[7.0, NAN, 8.0]] * 3)
    sets = [
        FillRules(TargetFill("zero", "zero", "zero")),
        FillRules(TargetFill(), {"price": RelatedFill("ffill")}),
        FillRules(TargetFill(middle="mean")),
    ]
    start = int(batch.start[0])
    made = fill(batch, sets, start - 1, start + 3, group=[0, 1, 2])
    for i, rules in enumerate(sets):
        alone = fill(batch.take([i]), rules, start - 1, start + 3)
        np.testing.assert_array_equal(made.series(i), alone.values)
        begin, end = made.related["price"].offsets[i : i + 2]
        np.testing.assert_array_equal(made.related["price"].values[begin:end], alone.related["price"].values)
    assert made.lengths.tolist() == [5, 3, 3]


def test_linear_needs_a_value_behind_it() -> None:
    with pytest.raises(ValueError, match="take ffill"):
        RelatedFill(back="linear")
    with pytest.raises(ValueError, match="target middle fill 'ffill'"):
        TargetFill(middle="ffill")
