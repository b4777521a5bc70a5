"""What the network's output means: the laws of the next value, their loss, their draws and their mean.

`raw` [..., P] is the output for values `y` [...] of series with the scale `scale` [...]. All laws are in the unit of
the data; the losses are per value and free of that unit, so that each series weighs the same.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import softplus

from forecasting.deepar import draws
from forecasting.deepar.noise import Noise
from forecasting.deepar.settings import Likelihood

_LEAST_SPREAD = 1e-3
"""Of the scale: a constant series would have a density without bound."""
_LEAST_DISPERSION = 1e-4
_EDGE = 1e-4


class Law(ABC):
    """One likelihood. size: P. stochastic: whether sample paths differ."""

    size: int
    stochastic: bool = True

    @abstractmethod
    def loss(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """What training makes small, for each value [...]."""

    @abstractmethod
    def draw(self, raw: Tensor, scale: Tensor, noise: Noise) -> Tensor:
        """A random value for each place [...]; `raw` and `scale` may have 1 where the noise's streams are many."""

    @abstractmethod
    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        """The law's mean [...]."""


class DensityLaw(Law):
    """A law with a density or probabilities."""

    @abstractmethod
    def log_prob(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """The log density (of counts: probability) of y in the unit of the data, [...]."""


class Gaussian(DensityLaw):
    """raw: location and spread, in scales."""

    size = 2

    def parameters(self, raw: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Location and standard deviation."""
        return raw[..., 0] * scale, (softplus(raw[..., 1]) + _LEAST_SPREAD) * scale

    def log_prob(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        return -self.loss(raw, y, scale) - torch.log(scale)

    def loss(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        spread = softplus(raw[..., 1]) + _LEAST_SPREAD
        return 0.5 * ((y / scale - raw[..., 0]) / spread) ** 2 + torch.log(spread) + 0.5 * math.log(2 * math.pi)

    def draw(self, raw: Tensor, scale: Tensor, noise: Noise) -> Tensor:
        location, spread = self.parameters(raw, scale)
        return location + spread * draws.normal(noise)

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        return raw[..., 0] * scale


class StudentT(DensityLaw):
    """raw: location, spread, degrees of freedom (above 2, so that a variance exists)."""

    size = 3

    def parameters(self, raw: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Degrees of freedom, location, spread."""
        spread = (softplus(raw[..., 1]) + _LEAST_SPREAD) * scale
        return 2.0 + softplus(raw[..., 2]), raw[..., 0] * scale, spread

    def log_prob(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        return -self.loss(raw, y, scale) - torch.log(scale)

    def loss(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        spread = softplus(raw[..., 1]) + _LEAST_SPREAD
        df = 2.0 + softplus(raw[..., 2])
        z = (y / scale - raw[..., 0]) / spread
        constant = torch.lgamma(0.5 * df) - torch.lgamma(0.5 * (df + 1.0)) + 0.5 * torch.log(math.pi * df)
        return constant + torch.log(spread) + 0.5 * (df + 1.0) * torch.log1p(z * z / df)

    def draw(self, raw: Tensor, scale: Tensor, noise: Noise) -> Tensor:
        df, location, spread = self.parameters(raw, scale)
        return location + spread * draws.student(df, noise)

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        return raw[..., 0] * scale


class NegativeBinomial(DensityLaw):
    """raw: mean in scales, dispersion a, with the variance mean + a mean^2. In float64: large counts need it."""

    size = 2

    def parameters(self, raw: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and shape 1 / a, float64."""
        wide = raw.to(torch.float64)
        mean = softplus(wide[..., 0]) * scale + 1e-12
        return mean, 1.0 / (softplus(wide[..., 1]) + _LEAST_DISPERSION)

    def log_prob(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        mean, shape = self.parameters(raw, scale)
        wide = y.to(torch.float64)
        total = torch.log(shape + mean)
        return (
            torch.lgamma(wide + shape)
            - torch.lgamma(shape)
            - torch.lgamma(wide + 1.0)
            + shape * (torch.log(shape) - total)
            + wide * (torch.log(mean) - total)
        )

    def loss(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        return -self.log_prob(raw, y.clamp(min=0.0), scale).to(raw.dtype)

    def draw(self, raw: Tensor, scale: Tensor, noise: Noise) -> Tensor:
        mean, shape = self.parameters(raw, scale)
        return draws.poisson(mean / shape * draws.gamma(shape, noise), noise).to(raw.dtype)

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        return self.parameters(raw, scale)[0].to(raw.dtype)


class Poisson(DensityLaw):
    """raw: rate in scales."""

    size = 1

    def parameters(self, raw: Tensor, scale: Tensor) -> Tensor:
        """The rate, float64."""
        return softplus(raw[..., 0].to(torch.float64)) * scale + 1e-12

    def log_prob(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        rate, wide = self.parameters(raw, scale), y.to(torch.float64)
        return wide * torch.log(rate) - rate - torch.lgamma(wide + 1.0)

    def loss(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        return -self.log_prob(raw, y.clamp(min=0.0), scale).to(raw.dtype)

    def draw(self, raw: Tensor, scale: Tensor, noise: Noise) -> Tensor:
        return draws.poisson(self.parameters(raw, scale), noise).to(raw.dtype)

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        return self.parameters(raw, scale).to(raw.dtype)


class Beta(DensityLaw):
    """raw: mean, as a shift of the scale's logit, and concentration. Values are kept 0.0001 from the edges."""

    size = 2

    def parameters(self, raw: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """The two shapes, a and b."""
        mean = torch.sigmoid(raw[..., 0] + torch.logit(scale, eps=0.01))
        total = softplus(raw[..., 1] + 3.0)
        return mean * total + 1e-2, (1.0 - mean) * total + 1e-2

    def log_prob(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        a, b = self.parameters(raw, scale)
        inside = y.clamp(_EDGE, 1.0 - _EDGE)
        constant = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
        return constant + (a - 1.0) * torch.log(inside) + (b - 1.0) * torch.log1p(-inside)

    def loss(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        return -self.log_prob(raw, y, scale)

    def draw(self, raw: Tensor, scale: Tensor, noise: Noise) -> Tensor:
        a, b = self.parameters(raw, scale)
        first, second = draws.gamma(a, noise) + 1e-30, draws.gamma(b, noise) + 1e-30
        return first / (first + second)

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        a, b = self.parameters(raw, scale)
        return a / (a + b)


class DeterministicL1(Law):
    """raw: the forecast in scales. The loss is the absolute error: a median without a spread."""

    size = 1
    stochastic = False

    def loss(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        return torch.abs(y / scale - raw[..., 0])

    def draw(self, raw: Tensor, scale: Tensor, noise: Noise) -> Tensor:  # noqa: ARG002
        return self.mean(raw, scale)

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        return raw[..., 0] * scale


class PiecewiseLinear(Law):
    """A quantile function of K linear pieces: raw holds its start, K slopes and the widths of the pieces.

    The loss is the continuous ranked probability score in closed form (Gasthaus et al. 2019, "Probabilistic
    forecasting with spline quantile function RNNs", equation 8).
    """

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.size = 1 + 2 * pieces

    def parameters(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Start [...], changes of slope [..., K] and the levels [..., K] where they are, in scales."""
        slopes = softplus(raw[..., 1 : self.pieces + 1])
        changes = torch.diff(slopes, dim=-1, prepend=torch.zeros_like(slopes[..., :1]))
        widths = torch.softmax(raw[..., self.pieces + 1 :], dim=-1)
        levels = torch.cumsum(widths, dim=-1) - widths
        return raw[..., 0], changes, levels

    def loss(self, raw: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        start, changes, levels = self.parameters(raw)
        z = y / scale
        level = self._level(start, changes, levels, z)
        later = torch.maximum(level.unsqueeze(-1), levels)
        parts = (1.0 - levels**3) / 3.0 - levels - later**2 + 2.0 * later * levels
        return (2.0 * level - 1.0) * z + (1.0 - 2.0 * level) * start + (changes * parts).sum(-1)

    def _level(self, start: Tensor, changes: Tensor, levels: Tensor, z: Tensor) -> Tensor:
        """The level at which the quantile function is z, within 0 and 1."""
        reach = (levels.unsqueeze(-1) - levels.unsqueeze(-2)).clamp(min=0.0)  # [..., K, K]
        knots = start.unsqueeze(-1) + (reach * changes.unsqueeze(-2)).sum(-1)
        before = (knots <= z.unsqueeze(-1)).to(changes.dtype)
        slope = (changes * before).sum(-1)
        base = (changes * before * levels).sum(-1)
        inside = torch.where(slope > 1e-9, (z - start + base) / slope.clamp(min=1e-9), torch.zeros_like(z))
        return inside.clamp(0.0, 1.0).detach()  # the score is stationary in the level

    def quantile(self, raw: Tensor, level: Tensor) -> Tensor:
        """The quantile function at level [...], in scales."""
        start, changes, levels = self.parameters(raw)
        return start + (changes * (level.unsqueeze(-1) - levels).clamp(min=0.0)).sum(-1)

    def draw(self, raw: Tensor, scale: Tensor, noise: Noise) -> Tensor:
        return self.quantile(raw, noise.pair()[0]) * scale

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        start, changes, levels = self.parameters(raw)
        return (start + (changes * (1.0 - levels) ** 2).sum(-1) / 2.0) * scale


def law_of(likelihood: Likelihood, pieces: int) -> Law:
    """The law of a name. pieces: of the quantile function of `piecewise-linear`."""
    if likelihood == "piecewise-linear":
        return PiecewiseLinear(pieces)
    laws: dict[str, type[Law]] = {
        "student-T": StudentT,
        "gaussian": Gaussian,
        "negative-binomial": NegativeBinomial,
        "poisson": Poisson,
        "beta": Beta,
        "deterministic-L1": DeterministicL1,
    }
    return laws[likelihood]()
