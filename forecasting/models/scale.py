"""The scale that a kernel brings a series to: a power of two, so that nothing is rounded by it."""

from __future__ import annotations

import math

import numba

_SMALLEST_EXPONENT = -1000  # a power is made by a division, which would give 0 for subnormal numbers


@numba.njit(cache=True)
def power_of_two(largest: float) -> float:
    """The least power of two that is no less than `largest` > 0, for all but subnormal numbers."""
    return 2.0 ** max(math.ceil(math.log2(largest)), _SMALLEST_EXPONENT)
