"""Derived related series and lags of the target against plain loops, and what they may not see."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting import SeriesBatch, fit
from forecasting.features import TRANSFORMS, Derived, Features, with_features
from forecasting.lags import rolling_target, target_lags

NAN = math.nan
H = 4
value = st.one_of(st.sampled_from([NAN, 0.0, -2.0]), st.floats(0.5, 50))


@st.composite
def batches(draw: Any) -> SeriesBatch:
    n = draw(st.integers(1, 4))
    lengths = [draw(st.integers(0, 10)) for _ in range(n)]
    target = [draw(st.lists(value, min_size=m, max_size=m)) for m in lengths]
    price = [draw(st.lists(value, min_size=0, max_size=m + H + 2)) for m in lengths]
    seen = [draw(st.lists(value, min_size=0, max_size=m)) for m in lengths]
    related = {"price": price, "seen": seen}
    starts = ["2024-01-01", "2024-01-05", "2023-12-01", "2024-02-10"][:n]
    return SeriesBatch.from_arrays(target, starts, "D", related=related, known_in_future=["price"])


def carried(x: list[float], n: int, visible: int) -> list[float]:
    out, latest = [], NAN
    for t in range(n):
        if t < min(len(x), visible) and not math.isnan(x[t]):
            latest = x[t]
        out.append(latest)
    return out


def plainly(x: list[float], how: str, p: int) -> list[float]:
    out = []
    for t in range(len(x)):
        before = x[t - p] if t >= p else NAN
        if how == "log":
            out.append(math.log(x[t]) if x[t] > 0 else NAN)
        elif how == "lag":
            out.append(before)
        elif how == "rolling_mean":
            some = [v for v in x[max(t - p + 1, 0) : t + 1] if not math.isnan(v)]
            out.append(sum(some) / len(some) if some else NAN)
        elif math.isnan(before) or math.isnan(x[t]):
            out.append(0.0)
        elif how == "difference":
            out.append(x[t] - before)
        else:
            out.append(x[t] / before - 1 if before != 0 else 0.0)
    return out


@settings(max_examples=120, deadline=None)
@given(batch=batches(), how=st.sampled_from(TRANSFORMS), p=st.integers(1, 6), of=st.sampled_from(["price", "seen"]))
def test_derived_series_are_those_of_a_plain_loop(batch: SeriesBatch, how: Any, p: int, of: str) -> None:
    made = with_features(batch, Features({"new": Derived(of, how, p)}), H).related["new"]
    known = of == "price" or (how == "lag" and p >= H)
    assert made.known_in_future == known
    source = batch.related[of]
    for i in range(len(batch)):
        n = int(batch.lengths[i]) + (H if known else 0)
        x = source.values[source.offsets[i] : source.offsets[i + 1]].tolist()
        visible = int(batch.lengths[i]) + (H if of == "price" else 0)
        expected = plainly(carried(x, n, visible), how, p)
        got = made.values[made.offsets[i] : made.offsets[i + 1]]
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_calendar_columns_follow_each_series() -> None:
    starts = ["2024-02-20", "2023-12-30"]
    batch = SeriesBatch.from_arrays([np.ones(10), np.ones(5)], starts, "D")
    made = with_features(batch, Features(calendar=("day_of_week", "month_of_year"), encoding="one_hot"), 3).related
    assert len(made) == 6 + 11
    for i, (start, n) in enumerate(zip(starts, (13, 8), strict=True)):
        times = pd.date_range(start, periods=n)
        for name, expected in (("day_of_week_2", times.dayofweek == 2), ("month_of_year_2", times.month == 3)):
            column = made[name]
            assert column.known_in_future
            np.testing.assert_array_equal(column.values[column.offsets[i] : column.offsets[i + 1]], expected)


def test_a_price_change_carries_what_the_level_does_not() -> None:
    """Sales react to the change of a price, not to its level; and the price ends before the horizon."""
    rng = np.random.default_rng(3)
    price = 10.0 + rng.integers(-2, 3, 203)
    change = np.r_[0.0, price[1:] / price[:-1] - 1]
    sales = 100 - 150 * change[:200] + rng.normal(0, 0.5, 200)
    batch = SeriesBatch.from_arrays([sales], "2024-01-01", "D", related={"price": [price]}, known_in_future=["price"])
    features = Features({"price_change": Derived("price", "relative_change")})
    options: dict[str, Any] = {"weekly_seasonality": False, "n_changepoints": 0}
    names = ("price_change",)
    made = fit(with_features(batch, features, 6), "prophet", regressors=names, **options).predict(6).mean[0]
    level = fit(batch, "prophet", **options).predict(6).mean[0]
    expected = 100 - 150 * np.r_[change[200:], 0, 0, 0]  # behind its last value the price stays
    assert np.abs(made - expected).max() < 1.5
    assert np.abs(level - expected).max() > 5


def test_wrong_features_are_named() -> None:
    batch = SeriesBatch.from_arrays([[1.0]], "2024-01-01", "D", related={"price": [[1.0]]})
    with pytest.raises(ValueError, match="cost"):
        with_features(batch, Features({"a": Derived("cost", "log")}), 1)
    with pytest.raises(ValueError, match="'price'"):
        with_features(batch, Features({"price": Derived("price", "log")}), 1)
    with pytest.raises(ValueError, match="0 periods"):
        Derived("price", "lag", 0)
    with pytest.raises(ValueError, match="square"):
        Derived("price", "square")  # type: ignore[arg-type]
    assert with_features(batch, Features(), 1) is batch


# --- the target itself ---


@settings(max_examples=100, deadline=None)
@given(batch=batches(), window=st.integers(1, 5), ahead=st.integers(1, 4), least=st.integers(1, 3))
def test_lags_and_rolling_statistics_are_those_of_a_plain_loop(
    batch: SeriesBatch, window: int, ahead: int, least: int
) -> None:
    lags, seen = target_lags(batch, [1, 3, ahead])
    table, there = rolling_target(batch, window, ("min", "mean", "std", "max"), ahead, least)
    for i in range(len(batch)):
        y = batch.series(i).tolist()
        for t in range(len(y)):
            row = batch.offsets[i] + t
            for k, lag in enumerate((1, 3, ahead)):
                ok = t >= lag and not math.isnan(y[t - lag])
                assert bool(seen[row, k]) == ok
                assert lags[row, k] == (y[t - lag] if ok else 0.0)
            some = [v for v in y[max(t - ahead - window + 1, 0) : max(t - ahead + 1, 0)] if not math.isnan(v)]
            ok = len(some) >= least
            assert there[row].tolist() == [ok, ok, ok and len(some) >= 2, ok]
            if ok:
                expected = [min(some), np.mean(some), np.std(some, ddof=1) if len(some) > 1 else 0.0, max(some)]
                np.testing.assert_allclose(table[row], expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(batch=batches(), at=st.integers(0, 9), ahead=st.integers(1, 4))
def test_no_feature_of_a_period_sees_it_or_what_follows(batch: SeriesBatch, at: int, ahead: int) -> None:
    values = batch.values.copy()
    position = np.arange(len(values)) - np.repeat(batch.offsets[:-1], batch.lengths)
    values[position >= at] = 1e6
    other = SeriesBatch(values, batch.offsets, batch.start, batch.frequency, batch.keys)
    early = position < at + ahead
    for make in (lambda b: target_lags(b, [ahead, ahead + 2]), lambda b: rolling_target(b, 3, ("mean", "std"), ahead)):
        for before, after in zip(make(batch), make(other), strict=True):
            np.testing.assert_array_equal(before[early], after[early])


@pytest.mark.parametrize("call", [
    lambda b: target_lags(b, [0]), lambda b: rolling_target(b, 0), lambda b: rolling_target(b, 2, ahead=0),
    lambda b: rolling_target(b, 2, ("median",)),
])  # fmt: skip
def test_wrong_lags_are_errors(call: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        call(SeriesBatch.from_arrays([[1.0]], "2024-01-01", "D"))
