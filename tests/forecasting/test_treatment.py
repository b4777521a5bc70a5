"""Surges, and what models see of series with abrupt changes: against plain loops over single series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting import SeriesBatch, forecast
from forecasting.abrupt import LEVEL_SHIFT, OUTLIER, SURGE, dampened, find_events, shift_steps, whole_surges
from forecasting.batch import RelatedSeries
from forecasting.frequency import Frequency
from forecasting.models.contract import Rows
from forecasting.treatment import (
    CUT,
    DAMPENED,
    EXEMPT,
    STEPS,
    TOO_SHORT,
    UNTOUCHED,
    Treatment,
    between,
    events_of,
    seen_until,
    treat,
    usual_surge_length,
)

NAN = np.nan


def batch_of(series, freq="MS", **more):
    return SeriesBatch.from_arrays([np.asarray(s, dtype=float) for s in series], start="2018-01-01", freq=freq, **more)


def rows_of(series, freq="MS"):
    return Rows.of(batch_of(series, freq), "abrupt")


def seasonal(rng, n_series, length, season=12, noise=4.0):
    t = np.arange(length)
    return 100 + 15 * np.sin(2 * np.pi * t / season) + rng.normal(0, noise, (n_series, length))


@pytest.mark.parametrize(("freq", "season", "length"), [("MS", 12, 48), ("W", 52, 208), ("D", 7, 400)])
@pytest.mark.parametrize("lasts", [3, 5, 8, 12])
@pytest.mark.parametrize("shape", ["flat", "peaked", "drop"])
def test_a_planted_surge_is_one_event_and_drawn_in(freq, season, length, lasts, shape):
    rng = np.random.default_rng(3)
    truth = seasonal(rng, 100, length, season)
    pulse = np.ones(lasts) if shape != "peaked" else np.r_[0.6, np.linspace(1.3, 0.6, lasts - 1)]
    at = length // 2
    series = truth.copy()
    series[:, at : at + lasts] += (-60 if shape == "drop" else 60) * pulse
    rows = rows_of(series, freq)
    events = find_events(rows)
    surges = whole_surges(events).of_kind(SURGE)
    good = (np.abs(surges.time - at) <= 1) & (np.abs(surges.until - (at + lasts - 1)) <= 1)
    assert len(set(surges.row[good].tolist())) >= 94
    assert (~good).sum() <= 4
    assert (surges.sign[good] == (-1 if shape == "drop" else 1)).all()
    assert len(events.of_kind(LEVEL_SHIFT)) <= 15  # instead of two a series
    drawn, _ = dampened(rows, events)
    off = np.abs(drawn.reshape(series.shape) - truth)[:, at : at + lasts]
    assert off.mean() < 9  # of 60; the noise that is replaced has a mean of 3.2 itself
    assert (drawn.reshape(series.shape) != series)[:, : at - 8].mean() < 0.001


def test_no_surges_in_noise_counts_and_random_walks():
    rng = np.random.default_rng(4)
    found = {}
    persistent = rng.normal(size=(500, 150))
    for t in range(1, 150):
        persistent[:, t] += 0.7 * persistent[:, t - 1]
    made = {
        "noise": rng.normal(size=(500, 100)),
        "seasonal": seasonal(rng, 500, 60),
        "poisson": rng.poisson(2, (500, 100)),
        "ar": persistent[:, 50:],
        "wave": np.sin(2 * np.pi * np.arange(100) / 20) + rng.normal(0, 0.05, (500, 100)),
    }
    for name, series in made.items():
        whole = whole_surges(find_events(Rows.of(batch_of(series), "abrupt", season_length=12)))
        found[name] = len(set(whole.of_kind(SURGE).row.tolist())) / 500
    assert max(found.values()) <= 0.03, found


def test_a_surge_that_has_not_come_back_is_none_and_one_too_long_is_two_shifts():
    series = np.full((3, 80), 10.0) + np.random.default_rng(1).normal(0, 1, (3, 80))
    series[0, 70:] += 30
    series[1, 30:50] += 30
    series[2, 30:38] += 30
    events = find_events(rows_of(series, "D"))
    assert set(events.of_kind(SURGE).row.tolist()) == {2}
    shifts = events.of_kind(LEVEL_SHIFT)
    assert list(zip(shifts.row.tolist(), shifts.time.tolist(), strict=True)) == [(0, 70), (1, 30), (1, 50)]
    off = find_events(rows_of(series, "D"), surge_length=0)
    assert len(off.of_kind(SURGE)) == 0
    assert {(2, 30), (2, 38)} <= set(zip(off.row.tolist(), off.time.tolist(), strict=True))
    assert set(find_events(rows_of(series, "D"), surge_length=25).of_kind(SURGE).row.tolist()) == {1, 2}


def test_whole_surges_and_their_pulses():
    series = np.full((2, 60), 10.0) + np.random.default_rng(2).normal(0, 1, (2, 60))
    series[0, 20:26] += 40
    series[0, 40:44] -= 40
    series[1, 30:] += 25
    series[0, 22] = NAN
    rows = rows_of(series, "D")
    events = find_events(rows)
    surge = events.of_kind(SURGE)
    assert surge.time.tolist() == [20, 21, 23, 24, 25, 40, 41, 42, 43]
    assert surge.until.tolist() == [25] * 5 + [43] * 4
    whole = whole_surges(events)
    assert (whole.row.tolist(), whole.time.tolist(), whole.until.tolist()) == ([0, 0, 1], [20, 40, 30], [25, 43, 30])
    assert whole.size[0] == pytest.approx(surge.size[:5].mean())
    assert whole.score[1] == pytest.approx(surge.score[5:].mean())
    steps = shift_steps(rows, events, 4)
    expected = [np.zeros(64), np.zeros(64), np.zeros(64)]
    expected[0][20:26] = expected[1][40:44] = expected[2][30:] = 1
    np.testing.assert_array_equal(steps.values, np.concatenate(expected))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shift=st.sampled_from([0.0, 1e3, -50.0]), scale=st.sampled_from([1.0, 2.0**30]))
def test_surges_do_not_depend_on_the_unit(seed, shift, scale):
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(3, 60))
    series[:, 25:32] += 15
    plain, moved = find_events(rows_of(series, "D")), find_events(rows_of(scale * (series + shift), "D"))
    assert len(plain.of_kind(SURGE)) >= 18
    np.testing.assert_array_equal(plain.time, moved.time)
    np.testing.assert_array_equal(plain.kind, moved.kind)
    np.testing.assert_allclose(moved.size, scale * plain.size, rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"surge_length": 2}, {"surge_length": -1}])
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        find_events(rows_of([[1.0, 2.0]]), **wrong)


@pytest.mark.parametrize(("name", "expected"), [("MS", 12), ("QS", 4), ("YS", 3), ("W", 26), ("D", 90), ("h", 48), ("15min", 192)])  # fmt: skip  # noqa: E501
def test_the_usual_length_of_a_surge(name, expected):
    assert usual_surge_length(Frequency.parse(name)) == expected


def test_what_comes_every_year_is_no_event():
    """Daily data, whose season is the week: Christmas, a summer of six weeks; and what came once."""
    rng = np.random.default_rng(12)
    days = np.arange("2020-01-01", "2024-03-01", dtype="M8[D]")
    series = 100 + rng.normal(0, 3, (4, len(days)))
    christmas = np.array([str(d)[5:] == "12-25" for d in days])
    summer = np.array(["07-01" <= str(d)[5:] <= "08-12" for d in days])
    series[0, christmas] += 80
    series[1, summer] += 60
    series[2, christmas & (days < np.datetime64("2022-01-01"))] += 80  # not in 2022 and 2023
    series[3] += series[0] - 100
    series[3, 500:530] += 60
    series[3, 1100] -= 90
    batch = batch_of(series, "D")
    found = whole_surges(events_of(batch, Treatment("report")))
    told = [(r, k, t) for r, k, t in zip(found.row, found.kind, found.time, strict=True) if k != LEVEL_SHIFT]
    first = np.flatnonzero(christmas)
    assert sorted(told) == [(2, OUTLIER, first[0]), (2, OUTLIER, first[1]), (3, OUTLIER, 1100), (3, SURGE, 500)]
    made = treat(batch, Treatment("dampen"), 7)
    assert made.count[:3].tolist() == [0, 0, 2]
    alone = [treat(batch.take([i]), Treatment("dampen"), 7).count[0] for i in range(4)]
    assert made.count.tolist() == alone


def test_half_a_year_of_surge_in_weekly_data_does_not_poison_the_next():
    rng = np.random.default_rng(1)
    t = np.arange(234)
    truth = 200 + 40 * np.sin(2 * np.pi * t / 52) + 0.2 * t
    series = []
    for lasts in (13, 20, 26):
        y = truth[:208] + rng.normal(0, 6, 208)
        y[112 : 112 + lasts] += 120 * np.exp(-0.03 * np.arange(lasts))
        series.append(y)
    batch = batch_of(series, "W-MON")
    plain, width = {}, {}
    for kind in ("report", "dampen"):
        made = forecast(treat(batch, Treatment(kind), 26).series, "ets", 26)
        plain[kind] = np.abs(made.mean - truth[208:]).mean(axis=1)
        width[kind] = (made.quantiles[:, :, 2] - made.quantiles[:, :, 0]).mean(axis=1)
    assert (plain["dampen"] < 6).all()
    assert (plain["report"] > 20).all()
    assert (width["dampen"] < width["report"] / 4).all()


# --- treatments ---


def mixed(rng):
    """A surge and spikes, two shifts, nothing, intermittent with a peak, a late shift."""
    series = 50 + rng.normal(0, 2, (5, 72))
    series[0, 30:36] += 60
    series[0, 50] -= 50
    series[1, 20:] += 40
    series[1, 40:] -= 20
    series[3] = np.where(np.arange(72) % 4 == 0, 5.0, 0.0)
    series[3, 36] = 500.0
    series[4, 60:] += 40
    return series


def test_dampen_replaces_outliers_and_surges_of_other_than_exempt_series():
    series = mixed(np.random.default_rng(5))
    batch = batch_of(series)
    made = treat(batch, Treatment("dampen"), 6)
    assert made.what.tolist() == [DAMPENED, UNTOUCHED, UNTOUCHED, EXEMPT, UNTOUCHED]
    assert made.count.tolist() == [7, 0, 0, 0, 0]
    values = made.series.values.reshape(5, 72)
    changed = values != series
    assert sorted(zip(*np.nonzero(changed), strict=True)) == [(0, t) for t in (*range(30, 36), 50)]
    assert np.abs(values[0] - 50).max() < 10
    np.testing.assert_array_equal(batch.values.reshape(5, 72), series)  # the batch itself stays
    loud = treat(batch, Treatment("dampen", exempt=()), 6)
    assert loud.what[3] == DAMPENED
    for i in range(5):  # no series depends on its neighbours
        alone = treat(batch.take([i]), Treatment("dampen"), 6)
        np.testing.assert_array_equal(alone.series.values, values[i])


def test_after_shift_keeps_what_follows_if_that_is_enough():
    series = mixed(np.random.default_rng(5))
    price = [np.arange(80.0) + 100 * i for i in range(5)]
    batch = batch_of(series, related={"price": price, "seen": [p[:72] for p in price]}, known_in_future=["price"])
    made = treat(batch, Treatment("after_shift", min_history=20), 6)
    assert made.what.tolist() == [UNTOUCHED, CUT, UNTOUCHED, EXEMPT, TOO_SHORT]
    assert made.count.tolist() == [0, 40, 0, 0, 0]
    assert made.series.lengths.tolist() == [72, 32, 72, 72, 72]
    assert (made.series.start - batch.start).tolist() == [0, 40, 0, 0, 0]
    np.testing.assert_array_equal(made.series.series(1), series[1, 40:])
    for name, end in (("price", 80), ("seen", 72)):
        column = made.series.related[name]
        np.testing.assert_array_equal(column.values[column.offsets[1] : column.offsets[2]], price[1][40:end])
        np.testing.assert_array_equal(column.values[: column.offsets[1]], price[0][:end])
    late = treat(batch, Treatment("after_shift", min_history=12), 6)
    assert late.what.tolist()[4] == CUT
    assert late.series.lengths.tolist() == [72, 32, 72, 72, 12]
    default = treat(batch, Treatment("after_shift"), 6)  # two seasons of 12
    assert default.what.tolist() == [UNTOUCHED, CUT, UNTOUCHED, EXEMPT, TOO_SHORT]


def test_regressors_are_the_latest_steps_and_pulses():
    series = mixed(np.random.default_rng(5))
    batch = batch_of(series)
    made = treat(batch, Treatment("regressors", max_steps=1), 6)
    assert made.what.tolist() == [STEPS, STEPS, UNTOUCHED, EXEMPT, STEPS]
    assert made.count.tolist() == [1, 1, 0, 0, 1]
    assert list(made.series.related) == ["level_shift:1", "surge:1"]
    step, pulse = (c.values.reshape(5, 78) for c in made.series.related.values())
    expected = np.zeros((5, 78))
    expected[1, 40:] = expected[4, 60:] = 1
    np.testing.assert_array_equal(step, expected)
    expected[:] = 0
    expected[0, 30:36] = 1
    np.testing.assert_array_equal(pulse, expected)
    two = treat(batch, Treatment("regressors", max_steps=2), 6).series.related
    assert list(two) == ["level_shift:1", "level_shift:2", "surge:1", "surge:2"]
    older = two["level_shift:2"].values.reshape(5, 78)
    assert np.flatnonzero(older.any(axis=1)).tolist() == [1]
    assert older[1].argmax() == 20
    np.testing.assert_array_equal(made.series.values, batch.values)


@pytest.mark.parametrize("options", [{}, {"regressors": "none"}, {"regressors": ("price",)}])
def test_models_that_regress_take_the_steps_whatever_else_they_take(options):
    rng = np.random.default_rng(6)
    series = 50 + rng.normal(0, 1, (2, 60))
    series[0, 40:] += 30
    price = [np.ones(66) + rng.normal(0, 0.1, 66) for _ in range(2)]
    batch = batch_of(series, related={"price": price}, known_in_future=["price"])
    made = treat(batch, Treatment("regressors"), 6)
    plain = forecast(batch, "prophet", 6, n_changepoints=0, **options)
    stepped = forecast(made.series, "prophet", 6, n_changepoints=0, **options)
    assert np.abs(stepped.mean[0] - 80).max() < 4
    assert np.abs(plain.mean[0] - 80).max() > 4  # a line cannot follow a step
    np.testing.assert_allclose(stepped.mean[1], plain.mean[1], rtol=1e-6)


def test_filled_values_are_no_events_unless_they_are_facts():
    values = 20 + np.random.default_rng(7).normal(0, 1, 60)
    values[:10] = 0.0
    filled = np.zeros(60, dtype=np.uint8)
    filled[:10] = 1
    batch = batch_of([values], "D")
    batch = SeriesBatch(batch.values, batch.offsets, batch.start, batch.frequency, batch.keys, filled=filled)
    treatment = Treatment("after_shift", min_history=10)
    assert len(events_of(batch, treatment)) == 0
    assert events_of(batch, treatment, filled_count=True).time.tolist() == [10]
    made = treat(batch, treatment, 3, filled_count=True)
    assert made.count.tolist() == [10]
    assert made.series.filled.tolist() == [0] * 50


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(1, 5), history=st.one_of(st.none(), st.integers(1, 9)))
def test_a_window_sees_its_part_as_a_plain_loop_cuts_it(data, n, history):
    lengths = data.draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    ends = np.array([data.draw(st.integers(0, m)) for m in lengths])
    known = [data.draw(st.integers(0, m + 4)) for m in lengths]
    rng = np.random.default_rng(0)
    series, price = [rng.normal(size=m) for m in lengths], [rng.normal(size=m) for m in known]
    batch = batch_of(series, related={"price": price, "seen": price}, known_in_future=["price"])
    cut = seen_until(batch, ends, history)
    for i, end in enumerate(ends):
        begin = 0 if history is None else max(end - history, 0)
        np.testing.assert_array_equal(cut.series(i), series[i][begin:end])
        assert cut.start[i] == batch.start[i] + begin
        for name, last in (("price", None), ("seen", end)):
            column: RelatedSeries = cut.related[name]
            mine = column.values[column.offsets[i] : column.offsets[i + 1]]
            np.testing.assert_array_equal(mine, price[i][begin:last])
    only_target = batch_of(series)
    assert between(only_target, np.zeros(n, dtype=np.int64), only_target.lengths) is only_target
