"""A whole distribution from its quantiles: quantiles at any level, probabilities of any range.

One rule for one law and for arrays of them, in SQL and in pictures. The quantile function is interpolated in units of
the standard normal: x as a monotone piecewise cubic of z = the normal quantile of p (see `curve`). Beyond the
outermost quantiles x goes on linearly in z, which makes the tails normal. Equal neighbouring quantiles are a point
mass; so is what a bound cuts off, at the bound.

Between two levels a probability P(X <= x) is never wrong by more than the levels are apart, and beyond the outermost
ones by no more than what is left there, whatever the law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import norm

from forecasting.batch import FloatArray
from forecasting.evaluation import curve

TAILS = "normal tails beyond the outermost quantiles"
SMALLEST_ATOM = 1e-4
"""Point masses below this are not listed."""


def probability(
    levels: Sequence[float],
    quantiles: npt.ArrayLike,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
    *,
    lower: npt.ArrayLike | None = None,
    upper: npt.ArrayLike | None = None,
) -> FloatArray:
    """P(low <= X <= high), both ends counted, for each law of quantiles [*S, Q] at levels [Q]: shape [*S].

    low, high: None or infinite for no limit; they broadcast with [*S]. lower, upper: bounds of the law, likewise.
    P(X > c) is 1 - probability(high=c). NaN where a quantile or an end is NaN. Raises ValueError for levels that do
    not increase inside (0, 1) and for quantiles that decrease.
    """
    z, x, shape = _laws(levels, quantiles, low, high, lower, upper)
    out = np.empty(len(x))
    curve.probability_rows(
        z, x, _ends(low, -np.inf, shape), _ends(high, np.inf, shape), *_bounds(lower, upper, shape), out
    )
    return out.reshape(shape)


def quantile(
    levels: Sequence[float],
    quantiles: npt.ArrayLike,
    p: npt.ArrayLike,
    *,
    lower: npt.ArrayLike | None = None,
    upper: npt.ArrayLike | None = None,
) -> FloatArray:
    """The inverse: the value that X stays at or below with probability p, for each law of quantiles [*S, Q]: [*S].

    p broadcasts with [*S]; at 0 and 1 it is the law's bound, or infinite. Raises ValueError as `probability` does, and
    for p outside [0, 1].
    """
    z, x, shape = _laws(levels, quantiles, p, lower, upper)
    at = np.asarray(p, dtype=np.float64)
    if ((at < 0) | (at > 1)).any():
        raise ValueError(f"got a probability of {at[(at < 0) | (at > 1)].flat[0]:g}; expected 0 to 1")
    out = np.empty(len(x))
    curve.quantile_rows(z, x, _ends(ndtri(at), 0.0, shape), *_bounds(lower, upper, shape), out)
    return out.reshape(shape)


@dataclass(frozen=True)
class Distribution:
    """Quantiles of one step. levels: increasing in (0, 1), at least two. values: not decreasing. lower, upper: bounds
    that the tails do not cross, None for none. Raises ValueError otherwise."""

    levels: tuple[float, ...]
    values: tuple[float, ...]
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.values):
            raise ValueError(
                f"got {len(self.levels)} levels for {len(self.values)} values; expected a value for each level"
            )
        _check_levels(np.asarray(self.levels, dtype=np.float64))
        x = np.asarray(self.values)
        if not np.isfinite(x).all() or (np.diff(x) < 0).any():
            raise ValueError(f"got quantiles {list(self.values)}; expected finite ones that do not decrease")

    @classmethod
    def of(
        cls, levels: Sequence[float], values: npt.ArrayLike, lower: float | None = None, upper: float | None = None
    ) -> Distribution:
        """From any sequences."""
        numbers = np.asarray(values, dtype=np.float64)
        return cls(tuple(float(p) for p in levels), tuple(float(v) for v in numbers), lower, upper)

    def quantile(self, p: npt.ArrayLike) -> FloatArray:
        """The values at probabilities in [0, 1]."""
        return quantile(self.levels, self.values, p, lower=self.lower, upper=self.upper)

    def probability(self, low: npt.ArrayLike | None = None, high: npt.ArrayLike | None = None) -> FloatArray:
        """P(low <= X <= high), point masses at both ends counted; None or infinite for no limit. P(X > c) is
        1 - probability(high=c)."""
        return probability(self.levels, self.values, low, high, lower=self.lower, upper=self.upper)

    def cumulative(self, x: npt.ArrayLike) -> FloatArray:
        """P(X <= x)."""
        return self.probability(None, x)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Point masses (value, probability) of at least SMALLEST_ATOM: between equal quantiles, and what a bound has
        cut off."""
        places = np.unique([*self.values, *(bound for bound in (self.lower, self.upper) if bound is not None)])
        masses = self.probability(places, places)
        return tuple((float(v), float(m)) for v, m in zip(places, masses, strict=True) if m >= SMALLEST_ATOM)

    def density(self) -> tuple[FloatArray, FloatArray]:
        """The continuous part as a curve: values [K] and density [K] in 1 / unit; empty when all mass is in points."""
        z = np.linspace(-3.5, 3.5, 1401)
        x, slope = np.empty(len(z)), np.empty(len(z))
        curve.trace(ndtri(np.asarray(self.levels)), np.asarray(self.values), z, x, slope)
        inside = slope > 1e-9 * max(float(np.ptp(np.asarray(self.values))), 1e-300)
        if self.lower is not None:
            inside &= x > self.lower
        if self.upper is not None:
            inside &= x < self.upper
        return x[inside], np.asarray(norm.pdf(z[inside]) / slope[inside])


def _check_levels(levels: FloatArray) -> None:
    if levels.ndim != 1 or len(levels) < 2 or not (np.diff(levels) > 0).all() or levels[0] <= 0 or levels[-1] >= 1:
        raise ValueError(f"got levels {levels.tolist()}; expected two or more that increase, between 0 and 1")


def _laws(
    levels: Sequence[float], quantiles: npt.ArrayLike, *others: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, tuple[int, ...]]:
    """Deviates [Q], quantiles [R, Q] and the shape that R rows make together with the other arguments."""
    p, x = np.asarray(levels, dtype=np.float64), np.asarray(quantiles, dtype=np.float64)
    _check_levels(p)
    if x.ndim < 1 or x.shape[-1] != len(p):
        raise ValueError(f"got quantiles of shape {x.shape} for {len(p)} levels; expected the levels on the last axis")
    if (np.diff(x, axis=-1) < 0).any():
        raise ValueError("got quantiles that decrease from one level to the next; sort them")
    shape = np.broadcast_shapes(x.shape[:-1], *(np.shape(other) for other in others if other is not None))
    rows = np.ascontiguousarray(np.broadcast_to(x, (*shape, len(p)))).reshape(-1, len(p))
    return np.asarray(ndtri(p)), rows, shape


def _ends(given: npt.ArrayLike | None, otherwise: float, shape: tuple[int, ...]) -> FloatArray:
    """A number a row, flat."""
    value = otherwise if given is None else np.asarray(given, dtype=np.float64)
    return np.ascontiguousarray(np.broadcast_to(value, shape), dtype=np.float64).reshape(-1)


def _bounds(
    lower: npt.ArrayLike | None, upper: npt.ArrayLike | None, shape: tuple[int, ...]
) -> tuple[FloatArray, FloatArray]:
    return _ends(lower, -np.inf, shape), _ends(upper, np.inf, shape)
