"""Fill keys, as in Amazon Forecast (its developer guide, "Handling Missing Values"), over a whole series batch.

The target has three regions: front (from the global start to a series' first observation), middle (between its first
and last observation) and back (from its last observation to the global end). A related column has middle, back and
future (after the end of the history). A gap is filled with one value: a constant, or the mean, median, smallest or
largest of the 64 latest observations before it. Beyond the service, related columns take the last value before the gap
(ffill) or, in the middle, the straight line between the values on both sides (linear). Filled values never feed
another gap's statistic.

**Nothing leaks.** A gap's value uses only what came before it. What comes after it can matter in one way: it decides
whether the gap is middle or back. So a gap that spans a backtest cutoff (`cutoffs`) takes the back rule up to the last
cutoff that it spans and the middle rule after it: a window whose cutoff lies in the gap sees what a series that ends
there would, whatever follows, and one batch serves all windows. What remains: a window with a later cutoff sees the
back rule in the first part of a gap that an earlier cutoff spans, where a series that ends at its own cutoff has the
middle rule. The two differ only where the rules do, and neither looks ahead. A series that begins after a cutoff is
seen there as its front fill. `linear` goes from the last value before a gap to the first one after it, in the part
after the last cutoff that the gap spans, which only windows see that see both. Fill without cutoffs for the final
forecast. In a related column that is known in future, values after a cutoff are known by declaration and gaps after it
take the middle rule, not the future rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, RelatedSeries, SeriesBatch, offsets_of, read_only
from forecasting.frequency import Int64Array

FillMethod = str | float
"""nan (or none: leave missing), zero, mean, median, min, max, or a number; in related columns ffill and linear too."""

ByteArray = npt.NDArray[np.uint8]
_Scalar = TypeVar("_Scalar", bound=np.generic)

WINDOW = 64
"""Observations before a gap that a statistic looks at: the service's "64 most recent data entries"."""

_CODES = {"nan": 0, "none": 0, "zero": 1, "mean": 2, "median": 3, "min": 4, "max": 5, "ffill": 6, "linear": 7}
_KEEP, _CONSTANT, _MEAN, _MEDIAN, _MIN, _MAX, _LAST, _LINEAR = range(8)
_OF_RELATED = ("ffill", "linear")

MASKED, CLOSED = 2, 3
"""Marks in `SeriesBatch.filled` of periods that stay missing whatever the rules: the value that was there is no
observation (`forecasting.closures`), or the calendar says closed."""


@dataclass(frozen=True)
class TargetFill:
    """How the target's gaps are filled; the default leaves every one missing.

    front: lengthens a series to the global start; nothing precedes it, so it takes nan, zero or a number.
    back: lengthens a series to the global end. Raises ValueError for an unknown method.
    """

    front: FillMethod = "nan"
    middle: FillMethod = "nan"
    back: FillMethod = "nan"

    def __post_init__(self) -> None:
        _check("target", front=self.front, middle=self.middle, back=self.back)
        if _rule(self.front)[0] > _CONSTANT:
            raise ValueError(
                f"got target front fill {self.front!r}: nothing precedes the first observation; expected nan, zero or "
                "a number"
            )


@dataclass(frozen=True)
class RelatedFill:
    """How a related column's gaps are filled; the default leaves every one missing.

    future: from the end of the history through the horizon, for columns that are known in future. What lies before a
    column's first value stays missing. Raises ValueError for an unknown method.
    """

    middle: FillMethod = "nan"
    back: FillMethod = "nan"
    future: FillMethod = "nan"

    def __post_init__(self) -> None:
        _check("related", middle=self.middle, back=self.back, future=self.future, more=_OF_RELATED)
        for region in ("back", "future"):
            if getattr(self, region) == "linear":
                raise ValueError(f"got related {region} fill 'linear': there is no value after it; take ffill")


@dataclass(frozen=True)
class FillRules:
    """The fill keys of a run: the target's, and those of related columns by name. A column not named is left alone."""

    target: TargetFill = field(default_factory=TargetFill)
    related: Mapping[str, RelatedFill] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Whether every gap stays missing."""
        rules = [*vars(self.target).values(), *(r for c in self.related.values() for r in vars(c).values())]
        return all(_rule(rule)[0] == _KEEP for rule in rules)


def _rule(method: FillMethod) -> tuple[int, float]:
    """A method as (code, constant)."""
    if isinstance(method, str):
        code = _CODES[method]
        return (_CONSTANT, 0.0) if code == _CONSTANT else (code, np.nan)
    return (_KEEP, np.nan) if np.isnan(method) else (_CONSTANT, float(method))


def _check(column: str, *, more: tuple[str, ...] = (), **rules: FillMethod) -> None:
    names = [name for name in _CODES if name not in _OF_RELATED or name in more]
    for region, method in rules.items():
        known = method in names if isinstance(method, str) else not np.isinf(method)
        if not known:
            raise ValueError(f"got {column} {region} fill {method!r}, expected {', '.join(names)} or a finite number")


def extend(batch: SeriesBatch, end_ordinal: int) -> SeriesBatch:
    """Every series reaches the period `end_ordinal`, the new periods missing: the common end of forecast_start global.

    Series that reach it or go beyond stay as they are; a series without history stays empty and starts right after
    the end, so that its first forecast step is the same as all others'. Returns the batch itself where nothing is
    to do.
    """
    empty = batch.lengths == 0
    start = np.where(empty, end_ordinal + 1, batch.start)
    lengths = np.where(empty, 0, np.maximum(batch.lengths, end_ordinal + 1 - batch.start))
    return _reshaped(batch, start, lengths)


def fill(
    batch: SeriesBatch,
    rules: FillRules | Sequence[FillRules],
    global_start: int | None = None,
    global_end: int | None = None,
    *,
    horizon: int = 0,
    cutoffs: npt.ArrayLike | None = None,
    group: npt.ArrayLike | None = None,
) -> SeriesBatch:
    """The batch with its gaps filled and marked in `filled`; the batch itself where no gap is to fill.

    global_start, global_end: ordinals of the data set's first and last period, to which front and back fill lengthen
    series; None: a series keeps its own start or end. Where a series goes beyond global_end its own end counts. A
    series without history stays empty. horizon: periods after the end that `future` fills. cutoffs: int64 [N, W],
    ordinals of the last period that each backtest window may see (`windows.window_cutoffs`); see the module. Front
    fill lengthens series: compute window ends from the filled batch. rules: one for all, or several, and then group:
    int64 [N], the position of each series' rules. A period that is marked MASKED or CLOSED is not filled. Raises
    ValueError for a related column that the batch does not have.
    """
    sets = (rules,) if isinstance(rules, FillRules) else tuple(rules)
    named = sorted({name for each in sets for name in each.related})
    unknown = [name for name in named if name not in batch.related]
    if unknown:
        raise ValueError(f"got fill rules for related columns {unknown}, expected some of {sorted(batch.related)}")
    if all(each.nothing for each in sets):
        return batch
    place = np.zeros(len(batch), dtype=np.int64) if group is None else np.asarray(group, dtype=np.int64)
    targets = _Rules.of([(t.front, t.middle, t.back, "nan") for t in (each.target for each in sets)], place)
    longer = _lengthened(batch, targets, global_start, global_end)
    end = longer.start + longer.lengths
    if global_end is not None:
        end = np.where(longer.lengths > 0, np.maximum(end, global_end + 1), end)
    cuts = np.empty((len(batch), 0), dtype=np.int64) if cutoffs is None else np.asarray(cutoffs, dtype=np.int64) + 1
    seen = np.ascontiguousarray(cuts - longer.start[:, None])
    history = end - longer.start
    target = _filled_target(longer, targets, seen)
    related = {}
    for name in named:
        known, ours = longer.related[name].known_in_future, [e.related.get(name, RelatedFill()) for e in sets]
        listed = _Rules.of([("nan", r.middle, r.back, r.future if known else "nan") for r in ours], place)
        related[name] = _filled_column(longer.related[name], listed, longer, history, horizon, seen)
    if all(column is longer.related[name] for name, column in related.items()):
        return target
    return replace(target, related={**longer.related, **related})


@dataclass(frozen=True)
class _Rules:
    """The rules of one column. codes, constants: [G, 4], of front, middle, back and future. group: int64 [N]."""

    codes: Int64Array
    constants: FloatArray
    group: Int64Array

    @classmethod
    def of(cls, methods: Sequence[Sequence[FillMethod]], group: Int64Array) -> _Rules:
        rules = [[_rule(method) for method in each] for each in methods]
        codes = np.array([[code for code, _ in each] for each in rules], dtype=np.int64)
        return cls(codes, np.array([[number for _, number in each] for each in rules]), read_only(group))

    def fills(self, region: int) -> npt.NDArray[np.bool_]:
        """Whether each series' rule of a region (0 front to 3 future) fills anything, [N]."""
        return np.asarray((self.codes[:, region] != _KEEP)[self.group])


def _lengthened(batch: SeriesBatch, rules: _Rules, global_start: int | None, global_end: int | None) -> SeriesBatch:
    start, end, some = batch.start, batch.start + batch.lengths, batch.lengths > 0
    if global_start is not None:
        start = np.where(some & rules.fills(0), np.minimum(start, global_start), start)
    if global_end is not None:
        end = np.where(some & rules.fills(2), np.maximum(end, global_end + 1), end)
    return _reshaped(batch, start, end - start)


def _filled_target(batch: SeriesBatch, rules: _Rules, seen: Int64Array) -> SeriesBatch:
    if (rules.codes == _KEEP).all() or not np.isnan(batch.values).any():
        return batch
    values = batch.values.copy()
    mask = np.zeros(len(values), dtype=np.uint8) if batch.filled is None else batch.filled.copy()
    lengths = read_only(batch.lengths)
    _fill(values, mask, batch.offsets, lengths, read_only(seen), rules.codes, rules.constants, rules.group)
    return replace(batch, values=values, filled=read_only(mask))


def _filled_column(
    column: RelatedSeries, rules: _Rules, batch: SeriesBatch, history: Int64Array, horizon: int, seen: Int64Array
) -> RelatedSeries:
    """One related column, lengthened to the end of the history (back) or of the horizon (future) where these fill."""
    lengths = np.diff(column.offsets)
    wanted = np.where((batch.lengths > 0) & rules.fills(2), np.maximum(lengths, history), lengths)
    if column.known_in_future:
        wanted = np.where(rules.fills(3), np.maximum(wanted, history + horizon), wanted)
    values, offsets = _moved(column.values, column.offsets, np.zeros_like(wanted), wanted, np.nan)
    if values is column.values:
        if not np.isnan(values).any():
            return column
        values = values.copy()
    mask = np.zeros(len(values), dtype=np.uint8)
    cuts = np.empty((len(wanted), 0), dtype=np.int64) if column.known_in_future else seen
    places = (read_only(offsets), read_only(history), read_only(cuts))
    _fill(values, mask, *places, rules.codes, rules.constants, rules.group)
    return replace(column, values=read_only(values), offsets=read_only(offsets))


def _reshaped(batch: SeriesBatch, start: Int64Array, lengths: Int64Array) -> SeriesBatch:
    """The batch with other starts and lengths: new periods are missing, related columns keep their last period."""
    shift = start - batch.start
    if not shift.any() and (lengths == batch.lengths).all():
        return batch
    values, offsets = _moved(batch.values, batch.offsets, shift, lengths, np.nan)
    mask = None if batch.filled is None else _moved(batch.filled, batch.offsets, shift, lengths, 0)[0]
    related = {}
    for name, column in batch.related.items():
        kept = np.maximum(np.diff(column.offsets) - shift, 0)
        moved = _moved(column.values, column.offsets, shift, kept, np.nan)
        related[name] = replace(column, values=read_only(moved[0]), offsets=read_only(moved[1]))
    return replace(batch, values=values, offsets=offsets, start=start, filled=mask, related=related)


def _moved(
    values: npt.NDArray[_Scalar], offsets: Int64Array, shift: Int64Array, lengths: Int64Array, blank: float
) -> tuple[npt.NDArray[_Scalar], Int64Array]:
    """Series i from its position shift[i] (negative: blanks first) for lengths[i] periods; itself when unchanged."""
    if not shift.any() and (lengths == np.diff(offsets)).all():
        return values, offsets
    out_offsets = offsets_of(lengths)
    out = np.full(out_offsets[-1], blank, dtype=values.dtype)
    _move(read_only(values), read_only(offsets), read_only(shift), read_only(out_offsets), out)
    return out, out_offsets


@numba.njit(cache=True)
def _move(
    values: npt.NDArray[Any],
    offsets: Int64Array,
    shift: Int64Array,
    out_offsets: Int64Array,
    out: npt.NDArray[Any],
) -> None:
    for i in range(len(shift)):
        first = max(0, -shift[i])
        last = min(out_offsets[i + 1] - out_offsets[i], offsets[i + 1] - offsets[i] - shift[i])
        for j in range(first, last):
            out[out_offsets[i] + j] = values[offsets[i] + shift[i] + j]


@numba.njit(cache=True)
def _fill(
    values: FloatArray,
    filled: ByteArray,
    offsets: Int64Array,
    history: Int64Array,
    seen: Int64Array,
    codes: Int64Array,
    constants: FloatArray,
    group: Int64Array,
) -> None:
    """Fill values in place and mark them.

    history [N]: periods of series i that are not future. seen [N, W]: periods that each window sees. codes, constants
    [G, 4]: the rules of front, middle, back and future. group [N]: the rules of each series.
    """
    recent = np.empty(WINDOW)
    for i in range(len(history)):
        n_observed = 0
        code, constant = codes[group[i]], constants[group[i]]
        t, end = offsets[i], offsets[i + 1]
        past = min(end, max(t, offsets[i] + history[i]))
        while t < end:
            if not np.isnan(values[t]):
                if filled[t] == 0:
                    recent[n_observed % WINDOW] = values[t]
                    n_observed += 1
                t += 1
                continue
            last = t
            while last < end and np.isnan(values[last]):
                last += 1
            middle, back = _borders(t, last, past, n_observed, seen[i], offsets[i])
            window = recent[: min(n_observed, WINDOW)]
            known = values[t - 1] if n_observed > 0 else np.nan
            if n_observed == 0:
                _put(values, filled, t, min(last, past), code[0], constant[0], window, known)
            else:
                _put(values, filled, t, back, code[2], constant[2], window, known)
                if code[1] == _LINEAR:
                    _join(values, filled, back, middle, t - 1, last)
                else:
                    _put(values, filled, back, middle, code[1], constant[1], window, known)
            _put(values, filled, max(t, past), last, code[3], constant[3], window, known)
            t = last


@numba.njit(cache=True)
def _borders(t: int, last: int, past: int, n_observed: int, seen: Int64Array, offset: int) -> tuple[int, int]:
    """Where the middle part and the back part of the gap [t, last) end: [t, back) is back, [back, middle) middle."""
    if n_observed == 0 or last >= past:
        return min(last, past), min(last, past)
    back = t
    for w in range(len(seen)):
        cut = offset + seen[w]
        if t < cut <= last and cut > back:
            back = cut
    return last, back


@numba.njit(cache=True)
def _put(
    values: FloatArray,
    filled: ByteArray,
    begin: int,
    end: int,
    code: int,
    constant: float,
    window: FloatArray,
    known: float,
) -> None:
    """Fill [begin, end) by a rule. known: the last value before the gap, NaN where there is none."""
    if code == _KEEP or end <= begin:
        return
    if code == _CONSTANT:
        number = constant
    elif code == _LAST:
        number = known
    elif len(window) == 0:
        return
    elif code == _MEAN:
        number = window.mean()
    elif code == _MEDIAN:
        number = np.median(window)
    elif code == _MIN:
        number = window.min()
    else:
        number = window.max()
    if np.isnan(number):
        return
    for t in range(begin, end):
        if filled[t] < MASKED:
            values[t] = number
            filled[t] = 1


@numba.njit(cache=True)
def _join(values: FloatArray, filled: ByteArray, begin: int, end: int, before: int, after: int) -> None:
    """The straight line between the values at the positions `before` and `after`, from `begin` to `end`."""
    low, high = values[before], values[after]
    for t in range(begin, end):
        if filled[t] < MASKED:
            values[t] = low + (high - low) * (t - before) / (after - before)
            filled[t] = 1
