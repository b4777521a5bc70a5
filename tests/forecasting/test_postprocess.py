"""Guards, bounds, order and what is counted on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forecasting import Bounds, SeriesBatch
from forecasting.frequency import Frequency
from forecasting.models.contract import RawForecast, Rows
from forecasting.postprocess import HistoryFacts, apply_bounds, finish, guard, history_facts

NAN = np.nan


def raw_of(*rows: object) -> RawForecast:
    """From quantile tables [R, H, Q]; the mean is the middle quantile."""
    table = np.array(rows, dtype=float)
    return RawForecast(mean=table[:, :, table.shape[2] // 2].copy(), quantiles=table)


def facts_of(low: float, high: float, n: int = 1) -> HistoryFacts:
    count = np.full(n, 5)
    return HistoryFacts(np.full(n, low), np.full(n, high), count, count * 0)


def test_facts_count_observations_and_filled_points_of_each_window() -> None:
    values = np.array([3.0, NAN, -1.0, 8.0, NAN, 2.0])
    filled = np.array([0, 0, 1, 0, 0, 1], dtype=np.uint8)
    batch = SeriesBatch(values, np.array([0, 4, 6]), np.zeros(2), Frequency.parse("D"), ["a", "b"], filled=filled)
    facts = history_facts(Rows.of(batch, "naive", [[4, 1], [1, 2]]))
    np.testing.assert_array_equal(facts.low, [-1, 3, NAN, 2])
    np.testing.assert_array_equal(facts.high, [8, 3, NAN, 2])
    assert list(facts.n_obs) == [2, 1, 0, 0]
    assert list(facts.n_filled) == [1, 0, 0, 1]
    plain = SeriesBatch(values, np.array([0, 4, 6]), np.zeros(2), Frequency.parse("D"), ["a", "b"])
    assert list(history_facts(Rows.of(plain, "naive")).n_obs) == [3, 1]
    assert list(history_facts(Rows.of(plain, "naive")).n_filled) == [0, 0]


@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf])
def test_one_number_that_is_not_finite_refuses_its_row(bad: float) -> None:
    fine = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    in_quantiles, in_mean = raw_of(fine, fine, fine), raw_of(fine, fine, fine)
    in_quantiles.quantiles[1, 1, 2] = bad
    in_mean.mean[2, 0] = bad
    assert list(guard(in_quantiles, facts_of(1, 3, 3))) == ["", "not_finite", ""]
    assert list(guard(in_mean, facts_of(1, 3, 3))) == ["", "", "not_finite"]


@pytest.mark.parametrize(
    ("low", "high", "value", "verdict"),
    [(0, 10, 209, ""), (0, 10, 211, "explosive"), (0, 10, -199, ""), (0, 10, -201, "explosive"),
     (90, 100, 2099, ""), (90, 100, 2101, "explosive"), (-10, 10, 409, ""), (-10, 10, 411, "explosive"),
     (0, 0, 0, ""), (0, 0, 1e-9, "explosive")],
)  # fmt: skip
def test_twenty_times_the_history_is_explosive(low: float, high: float, value: float, verdict: str) -> None:
    """The reach is 20 times the larger of the history's range and its largest absolute value."""
    assert guard(raw_of([[low, low, value] if value > low else [value, low, low]]), facts_of(low, high))[0] == verdict


def test_a_row_without_history_is_judged_by_being_finite_only() -> None:
    facts = HistoryFacts(np.array([NAN]), np.array([NAN]), np.array([0]), np.array([0]))
    assert guard(raw_of([[1e9, 1e9, 1e9]]), facts)[0] == ""
    assert guard(raw_of([[NAN, 1.0, 1.0]]), facts)[0] == "not_finite"


def test_nothing_at_all_passes_the_guard() -> None:
    empty = RawForecast(np.empty((0, 4)), np.empty((0, 4, 3)))
    assert len(guard(empty, facts_of(0, 1, 0))) == 0


def test_bounds_clip_and_count_by_row() -> None:
    raw = raw_of([[-1.0, 2.0, 12.0], [-3.0, -2.0, 1.0]], [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    done, clipped = apply_bounds(raw, Bounds(lower=0.0, upper=10.0))
    np.testing.assert_array_equal(done.quantiles, [[[0, 2, 10], [0, 0, 1]], [[1, 2, 3], [1, 2, 3]]])
    np.testing.assert_array_equal(done.mean, [[2, 0], [2, 2]])
    assert list(clipped) == [5, 0]
    assert raw.quantiles[0, 0, 0] == -1.0
    lower_only, counted = apply_bounds(raw, Bounds(lower=0.0))
    assert lower_only.quantiles.max() == 12.0
    assert list(counted) == [4, 0]
    untouched, none = apply_bounds(raw, Bounds())
    assert untouched is raw
    assert not none.any()


def test_whole_units_round_quantiles_and_leave_the_mean() -> None:
    raw = raw_of([[0.4, 1.6, 2.5]])
    raw.mean[0, 0] = 1.3
    done = finish(raw, Bounds(whole_units=True))
    np.testing.assert_array_equal(done.quantiles[0, 0], [0, 2, 2])
    assert done.mean[0, 0] == 1.3


@given(
    hnp.arrays(np.float64, (3, 4, 5), elements=st.floats(-1e6, 1e6)),
    st.tuples(st.integers(-50, 50), st.integers(0, 100)),
    st.booleans(),
)
def test_finished_quantiles_never_cross_and_stay_in_bounds(
    table: np.ndarray, limits: tuple[int, int], whole: bool
) -> None:
    bounds = Bounds(lower=limits[0], upper=limits[0] + limits[1], whole_units=whole)
    done = finish(RawForecast(table[:, :, 2].copy(), table.copy()), bounds)
    assert (np.diff(done.quantiles, axis=2) >= 0).all()
    assert done.quantiles.min() >= limits[0]
    assert done.quantiles.max() <= limits[0] + limits[1]
    assert done.mean.min() >= limits[0]
    if whole:
        np.testing.assert_array_equal(done.quantiles, np.rint(done.quantiles))
    inside = (table >= limits[0]) & (table <= limits[0] + limits[1])
    if inside.all() and not whole:
        np.testing.assert_array_equal(done.quantiles, np.sort(table, axis=2))
