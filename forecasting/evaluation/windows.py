"""Backtest windows: what each may see, where each is scored and what happened there.

As in Amazon Forecast (its developer guide, "Evaluating Predictor Accuracy"): W windows, an offset O that is the
horizon H unless given, H <= O. Window k = 1..W sees the history up to O + (k - 1) * S periods before the end and is
scored on the H periods that follow; window 1 is the latest. The stride S is the offset unless given, as it was in the
service; with a shorter one than H windows overlap. A rolling window sees only the latest periods before its cutoff.
Windows are counts and ordinals: no history is ever copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, SeriesBatch, read_only
from forecasting.frequency import Int64Array

ForecastStart = Literal["global", "per_series"]


@dataclass(frozen=True)
class BacktestPlan:
    """How many windows of which size.

    horizon: H, steps forecast and scored. windows: W. offset: O, periods between the end and the latest cutoff; None
    is the horizon. stride: S, periods between neighbouring cutoffs; None is the offset. history: the latest periods
    that a window may see; None is all before its cutoff.
    Raises ValueError where a number is below 1 or the offset is shorter than the horizon.
    """

    horizon: int
    windows: int = 1
    offset: int | None = None
    stride: int | None = None
    history: int | None = None

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.windows < 1:
            raise ValueError(f"got horizon {self.horizon} and {self.windows} windows; both must be at least 1")
        if self.cut < self.horizon:
            raise ValueError(
                f"got a backtest offset of {self.cut} for a horizon of {self.horizon}; the offset must be at least "
                "the horizon, or a window would be scored beyond the end of the data"
            )
        if self.step < 1 or (self.history is not None and self.history < 1):
            raise ValueError(f"got a stride of {self.step} and a history of {self.history}; both must be at least 1")

    @property
    def cut(self) -> int:
        """O: periods between the end and the cutoff of window 1."""
        return self.horizon if self.offset is None else self.offset

    @property
    def step(self) -> int:
        """S: periods between the cutoffs of neighbouring windows."""
        return self.cut if self.stride is None else self.stride

    @property
    def span(self) -> int:
        """Periods between the end and the cutoff of window W, the earliest."""
        return self.cut + (self.windows - 1) * self.step

    @property
    def back(self) -> Int64Array:
        """Periods between the end and each window's cutoff, int64 [W]."""
        return self.cut + self.step * np.arange(self.windows, dtype=np.int64)

    def first_seen(self, ends: npt.ArrayLike) -> Int64Array:
        """The position of the first point that each window may see, of a series' points up to `ends` (any shape)."""
        last = np.asarray(ends, dtype=np.int64)
        return np.zeros_like(last) if self.history is None else np.maximum(last - self.history, 0)

    def check_fits(self, longest: int, min_history: int = 1) -> None:
        """Raise ValueError when no series has `min_history` periods before its earliest window.

        longest: periods in the longest history of the whole data set; a batch is a part of it, so whoever plans the
        run asks once. Series that are shorter are no error: they are left out of the windows that they are too short
        for.
        """
        if self.span + max(min_history, 1) > longest:
            least = "" if min_history <= 1 else f" by at least {min_history} (backtest.min_history)"
            raise ValueError(
                f"got {self.windows} backtest window(s) of a horizon of {self.horizon} with an offset of {self.cut} "
                f"and a stride of {self.step}: they cut off {self.span} periods, expected fewer than the {longest} "
                f"periods of the longest history{least}; ask for fewer windows, a shorter stride or a shorter horizon"
            )


@dataclass(frozen=True)
class BacktestWindows:
    """The windows of a batch, column k - 1 is window k.

    ends: int64 [N, W], points up to the cutoff (`fit(ends=...)`), 0 where the series is shorter than the cut. A window
    may see them, or with `plan.history` the latest of them (`fit(history=...)`).
    cutoffs: int64 [N, W], the ordinal of the last period that the window may see; step h is scored in period
    cutoff + h, h = 1..H, also where the series begins after the cutoff.
    """

    plan: BacktestPlan
    ends: Int64Array
    cutoffs: Int64Array

    @property
    def begins(self) -> Int64Array:
        """The position of the first point that each window may see, int64 [N, W]."""
        return self.plan.first_seen(self.ends)

    def actuals(self, batch: SeriesBatch, *, score_filled: bool = False) -> FloatArray:
        """`actuals` of the scored steps, float64 [N, W, H]."""
        return actuals(batch, self.cutoffs, self.plan.horizon, score_filled=score_filled)


def last_ordinals(batch: SeriesBatch) -> Int64Array:
    """The ordinal of each series' last period, [N]; one before its start where the series is empty."""
    return np.asarray(batch.start + batch.lengths - 1, dtype=np.int64)


def window_cutoffs(
    batch: SeriesBatch,
    plan: BacktestPlan,
    forecast_start: ForecastStart = "global",
    common_end: int | None = None,
) -> Int64Array:
    """The ordinal of the last period that each window may see, int64 [N, W].

    forecast_start: "global" cuts every series before the common end, "per_series" each before its own.
    common_end: ordinal of the last period of the whole data set (global only); None takes the batch's latest, which
    is right only where the batch is the whole data set.
    """
    if forecast_start == "per_series":
        return np.asarray(last_ordinals(batch)[:, None] - plan.back, dtype=np.int64)
    if forecast_start != "global":
        raise ValueError(f"got forecast_start {forecast_start!r}, expected 'global' or 'per_series'")
    if common_end is None:
        filled = last_ordinals(batch)[batch.lengths > 0]
        common_end = int(filled.max()) if len(filled) else 0
    return np.tile(common_end - plan.back, (len(batch), 1))


def backtest_windows(
    batch: SeriesBatch,
    plan: BacktestPlan,
    forecast_start: ForecastStart = "global",
    common_end: int | None = None,
) -> BacktestWindows:
    """Visible points and cutoffs of every series and window; arguments as in `window_cutoffs`.

    Raises ValueError where a series ends before the cutoff of a window: its forecast would begin after its own last
    point and be scored in another period. `filling.extend` prevents that.
    """
    cutoffs = window_cutoffs(batch, plan, forecast_start, common_end)
    return BacktestWindows(plan=plan, ends=visible_points(batch, cutoffs), cutoffs=cutoffs)


def visible_points(batch: SeriesBatch, cutoffs: npt.ArrayLike) -> Int64Array:
    """How many points each series has up to its cutoffs, int64 [N, W]. cutoffs: int64 [N, W], ordinals.

    Raises ValueError where a series that has points ends before a cutoff.
    """
    last_seen = np.asarray(cutoffs, dtype=np.int64)
    early = np.flatnonzero((batch.lengths > 0) & (last_ordinals(batch) < last_seen.max(axis=1, initial=-(2**62))))
    if len(early):
        first = early[0]
        raise ValueError(
            f"{len(early)} series end before a backtest cutoff, first {batch.keys[first]!r}: got its last period "
            f"{last_ordinals(batch)[first]}, expected {last_seen[first].max()} or later; extend the batch to the "
            "common end (filling.extend), or cut each series from its own end (forecast_start: per_series)"
        )
    visible = np.clip(last_seen - batch.start[:, None] + 1, 0, batch.lengths[:, None])
    return np.asarray(visible, dtype=np.int64)


def actuals(batch: SeriesBatch, cutoffs: npt.ArrayLike, horizon: int, *, score_filled: bool = False) -> FloatArray:
    """What happened in the `horizon` periods after each cutoff, float64 [N, W, H].

    NaN where the value is missing, lies outside the stored series, or was filled: a filled value is a rule's, not an
    observation (the service left out items with filled values). score_filled: score filled values too, for data in
    which an absent row means the filled value, such as no sale. Rows without a visible point (ends 0) have actuals
    like any other; who does not want to score them blanks them.
    """
    last_seen = np.asarray(cutoffs, dtype=np.int64)
    n, windows = last_seen.shape
    hidden = np.empty(0, dtype=np.uint8) if batch.filled is None or score_filled else batch.filled
    first = np.ascontiguousarray(last_seen + 1 - batch.start[:, None])
    out = np.full((n, windows, horizon), np.nan)
    _gather_steps(batch.values, read_only(hidden), batch.offsets, read_only(first), out)
    return out


@numba.njit(cache=True)
def _gather_steps(
    values: FloatArray, hidden: npt.NDArray[np.uint8], offsets: Int64Array, first: Int64Array, out: FloatArray
) -> None:
    """out[i, w, h] = series i at position first[i, w] + h, left as it is outside the series and where hidden."""
    any_hidden = len(hidden) > 0
    for i in range(out.shape[0]):
        length = offsets[i + 1] - offsets[i]
        for w in range(out.shape[1]):
            begin = max(0, -first[i, w])
            end = min(out.shape[2], length - first[i, w])
            for h in range(begin, end):
                t = offsets[i] + first[i, w] + h
                if not (any_hidden and hidden[t] != 0):
                    out[i, w, h] = values[t]
