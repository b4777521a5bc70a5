"""What is learned from the training data before the network: scalers, vocabulary, typical levels. Plain numbers.

Facts are JSON (pydantic), so that a model folder holds them and a fresh process reads them. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from forecasting.batch import FloatArray, SeriesBatch
from forecasting.deepar.kernels import ABOVE_ONE, NEGATIVE, NOT_INTEGER, column_facts, target_facts
from forecasting.deepar.settings import Likelihood, Settings
from forecasting.deepar.time_features import calendar_names, lags_of, past_lags_of
from forecasting.frequency import Frequency, Int64Array

_SWEEPS = 20
_SHRINKAGE = 1.0
"""Observations that the mean of a category's level is worth: one lone member says little about the next."""
_LEAST_LOG_SPREAD = 0.5
_LARGEST_COUNTS = float(np.log(1000.0))
"""Whole numbers that are typically larger are as good as real ones, and heavy tails matter more."""


@dataclass(frozen=True)
class ItemMetadata:
    """Metadata of N series, in their order.

    categories: column -> N texts, None or "" is unknown. numbers: column -> N numbers, NaN is unknown.
    """

    categories: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    numbers: Mapping[str, npt.ArrayLike] = field(default_factory=dict)

    def take(self, index: npt.ArrayLike) -> ItemMetadata:
        """The metadata of the series at some positions."""
        rows = np.asarray(index)
        return ItemMetadata(
            {name: np.asarray(values, dtype=object)[rows].tolist() for name, values in self.categories.items()},
            {name: np.asarray(values, dtype=np.float64)[rows] for name, values in self.numbers.items()},
        )


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RelatedFacts(_Part):
    """A related series. spread: standard deviation around each series' own mean. binary: only 0 and 1."""

    name: str
    known_in_future: bool
    mean: float
    deviation: float
    spread: float
    binary: bool


class CategoryFacts(_Part):
    """A metadata column of texts: the value with code c is values[c - 1], 0 is unknown. effects: what the value adds
    to the logarithm of the level."""

    name: str
    values: tuple[str, ...]
    effects: tuple[float, ...]

    def codes(self, texts: Sequence[str | None]) -> Int64Array:
        """The code of each text, 0 for one that training did not see."""
        known = pd.Categorical(np.asarray(texts, dtype=object), categories=list(self.values))
        return np.asarray(known.codes, dtype=np.int64) + 1


class NumberFacts(_Part):
    """A metadata column of numbers. effect: what one standard deviation adds to the logarithm of the level."""

    name: str
    mean: float
    deviation: float
    effect: float

    def standardised(self, numbers: npt.ArrayLike) -> FloatArray:
        """In standard deviations from the mean, within 5; NaN stays."""
        return np.clip((np.asarray(numbers, dtype=np.float64) - self.mean) / self.deviation, -5.0, 5.0)


@dataclass(frozen=True)
class PartFacts:
    """What a part of a training set adds to the facts.

    log_scale: [N], logarithm of the mean absolute observation, NaN for none or zeros. flags: what values occur.
    related: of each related series what `column_facts` says, and whether its future is known.
    """

    frequency: Frequency
    log_scale: FloatArray
    n_observations: int
    flags: int
    holidays: tuple[str, ...]
    related: Mapping[str, tuple[FloatArray, bool]]
    metadata: ItemMetadata

    @classmethod
    def of(
        cls, batch: SeriesBatch, metadata: ItemMetadata | None = None, ends: npt.ArrayLike | None = None
    ) -> PartFacts:
        """Of some series; arguments as for `Facts.learn`. Raises ValueError for counts that disagree."""
        items = metadata or ItemMetadata()
        for columns in (items.categories, items.numbers):
            for name, column in columns.items():
                if len(np.asarray(column)) != len(batch):
                    raise ValueError(f"metadata {name!r} has {len(np.asarray(column))} values for {len(batch)} series")
        seen, begin = visible(batch, ends), batch.offsets[:-1]
        scale, count, flags = target_facts(batch.values, begin, begin + seen)
        with np.errstate(divide="ignore"):
            log_scale = np.where(scale > 0, np.log(scale), np.nan)
        related = {
            name: (column_facts(column.values, column.offsets, begin, seen), column.known_in_future)
            for name, column in batch.related.items()
        }
        holidays = batch.holidays.names if batch.holidays is not None else ()
        return cls(batch.frequency, log_scale, int(count.sum()), flags, holidays, related, items)


class Facts(_Part):
    """All that a network needs to read data: what it was trained on.

    log_level, log_level_spread: mean and standard deviation of the logarithm of the series' mean absolute values.
    """

    frequency: str
    horizon: int
    context_length: int
    likelihood: Likelihood
    lags: tuple[int, ...]
    past_lags: tuple[int, ...]
    calendar: tuple[str, ...]
    holidays: tuple[str, ...]
    related: tuple[RelatedFacts, ...]
    categories: tuple[CategoryFacts, ...]
    numbers: tuple[NumberFacts, ...]
    log_level: float
    log_level_spread: float
    n_series: int
    n_observations: int

    @classmethod
    def learn(
        cls,
        batch: SeriesBatch,
        metadata: ItemMetadata | None = None,
        horizon: int = 1,
        settings: Settings | None = None,
        ends: npt.ArrayLike | None = None,
    ) -> Facts:
        """Facts of a training set.

        horizon: the longest that will be forecast. ends: int [N], how many points of each series may be seen; None:
        all. Related values and metadata of the visible part only, so that nothing later leaks in.
        Raises ValueError for counts that disagree.
        """
        return cls.learn_in_parts([PartFacts.of(batch, metadata, ends)], horizon, settings)

    @classmethod
    def learn_in_parts(cls, parts: Sequence[PartFacts], horizon: int = 1, settings: Settings | None = None) -> Facts:
        """Facts of a training set that was looked at in parts, one at least; they do not depend on how it was cut, but
        for rounding."""
        options, first = settings or Settings(), parts[0]
        flags = 0
        for part in parts:
            flags |= part.flags
        log_scale = np.concatenate([part.log_scale for part in parts])
        usable = np.isfinite(log_scale)
        items = ItemMetadata(
            {name: [v for p in parts for v in p.metadata.categories[name]] for name in first.metadata.categories},
            {
                name: np.concatenate([np.asarray(p.metadata.numbers[name], dtype=np.float64) for p in parts])
                for name in first.metadata.numbers
            },
        )
        level, categories, numbers = _levels(log_scale, items)
        return cls(
            frequency=first.frequency.name,
            horizon=horizon,
            context_length=options.context(horizon),
            likelihood=chosen_likelihood(flags, level) if options.likelihood == "auto" else options.likelihood,
            lags=tuple(sorted(set(options.lags))) if options.lags else lags_of(first.frequency, options.max_lag),
            past_lags=past_lags_of(first.frequency, horizon),
            calendar=calendar_names(first.frequency),
            holidays=first.holidays,
            related=tuple(
                _related(name, known, [part.related[name][0] for part in parts])
                for name, (_, known) in first.related.items()
            ),
            categories=categories,
            numbers=numbers,
            log_level=level,
            log_level_spread=max(float(log_scale[usable].std()), _LEAST_LOG_SPREAD) if usable.any() else 1.0,
            n_series=len(log_scale),
            n_observations=sum(part.n_observations for part in parts),
        )

    def problems(self, batch: SeriesBatch, metadata: ItemMetadata) -> list[str]:
        """What these data lack or have otherwise than the training data, each with what to do."""
        found = []
        if batch.frequency.name != self.frequency:
            found.append(f"the data have the frequency {batch.frequency.name}, the model {self.frequency}")
        for column in self.related:
            given = batch.related.get(column.name)
            if given is None:
                found.append(f"related series {column.name!r} is missing; give it, with NaN where it is not known")
            elif given.known_in_future != column.known_in_future:
                found.append(f"related series {column.name!r} must have known_in_future={column.known_in_future}")
        for kind, needed, got in (
            ("category", self.categories, metadata.categories),
            ("number", self.numbers, metadata.numbers),
        ):
            for part in needed:
                if part.name not in got:
                    found.append(f"metadata {kind} {part.name!r} is missing; give it, with None or NaN where unknown")
                elif len(np.asarray(got[part.name])) != len(batch):
                    found.append(f"metadata {kind} {part.name!r} does not have one value a series")
        return found


def visible(batch: SeriesBatch, ends: npt.ArrayLike | None) -> Int64Array:
    """How many points of each series may be seen, [N]; raises ValueError where that is not 0 to its length."""
    if ends is None:
        return batch.lengths
    seen = np.asarray(ends, dtype=np.int64)
    if seen.shape != (len(batch),) or ((seen < 0) | (seen > batch.lengths)).any():
        raise ValueError(f"ends must be {len(batch)} numbers between 0 and the length of their series")
    return seen


def chosen_likelihood(flags: int, log_level: float) -> Likelihood:
    """The likelihood for data of which `flags` says what occurs, with the typical logarithm of the level."""
    if not flags & (NOT_INTEGER | NEGATIVE):
        return "negative-binomial" if log_level < _LARGEST_COUNTS else "student-T"
    return "student-T" if flags & (NEGATIVE | ABOVE_ONE) else "beta"


def _related(name: str, known_in_future: bool, parts: Sequence[FloatArray]) -> RelatedFacts:
    mean, deviation, spread, _, binary = (parts[0] if len(parts) == 1 else _pooled(np.array(parts)))[:5]
    return RelatedFacts(
        name=name,
        known_in_future=known_in_future,
        mean=float(mean),
        deviation=_divisor(deviation, mean),
        spread=_divisor(spread, mean),
        binary=bool(binary),
    )


def _pooled(parts: FloatArray) -> FloatArray:
    """What `column_facts` says of several parts [P, 7], of all together (Chan, Golub, LeVeque 1983, equation 2.1); the
    share missing is left out."""
    means, deviations, spreads, _, binary, seen, degrees = parts.T
    mean = (seen @ means) / max(seen.sum(), 1.0)
    moment = seen @ deviations**2 + seen @ (means - mean) ** 2
    within = degrees @ spreads**2
    spread = np.sqrt(within / max(degrees.sum(), 1.0))
    deviation = np.sqrt(moment / max(seen.sum(), 1.0))
    return np.array([mean, deviation, spread, np.nan, binary.min(), seen.sum(), degrees.sum()])


def _divisor(deviation: float, size: float) -> float:
    """A standard deviation to divide by: 1 where the values are constant but for rounding."""
    return float(deviation) if deviation > 1e-9 * max(abs(size), 1e-30) else 1.0


def _levels(
    log_scale: FloatArray, items: ItemMetadata
) -> tuple[float, tuple[CategoryFacts, ...], tuple[NumberFacts, ...]]:
    """The typical logarithm of the level and what metadata add to it: shrunken means of categories and slopes of
    numbers, fitted in turns (backfitting)."""
    usable = np.isfinite(log_scale)
    level = float(log_scale[usable].mean()) if usable.any() else 0.0
    rest = log_scale[usable] - level
    texts, codes, effects = {}, {}, {}
    for name, column in items.categories.items():
        held = np.array([v or None for v in column], dtype=object)
        texts[name] = tuple(sorted({str(v) for v in held if v is not None}))
        codes[name] = np.asarray(pd.Categorical(held, categories=list(texts[name])).codes, dtype=np.int64)[usable] + 1
        effects[name] = np.zeros(len(texts[name]) + 1)
    scalers: dict[str, tuple[float, float]] = {}
    places, slopes = {}, dict.fromkeys(items.numbers, 0.0)
    for name, numbers in items.numbers.items():
        x = np.asarray(numbers, dtype=np.float64)
        known = x[np.isfinite(x)]
        mean = float(known.mean()) if len(known) else 0.0
        scalers[name] = mean, _divisor(float(known.std()) if len(known) else 0.0, mean)
        places[name] = np.nan_to_num((x - mean) / scalers[name][1])[usable]
    for _ in range(_SWEEPS):
        for name, code in codes.items():
            rest += effects[name][code]
            size = np.bincount(code, minlength=len(effects[name]))
            effects[name] = np.bincount(code, weights=rest, minlength=len(effects[name])) / (size + _SHRINKAGE)
            effects[name][0] = 0.0
            rest -= effects[name][code]
        for name, z in places.items():
            rest += slopes[name] * z
            slopes[name] = float(rest @ z / (z @ z + _SHRINKAGE))
            rest -= slopes[name] * z
    return (
        level,
        tuple(CategoryFacts(name=k, values=v, effects=tuple(effects[k][1:].tolist())) for k, v in texts.items()),
        tuple(NumberFacts(name=k, mean=m, deviation=d, effect=slopes[k]) for k, (m, d) in scalers.items()),
    )
