"""The sample that a search of hyperparameters is judged on, its division, and the loss of each series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, SeriesBatch
from forecasting.evaluation.metrics import Layout, row_statistics
from forecasting.frequency import Int64Array


@dataclass(frozen=True)
class Sample:
    """Series to judge by: N of them in W windows, column 0 the latest.

    ends: int64 [N, W], points that a window may see. actuals: float64 [N, W, H], NaN is not scored. scale: float64
    [N, W], the scale of MASE; rows where it is not above 0 are not scored. history: the latest points that a window
    may see; None: all.
    """

    batch: SeriesBatch
    ends: Int64Array
    actuals: FloatArray
    scale: FloatArray
    history: int | None = None

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def scorable(self) -> npt.NDArray[np.bool_]:
        """Rows that can be scored, bool [N, W]."""
        return np.asarray((self.scale > 0) & ~np.isnan(self.actuals).all(axis=2))

    def take(self, index: npt.ArrayLike) -> Sample:
        """Some of the series."""
        chosen = np.asarray(index, dtype=np.int64)
        series = self.batch.take(chosen)
        return replace(
            self, batch=series, ends=self.ends[chosen], actuals=self.actuals[chosen], scale=self.scale[chosen]
        )

    def between(self, begin: int, end: int) -> Sample:
        """Some of the windows."""
        return replace(
            self,
            ends=self.ends[:, begin:end],
            actuals=self.actuals[:, begin:end],
            scale=self.scale[:, begin:end],
        )


def scaled_losses(mean: FloatArray, quantiles: FloatArray, sample: Sample, levels: Sequence[float]) -> FloatArray:
    """The loss of each series: mean over its scored rows of mean quantile loss over scale, float64 [N], NaN for none.

    mean: [N, W, H]. quantiles: [N, W, H, Q]. Raises ValueError where a point with an actual has no forecast: settings
    are compared on the same points only.
    """
    layout = Layout.of(levels)
    sums = row_statistics(mean, quantiles, sample.actuals, sample.scale, levels)
    missing = int(layout.part(sums, "n_unforecast").sum())
    if missing:
        raise ValueError(f"{missing} points have no finite forecast")
    rows = sample.scorable
    points = np.where(rows, layout.part(sums, "n_points"), 1.0)
    loss = 2.0 * layout.part(sums, "pinball").mean(axis=-1) / points / np.where(rows, sample.scale, 1.0)
    count = rows.sum(axis=1)
    total = np.where(rows, loss, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def divided(sample: Sample) -> tuple[Sample, Sample]:
    """What is searched on, and what is held out: the earliest window, or with one window that can be scored every
    other series by the hash of its key."""
    rows = sample.scorable
    if rows.shape[1] > 1 and rows[:, -1].any() and rows[:, :-1].any():
        return sample.between(0, rows.shape[1] - 1), sample.between(rows.shape[1] - 1, rows.shape[1])
    order = np.argsort(sample.batch.key_hash, kind="stable")
    return sample.take(np.sort(order[::2])), sample.take(np.sort(order[1::2]))
