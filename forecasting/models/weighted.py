"""Weighted samples in compiled code: sorting, mean, exact quantiles.

The weighted quantile at level q is the inverse of the step distribution function: the smallest value v with
Σ_{y(i) <= v} w(i) >= q Σ w(i), where a share within 1e-12 of q counts as reaching it (so that ten equal weights reach
0.3 with the third, whatever the rounding).
"""

from __future__ import annotations

import numba

from forecasting.batch import FloatArray

TIE = 1e-12
_RUN = 12


@numba.njit(cache=True)
def summarise(y: FloatArray, w: FloatArray, levels: FloatArray, mean: FloatArray, quantiles: FloatArray) -> None:
    """Mean [1] and weighted quantiles [Q] of ascending y with weights w, which become their running sums."""
    total = 0.0
    for i in range(len(y)):
        total += w[i]
    scale, centre, running = 1.0 / total, 0.0, 0.0
    for i in range(len(y)):
        centre += (w[i] * scale) * y[i]
        running += w[i]
        w[i] = running
    mean[0] = min(max(centre, y[0]), y[-1])
    read_off(y, w, levels, quantiles)


@numba.njit(cache=True)
def read_off(y: FloatArray, running: FloatArray, levels: FloatArray, quantiles: FloatArray) -> None:
    """Weighted quantiles of ascending y from the running sums of the weights."""
    for q in range(len(levels)):
        target = (levels[q] - TIE) * running[-1]
        below, above = 0, len(y) - 1
        while below < above:
            middle = (below + above) // 2
            if running[middle] >= target:
                above = middle
            else:
                below = middle + 1
        quantiles[q] = y[below]


@numba.njit(cache=True)
def sort_pairs(y: FloatArray, w: FloatArray, spare_y: FloatArray, spare_w: FloatArray) -> None:
    """Sort y ascending in place and carry w along: insertion runs, merged bottom up (stable, O(n log n) always)."""
    n = len(y)
    for start in range(0, n, _RUN):
        for i in range(start + 1, min(start + _RUN, n)):
            key, carried = y[i], w[i]
            j = i - 1
            while j >= start and y[j] > key:
                y[j + 1], w[j + 1] = y[j], w[j]
                j -= 1
            y[j + 1], w[j + 1] = key, carried
    width = _RUN
    while width < n:
        for start in range(0, n - width, 2 * width):
            middle, stop = start + width, min(start + 2 * width, n)
            if y[middle - 1] <= y[middle]:
                continue
            for i in range(start, middle):
                spare_y[i], spare_w[i] = y[i], w[i]
            left, right, out = start, middle, start
            while left < middle and right < stop:
                if y[right] < spare_y[left]:
                    y[out], w[out] = y[right], w[right]
                    right += 1
                else:
                    y[out], w[out] = spare_y[left], spare_w[left]
                    left += 1
                out += 1
            while left < middle:
                y[out], w[out] = spare_y[left], spare_w[left]
                left += 1
                out += 1
        width *= 2
