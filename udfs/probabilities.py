"""Probabilities as SQL functions, over the quantiles that forecasts have.

    SELECT item_id, step, 1 - forecast_probability(array(0.1, 0.5, 0.9), array(p10, p50, p90), NULL, 40) AS above_40
    FROM forecasts_latest

`forecast_probability(levels, values, low, high[, lower, upper])` is P(low <= X <= high), both ends counted: whole
units and zeros have a probability of their own. A NULL low or high is no limit. `forecast_quantile(levels, values, p[,
lower, upper])` is the inverse, the value that X stays at or below with probability p. lower, upper: bounds of the law,
as `bounds` of the config; NULL for none.

The rule, its tails and the numbers are those of `forecasting.evaluation.distribution`. Values that are NULL or NaN are
left out with their levels; NULL where fewer than two are left, and where levels, values or p are NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.batch import FloatArray
from forecasting.evaluation.distribution import probability, quantile

PROBABILITY = "forecast_probability"
QUANTILE = "forecast_quantile"
RETURNS = "double"

_Law = Callable[[Sequence[float], FloatArray, npt.NDArray[np.int64]], FloatArray]
"""(levels [Q], quantiles [R, Q], which rows [R]) -> a number a row."""


def probabilities(
    levels: pd.Series, values: pd.Series, low: pd.Series, high: pd.Series, *bounds: pd.Series
) -> pd.Series:
    """forecast_probability over pandas columns. Raises ValueError for levels that make no law."""
    begin, end = _numbers(low), _numbers(high)
    begin[np.isnan(begin)], end[np.isnan(end)] = -np.inf, np.inf
    lower, upper = _bounds(PROBABILITY, bounds, len(levels))

    def answer(p: Sequence[float], x: FloatArray, rows: npt.NDArray[np.int64]) -> FloatArray:
        return probability(p, x, begin[rows], end[rows], lower=lower[rows], upper=upper[rows])

    return _of_laws(levels, values, answer)


def quantiles(levels: pd.Series, values: pd.Series, p: pd.Series, *bounds: pd.Series) -> pd.Series:
    """forecast_quantile over pandas columns. Raises ValueError for levels that make no law and p outside [0, 1]."""
    at = _numbers(p)
    lower, upper = _bounds(QUANTILE, bounds, len(levels))

    def answer(level: Sequence[float], x: FloatArray, rows: npt.NDArray[np.int64]) -> FloatArray:
        return quantile(level, x, at[rows], lower=lower[rows], upper=upper[rows])

    return _of_laws(levels, values, answer)


FUNCTIONS: dict[str, Callable[..., pd.Series]] = {PROBABILITY: probabilities, QUANTILE: quantiles}


def batches_of(name: str, batches: Iterable[tuple[pd.Series, ...]]) -> Iterator[pd.Series]:
    """The same over batches of columns, as Unity Catalog hands them on."""
    for columns in batches:
        yield FUNCTIONS[name](*columns)


def _bounds(name: str, given: Sequence[pd.Series], rows: int) -> tuple[FloatArray, FloatArray]:
    if len(given) not in (0, 2):
        raise ValueError(f"{name} got {len(given)} bounds; give lower and upper, NULL for none, or neither")
    lower, upper = (_numbers(column) for column in given) if given else np.full((2, rows), np.nan)
    return np.where(np.isnan(lower), -np.inf, lower), np.where(np.isnan(upper), np.inf, upper)


def _numbers(column: pd.Series) -> FloatArray:
    """float64, NaN for NULL; from whole numbers and decimals too."""
    return np.array(column.astype(object).where(column.notna(), np.nan), dtype=np.float64)


def _of_laws(levels: pd.Series, values: pd.Series, answer: _Law) -> pd.Series:
    """Each row's number, NaN (NULL in SQL) for a row without a law; rows of the same levels are answered together."""
    out = np.full(len(levels), np.nan)
    given, there = list(levels), list(values)
    rows = np.array([i for i, pair in enumerate(zip(given, there, strict=True)) if None not in map(_seen, pair)], int)
    if len(rows):
        p, x = ([np.asarray(column[i], dtype=np.float64) for i in rows] for column in (given, there))
        for level, table, some in _groups(p, x):
            if len(level) > 1:
                out[rows[some]] = answer(level.tolist(), table, rows[some])
    return pd.Series(out)


def _seen(value: Any) -> Any:
    """A list, None for NULL."""
    return None if value is None or isinstance(value, float) else True


def _groups(
    p: list[FloatArray], x: list[FloatArray]
) -> Iterator[tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]]:
    """Levels, quantiles [R, Q] and which rows, for each set of levels."""
    first = p[0]
    if all(len(a) == len(b) == len(first) for a, b in zip(p, x, strict=True)):
        level, table = np.stack(p), np.stack(x)
        if (level == first).all() and not np.isnan(table).any():
            yield first, table, np.arange(len(p))
            return
    groups: dict[bytes, list[int]] = {}
    kept = []
    for i, (level, value) in enumerate(zip(p, x, strict=True)):
        if len(level) != len(value):
            raise ValueError(f"got {len(value)} quantiles for {len(level)} levels; expected a value for each level")
        known = ~np.isnan(value) & ~np.isnan(level)
        kept.append(value[known])
        groups.setdefault(level[known].tobytes(), []).append(i)
    for name, members in groups.items():
        yield np.frombuffer(name), np.stack([kept[i] for i in members]), np.array(members)
