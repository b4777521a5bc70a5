"""The design matrix: related series and holidays of a batch as columns over each series' history and horizon."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numba
import numpy as np

from forecasting.batch import FloatArray, Holidays, SeriesBatch, offsets_of, read_only
from forecasting.frequency import Int64Array
from forecasting.models.contract import RegressionHyperparameters


@dataclass(frozen=True)
class Regressors:
    """K columns for each series of a batch.

    names: K, related series first, then holiday columns. base: K, the name without a holiday's window. n_related: how
    many are related series. values: float64 [T, K], no NaN; series i has the periods
    values[offsets[i]:offsets[i + 1]], its history and then the horizon, so that backtest windows share them.
    A row's kernel must leave out a column that is constant over what the row sees: that is what a column without any
    visible value looks like.
    """

    names: tuple[str, ...]
    base: tuple[str, ...]
    n_related: int
    values: FloatArray
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.names)


def related_names(batch: SeriesBatch, options: RegressionHyperparameters) -> tuple[str, ...]:
    """The related series that a family with these options regresses on, in the order of the batch. Those with a colon
    in their name are steps of a treatment (`forecasting.treatment`): whoever regresses takes them."""
    own = {name: column for name, column in batch.related.items() if ":" not in name}
    named: set[str] = set()
    if options.regressors == "none":
        pass
    elif isinstance(options.regressors, tuple):
        named = {name for name in own if name in options.regressors}
    else:
        named = {name for name, c in own.items() if c.known_in_future or name in options.lags}
    return tuple(name for name in batch.related if name in named or name not in own)


def regressors(
    batch: SeriesBatch, options: RegressionHyperparameters, horizon: int = 0, *, logarithms: Collection[str] = ()
) -> Regressors:
    """The columns that the options ask for, through `horizon` periods after the end of each series.

    logarithms: related series of which the logarithms are taken; what is not above 0 counts as missing. A missing
    value of a related series takes the latest one before it, in front the first one there is; a series without any
    value has 0. A lagged series has in its first periods what it had first.
    """
    names = related_names(batch, options)
    holidays = batch.holidays if options.use_holidays else None
    n_holidays = len(holidays.names) if holidays is not None else 0
    lengths = batch.lengths + horizon
    offsets = offsets_of(lengths)
    values = np.zeros((int(offsets[-1]), len(names) + n_holidays))
    for k, name in enumerate(names):
        column = batch.related[name]
        visible = batch.lengths if not column.known_in_future else lengths
        given = logarithm(column.values) if name in logarithms else column.values
        _fill_related(given, column.offsets, visible, options.lags.get(name, 0), offsets, values, k)
    if holidays is not None:
        _fill_holidays(holidays.values, holidays.group, holidays.first, batch.start, offsets, values, len(names))
    return Regressors(
        names=names + (holidays.names if holidays is not None else ()),
        base=names + (holidays.base if holidays is not None else ()),
        n_related=len(names),
        values=read_only(values),
        offsets=read_only(offsets),
    )


def logarithm(values: FloatArray) -> FloatArray:
    """The natural logarithm, NaN for what is not above 0."""
    return read_only(np.log(values, out=np.full(values.shape, np.nan), where=values > 0))


@numba.njit(cache=True)
def _fill_related(
    column: FloatArray,
    column_offsets: Int64Array,
    visible: Int64Array,
    lag: int,
    offsets: Int64Array,
    out: FloatArray,
    k: int,
) -> None:
    """Column k of out [T, K]: the related series, lagged, with its gaps closed."""
    for i in range(len(offsets) - 1):
        n = offsets[i + 1] - offsets[i]
        known = min(column_offsets[i + 1] - column_offsets[i], visible[i])
        first = 0.0
        for t in range(known):
            if np.isfinite(column[column_offsets[i] + t]):
                first = column[column_offsets[i] + t]
                break
        latest = first
        for t in range(n):
            if 0 <= t - lag < known:
                x = column[column_offsets[i] + t - lag]
                if np.isfinite(x):
                    latest = x
            out[offsets[i] + t, k] = latest


@numba.njit(cache=True)
def _fill_holidays(
    values: FloatArray,
    group: Int64Array,
    first: int,
    start: Int64Array,
    offsets: Int64Array,
    out: FloatArray,
    k: int,
) -> None:
    """Columns k and on of out [T, K']: the calendar of each series."""
    n_periods, n_columns = values.shape[1], values.shape[2]
    for i in range(len(offsets) - 1):
        if group[i] < 0:
            continue
        for t in range(offsets[i + 1] - offsets[i]):
            place = start[i] + t - first
            if 0 <= place < n_periods:
                for j in range(n_columns):
                    out[offsets[i] + t, k + j] = values[group[i], place, j]


__all__ = ["Holidays", "Regressors", "regressors", "related_names"]
