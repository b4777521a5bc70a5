"""The additive statistics that every metric is made of: the one list, and where they stand in a matrix.

A statistic is a number of a row (one series in one backtest window, or one step of it); a group's number is the sum of
its rows'. To add a metric: a `Column` here, its number of a point in `row_statistics`, its ratio in `metrics`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np

from forecasting.batch import FloatArray
from forecasting.levels import percent, quantile_column

_SAME_LEVEL = 1e-9


class Kind(Enum):
    """How many numbers a column holds."""

    SCALAR = "scalar"
    PER_QUANTILE = "per_quantile"  # one a level, in level order
    PER_INTERVAL = "per_interval"  # one for each symmetric pair of levels, widest interval first


@dataclass(frozen=True)
class Column:
    """One additive statistic."""

    name: str
    kind: Kind
    meaning: str


COLUMNS = (
    Column("n_rows", Kind.SCALAR, "rows with at least one scored point"),
    Column("n_points", Kind.SCALAR, "scored points: actual known, forecast finite"),
    Column("n_missing", Kind.SCALAR, "steps without an actual"),
    Column("n_unforecast", Kind.SCALAR, "steps with an actual but without a finite mean and quantiles"),
    Column("n_zero_actual", Kind.SCALAR, "scored points with y = 0, which ape leaves out"),
    Column("n_zero_rows", Kind.SCALAR, "rows with scored points whose actuals are all 0"),
    Column("abs_actual", Kind.SCALAR, "sum of |y|"),
    Column("abs_error_median", Kind.SCALAR, "sum of |y - point forecast|"),
    Column("abs_error_mean", Kind.SCALAR, "sum of |y - mean|"),
    Column("squared_error", Kind.SCALAR, "sum of (y - mean)^2"),
    Column("bias", Kind.SCALAR, "sum of mean - y"),
    Column("ape", Kind.SCALAR, "sum of |y - point forecast| / |y| over points with y != 0"),
    Column("sape", Kind.SCALAR, "sum of 200 |y - point forecast| / (|y| + |point forecast|), 0 where both are 0"),
    Column("mase", Kind.SCALAR, "sum over rows of mean |y - point forecast| / scale"),
    Column("n_mase", Kind.SCALAR, "rows with a scored point and a scale above 0: those of mase and msis"),
    Column("rmsse", Kind.SCALAR, "sum over rows of sqrt(mean (y - mean)^2 / squared scale)"),
    Column("n_rmsse", Kind.SCALAR, "rows with a scored point and a squared scale above 0"),
    Column("log_loss_sum", Kind.SCALAR, "sum of -log density of y"),
    Column("n_log_loss", Kind.SCALAR, "scored points with a density"),
    Column("n_log_loss_model", Kind.SCALAR, "those whose density is the model's own; the others' is of the quantiles"),
    Column("cost_under", Kind.SCALAR, "sum of under max(y - plan, 0), money"),
    Column("cost_over", Kind.SCALAR, "sum of over max(plan - y, 0), money"),
    Column("n_cost", Kind.SCALAR, "scored points with unit costs"),
    Column("pinball", Kind.PER_QUANTILE, "sum of max(q (y - f), (1 - q) (f - y))"),
    Column("covered", Kind.PER_QUANTILE, "points with y <= quantile forecast"),
    Column("inside", Kind.PER_INTERVAL, "points with lower <= y <= upper of a symmetric pair of quantiles"),
    Column("width", Kind.PER_INTERVAL, "sum of upper - lower"),
    Column("msis", Kind.PER_INTERVAL, "sum over rows of mean interval score / scale"),
)
"""What a row's statistics are, in the order of the matrix. Counts are whole numbers kept as floats."""

SCALARS = tuple(column.name for column in COLUMNS if column.kind is Kind.SCALAR)
"""The scalar columns, which stand first in the matrix, in order."""


@dataclass(frozen=True)
class Layout:
    """Where the columns stand in a flat matrix [..., C] for given quantile levels.

    Raises ValueError unless the levels increase strictly and lie between 0 and 1.
    """

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        inner = (0.0, *self.levels, 1.0)
        if not self.levels or any(b <= a for a, b in itertools.pairwise(inner)):
            raise ValueError(f"got quantile levels {list(self.levels)}, expected increasing ones between 0 and 1")

    @classmethod
    def of(cls, levels: Sequence[float]) -> Layout:
        return cls(tuple(float(level) for level in levels))

    @cached_property
    def intervals(self) -> tuple[tuple[int, int], ...]:
        """Positions of each symmetric pair of levels (lower, upper), widest first."""
        q = self.levels
        pairs = [(i, j) for i in range(len(q)) for j in range(i + 1, len(q)) if abs(q[i] + q[j] - 1) < _SAME_LEVEL]
        return tuple(sorted(pairs))

    @cached_property
    def interval_names(self) -> tuple[str, ...]:
        """The nominal coverage of each interval in per cent: "80" for 0.1 and 0.9, "95" for 0.025 and 0.975."""
        return tuple(percent(self.levels[j] - self.levels[i]) for i, j in self.intervals)

    @cached_property
    def median(self) -> int | None:
        """Position of level 0.5, None where it is not asked for."""
        return next((i for i, q in enumerate(self.levels) if abs(q - 0.5) < _SAME_LEVEL), None)

    @property
    def point_forecast(self) -> str:
        """What WAPE, MAPE, sMAPE and MASE judge: "median", or "mean" where level 0.5 is missing."""
        return "mean" if self.median is None else "median"

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """The weight of each level in CRPS, 1 in all: the share of probability that is nearest to the level.

        The midpoint rule: a level stands for the stretch from halfway to its lower neighbour to halfway to its upper
        one, and an outermost level for as much on its outer side as on its inner. Equal spacing gives equal weights.
        """
        if len(self.levels) == 1:
            return (1.0,)
        gaps = np.diff(self.levels)
        cells = (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2
        return tuple((cells / cells.sum()).tolist())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The flat column names, C of them: "n_points", "pinball_p10", "inside_80", …"""
        out: list[str] = []
        for column in COLUMNS:
            if column.kind is Kind.SCALAR:
                out.append(column.name)
            elif column.kind is Kind.PER_QUANTILE:
                out.extend(f"{column.name}_{quantile_column(level)}" for level in self.levels)
            else:
                out.extend(f"{column.name}_{name}" for name in self.interval_names)
        return tuple(out)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        sizes = {Kind.SCALAR: 1, Kind.PER_QUANTILE: len(self.levels), Kind.PER_INTERVAL: len(self.intervals)}
        ends = np.cumsum([sizes[column.kind] for column in COLUMNS])
        return {c.name: (int(end) - sizes[c.kind], int(end)) for c, end in zip(COLUMNS, ends, strict=True)}

    def part(self, sums: FloatArray, column: str) -> FloatArray:
        """One column of a flat matrix [..., C], a view: [...] for a scalar, [..., Q] or [..., I] for the others."""
        begin, end = self._places[column]
        table = np.asarray(sums)
        return table[..., begin] if column in SCALARS else table[..., begin:end]
