"""Whether a series has a season worth copying from: leave-one-out errors with and without it."""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array


@numba.njit(cache=True)
def has_season(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    first_step: Int64Array,
    context: int,
    table: Int64Array,
    origin: int,
    n_phases: int,
    found: Int64Array,
) -> None:
    """Fill found [R]: 1 where the mean of the other observations of the same phase foretells an observation better
    than the mean of all others.

    Both are taken of the observations less their straight line, which would hide a season. Leaving one of k out of its
    mean enlarges its error by k / (k - 1), so S phases have to earn their S means, and a phase seen only once (or
    never) rules the season out.
    """
    n_rows, period = len(begin), len(table)
    count, total, square = np.zeros(n_phases), np.zeros(n_phases), np.zeros(n_phases)
    for r in range(n_rows):
        low, n, at_mean, mean, low_seen = max(begin[r], end[r] - context), 0, 0.0, 0.0, 0
        for t in range(low, end[r]):
            if not np.isnan(values[t]):
                if n == 0:
                    low_seen = t
                n += 1
                at_mean += (t - low_seen - at_mean) / n
                mean += (values[t] - mean) / n
        found[r] = 0
        if n < 2 * n_phases or n_phases < 2:
            continue
        both, spread, largest = 0.0, 0.0, 0.0
        for t in range(low_seen, end[r]):
            if not np.isnan(values[t]):
                x = t - low_seen - at_mean
                both += x * (values[t] - mean)
                spread += x * x
                largest = max(largest, abs(values[t] - mean))
        if largest == 0.0:
            continue
        slope = both / spread
        count[:] = 0.0
        total[:] = 0.0
        square[:] = 0.0
        alike, at = 0.0, (first_step[r] - origin) % period
        for t in range(end[r] - 1, low - 1, -1):
            at = at - 1 if at > 0 else period - 1
            if not np.isnan(values[t]):
                e = (values[t] - mean - slope * (t - low_seen - at_mean)) / largest
                phase = table[at]
                count[phase] += 1.0
                total[phase] += e
                square[phase] += e * e
                alike += e * e
        alike *= (n / (n - 1.0)) ** 2
        apart = 0.0
        for s in range(n_phases):
            if count[s] < 2.0:
                apart = np.inf
                break
            rest = max(square[s] - total[s] * total[s] / count[s], 0.0)
            apart += rest * (count[s] / (count[s] - 1.0)) ** 2
        found[r] = 1 if apart < alike else 0
