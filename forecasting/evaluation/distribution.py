"""A whole distribution from its quantiles.

The quantile function is interpolated in units of the standard normal: x as a monotone piecewise cubic (PCHIP; Fritsch
and Carlson 1980, "Monotone piecewise cubic interpolation") of z = the normal quantile of p. Beyond the outermost
quantiles x goes on linearly in z, which makes the tails normal. Equal neighbouring quantiles are a point mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.stats import norm

from forecasting.batch import FloatArray

TAILS = "normal tails beyond the outermost quantiles"
_Z_LIMIT = 4.0


@dataclass(frozen=True)
class Distribution:
    """Quantiles of one step. levels: increasing in (0, 1), at least two. values: not decreasing. lower, upper: bounds
    that the tails do not cross, None for none. Raises ValueError otherwise."""

    levels: tuple[float, ...]
    values: tuple[float, ...]
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        p, x = np.asarray(self.levels), np.asarray(self.values)
        if len(p) < 2 or p.shape != x.shape or (np.diff(p) <= 0).any() or p[0] <= 0 or p[-1] >= 1:
            raise ValueError(f"got levels {list(self.levels)} for {len(x)} values; expected two or more that increase")
        if not np.isfinite(x).all() or (np.diff(x) < 0).any():
            raise ValueError(f"got quantiles {list(self.values)}; expected finite ones that do not decrease")

    @classmethod
    def of(
        cls, levels: Sequence[float], values: npt.ArrayLike, lower: float | None = None, upper: float | None = None
    ) -> Distribution:
        """From any sequences."""
        numbers = np.asarray(values, dtype=np.float64)
        return cls(tuple(float(p) for p in levels), tuple(float(v) for v in numbers), lower, upper)

    def _curve(self) -> PchipInterpolator:
        """x of z through the quantiles, with points on the lines of the tails so that the slope has no jump."""
        z, x = norm.ppf(np.asarray(self.levels)), np.asarray(self.values)
        below, above = (x[1] - x[0]) / (z[1] - z[0]), (x[-1] - x[-2]) / (z[-1] - z[-2])
        steps = np.array([0.5, 1.0, 2.0, 2 * _Z_LIMIT])
        z_all = np.concatenate([z[0] - steps[::-1], z, z[-1] + steps])
        x_all = np.concatenate([x[0] - below * steps[::-1], x, x[-1] + above * steps])
        return PchipInterpolator(z_all, x_all)

    def quantile(self, p: npt.ArrayLike) -> FloatArray:
        """The values at probabilities in (0, 1)."""
        x = self._curve()(norm.ppf(np.asarray(p, dtype=np.float64)))
        return np.asarray(np.clip(x, self.lower, self.upper) if (self.lower, self.upper) != (None, None) else x)

    def cumulative(self, x: npt.ArrayLike) -> FloatArray:
        """P(X <= x), by the inverse of `quantile` on a fine grid."""
        p = _grid()
        at = self.quantile(p)
        return np.asarray(np.interp(np.asarray(x, dtype=np.float64), *_steps(at, p), left=0.0, right=1.0))

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Point masses (value, probability): between equal quantiles, and what a bound has cut off."""
        p = _grid()
        x = self.quantile(p)
        values, first, count = np.unique(x, return_index=True, return_counts=True)
        out = []
        for value, begin, n in zip(values[count > 1], first[count > 1], count[count > 1], strict=True):
            low = 0.0 if begin == 0 else p[begin]
            high = 1.0 if begin + n == len(p) else p[begin + n - 1]
            out.append((float(value), float(high - low)))
        return tuple(out)

    def density(self) -> tuple[FloatArray, FloatArray]:
        """The continuous part as a curve: values [K] and density [K] in 1 / unit; empty when all mass is in points."""
        z = np.linspace(-3.5, 3.5, 1401)
        curve = self._curve()
        x, slope = curve(z), curve.derivative()(z)
        inside = slope > 1e-9 * max(float(np.ptp(np.asarray(self.values))), 1e-300)
        if self.lower is not None:
            inside &= x > self.lower
        if self.upper is not None:
            inside &= x < self.upper
        return np.asarray(x[inside]), np.asarray(norm.pdf(z[inside]) / slope[inside])


def _grid() -> FloatArray:
    return np.asarray(norm.cdf(np.linspace(-_Z_LIMIT, _Z_LIMIT, 4001)))


def _steps(x: FloatArray, p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Each value once, with the largest probability that reaches it."""
    last = np.append(np.diff(x) > 0, True)
    return x[last], p[last]
