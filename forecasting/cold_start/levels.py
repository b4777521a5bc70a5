"""The level of an item from its features: a regression whose effects are shrunken as far as the donors say.

y = intercept + sum of effects of its categories + slopes of its numbers + residual; the effects of a column have a
variance of their own, estimated by MacKay's fixed point of the marginal likelihood (MacKay 1992, "Bayesian
interpolation", Neural Computation 4; with one variance a column it is the mixed model of Henderson 1975). A category
that no donor has has the effect 0 and adds the variance of its column to the uncertainty of the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.cold_start.features import Features
from forecasting.frequency import Int64Array

ITERATIONS = 30
NODES = 15
"""Points that stand for the distribution of the level's error."""
_ENOUGH_RESIDUALS = 30
"""With fewer donors the error is taken as normal."""
_MIDDLES = (np.arange(NODES) + 0.5) / NODES
_HALF = np.array([1.833914636, 1.281551566, 0.967421566, 0.727913291, 0.524400513, 0.340694827, 0.167894005])
NORMAL_NODES = np.concatenate([-_HALF, [0.0], _HALF[::-1]])
"""Normal quantiles at the middles of 15 equal shares."""


@dataclass(frozen=True)
class LevelModel:
    """The fitted regression. effects: [P]. spread: [P, P], their posterior covariance. middle: [P], mean of the
    donors' columns. of_column: [A + B], the variance of each column's effects. residual: variance of what is left.
    nodes: [NODES], the residuals' distribution, of variance about 1. donors: D."""

    sizes: tuple[int, ...]
    intercept: float
    effects: FloatArray
    spread: FloatArray
    middle: FloatArray
    of_column: FloatArray
    residual: float
    nodes: FloatArray
    donors: int

    def predict(self, features: Features) -> tuple[FloatArray, FloatArray]:
        """The expected level and the variance of its error, [N] each."""
        design, unknown = design_matrix(features, self.sizes)
        away = design - self.middle
        mean = self.intercept + _rows_dot(away, self.effects)
        effects = np.array([_quadratic(row, self.spread) for row in away]) if len(away) else np.zeros(0)
        missing = _rows_dot(unknown.astype(np.float64), self.of_column)
        return mean, self.residual * (1.0 + 1.0 / max(self.donors, 1)) + effects + missing


def _rows_dot(table: FloatArray, vector: FloatArray) -> FloatArray:
    """Each row times a vector, whatever the other rows are: a matrix product may add in another order by its shape."""
    return np.asarray((table * vector).sum(axis=1)) if table.shape[1] else np.zeros(len(table))


def _quadratic(row: FloatArray, matrix: FloatArray) -> float:
    some = np.flatnonzero(row)
    part = row[some]
    return float((matrix[np.ix_(some, some)] * part[:, None] * part[None, :]).sum())


def design_matrix(features: Features, sizes: tuple[int, ...]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Columns of 0 and 1 for categories, and the numbers (0 where unknown), [N, P]; what is unknown, [N, A + B]."""
    n = len(features)
    blocks = []
    for column, size in enumerate(sizes):
        block = np.zeros((n, size))
        known = np.flatnonzero(features.codes[:, column] >= 0)
        block[known, features.codes[known, column]] = 1.0
        blocks.append(block)
    numbers = np.isnan(features.numbers)
    blocks.append(np.where(numbers, 0.0, features.numbers))
    unknown = np.concatenate([features.codes < 0, numbers], axis=1)
    return np.concatenate(blocks, axis=1), unknown


def fit_levels(y: FloatArray, features: Features, sizes: tuple[int, ...], weak: float = 1.0) -> LevelModel:
    """Fit the regression to the donors' levels.

    y: [D], such as the logarithm of the mean. weak: the variance that is assumed of the residual where there are
    hardly any donors: it counts like one donor.
    """
    n = len(y)
    design, _ = design_matrix(features, sizes)
    width = design.shape[1]
    group = np.concatenate(
        [np.repeat(np.arange(len(sizes)), sizes), len(sizes) + np.arange(features.numbers.shape[1])]
    )
    group = group.astype(np.int64)
    groups = len(sizes) + features.numbers.shape[1]
    middle = design.mean(axis=0) if n else np.zeros(width)
    intercept = float(y.mean()) if n else 0.0
    if n < 3 or not width:
        residual = (float(((y - intercept) ** 2).sum()) + weak) / max(n - 1 + 1, 1)
        effects = np.zeros(width)
        inverse = np.zeros((width, width))
        standard = (y - intercept) / np.sqrt(max(residual, 1e-300))
        found = _nodes(standard)
        return LevelModel(sizes, intercept, effects, inverse, middle, np.zeros(groups), residual, found, n)
    x, centred = design - middle, y - intercept
    total = max(float(centred @ centred) / n, 1e-12 * weak)
    variances, residual = np.full(groups, total / max(groups, 1)), total / 2
    floor = 1e-9 * total
    gram, moment = x.T @ x, x.T @ centred
    effects, inverse = _posterior(gram, moment, variances[group], residual)
    for _ in range(ITERATIONS):
        squares = np.bincount(group, weights=effects**2, minlength=groups)
        shrunk = np.bincount(group, weights=np.diag(inverse), minlength=groups) / variances
        known = np.maximum(np.bincount(group, minlength=groups) - shrunk, 1e-6)
        error = centred - x @ effects
        variances = np.maximum(squares / known, floor)
        residual = max(float(error @ error) / max(n - 1 - float(known.sum()), 1.0), floor)
        effects, inverse = _posterior(gram, moment, variances[group], residual)
    error = centred - x @ effects
    leverage = np.minimum(((x @ inverse) * x).sum(axis=1) / residual + 1.0 / n, 0.99)
    # Left out, a donor's error is error / (1 - leverage), of variance residual / (1 - leverage).
    left_out = error / np.sqrt(1.0 - leverage)
    residual = (float((left_out**2).sum()) + weak) / (n + 1)
    return LevelModel(
        sizes, intercept, effects, inverse, middle, variances, residual, _nodes(left_out / np.sqrt(residual)), n
    )


def _posterior(
    gram: FloatArray, moment: FloatArray, prior: FloatArray, residual: float
) -> tuple[FloatArray, FloatArray]:
    """Effects and their covariance, for given variances; symmetric scaling keeps small variances harmless."""
    root = np.sqrt(prior)
    inner = gram * root[:, None] * root[None, :] / residual
    inner[np.diag_indices_from(inner)] += 1.0
    inverse = np.linalg.inv(inner) * root[:, None] * root[None, :]
    return np.asarray(inverse @ moment / residual), np.asarray(inverse, dtype=np.float64)


def _nodes(standard: FloatArray) -> FloatArray:
    """NODES points of the distribution of standardised errors."""
    if len(standard) < _ENOUGH_RESIDUALS:
        return NORMAL_NODES
    found = np.quantile(standard, _MIDDLES)
    return np.asarray(np.clip(found - found.mean(), -4.0, 4.0))


def importance(descriptors: FloatArray, features: Features, sizes: tuple[int, ...]) -> FloatArray:
    """How much each column tells of what donors are like, [A + B], sum 1 where any tells something.

    descriptors: [D, K], such as level, variation and share of zeros. The share of a descriptor's variance that a
    column explains, less what as many random groups would (omega squared; for a number the adjusted R squared), 0
    where that is less; averaged over the descriptors.
    """
    columns = len(sizes) + features.numbers.shape[1]
    out = np.zeros(columns)
    used = 0
    for k in range(descriptors.shape[1]):
        y = descriptors[:, k]
        if len(y) < 3 or float(y.std()) <= 1e-12 * max(1.0, float(np.abs(y).max())):
            continue
        used += 1
        for column in range(columns):
            if column < len(sizes):
                out[column] += _omega_squared(y, features.codes[:, column], sizes[column])
            else:
                out[column] += _adjusted_r_squared(y, features.numbers[:, column - len(sizes)])
    return out / out.sum() if out.sum() > 0 else out


def _omega_squared(y: FloatArray, codes: Int64Array, size: int) -> float:
    known = codes >= 0
    y, codes = y[known], codes[known]
    n, count = len(y), np.bincount(codes, minlength=size)
    groups = int((count > 0).sum())
    if groups < 2 or n <= groups:
        return 0.0
    means = np.bincount(codes, weights=y, minlength=size) / np.maximum(count, 1)
    total = float(((y - y.mean()) ** 2).sum())
    within = float(((y - means[codes]) ** 2).sum())
    error = within / (n - groups)
    return max((total - within - (groups - 1) * error) / (total + error), 0.0) if total > 0 else 0.0


def _adjusted_r_squared(y: FloatArray, x: FloatArray) -> float:
    known = ~np.isnan(x)
    y, x = y[known], x[known]
    n = len(y)
    if n < 4 or float(x.std()) <= 0 or float(y.std()) <= 0:
        return 0.0
    r = float(((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std()))
    return max(1.0 - (1.0 - r * r) * (n - 1) / (n - 2), 0.0)
