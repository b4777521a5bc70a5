"""Level shifts and outliers of each series, and what can be done about them before a model is fitted.

A row goes through these steps; each sees the row's own values only, from its begin to its end.

1. *Season.* Where a row spans at least two seasons, the median over each position in the season of the values minus
   their running median over one season is subtracted; near the ends the running median goes on as a line. Of two
   values that are far apart for a pair, the one nearer to zero counts (zero where the signs differ); of one, none.
   A season that grows with the level stays in part.
2. *Noise scale.* 1.4826 times the median absolute deviation of the first differences, over sqrt 2: shifts, outliers
   and a steady trend hardly touch it. It has two floors: one from differences that are taken back at once, so that
   equal spikes in more than 8 % of the values are no outliers (that is how the row is, and most of its differences
   may be zero), and a millionth of half the range. A constant has no events.
3. *Surges.* From 3 values in a row to `surge_length` that lie beyond the level on both sides and come back to it
   (`surge_kernels.find_surges`): a level that comes and goes, such as some months of 2020. One that has not come
   back yet looks like a level shift, or like nothing.
4. *Outliers.* Surges replaced by their expected values, one or two values in a row that lie beyond the median of the
   5 observed values before them and beyond that of the 5 after them, to the same side, by more than 5 noise scales
   (`threshold`), between values that are at least half way back. A first or last value is never one: nothing shows
   yet that it came back.
5. *Level shifts.* Outliers and surges replaced and the noise scale taken again unless none is left, the segments with
   the least sum of squared errors around their means + penalty log(n) sigma^2 a change, n observed values (PELT,
   Killick, Fearnhead and Eckley 2012). sigma^2 is the square of the noise scale; where the noise persists it is the
   long-run variance of AR(1) noise, so that its swings are no shifts (`abrupt_kernels._long_run_variance`).
6. *Trends.* A staircase of means follows any trend, so a change counts only if lines fitted on both sides leave a
   jump at the boundary whose square exceeds the same penalty times the variance of that jump, and if the 12 values on
   each side show it, too (`level_shifts`). Two shifts that take each other back within `surge_length` are a surge.

Limits. With surges off, what lasts from three values to fewer than `min_segment` is nothing; if it is large enough, it
widens to two shifts. A peak that comes every year is a surge or an outlier where the season is shorter than the year.
Smooth cycles of many periods that are no season, and levels that wander by steps of a third of the noise or more,
leave some shifts that are none. Rare sales in a row of zeros are outliers: do not dampen intermittent demand.

Killick, Fearnhead, Eckley (2012), Optimal detection of changepoints with a linear computational cost, JASA 107.
Chakar, Lebarbier, Lévy-Leduc, Robin (2017), A robust approach for estimating change-points in the mean of an AR(1)
process, Bernoulli 23.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.abrupt_kernels import OUTLIER_THRESHOLD, find_abrupt
from forecasting.batch import FloatArray, offsets_of
from forecasting.frequency import Int64Array
from forecasting.models.contract import Rows
from forecasting.surge_kernels import SHORTEST, SURGE_LENGTH

LEVEL_SHIFT = np.int8(0)
OUTLIER = np.int8(1)
SURGE = np.int8(2)
KIND_NAMES = ("level_shift", "outlier", "surge")
"""Names of the kinds of events, by their number."""

PENALTY = 3.0
"""What a change costs, in log(n) sigma^2. BIC's is 2 (a position and a level)."""
MIN_SEGMENT = 5
"""Observed values that a level lasts at least."""


@dataclass(frozen=True)
class Events:
    """E events, ordered by row and time, a shift before an outlier of the same period.

    row: int64 [E], position in the rows. time: int64 [E], periods from the first period of the row's series (not from
    the row's begin); of a level shift, the first observed period of the new level. A surge is an event for each of
    its observed periods. until: int64 [E], the last period of a surge, else the time. kind: int8 [E], LEVEL_SHIFT,
    OUTLIER or SURGE. size: float64 [E], in the unit of the data: the level after minus the level before, the value of
    an outlier or in a surge minus the expected one. sign: int8 [E], of the size. score: float64 [E], |size| over the
    row's noise scale, of a shift that without outliers and surges.
    """

    row: Int64Array
    time: Int64Array
    until: Int64Array
    kind: npt.NDArray[np.int8]
    size: FloatArray
    sign: npt.NDArray[np.int8]
    score: FloatArray

    def __len__(self) -> int:
        return len(self.row)

    def of_kind(self, *kinds: int | np.int8) -> Events:
        """The events of one kind or several, in the same order."""
        chosen = np.isin(self.kind, np.array(kinds))
        return Events(**{name: values[chosen] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Steps:
    """S step regressors, one a level shift: 0 before it, 1 from it on; of a surge, 1 while it lasts.

    row: int64 [S], the row that it belongs to. values: flat float64; step s is values[offsets[s]:offsets[s + 1]], from
    its row's begin to the row's end and then the horizon. offsets: int64 [S + 1].
    """

    row: Int64Array
    values: FloatArray
    offsets: Int64Array


def find_events(
    rows: Rows,
    penalty: float = PENALTY,
    min_segment: int = MIN_SEGMENT,
    season_length: int | None = None,
    *,
    threshold: float = OUTLIER_THRESHOLD,
    surge_length: int = SURGE_LENGTH,
) -> Events:
    """Level shifts, outliers and surges of each row; the module says how.

    penalty: what a change costs in log(n) sigma^2; larger finds fewer. min_segment: observed values between changes,
    at least 2. season_length: periods; None takes the rows' own, 1 removes no season. threshold: noise scales by which
    an outlier, and a surge on average, lies beyond its neighbours. surge_length: observed values of the longest surge;
    0 finds none. Missing (and infinite) values are skipped. Raises ValueError for a penalty or threshold that is not
    positive, min_segment below 2, season_length below 1 or a surge_length of 1, 2 or less than 0.
    """
    season = rows.season_length if season_length is None else season_length
    if not penalty > 0 or min_segment < 2 or season < 1:
        raise ValueError(
            f"got penalty {penalty}, min_segment {min_segment} and season_length {season}; expected a positive "
            "penalty, min_segment of at least 2 and season_length of at least 1"
        )
    if not threshold > 0 or not (surge_length == 0 or surge_length >= SHORTEST):
        raise ValueError(
            f"got threshold {threshold} and surge_length {surge_length}; expected a positive threshold, and 0 or at "
            f"least {SHORTEST} values for surge_length"
        )
    offsets = _offsets(rows)
    total = int(offsets[-1])
    shifts, outliers, surges = np.zeros(total), np.zeros(total), np.zeros(total)
    noise, shift_noise = np.zeros(len(rows)), np.zeros(len(rows))
    until = np.zeros(total, dtype=np.int64)
    where = (rows.batch.values, rows.begin, rows.end, offsets)
    limits = (float(penalty), min_segment, float(threshold), surge_length)
    find_abrupt(*where, season, *limits, shifts, outliers, surges, until, noise, shift_noise)
    sizes = np.stack([shifts, outliers, surges], axis=1)
    place, kind = np.nonzero(sizes)
    row = np.searchsorted(offsets, place, side="right") - 1
    size = sizes[place, kind]
    time = place - offsets[row] + _first(rows)[row]
    return Events(
        row=row,
        time=time,
        until=np.where(kind == SURGE, until[place] + _first(rows)[row], time),
        kind=kind.astype(np.int8),
        size=size,
        sign=np.sign(size).astype(np.int8),
        score=np.abs(size) / np.where(kind == LEVEL_SHIFT, shift_noise[row], noise[row]),
    )


def dampened(rows: Rows, events: Events, keep: float = 0.0) -> tuple[FloatArray, Int64Array]:
    """The values of the rows with outliers and surges drawn in, and int64 offsets [R + 1]: row r is values[offsets[r]:
    offsets[r + 1]], rows.begin[r] to rows.end[r].

    keep: noise scales by which a winsorised value may differ from the expected one; 0 puts the expected value. Level
    shifts and missing values stay. The rows are copied side by side, since windows of one series may disagree.
    Raises ValueError for a negative keep.
    """
    if not keep >= 0:
        raise ValueError(f"got keep {keep}, expected 0 or more noise scales")
    offsets = _offsets(rows)
    index = np.arange(offsets[-1]) + np.repeat(rows.begin - offsets[:-1], np.diff(offsets))
    values = rows.batch.values[index]
    outliers = events.of_kind(OUTLIER, SURGE)
    place = offsets[outliers.row] + _local(rows, outliers)
    values[place] -= outliers.size * (1.0 - np.minimum(keep / outliers.score, 1.0))
    return values, offsets


def after_last_shift(rows: Rows, events: Events, at_least: int) -> Int64Array:
    """New begins of the rows, int64 [R], positions in the flat array: the last level shift, but at least `at_least`
    periods before the end stay where the row has them. A row without a shift keeps its begin.

    Raises ValueError for a negative at_least.
    """
    if at_least < 0:
        raise ValueError(f"got at_least {at_least}, expected 0 or more periods")
    shifts = events.of_kind(LEVEL_SHIFT)
    begin = rows.begin.copy()
    np.maximum.at(begin, shifts.row, rows.begin[shifts.row] + _local(rows, shifts))
    return np.maximum(rows.begin, np.minimum(begin, rows.end - at_least))


def shift_steps(rows: Rows, events: Events, horizon: int) -> Steps:
    """A step regressor for each level shift and surge, over its row and the horizon after it.

    Raises ValueError for a negative horizon.
    """
    if horizon < 0:
        raise ValueError(f"got horizon {horizon}, expected 0 or more periods")
    shifts = whole_surges(events)
    shifts = shifts.of_kind(LEVEL_SHIFT, SURGE)
    lengths = (rows.end - rows.begin)[shifts.row] + horizon
    offsets = offsets_of(lengths)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    begin = _local(rows, shifts)
    length = np.where(shifts.kind == SURGE, shifts.until - shifts.time + 1, lengths)
    on = (place >= np.repeat(begin, lengths)) & (place < np.repeat(begin + length, lengths))
    return Steps(shifts.row, on.astype(np.float64), offsets)


def whole_surges(events: Events) -> Events:
    """With one event a surge, at its first period: its size and score are means over its observed periods."""
    surge = events.kind == SURGE
    place = np.flatnonzero(surge)
    if not len(place):
        return events
    row, until = events.row[place], events.until[place]
    new = np.r_[True, (row[1:] != row[:-1]) | (until[1:] != until[:-1])]
    first = np.flatnonzero(new)
    counts = np.diff(np.r_[first, len(place)])
    size, score = events.size.copy(), events.score.copy()
    size[place[first]] = np.add.reduceat(events.size[place], first) / counts
    score[place[first]] = np.add.reduceat(events.score[place], first) / counts
    keep = ~surge
    keep[place[first]] = True
    kept = {**vars(events), "size": size, "score": score, "sign": np.sign(size).astype(np.int8)}
    return Events(**{name: values[keep] for name, values in kept.items()})


def _offsets(rows: Rows) -> Int64Array:
    """Where each row begins when the rows stand side by side."""
    return offsets_of(rows.end - rows.begin)


def _first(rows: Rows) -> Int64Array:
    """The period at which each row begins, from the first of its series, [R]."""
    return rows.begin - rows.batch.offsets[rows.series]


def _local(rows: Rows, events: Events) -> Int64Array:
    """The period of each event from its row's begin, [E]."""
    return events.time - _first(rows)[events.row]
