"""Sums of every step's statistics by group, made while the rows are scored: a row a step and series is never made."""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.evaluation.layout import Layout
from forecasting.evaluation.sums import two_sum


class StepSums:
    """Sums over rows for each group and step, groups 0, 1, 2, … as they come.

    Carried in two parts like `forecasting.evaluation.sums.GroupedSums` (Knuth's TwoSum), so that the order of the rows
    does not show in the rounded result. width: C, numbers of a row.
    """

    def __init__(self, layout: Layout) -> None:
        self._high = np.zeros((0, 0, len(layout)))
        self._low = np.zeros((0, 0, len(layout)))
        self._groups = 0

    def arrays(self, groups: int, horizon: int) -> tuple[FloatArray, FloatArray]:
        """The two parts, [>= groups, >= horizon, C], to be added to."""
        self._groups = max(self._groups, groups)
        have, steps, width = self._high.shape
        if groups > have or horizon > steps:
            shape = (max(groups, 2 * have) if groups > have else have, max(horizon, steps), width)
            for name in ("_high", "_low"):
                larger = np.zeros(shape)
                larger[:have, :steps] = getattr(self, name)
                setattr(self, name, larger)
        return self._high, self._low

    @property
    def parts(self) -> tuple[FloatArray, FloatArray]:
        """The rounded sums and what rounding lost, [G, H, C] each."""
        return self._high[: self._groups], self._low[: self._groups]

    @property
    def totals(self) -> FloatArray:
        """The sums, [G, H, C]."""
        high, low = self.parts
        return high + low


@numba.njit(cache=True)
def add_points(points: FloatArray, high: FloatArray, low: FloatArray) -> None:
    """Add points [H, C] to a group's two parts [>= H, C]."""
    for h in range(points.shape[0]):
        for c in range(points.shape[1]):
            high[h, c], error = two_sum(high[h, c], points[h, c])
            low[h, c] += error
