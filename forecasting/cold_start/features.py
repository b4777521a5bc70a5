"""What items are compared by: categories as codes, numbers as standard scores, learnt from the donors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array

NUMERIC_VALUES = 12
"""A column of numbers with more different values than this is a number; with fewer, its values are categories."""
MOST_CATEGORIES = 400
"""Categories of all columns together: the most frequent ones; the others count as unknown."""
_SPREAD = 3.0
"""Standard scores end here: an item far outside what donors have is no further away than this."""

Texts = Sequence[str | None]


@dataclass(frozen=True)
class Features:
    """Items by their features. codes: int64 [N, A], -1 is unknown. numbers: float64 [N, B], standard scores, NaN is
    unknown."""

    codes: Int64Array
    numbers: FloatArray

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: Int64Array) -> Features:
        return Features(self.codes[index], self.numbers[index])


@dataclass(frozen=True)
class FeatureSpace:
    """How texts and numbers become features.

    categories: by column, text -> code. scaled: by column of numbers, (mean, standard deviation). logs: columns whose
    logarithm is taken (prices).
    """

    categories: Mapping[str, Mapping[str, int]]
    scaled: Mapping[str, tuple[float, float]]
    logs: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        texts: Mapping[str, Texts],
        numbers: Mapping[str, FloatArray] | None = None,
        identifiers: Collection[str] = (),
    ) -> FeatureSpace:
        """From the donors' columns. texts: metadata; None is unknown. numbers: such as a mean price, NaN is unknown.

        identifiers: text columns that are names even where they look like numbers, such as a store's. Any other text
        column of numbers with many different values is a number. A category that one donor alone has says
        nothing, and a column without categories or spread is left out.
        """
        counted: dict[str, dict[str, int]] = {}
        scaled: dict[str, tuple[float, float]] = {}
        logs = set()
        for name, column in texts.items():
            values = None if name in identifiers else _as_numbers(column)
            if values is not None:
                _add_scaled(scaled, name, values)
                continue
            counts: dict[str, int] = {}
            for text in column:
                if text is not None:
                    counts[text] = counts.get(text, 0) + 1
            counted[name] = {text: n for text, n in counts.items() if n > 1}
        for name, values in (numbers or {}).items():
            known = values[np.isfinite(values)]
            if len(known) and (known > 0).all():
                logs.add(name)
                values = np.log(np.where(values > 0, values, np.nan))
            _add_scaled(scaled, name, values)
        ranked = sorted((-n, name, text) for name, counts in counted.items() for text, n in counts.items())
        kept: dict[str, list[str]] = {}
        for _, name, text in ranked[:MOST_CATEGORIES]:
            kept.setdefault(name, []).append(text)
        categories = {
            name: {text: code for code, text in enumerate(sorted(kept[name]))} for name in counted if name in kept
        }
        return cls(categories, scaled, frozenset(logs))

    def encode(self, columns: Mapping[str, Texts], numbers: Mapping[str, FloatArray] | None, n: int) -> Features:
        """N items by this space; what it does not know, and a column that is not there, is unknown."""
        codes = np.full((n, len(self.categories)), -1, dtype=np.int64)
        for place, (name, known) in enumerate(self.categories.items()):
            if name in columns:
                codes[:, place] = [-1 if text is None else known.get(text, -1) for text in columns[name]]
        scores = np.full((n, len(self.scaled)), np.nan)
        for place, (name, (mean, spread)) in enumerate(self.scaled.items()):
            values = (numbers or {}).get(name)
            if values is None:
                if name not in columns:
                    continue
                values = np.array([_number(text) for text in columns[name]], dtype=np.float64)
            if name in self.logs:
                values = np.log(np.where(values > 0, values, np.nan))
            scores[:, place] = np.clip((values - mean) / spread, -_SPREAD, _SPREAD)
        return Features(codes, scores)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Categories of each column, [A]."""
        return tuple(len(known) for known in self.categories.values())


def _add_scaled(scaled: dict[str, tuple[float, float]], name: str, values: FloatArray) -> None:
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return
    spread = float(known.std())
    if spread > 1e-12 * max(1.0, float(np.abs(known).max())):
        scaled[name] = (float(known.mean()), spread)


def _number(text: str | None) -> float:
    try:
        value = float(text) if text is not None else np.nan
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def _as_numbers(column: Texts) -> FloatArray | None:
    """The column as numbers where all that is known are numbers, and many; else None."""
    values = np.array([_number(text) for text in column], dtype=np.float64)
    known = np.array([text is not None for text in column], dtype=bool)
    if not known.any() or np.isnan(values[known]).any() or len(np.unique(values[known])) <= NUMERIC_VALUES:
        return None
    return values
