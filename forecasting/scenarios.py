"""What-if: related series with other values from the forecast start on.

The operations and conditions are those of Amazon Forecast's what-if (its developer guide, "What-if analysis":
transformations with conditions that are all to be met, and replacement data sets), with `=`, `<=` and `>=` added.
Only related series that are known in the future can be changed, and only in the periods of the horizon: history is
what it was. A period without a value has none after a change either; `=` and replacements give it one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, RelatedSeries, SeriesBatch, offsets_of
from forecasting.closures import BoolArray
from forecasting.frequency import Int64Array
from forecasting.seeds import KEY_SEPARATOR

TIMESTAMP = "timestamp"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CHANGE = re.compile(rf"\s*(.+?)\s*([-+*/=])\s*({_NUMBER})\s*")
_CONDITION = re.compile(r"\s*(.+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")
_SHOWN = 10


@dataclass(frozen=True)
class Condition:
    """What a period of a series must meet. column: a column of the key or the metadata, whose texts are compared, with
    `<` and its like as numbers; or `timestamp`, the period's label. comparison: =, !=, <, <=, > or >=. A series
    without a value, or with a text that is no number, meets `!=` alone."""

    column: str
    comparison: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """From "region = north" or "timestamp >= 2024-03-01". Raises ValueError for anything else."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no condition; write: column, one of = != < <= > >=, value")
        return cls(*found.groups())

    def problems(self, attributes: Collection[str]) -> list[str]:
        """What is wrong with it, for series that have these columns."""
        if self.column == TIMESTAMP:
            return [] if _moment(self.value) is not None else [f"{self.value!r} is no timestamp"]
        if self.column not in attributes:
            listed = ", ".join((*attributes, TIMESTAMP))
            return [f"no column {self.column!r} to compare; there are: {listed}"]
        if self.comparison not in ("=", "!=") and _number(self.value) is None:
            return [f"{self.column} {self.comparison} {self.value!r} compares numbers, and the value is none"]
        return []

    def met(self, attributes: Mapping[str, Sequence[str | None]], labels: Int64Array) -> BoolArray:
        """Where it is met, bool [N, H] or [N, 1]. labels: int64 [N, H], microseconds."""
        if self.column == TIMESTAMP:
            moment = _moment(self.value)
            assert moment is not None, "checked by `problems`"
            return _compared(labels, self.comparison, moment)
        texts = np.asarray(attributes[self.column], dtype=object)[:, None]
        if self.comparison in ("=", "!="):
            return np.asarray((texts == self.value) == (self.comparison == "="), dtype=bool)
        numbers = np.array([[_number(text)] for text in texts[:, 0]], dtype=np.float64).reshape(-1, 1)
        return _compared(numbers, self.comparison, float(self.value))


@dataclass(frozen=True)
class Change:
    """A related series times, by, plus or minus a number, or set to it, where all conditions are met. operation: one
    of * / + - =."""

    column: str
    operation: str
    value: float
    where: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, text: str, where: Sequence[str] = ()) -> Change:
        """From "price * 0.9" and conditions. Raises ValueError naming what cannot be read."""
        found = _CHANGE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no change; write: related series, one of * / + - =, number")
        column, operation, value = found.groups()
        return cls(column, operation, float(value), tuple(Condition.parse(part) for part in where))

    def problems(self, related: Mapping[str, bool], attributes: Collection[str]) -> list[str]:
        """What is wrong with it. related: the related series, and whether each is known in the future."""
        found = _column_problems(self.column, related)
        if self.operation == "/" and self.value == 0:
            found.append(f"{self.column} / 0 divides by zero")
        if not np.isfinite(self.value):
            found.append(f"{self.column} {self.operation} {self.value} is not finite")
        return found + [problem for condition in self.where for problem in condition.problems(attributes)]

    def of(self, values: FloatArray) -> FloatArray:
        """The changed values."""
        x = self.value
        made = {"*": values * x, "+": values + x, "-": values - x, "=": np.full_like(values, x)}
        return values / x if self.operation == "/" else made[self.operation]


@dataclass(frozen=True)
class Replacements:
    """Values for single periods of single series, R of them. keys: as in the batch. ordinals: int64 [R]. values: a
    related series -> float64 [R]; NaN keeps what is there."""

    keys: Sequence[str]
    ordinals: Int64Array
    values: Mapping[str, FloatArray]

    def problems(self, related: Mapping[str, bool]) -> list[str]:
        """What is wrong with the columns and their values."""
        found = [problem for name in self.values for problem in _column_problems(name, related)]
        if not self.values:
            found.append("the replacements have no related series; give a column of at least one")
        for name, column in self.values.items():
            if n := int(np.isinf(column).sum()):
                found.append(f"{n} replacements of {name} are infinite")
        return found

    def misplaced(self, keys: Sequence[str], first_step: npt.ArrayLike, horizon: int) -> list[str]:
        """Rows that are none of these series' forecast periods. first_step: int64 [N], ordinals."""
        place = {key: i for i, key in enumerate(keys)}
        row = np.array([place.get(key, -1) for key in self.keys], dtype=np.int64)
        known = row >= 0
        step = self.ordinals[known] - np.asarray(first_step, dtype=np.int64)[row[known]]
        outside = (step < 0) | (step >= horizon)
        found = []
        if not known.all():
            found.append(f"{_some(self.keys, ~known)} are replaced and not in the run")
        if outside.any():
            mask = np.zeros(len(row), dtype=bool)
            mask[np.flatnonzero(known)[outside]] = True
            n = int(outside.sum())
            found.append(f"{n} rows lie outside the {horizon} periods of the forecast, of {_some(self.keys, mask)}")
        pairs = set(zip(self.keys, self.ordinals.tolist(), strict=True))
        if len(pairs) < len(row):
            found.append(f"{len(row) - len(pairs)} rows repeat an item and period; give each once")
        return found


@dataclass(frozen=True)
class Scenario:
    """Replacements, and then changes in their order."""

    name: str
    changes: tuple[Change, ...] = ()
    replacements: Replacements | None = None

    def problems(self, related: Mapping[str, bool], attributes: Collection[str]) -> list[str]:
        """All that is wrong with it, for data with these related series (and whether each is known in the future) and
        these columns to compare."""
        found = [problem for change in self.changes for problem in change.problems(related, attributes)]
        if self.replacements is not None:
            found += self.replacements.problems(related)
        if not self.changes and self.replacements is None:
            found.append("it changes nothing; give changes or replacements")
        return [f"scenario {self.name}: {problem}" for problem in dict.fromkeys(found)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The related series that it changes."""
        replaced = () if self.replacements is None else tuple(self.replacements.values)
        return tuple(dict.fromkeys((*replaced, *(change.column for change in self.changes))))

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns of key and metadata that its conditions name."""
        conditions = (condition.column for change in self.changes for condition in change.where)
        return tuple(name for name in dict.fromkeys(conditions) if name != TIMESTAMP)

    def applied(
        self, batch: SeriesBatch, horizon: int, attributes: Mapping[str, Sequence[str | None]] | None = None
    ) -> SeriesBatch:
        """The batch with the values of the scenario in the `horizon` periods after each series; it is not changed.

        attributes: column -> N texts, of those in `compared`. The scenario has no `problems`; replacements of other
        series than the batch's are passed by.
        """
        first = batch.start + batch.lengths
        ordinals = first[:, None] + np.arange(horizon)
        labels = batch.frequency.labels(ordinals)
        future = {name: _future(batch, name, horizon) for name in self.columns}
        if self.replacements is not None:
            _replace(future, self.replacements, batch, first, horizon)
        for change in self.changes:
            met = np.ones(labels.shape, dtype=bool)
            for condition in change.where:
                met &= condition.met(attributes or {}, labels)
            values = future[change.column]
            future[change.column] = np.where(met, change.of(values), values)
        return replace(batch, related={**batch.related, **{n: _with_future(batch, n, v) for n, v in future.items()}})


def _column_problems(name: str, related: Mapping[str, bool]) -> list[str]:
    if name not in related:
        return [f"no related series {name!r}; there are: {', '.join(related) or 'none'}"]
    if not related[name]:
        return [f"{name} is not known in the future, so it has no value there to change"]
    return []


def _places(batch: SeriesBatch, offsets: Int64Array, horizon: int) -> Int64Array:
    """Where the periods of the horizon are in a flat array with these offsets, [N, H]."""
    return np.asarray((offsets[:-1] + batch.lengths)[:, None] + np.arange(horizon), dtype=np.int64)


def _future(batch: SeriesBatch, name: str, horizon: int) -> FloatArray:
    """The values of a related series over the horizon, [N, H], NaN where there is none."""
    held = batch.related[name]
    places = _places(batch, held.offsets, horizon)
    there = places < held.offsets[1:, None]
    padded = np.append(held.values, np.nan)
    return np.asarray(padded[np.where(there, places, len(held.values))], dtype=np.float64)


def _with_future(batch: SeriesBatch, name: str, future: FloatArray) -> RelatedSeries:
    """A related series with other values over the horizon; it grows where it was shorter."""
    held = batch.related[name]
    sizes = np.diff(held.offsets)
    offsets = offsets_of(np.maximum(sizes, batch.lengths + future.shape[1]))
    values = np.full(int(offsets[-1]), np.nan)
    within = np.arange(int(sizes.sum())) - np.repeat(offsets_of(sizes)[:-1], sizes)
    values[np.repeat(offsets[:-1], sizes) + within] = held.values[np.repeat(held.offsets[:-1], sizes) + within]
    values[_places(batch, offsets, future.shape[1])] = future
    return RelatedSeries(values, offsets, held.known_in_future)


def _replace(
    future: Mapping[str, FloatArray], given: Replacements, batch: SeriesBatch, first: Int64Array, horizon: int
) -> None:
    place = {key: i for i, key in enumerate(batch.keys)}
    row = np.array([place.get(key, -1) for key in given.keys], dtype=np.int64)
    step = given.ordinals - (first[row] if len(first) else 0)
    mine = (row >= 0) & (step >= 0) & (step < horizon)
    for name, values in given.values.items():
        chosen = mine & ~np.isnan(values)
        future[name][row[chosen], step[chosen]] = values[chosen]


def _compared(left: npt.NDArray[Any], comparison: str, right: float | int) -> BoolArray:
    """NaN meets nothing but `!=`."""
    made = {
        "=": left == right, "!=": left != right, "<": left < right, "<=": left <= right, ">": left > right,
        ">=": left >= right,
    }  # fmt: skip
    return np.asarray(made[comparison], dtype=bool)


def _moment(text: str) -> int | None:
    """A timestamp in microseconds, None for a text that is none."""
    try:
        moment = np.datetime64(text, "us")
    except ValueError:
        return None
    return None if np.isnat(moment) else int(moment.astype(np.int64))


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(_NUMBER, text.strip()) else None


def _some(keys: Sequence[str], mask: BoolArray) -> str:
    """The distinct keys where a mask is true, the first ten of them named."""
    names = list(dict.fromkeys(keys[i].replace(KEY_SEPARATOR, "/") for i in np.flatnonzero(mask).tolist()))
    shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    return f"{len(names)} item{'s' if len(names) > 1 else ''} ({shown})"


__all__ = ["TIMESTAMP", "Change", "Condition", "Replacements", "Scenario"]
