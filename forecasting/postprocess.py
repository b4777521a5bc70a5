"""Post-processing, one order for every model: finite and explosion guard, bounds, sort, bounds, whole units.

(Ensembling and calibration take their places between the first bounds and the sort when a run uses them.)
Each step counts what it touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, read_only
from forecasting.frequency import Int64Array
from forecasting.models.contract import ObjectArray, RawForecast, Rows

NOT_FINITE = "not_finite"
EXPLOSIVE = "explosive"
EXPLOSION_FACTOR = 20.0
"""A forecast further from the history than this many times its range (or its largest absolute value) is explosive."""


@dataclass(frozen=True)
class Bounds:
    """What a forecast may be: at least `lower`, at most `upper`, quantiles in whole units where asked.

    The mean of whole units need not be whole, so rounding leaves it alone.
    """

    lower: float | None = None
    upper: float | None = None
    whole_units: bool = False


@dataclass(frozen=True)
class HistoryFacts:
    """Per row: smallest and largest observation (NaN when none), observations, filled points; all [R]."""

    low: FloatArray
    high: FloatArray
    n_obs: Int64Array
    n_filled: Int64Array


@numba.njit(cache=True)
def _facts(
    values: FloatArray, filled: npt.NDArray[np.uint8], begin: Int64Array, end: Int64Array
) -> tuple[FloatArray, FloatArray, Int64Array, Int64Array]:
    n = len(begin)
    low, high = np.full(n, np.nan), np.full(n, np.nan)
    n_obs, n_filled = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    any_filled = len(filled) > 0
    for r in range(n):
        smallest, largest = np.inf, -np.inf
        for t in range(begin[r], end[r]):
            y = values[t]
            if np.isnan(y):
                continue
            smallest, largest = min(smallest, y), max(largest, y)
            if any_filled and filled[t] != 0:
                n_filled[r] += 1
            else:
                n_obs[r] += 1
        if largest >= smallest:
            low[r], high[r] = smallest, largest
    return low, high, n_obs, n_filled


def history_facts(rows: Rows) -> HistoryFacts:
    """One pass over what each row may see."""
    filled = rows.batch.filled if rows.batch.filled is not None else read_only(np.empty(0, dtype=np.uint8))
    return HistoryFacts(*_facts(rows.batch.values, filled, rows.begin, rows.end))


def guard(raw: RawForecast, facts: HistoryFacts, factor: float = EXPLOSION_FACTOR) -> ObjectArray:
    """Which rows may not be used as they are: a reason per row, "" for none, [R]."""
    n = len(raw.mean)
    flat = raw.quantiles.reshape(n, raw.quantiles.shape[1] * raw.quantiles.shape[2])
    smallest = np.minimum(raw.mean.min(axis=1, initial=np.inf), flat.min(axis=1, initial=np.inf))
    largest = np.maximum(raw.mean.max(axis=1, initial=-np.inf), flat.max(axis=1, initial=-np.inf))
    reasons = np.full(n, "", dtype=object)
    reach = factor * np.maximum(facts.high - facts.low, np.maximum(np.abs(facts.low), np.abs(facts.high)))
    with np.errstate(invalid="ignore"):
        reasons[(smallest < facts.low - reach) | (largest > facts.high + reach)] = EXPLOSIVE
    reasons[~(np.isfinite(smallest) & np.isfinite(largest))] = NOT_FINITE
    return reasons


def apply_bounds(raw: RawForecast, bounds: Bounds) -> tuple[RawForecast, Int64Array]:
    """Clip mean and quantiles; also the number of values clipped per row, [R]."""
    clipped = np.zeros(len(raw.mean), dtype=np.int64)
    if bounds.lower is None and bounds.upper is None:
        return raw, clipped
    mean = np.clip(raw.mean, bounds.lower, bounds.upper)
    quantiles = np.clip(raw.quantiles, bounds.lower, bounds.upper)
    clipped += (mean != raw.mean).sum(axis=1) + (quantiles != raw.quantiles).sum(axis=(1, 2))
    return RawForecast(mean=mean, quantiles=quantiles), clipped


def finish(raw: RawForecast, bounds: Bounds) -> RawForecast:
    """Sort the quantiles of every step, apply the bounds again and round quantiles to whole units where asked."""
    quantiles = raw.quantiles
    if (np.diff(quantiles, axis=2) < 0).any():
        quantiles = np.sort(quantiles, axis=2)
    if bounds.whole_units:
        quantiles = np.rint(quantiles)
    done, _ = apply_bounds(RawForecast(mean=raw.mean, quantiles=quantiles), bounds)
    return done
