"""Level shifts and outliers: the search against a plain loop, planted events, false alarms, and what each row sees."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting import SeriesBatch
from forecasting.abrupt import (
    KIND_NAMES,
    LEVEL_SHIFT,
    OUTLIER,
    Events,
    after_last_shift,
    dampened,
    find_events,
    shift_steps,
)
from forecasting.level_shifts import segment
from forecasting.models.contract import Rows

NAN = np.nan


def rows_of(series, season_length=1, **options):
    batch = SeriesBatch.from_arrays(list(series), start="2020-01-01", freq="D")
    return Rows.of(batch, "abrupt", season_length=season_length, **options)


def ar1(rng, phi, n_series, length):
    noise = rng.normal(size=(n_series, length + 100))
    for t in range(1, length + 100):
        noise[:, t] += phi * noise[:, t - 1]
    return noise[:, 100:]


def shifted_share(series, season_length=1, **options):
    """The share of series with any level shift."""
    shifts = find_events(rows_of(series, season_length), **options).of_kind(LEVEL_SHIFT)
    return len(set(shifts.row.tolist())) / len(series)


def assert_same(left: Events, right: Events):
    for name in vars(left):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def optimal_partitioning(z, penalty, least):
    """Every last change for every end (Jackson et al. 2005), without pruning or running sums."""
    n = len(z)
    best, change = [-penalty] + [np.inf] * n, [0] * (n + 1)
    for t in range(least, n + 1):
        for s in [0, *range(least, t - least + 1)]:
            cost = best[s] + float(((z[s:t] - np.mean(z[s:t])) ** 2).sum()) + penalty
            if t - s >= least and cost < best[t]:
                best[t], change[t] = cost, s
    bounds = [n]
    while bounds[-1] > 0:
        bounds.append(change[bounds[-1]])
    return bounds[::-1], best[n]


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 70),
    n_levels=st.integers(1, 12),
    spread=st.sampled_from([0.0, 1.0, 4.0, 30.0]),
    penalty=st.sampled_from([0.3, 2.0, 8.0, 30.0]),
    least=st.integers(2, 9),
)
def test_the_pruned_search_finds_the_segments_of_a_plain_loop(seed, length, n_levels, spread, penalty, least):
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, spread, n_levels)
    z = levels[np.arange(length) * n_levels // length] + rng.normal(size=length)
    bounds, cost = optimal_partitioning(z, penalty, least)
    found = segment(z, penalty, least)
    if length < least:  # nothing to divide
        assert found.tolist() == [0, length]
        return
    assert found.tolist() == bounds
    errors = sum(((z[a:b] - z[a:b].mean()) ** 2).sum() for a, b in pairwise(found))
    assert errors + penalty * (len(found) - 2) == pytest.approx(cost)


@pytest.mark.parametrize(("least", "penalty"), [(4, 0.3), (6, 2.0), (9, 8.0)])
def test_levels_shorter_than_the_least_length_do_not_mislead_the_pruning(least, penalty):
    """A change at t excludes earlier ones for ends from t + least on only; these data show it when it is taken from
    t + 2 on."""
    for seed in range(15):
        rng = np.random.default_rng(seed)
        spread = 5.0 if least == 4 else 15.0
        levels = [np.full(rng.integers(1, 2 * least), rng.normal(0, spread)) for _ in range(16)]
        z = np.concatenate(levels)[:90]
        z = z + rng.normal(size=len(z))
        assert segment(z, penalty, least).tolist() == optimal_partitioning(z, penalty, least)[0]


def test_the_search_prunes_long_rows_and_stays_exact():
    """Long enough for many prunings; the oracle takes the same running sums, for speed."""
    rng = np.random.default_rng(5)
    z = np.repeat(rng.normal(0, 3, 30), 20) + rng.normal(size=600)
    sums, squares = np.append(0.0, np.cumsum(z)), np.append(0.0, np.cumsum(z * z))
    best, change = np.full(601, np.inf), np.zeros(601, dtype=int)
    best[0] = -20.0
    for t in range(5, 601):
        s = np.append(0, np.arange(5, t - 4)) if t >= 10 else np.array([0])
        cost = best[s] + squares[t] - squares[s] - (sums[t] - sums[s]) ** 2 / (t - s) + 20.0
        best[t], change[t] = cost.min(), s[cost.argmin()]
    bounds = [600]
    while bounds[-1] > 0:
        bounds.append(change[bounds[-1]])
    assert len(bounds) > 15
    assert segment(z, 20.0, 5).tolist() == bounds[::-1]


def test_a_long_row_is_searched_on_a_grid_and_its_shifts_found_where_they_are():
    rng = np.random.default_rng(8)
    z = rng.normal(size=9_999)
    at = np.array([1_003, 2_502, 2_531, 7_777, 9_950])
    for bound, jump in zip(at, [3.0, 6.0, -4.0, -5.0, 4.0], strict=True):
        z[bound:] += jump
    exact = segment(z, 27.0, 5)
    assert np.abs(exact[1:-1] - at).max() <= 1
    events = find_events(rows_of([z, rng.normal(size=9_999)])).of_kind(LEVEL_SHIFT)
    assert (events.row == 0).all()
    np.testing.assert_array_equal(events.time, exact[1:-1])


@pytest.mark.parametrize("size", [6.0, -6.0, 15.0])
@pytest.mark.parametrize(("length", "at"), [(200, 100), (200, 20), (200, 188), (60, 35)])
@pytest.mark.parametrize("season_length", [1, 7])
def test_a_planted_shift_is_found(size, length, at, season_length):
    rng = np.random.default_rng(11)
    season = 9.0 * rng.normal(size=season_length)[np.arange(length) % season_length]
    series = rng.normal(size=(200, length)) + size * (np.arange(length) >= at) + season + 1000.0
    series[:, [at - 4, at + 3]] = NAN
    events = find_events(rows_of(series, season_length)).of_kind(LEVEL_SHIFT)
    near = np.abs(events.time - at) <= 2
    good = near & (events.sign == np.sign(size)) & (np.abs(events.size / size - 1) < 0.2)
    assert len(set(events.row[good].tolist())) >= 0.95 * len(series)
    assert (~near).sum() <= 0.02 * len(series)
    np.testing.assert_array_equal(events.sign, np.sign(events.size))
    assert 0.7 * abs(size) < np.median(events.score) < 1.3 * abs(size)  # the noise scale of the data is 1


@pytest.mark.parametrize("size", [15.0, -15.0])
@pytest.mark.parametrize("run", [1, 2])
@pytest.mark.parametrize("at", [3, 100, 197])
def test_a_planted_spike_is_an_outlier_and_no_shift(size, run, at):
    rng = np.random.default_rng(12)
    series = rng.normal(size=(200, 200))
    series[:, at : at + run] = size + 0.5 * rng.normal(size=(200, run))  # of its own noise
    series += 40 * np.sin(2 * np.pi * np.arange(200) / 7)
    events = find_events(rows_of(series, 7))
    assert len(events.of_kind(LEVEL_SHIFT)) == 0
    outliers = events.of_kind(OUTLIER)
    planted = (outliers.time >= at) & (outliers.time < at + run)
    good = planted & (outliers.sign == np.sign(size)) & (np.abs(outliers.size / size - 1) < 0.2)
    assert good.sum() >= 0.95 * run * len(series)
    assert (~planted).sum() <= 0.02 * len(series)


def test_a_spike_without_noise_has_its_exact_size_and_a_long_one_is_none():
    trend = 0.5 * np.arange(60) + np.tile([0.2, -0.2, 0.1, -0.1], 15)
    spike = trend.copy()
    spike[30] += 50
    events = find_events(rows_of([spike]))
    assert (events.time.tolist(), events.kind.tolist()) == ([30], [OUTLIER])
    assert events.size[0] == pytest.approx(50, abs=0.5)
    long, edge = trend.copy(), trend.copy()
    long[30:33] += 50
    edge[[0, -1]] += 50  # nothing shows that a first or last value came back
    assert len(find_events(rows_of([long, edge])).of_kind(OUTLIER)) == 0


@pytest.mark.parametrize(
    ("name", "most"),
    [("white", 0.05), ("short", 0.05), ("ar_0.5", 0.05), ("trend", 0.03), ("steep trend", 0.03), ("random walk", 0.05),
     ("t3", 0.05), ("weekly", 0.03), ("yearly", 0.05), ("counts", 0.05), ("intermittent", 0.1)],
)  # fmt: skip
def test_few_false_alarms(name, most):
    """Shares of 400 series without a shift that have one: white noise and AR(1) of 0.5 have about 1 %."""
    rng, t = np.random.default_rng(13), np.arange(200)
    white = rng.normal(size=(400, 200))
    series = {
        "white": white,
        "short": white[:, :30],
        "ar_0.5": ar1(rng, 0.5, 400, 200),
        "trend": white + 0.05 * t,
        "steep trend": white - 3.0 * t,
        "random walk": white + 0.1 * np.cumsum(rng.normal(size=white.shape), axis=1),
        "t3": rng.standard_t(3, size=(400, 200)),
        "weekly": white + 12.0 * (t % 7 == 2) - 6.0 * (t % 7 == 4),
        "yearly": white[:, :40] + 6.0 * np.sin(2 * np.pi * t[:40] / 12) + 0.1 * t[:40],
        "counts": rng.poisson(1.0, size=(400, 200)).astype(float),
        "intermittent": (rng.random((400, 200)) < 0.2) * rng.exponential(5.0, size=(400, 200)),
    }[name]
    assert shifted_share(series, {"weekly": 7, "yearly": 12}.get(name, 1)) <= most


def test_a_season_that_is_not_removed_would_be_shifts():
    """The guard of the seasonal cases above: without the season the same data have shifts."""
    rng, t = np.random.default_rng(14), np.arange(40)
    series = rng.normal(size=(100, 40)) + 12.0 * (t % 20 < 10)
    assert shifted_share(series, 1) > 0.7
    assert shifted_share(series, 20) < 0.1
    assert len(find_events(rows_of(series, 20), season_length=1)) > 70  # the argument goes before the rows' own
    assert shifted_share(series[:, :39], 20) > 0.7  # less than two seasons


def test_a_shift_within_a_trend_keeps_its_size():
    rng, t = np.random.default_rng(15), np.arange(200)
    series = rng.normal(size=(200, 200)) + 0.05 * t + 8.0 * (t >= 120)
    events = find_events(rows_of(series)).of_kind(LEVEL_SHIFT)
    near = np.abs(events.time - 120) <= 2
    assert near.sum() >= 190
    assert (~near).sum() <= 4
    assert (np.abs(events.size[near] / 8.0 - 1) < 0.2).mean() > 0.9


def test_a_season_with_long_gaps():
    """Windows of the running median without any value, beside an end of the row and inside."""
    rng, t = np.random.default_rng(17), np.arange(120)
    series = rng.normal(size=(50, 120)) + 9.0 * (t % 12 < 4) + 8.0 * (t >= 80)
    series[:, 3:40] = NAN
    series[:, 85:100] = NAN
    shifts = find_events(rows_of(series, 12)).of_kind(LEVEL_SHIFT)
    near = np.abs(shifts.time - 80) <= 2
    assert near.sum() >= 40
    assert (~near).sum() <= 2


values_of_any_kind = st.one_of(
    st.just(NAN), st.sampled_from([0.0, 1.0, 7.0, -1e9]), st.floats(allow_nan=False, allow_infinity=False, width=64)
)


@settings(max_examples=200, deadline=None)
@given(
    series=st.lists(st.lists(values_of_any_kind, max_size=40), min_size=1, max_size=4),
    season_length=st.sampled_from([1, 2, 7]),
)
def test_any_values_are_safe_and_neighbours_do_not_matter(series, season_length):
    rows = rows_of(series, season_length)
    together = find_events(rows, min_segment=2)
    assert np.isfinite(together.size).all() or np.abs(rows.batch.values[~np.isnan(rows.batch.values)]).max() > 1e300
    assert (together.size != 0).all()
    assert (together.row[:-1] <= together.row[1:]).all()
    for r, values in enumerate(series):
        alone = find_events(rows_of([values], season_length), min_segment=2)
        mine = together.row == r
        for name in ("time", "kind", "size", "sign", "score"):
            np.testing.assert_array_equal(getattr(together, name)[mine], getattr(alone, name))
        assert not np.isnan(np.asarray(values, dtype=float)[alone.time]).any()  # events are at observed periods


@pytest.mark.parametrize(
    "values",
    [[], [NAN] * 30, [4.0], [4.0, 5.0], [3.0] * 50, [0.1 + 0.2] * 25 + [0.3] * 25, [NAN, 2.0, NAN, 2.0] * 9,
     list(np.arange(100) * 7.0), list(np.sin(np.arange(140) * 2 * np.pi / 7)), [1e-300] * 20],
)  # fmt: skip
def test_rows_without_events(values):
    assert len(find_events(rows_of([values], 7))) == 0


def test_a_step_and_a_spike_in_constants():
    step, spike = np.repeat([2.0, 9.0], 15), np.full(40, 2.0)
    spike[20] = -5.0
    events = find_events(rows_of([step, spike]))
    assert [KIND_NAMES[k] for k in events.kind] == ["level_shift", "outlier"]
    assert (events.row.tolist(), events.time.tolist()) == ([0, 1], [15, 20])
    np.testing.assert_allclose(events.size, [7.0, -7.0], rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-9, 1e9, 2.0**40, 2.0**-40, -1.0]),
    season_length=st.sampled_from([1, 7]),
)
def test_scale_equivariance(seed, scale, season_length):
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(4, 120)) + 7.0 * (np.arange(120) >= 70)
    series[:, 30] += 20.0
    series[rng.random(series.shape) < 0.1] = NAN
    plain, scaled = find_events(rows_of(series, season_length)), find_events(rows_of(scale * series, season_length))
    assert len(plain) >= 4
    for name in ("row", "time", "kind"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(scaled, name))
    exact = np.log2(abs(scale)).is_integer()
    np.testing.assert_allclose(scaled.size, scale * plain.size, rtol=0 if exact and scale > 0 else 1e-9)
    np.testing.assert_allclose(scaled.score, plain.score, rtol=1e-9)


def windowed():
    """Three series with backtest windows that end before, within and after their events."""
    rng = np.random.default_rng(16)
    series = [rng.normal(size=n) + 8.0 * (np.arange(n) >= n // 2) for n in (150, 90, 120)]
    for values in series:
        values[20] += 30.0
    return series, np.array([[40, 70, 148], [30, 60, 90], [21, 80, 120]])


def test_nothing_after_the_end_and_before_the_begin_matters():
    series, ends = windowed()
    rows = rows_of(series, 7, ends=ends)
    events = find_events(rows)
    for r, end in enumerate(ends.ravel()):
        alone = find_events(rows_of([series[r // 3][:end]], 7))
        mine = events.row == r
        for name in ("time", "kind", "size", "score"):
            np.testing.assert_array_equal(getattr(events, name)[mine], getattr(alone, name))
    disturbed = [v.copy() for v in series]
    for i, values in enumerate(disturbed):
        values[ends[i, 1] :] = 1e6
    seen = events.row % 3 < 2
    later = find_events(rows_of(disturbed, 7, ends=ends[:, :2]))
    np.testing.assert_array_equal(later.time, events.time[seen])
    np.testing.assert_array_equal(later.size, events.size[seen])

    recent = find_events(rows_of(series, history=60))
    for r, values in enumerate(series):
        alone = find_events(rows_of([values[-60:]]))
        np.testing.assert_array_equal(recent.time[recent.row == r], alone.time + len(values) - 60)
        np.testing.assert_array_equal(recent.size[recent.row == r], alone.size)
    assert len(recent) > 0


@pytest.mark.parametrize("keep", [0.0, 3.0, 1e9])
def test_dampened_draws_in_outliers_only(keep):
    series, ends = windowed()
    rows = rows_of(series, ends=ends, history=100)
    before = rows.batch.values.copy()
    events = find_events(rows)
    values, offsets = dampened(rows, events, keep)
    np.testing.assert_array_equal(rows.batch.values, before)
    expected = []
    for r in range(len(rows)):
        mine = before[rows.begin[r] : rows.end[r]].copy()
        first = rows.begin[r] - rows.batch.offsets[rows.series[r]]
        for e in np.flatnonzero((events.row == r) & (events.kind == OUTLIER)):
            noise = abs(events.size[e]) / events.score[e]
            at = events.time[e] - first
            mine[at] += events.sign[e] * min(keep * noise, abs(events.size[e])) - events.size[e]
        np.testing.assert_allclose(values[offsets[r] : offsets[r + 1]], mine, atol=1e-12)
        expected.append(mine)
    assert len(values) == sum(map(len, expected))
    assert len(events.of_kind(OUTLIER)) >= 5
    if keep == 0.0:
        assert len(find_events(rows_of(expected)).of_kind(OUTLIER)) == 0
    if keep == 1e9:
        np.testing.assert_array_equal(values[: offsets[1]], before[rows.begin[0] : rows.end[0]])


def test_after_last_shift_keeps_enough():
    steps = [np.repeat([1.0, 9.0, 4.0], 20), np.ones(10), np.repeat([1.0, 9.0], [50, 8])]
    rows = rows_of(steps)
    events = find_events(rows)
    assert events.time[events.kind == LEVEL_SHIFT].tolist() == [20, 40, 50]
    assert (after_last_shift(rows, events, 5) - rows.begin).tolist() == [40, 0, 50]
    assert (after_last_shift(rows, events, 30) - rows.begin).tolist() == [30, 0, 28]
    assert (after_last_shift(rows, events, 1000) - rows.begin).tolist() == [0, 0, 0]
    recent = rows_of(steps, history=30)
    found = find_events(recent)
    begin = after_last_shift(recent, found, 5)
    assert (begin - recent.batch.offsets[:-1]).tolist() == [40, 0, 50]
    assert recent.begin.tolist() == [30, 60, 98]


def test_shift_steps_are_one_from_the_shift_on():
    steps = [np.repeat([1.0, 9.0, 4.0], 20), np.ones(10), np.repeat([1.0, 9.0], [50, 8])]
    rows = rows_of(steps, history=50)
    found = shift_steps(rows, find_events(rows), 3)
    assert found.row.tolist() == [0, 0, 2]
    assert found.offsets.tolist() == [0, 53, 106, 159]
    expected = [np.arange(53) >= at for at in (10, 30, 42)]
    np.testing.assert_array_equal(found.values, np.concatenate(expected).astype(float))


@pytest.mark.parametrize("wrong", [{"penalty": 0.0}, {"penalty": NAN}, {"min_segment": 1}, {"season_length": 0}])
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", ".")):
        find_events(rows_of([[1.0, 2.0]]), **wrong)


def test_wrong_treatments_are_named():
    rows = rows_of([[1.0, 2.0]])
    events = find_events(rows)
    with pytest.raises(ValueError, match="keep"):
        dampened(rows, events, -1.0)
    with pytest.raises(ValueError, match="at_least"):
        after_last_shift(rows, events, -1)
    with pytest.raises(ValueError, match="horizon"):
        shift_steps(rows, events, -1)
