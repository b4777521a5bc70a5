"""Loess on an even grid, as STL uses it (Cleveland, Cleveland, McRae and Terpenning 1990, "STL: A Seasonal-Trend
Decomposition Procedure Based on Loess", Journal of Official Statistics 6, section 2).

On an even grid the tricube weights depend on a point's place in its window alone. A *bank* holds them: one line for
each place, `half + 1` lines for a window shorter than the series (the first points, each with its own place, then the
centre; the last points are the first ones seen from behind), one line a point for a longer window. Without further
weights the local fit is linear in the values with coefficients that are the bank's too, so smoothing is a convolution.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray


@numba.njit(cache=True)
def bank_lines(n: int, window: int) -> int:
    """Lines of a bank for n points."""
    return n if window >= n else (window + 1) // 2


@numba.njit(cache=True)
def tricube(n: int, window: int, place: float, width: int, line: FloatArray) -> None:
    """Weights in line[:width] of the points 0 … width - 1 for a fit at `place`, which may lie outside of them."""
    h = max(place, width - 1.0 - place)
    if window > n:
        h += (window - n) // 2
    for j in range(width):
        r = abs(j - place)
        if r <= 0.001 * h:
            line[j] = 1.0
        elif r <= 0.999 * h:
            u = r / h
            v = 1.0 - u * u * u
            line[j] = v * v * v
        else:
            line[j] = 0.0


@numba.njit(cache=True)
def to_coefficients(n: int, degree: int, place: float, width: int, line: FloatArray) -> None:
    """Turn tricube weights into the coefficients of the local fit at `place`.

    A straight line is fitted where the weights spread over more than a thousandth of the series, as in the authors'
    program; else a constant.
    """
    total = 0.0
    for j in range(width):
        total += line[j]
    if total <= 0.0:
        return
    centre = 0.0
    for j in range(width):
        line[j] /= total
        centre += line[j] * j
    if degree == 0:
        return
    spread = 0.0
    for j in range(width):
        spread += line[j] * (j - centre) * (j - centre)
    if math.sqrt(spread) > 0.001 * (n - 1):
        tilt = (place - centre) / spread
        for j in range(width):
            line[j] *= 1.0 + tilt * (j - centre)


@numba.njit(cache=True)
def fill_bank(n: int, window: int, degree: int, weighted: bool, bank: FloatArray) -> None:
    """A bank [lines, min(window, n)] of tricube weights (weighted) or of coefficients."""
    width = min(window, n)
    for k in range(bank_lines(n, window)):
        tricube(n, window, float(k), width, bank[k])
        if not weighted:
            to_coefficients(n, degree, float(k), width, bank[k])


@numba.njit(cache=True)
def weighted_fit(
    n: int, degree: int, place: float, width: int, line: FloatArray, back: bool, y: FloatArray, rw: FloatArray
) -> float:
    """The local fit to y[:width] with weights line * rw at `place`; NaN where no weight is left.

    back: the line's weights are those of the points counted from behind, and so is the place.
    """
    s0, s1, s2, t0, t1 = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(width):
        i = width - 1 - j if back else j
        w = line[j] * rw[i]
        d = j - place
        s0 += w
        s1 += w * d
        s2 += w * d * d
        t0 += w * y[i]
        t1 += w * d * y[i]
    if s0 <= 0.0:
        return math.nan
    centre, value = s1 / s0, t0 / s0
    if degree == 0:
        return value
    spread = s2 / s0 - centre * centre
    if spread > 0.0 and math.sqrt(spread) > 0.001 * (n - 1):
        return value - centre * (t1 / s0 - centre * value) / spread
    return value


@numba.njit(cache=True)
def dot(line: FloatArray, y: FloatArray, width: int, back: bool) -> float:
    c0, c1, c2, c3 = 0.0, 0.0, 0.0, 0.0
    j, last = 0, width - 1
    if back:
        while j + 4 <= width:
            c0 += line[j] * y[last - j]
            c1 += line[j + 1] * y[last - j - 1]
            c2 += line[j + 2] * y[last - j - 2]
            c3 += line[j + 3] * y[last - j - 3]
            j += 4
        while j < width:
            c0 += line[j] * y[last - j]
            j += 1
    else:
        while j + 4 <= width:
            c0 += line[j] * y[j]
            c1 += line[j + 1] * y[j + 1]
            c2 += line[j + 2] * y[j + 2]
            c3 += line[j + 3] * y[j + 3]
            j += 4
        while j < width:
            c0 += line[j] * y[j]
            j += 1
    return (c0 + c1) + (c2 + c3)


@numba.njit(cache=True)
def smooth(
    y: FloatArray,
    n: int,
    window: int,
    degree: int,
    bank: FloatArray,
    weighted: bool,
    rw: FloatArray,
    out: FloatArray,
) -> None:
    """Loess of y[:n] at every point; where no weight is left, the value itself."""
    width = min(window, n)
    half = width // 2
    short = window >= n
    if not weighted and not short:
        centre = bank[half]
        inside = n - 2 * half
        target = out[half : half + inside]
        for i in range(inside):
            target[i] = 0.0
        for j in range(width):
            c, part = centre[j], y[j : j + inside]
            for i in range(inside):
                target[i] += c * part[i]
    for i in range(n):
        if short:
            k, begin, back = i, 0, False
        elif i < half:
            k, begin, back = i, 0, False
        elif i >= n - half:
            k, begin, back = n - 1 - i, n - width, True
        else:
            if not weighted:
                continue
            k, begin, back = half, i - half, False
        if weighted:
            value = weighted_fit(
                n, degree, float(k), width, bank[k], back, y[begin : begin + width], rw[begin : begin + width]
            )
            out[i] = y[i] if math.isnan(value) else value
        else:
            out[i] = dot(bank[k], y[begin : begin + width], width, back)


@numba.njit(cache=True)
def moving_average(y: FloatArray, n: int, length: int, out: FloatArray) -> int:
    """Averages of `length` neighbours, n - length + 1 of them; returns how many."""
    total, count = 0.0, n - length + 1
    for i in range(length):
        total += y[i]
    out[0] = total / length
    for i in range(1, count):
        total += y[i + length - 1] - y[i - 1]
        out[i] = total / length
    return count


@numba.njit(cache=True)
def new_bank(n: int, window: int) -> FloatArray:
    """Room for a bank."""
    return np.empty((bank_lines(n, window), min(window, n)))
