"""Draws of Gaussian and Student-t paths on a CPU: the arithmetic of `draws`, `noise` and `likelihoods` in one pass.

Elementary functions are polynomials without branches, which LLVM turns into vectors; the logarithm's are those of
Cephes (Moshier 1992). Results agree with torch's to float32 rounding.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from forecasting.deepar.kernels import Float32Array
from forecasting.frequency import Int64Array

_F = np.float32
_NODES = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
_VECTORS = {"contract"}
"""A product and a sum may be fused; nothing else is rearranged."""


def _fitted(values: npt.NDArray[np.float64], x: npt.NDArray[np.float64], degree: int) -> list[np.float32]:
    """The polynomial of x that is nearest to values relatively, in Chebyshev's nodes; constant term first."""
    powers = np.vander(x, degree + 1, increasing=True) / values[:, None]
    return [_F(c) for c in np.linalg.lstsq(powers, np.ones(len(x)), rcond=None)[0]]


_EXP = _fitted(np.expm1(0.35 * _NODES) / (0.35 * _NODES), 0.35 * _NODES, 5)
_E0, _E1, _E2, _E3, _E4, _E5 = _EXP
_SIN = _fitted(np.sin(0.5 * np.pi * _NODES) / (0.25 * _NODES), (0.25 * _NODES) ** 2, 4)
_S0, _S1, _S2, _S3, _S4 = _SIN
_L0, _L1, _L2 = _F(3.3333331174e-1), _F(-2.4999993993e-1), _F(2.0000714765e-1)
_L3, _L4, _L5 = _F(-1.6668057665e-1), _F(1.4249322787e-1), _F(-1.2420140846e-1)
_L6, _L7, _L8 = _F(1.1676998740e-1), _F(-1.1514610310e-1), _F(7.0376836292e-2)
_LN2_HIGH, _LN2_LOW = _F(0.693359375), _F(-2.12194440e-4)
_ROOT_HALF, _LOG2_E = _F(np.sqrt(0.5)), _F(1.0 / np.log(2.0))
_SHIFT = _F(1.5 * 2.0**23)
_LEAST_SPREAD = _F(1e-3)
_ONE, _TWO, _HALF, _QUARTER, _ZERO = _F(1.0), _F(2.0), _F(0.5), _F(0.25), _F(0.0)
_STEP = _F(2.0**-32)
_GREATEST = _F(87.0)


@numba.njit(forceinline=True, fastmath=_VECTORS)
def _log_near_one(r: np.float32) -> np.float32:
    """log(1 + r) for r within the roots of 1/2 and 2, less 1."""
    p = ((((((((_L8 * r + _L7) * r + _L6) * r + _L5) * r + _L4) * r + _L3) * r + _L2) * r + _L1) * r + _L0) * r
    return (p - _HALF) * r * r + r


@numba.njit(forceinline=True, fastmath=_VECTORS)
def _log(x: np.float32) -> np.float32:
    """log of a positive normal number."""
    bits = np.float32(x).view(np.int32)
    exponent = np.int32((bits >> np.int32(23)) - np.int32(126))
    m = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F000000)).view(np.float32)  # 1/2 to 1
    low = m < _ROOT_HALF
    r = (m + m if low else m) - _ONE
    n = _F(exponent - np.int32(1) if low else exponent)
    return _log_near_one(r) + n * _LN2_LOW + n * _LN2_HIGH


@numba.njit(forceinline=True, fastmath=_VECTORS)
def _exp(x: np.float32) -> tuple[np.float32, np.float32]:
    """2^n and p, where exp(x) = 2^n (1 + p) and p is small where x is."""
    x = _GREATEST if x > _GREATEST else x
    x = -_GREATEST if x < -_GREATEST else x
    shifted = x * _LOG2_E + _SHIFT
    n = shifted - _SHIFT
    f = (x - n * _LN2_HIGH) - n * _LN2_LOW
    power = np.int32((np.int32(np.float32(shifted).view(np.int32)) << np.int32(23)) + np.int32(0x3F800000))
    p = (((((_E5 * f + _E4) * f + _E3) * f + _E2) * f + _E1) * f + _E0) * f
    return np.int32(power).view(np.float32), p


@numba.njit(forceinline=True, fastmath=_VECTORS)
def _expm1(x: np.float32) -> np.float32:
    power, p = _exp(x)
    return power * p + (power - _ONE)


@numba.njit(forceinline=True, fastmath=_VECTORS)
def _softplus(x: np.float32) -> np.float32:
    above = x > _ZERO
    power, p = _exp(-x if above else x)
    e = power * p + power
    small = e < _F(0.4)
    r = e if small else (e - _ONE) * _HALF  # log(1 + e) = log(2) + log(1 + (e - 1) / 2)
    return _log_near_one(r) + (_ZERO if small else _F(np.log(2.0))) + (x if above else _ZERO)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_VECTORS)
def draw_polar(
    student: bool,
    raw: Float32Array,
    scale: Float32Array,
    seeds: Int64Array,
    counter: int,
    limit: float,
    paths: Float32Array,
    scaled: Float32Array,
) -> None:
    """One value for each of n paths, in the unit of the data and in scales cut at the limit.

    raw: [P, n], the law's parameters as the network gives them. scale, seeds: [n], of each path. counter: what
    `Noise` adds to the seeds for this draw.
    """
    most = _F(limit)
    for k in range(len(scale)):
        state = np.uint64(seeds[k]) + np.uint64(counter)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
        u = (_F(np.int64(state >> np.uint64(32))) + _HALF) * _STEP
        v = (_F(np.int64(state & np.uint64(0xFFFFFFFF))) + _HALF) * _STEP
        log_u = _log(u)
        if student:
            degrees = _TWO + _softplus(raw[2, k])
            radius = degrees * _expm1(-_TWO / degrees * log_u)
        else:
            radius = -_TWO * log_u
        w = v - _HALF
        place = (w if w > _ZERO else -w) - _QUARTER  # cos(2 pi v) = sin(2 pi place)
        square = place * place
        sine = ((((_S4 * square + _S3) * square + _S2) * square + _S1) * square + _S0) * place
        spread = (_softplus(raw[1, k]) + _LEAST_SPREAD) * scale[k]
        y = raw[0, k] * scale[k] + spread * (np.sqrt(radius) * sine)
        paths[k] = y
        z = y / scale[k]
        z = most if z > most else z
        scaled[k] = -most if z < -most else z
