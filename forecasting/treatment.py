"""What models see of series with abrupt changes: outliers and surges drawn in, the history before the last shift left
out, or steps beside the values. Only what a fit sees is changed, never what it is judged by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from forecasting.abrupt import (
    LEVEL_SHIFT,
    MIN_SEGMENT,
    OUTLIER,
    PENALTY,
    SURGE,
    Events,
    after_last_shift,
    dampened,
    find_events,
    shift_steps,
    whole_surges,
)
from forecasting.abrupt_kernels import OUTLIER_THRESHOLD
from forecasting.batch import RelatedSeries, SeriesBatch, offsets_of, read_only
from forecasting.frequency import DAY_US, WEEK_US, Frequency, Int64Array
from forecasting.models.contract import ObjectArray, Rows
from forecasting.profiles import demand_classes
from forecasting.surge_kernels import SHORTEST

Kind = Literal["report", "dampen", "after_shift", "regressors"]

STEP_PREFIX, PULSE_PREFIX = "level_shift:", "surge:"
"""Names of the regressors of a treatment; a related series of the user's cannot have a colon in its name."""

UNTOUCHED, DAMPENED, CUT, TOO_SHORT, STEPS, EXEMPT = (
    "untouched", "dampened", "cut", "too_short_after_shift", "regressors", "exempt",
)  # fmt: skip
"""What a treatment did to a series: nothing was there to treat; outliers and surges were replaced; the history before
the last shift was left out, or kept since too little follows it; steps were added; its class of demand is exempt."""


@dataclass(frozen=True)
class Treatment:
    """How abrupt changes are found and treated.

    kind: report treats nothing. penalty, min_segment, threshold, surge_length, season_length: as in `find_events`; a
    surge_length of None is `usual_surge_length`.
    min_history: periods that must follow the last shift for the history before it to be left out; None: two seasons,
    and two horizons at least.
    max_steps: the latest shifts and the latest surges that become regressors, of each so many. exempt: classes of
    demand (`forecasting.demand`) that are left alone; a series' class is that of the values seen.
    """

    kind: Kind
    penalty: float = PENALTY
    min_segment: int = MIN_SEGMENT
    threshold: float = OUTLIER_THRESHOLD
    surge_length: int | None = None
    season_length: int | None = None
    min_history: int | None = None
    max_steps: int = 3
    exempt: tuple[str, ...] = ("intermittent", "lumpy")

    @property
    def form(self) -> str:
        """What a stored fit must share to be gone on from; empty where fits see the data as they are."""
        return "" if self.kind == "report" else repr(self)


@dataclass(frozen=True)
class Treated:
    """N series as the models see them. what: object [N], one of the words above. count: int64 [N], values that were
    replaced, periods left out in front, or regressors that are not 0."""

    series: SeriesBatch
    what: ObjectArray
    count: Int64Array = field(repr=False)


def events_of(batch: SeriesBatch, treatment: Treatment, *, filled_count: bool = False) -> Events:
    """The events of whole series; none of those that are exempt.

    filled_count: whether filled values are facts; otherwise they are skipped like missing ones.
    """
    observed = _observed(batch, filled_count=filled_count)
    return _events(observed, treatment, _exempt(observed, treatment))


def _observed(batch: SeriesBatch, *, filled_count: bool) -> SeriesBatch:
    """The values alone, filled ones missing unless they count."""
    if batch.filled is None or filled_count:
        return batch
    filled = batch.filled != 0
    return replace(batch, values=np.where(filled, np.nan, batch.values), filled=None) if filled.any() else batch


def _events(batch: SeriesBatch, treatment: Treatment, exempt: npt.NDArray[np.bool_]) -> Events:
    rows = Rows.of(batch, "abrupt", season_length=treatment.season_length)
    rows = replace(rows, end=np.where(exempt, rows.begin, rows.end))
    longest = treatment.surge_length
    found = find_events(
        rows,
        treatment.penalty,
        treatment.min_segment,
        threshold=treatment.threshold,
        surge_length=usual_surge_length(batch.frequency) if longest is None else longest,
    )
    return _without_yearly(found, rows)


def usual_surge_length(frequency: Frequency) -> int:
    """Periods of the longest surge where nothing is said: a year of months or more, half a year of weeks, a quarter of
    days, two days of finer periods."""
    if frequency.months:
        return max(12 // frequency.months, SHORTEST)
    span = 182 * DAY_US if frequency.step_us >= WEEK_US else 90 * DAY_US if frequency.step_us >= DAY_US else 2 * DAY_US
    return int(max(span // frequency.step_us, SHORTEST))


_YEAR_US = int(365.25 * DAY_US)
_NEAR_US = 3 * DAY_US  # days by which a yearly peak moves at most; of a surge, its first day


def _without_yearly(events: Events, rows: Rows) -> Events:
    """Without outliers and surges that come every year, where the season is shorter than the year (daily and finer
    data): those that have one of the same kind and sign at every anniversary that the row holds, one at least."""
    step = rows.batch.frequency.step_us
    if not 0 < step < WEEK_US or not len(events):
        return events
    first = whole_surges(events).of_kind(OUTLIER, SURGE)
    length = (rows.end - rows.begin)[first.row]
    begin = first.time - (rows.begin - rows.batch.offsets[rows.series])[first.row]
    years = int(length.max(initial=0) * step // _YEAR_US) + 1
    span = (years + 1) * int(length.max(initial=0) + _YEAR_US // step + 1)
    group = (first.row * 3 + first.kind) * 2 + (first.sign > 0)
    place = np.sort(group * span + first.time)
    held, met = np.zeros(len(first), dtype=np.int64), np.zeros(len(first), dtype=np.int64)
    near = max(_NEAR_US // step, 0)
    for year in (k for k in range(-years, years + 1) if k):
        away = round(year * _YEAR_US / step)
        inside = (begin + away - near >= 0) & (begin + away + near < length)
        wanted = group * span + first.time + away
        there = np.searchsorted(place, wanted + near, side="right") > np.searchsorted(place, wanted - near)
        held += inside
        met += inside & there
    yearly = (held > 0) & (met == held)
    if not yearly.any():
        return events
    gone = np.sort(first.until[yearly] + (first.row * 3 + first.kind)[yearly] * span)
    mine = events.until + (events.row * 3 + events.kind) * span
    keep = (events.kind == LEVEL_SHIFT) | ~np.isin(mine, gone)
    return Events(**{name: values[keep] for name, values in vars(events).items()})


def treat(batch: SeriesBatch, treatment: Treatment, horizon: int, *, filled_count: bool = False) -> Treated:
    """The series as the models see them; only what is in the batch is looked at, so give a backtest window what it may
    see (`seen_until`). filled_count: as in `events_of`."""
    n = len(batch)
    observed = _observed(batch, filled_count=filled_count)
    exempt = _exempt(observed, treatment)
    events = _events(observed, treatment, exempt)
    what = np.full(n, UNTOUCHED, dtype=object)
    what[exempt] = EXEMPT
    count = np.zeros(n, dtype=np.int64)
    rows = Rows.of(batch, "abrupt")
    if treatment.kind == "dampen":
        drawn_in = events.of_kind(OUTLIER, SURGE)
        count = np.bincount(drawn_in.row, minlength=n)
        what[count > 0] = DAMPENED
        if len(drawn_in):
            values, offsets = dampened(rows, events)
            filled = None if batch.filled is None else batch.filled[batch.offsets[0] : batch.offsets[-1]]
            batch = replace(batch, values=values, offsets=offsets, filled=filled)
    elif treatment.kind == "after_shift":
        after = after_last_shift(rows, events, 0) - rows.begin
        season = treatment.season_length or batch.frequency.season_length
        least = treatment.min_history or 2 * max(season, horizon)
        enough = batch.lengths - after >= least
        what[after > 0] = np.where(enough, CUT, TOO_SHORT)[after > 0]
        count = np.where(enough, after, 0)
        batch = between(batch, count, batch.lengths)
    elif treatment.kind == "regressors":
        batch, count = _with_steps(batch, rows, events, horizon, treatment.max_steps)
        what[count > 0] = STEPS
    return Treated(batch, what, count)


def seen_until(batch: SeriesBatch, ends: Int64Array, history: int | None = None) -> SeriesBatch:
    """Each series as a backtest window sees it: its first ends[i] points, of these the latest `history` (None: all).
    Related series go on beyond them as they do in the batch where their future is known, and end with them else."""
    begin = np.zeros_like(ends) if history is None else np.maximum(ends - history, 0)
    return between(batch, begin, ends)


def between(batch: SeriesBatch, begin: Int64Array, end: Int64Array) -> SeriesBatch:
    """Periods begin[i] to end[i] of each series, counted from its start. The batch itself where these are all."""
    short = all(c.known_in_future or (np.diff(c.offsets) <= end).all() for c in batch.related.values())
    if short and not begin.any() and (end == batch.lengths).all():
        return batch
    values, offsets = _sliced(batch.values, batch.offsets, begin, end)
    related = {}
    for name, column in batch.related.items():
        known = np.diff(column.offsets)
        last = known if column.known_in_future else np.minimum(known, end)
        mine, places = _sliced(column.values, column.offsets, np.minimum(begin, last), last)
        related[name] = replace(column, values=read_only(mine), offsets=read_only(places))
    filled = None if batch.filled is None else _sliced(batch.filled, batch.offsets, begin, end)[0]
    return replace(batch, values=values, offsets=offsets, start=batch.start + begin, related=related, filled=filled)


def _sliced(
    values: npt.NDArray[Any], offsets: Int64Array, begin: Int64Array, end: Int64Array
) -> tuple[npt.NDArray[Any], Int64Array]:
    """Flat values of series i from begin[i] to end[i], with their offsets."""
    out = offsets_of(end - begin)
    index = np.arange(out[-1]) + np.repeat(offsets[:-1] + begin - out[:-1], np.diff(out))
    return values[index], out


def _exempt(batch: SeriesBatch, treatment: Treatment) -> npt.NDArray[np.bool_]:
    if not treatment.exempt:
        return np.zeros(len(batch), dtype=bool)
    return np.isin(demand_classes(batch), treatment.exempt)


def _with_steps(
    batch: SeriesBatch, rows: Rows, events: Events, horizon: int, most: int
) -> tuple[SeriesBatch, Int64Array]:
    """With `most` columns for level shifts and as many for surges, 1 being the latest. The columns do not depend on
    what a batch holds, so that no series' fit depends on its neighbours; those without an event are 0."""
    whole = whole_surges(events)
    steps = shift_steps(rows, whole, horizon)
    kinds = whole.of_kind(LEVEL_SHIFT, SURGE).kind
    lengths = batch.lengths + horizon
    offsets = read_only(offsets_of(lengths))
    count = np.zeros(len(batch), dtype=np.int64)
    related: dict[str, RelatedSeries] = {}
    for kind, prefix in ((LEVEL_SHIFT, STEP_PREFIX), (SURGE, PULSE_PREFIX)):
        columns = np.zeros((most, int(offsets[-1])))
        mine = np.flatnonzero(kinds == kind)
        per_row = np.bincount(steps.row[mine], minlength=len(batch))
        later = np.repeat(np.cumsum(per_row), per_row) - 1 - np.arange(len(mine))
        chosen, rank = mine[later < most], later[later < most]
        sizes = lengths[steps.row[chosen]]
        place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        target = place + np.repeat(offsets[steps.row[chosen]], sizes)
        columns[np.repeat(rank, sizes), target] = steps.values[place + np.repeat(steps.offsets[chosen], sizes)]
        count += np.minimum(per_row, most)
        for k in range(most):
            related[f"{prefix}{k + 1}"] = RelatedSeries(read_only(columns[k]), offsets, known_in_future=True)
    return replace(batch, related={**batch.related, **related}), count
