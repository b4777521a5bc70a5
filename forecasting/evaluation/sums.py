"""Grouped sums whose rounded result does not depend on the order of the rows.

Totals of a run are added up by many tasks in whatever order they finish. A plain sum would then differ in its last
digits from run to run; here every sum is carried as two numbers, the rounded sum and what rounding lost, which
together hold twice the working precision.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, read_only
from forecasting.frequency import Int64Array


class GroupedSums:
    """Sums of rows by group, groups 0, 1, 2, … as they come.

    The error-free addition is Knuth's TwoSum (The Art of Computer Programming, volume 2, section 4.2.2, theorem B);
    the lost parts are added up beside, as in Ogita, Rump and Oishi (2005), "Accurate sum and dot product",
    algorithm 4.4. width: C, numbers in a row.
    """

    def __init__(self, width: int) -> None:
        self._high = np.zeros((16, width))
        self._low = np.zeros((16, width))
        self._groups = 0

    def add(self, rows: FloatArray, group: npt.ArrayLike, lost: FloatArray | None = None) -> None:
        """Add rows [R, C] to their groups, int64 [R]. lost: [R, C], the second part of rows that are sums already."""
        index = np.ascontiguousarray(group, dtype=np.int64)
        if not len(index):
            return
        self._grow(int(index.max()) + 1)
        second = np.zeros((1, rows.shape[1])) if lost is None else np.ascontiguousarray(lost, dtype=np.float64)
        values = read_only(np.ascontiguousarray(rows, dtype=np.float64))
        _add(values, read_only(second), lost is not None, read_only(index), self._high, self._low)

    def _grow(self, groups: int) -> None:
        self._groups = max(self._groups, groups)
        while groups > len(self._high):
            self._high = np.concatenate([self._high, np.zeros_like(self._high)])
            self._low = np.concatenate([self._low, np.zeros_like(self._low)])

    @property
    def parts(self) -> tuple[FloatArray, FloatArray]:
        """The rounded sums and what rounding lost, [G, C] each: to be added elsewhere with `lost`."""
        return self._high[: self._groups], self._low[: self._groups]

    @property
    def totals(self) -> FloatArray:
        """The sums, [G, C]."""
        high, low = self.parts
        return high + low


@numba.njit(cache=True)
def two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b rounded, and what rounding lost; an infinite sum has lost nothing that could be added back."""
    total = a + b
    kept = total - a
    error = (a - (total - kept)) + (b - kept)
    return total, error if np.isfinite(error) else 0.0


@numba.njit(cache=True)
def _add(
    rows: FloatArray, lost: FloatArray, has_lost: bool, group: Int64Array, high: FloatArray, low: FloatArray
) -> None:
    for r in range(rows.shape[0]):
        g = group[r]
        for c in range(rows.shape[1]):
            high[g, c], error = two_sum(high[g, c], rows[r, c])
            low[g, c] += error
            if has_lost:
                low[g, c] += lost[r, c]
