"""The fits of backtest windows: an estimate for each, or one in the earliest from which only the states move on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from forecasting.api import FittedBatch, fit
from forecasting.batch import SeriesBatch
from forecasting.models.registry import get_model
from forecasting.stored import keeps_numbers

BacktestRefit = Literal["each", "first"]


def window_fits(
    batch: SeriesBatch,
    model: str,
    ends: npt.ArrayLike,
    refit: BacktestRefit = "each",
    *,
    seed: int = 0,
    max_evaluations: int = 20_000,
    history: int | None = None,
    **hyperparameters: Any,
) -> list[FittedBatch]:
    """The fits of windows 1 to W: one of all windows ("each"), or a fit a window ("first").

    first: the parameters are those of window W, the earliest; what moves on is what the family's `update` moves, as in
    a forecast with `refit: never`. A family whose fit is the history itself has nothing to keep and takes "each".
    ends: int [N, W], points up to each window's cutoff, not increasing from window 1 to W. history: the latest points
    that a window sees; with "first" those that the estimate sees: from there the states move on over all points, so
    that later windows grow and do not roll. Other arguments as in `fit`. Raises ValueError where ends increase.
    """
    visible = np.asarray(ends, dtype=np.int64)
    if (np.diff(visible, axis=1) > 0).any():
        raise ValueError("ends must not increase from window 1, the latest, to the earliest window")
    options: dict[str, Any] = {"seed": seed, "max_evaluations": max_evaluations, **hyperparameters}
    family = get_model(model)
    if refit == "each" or visible.shape[1] == 1 or not keeps_numbers(family):
        return [fit(batch, model, visible, history=history, **options)]
    fitted = fit(batch, model, visible[:, -1:], history=history, **options)
    made = [fitted]
    for window in range(visible.shape[1] - 2, -1, -1):
        started = time.perf_counter()
        earlier = made[-1].numbers
        rows = replace(earlier.rows, end=batch.offsets[:-1] + visible[:, window])
        spent = np.zeros_like(earlier.evaluations)  # an update's own: the fit's are counted where it was made
        numbers = family.update(replace(earlier, evaluations=spent), rows)
        share = (time.perf_counter() - started) / max(len(rows), 1)
        made.append(replace(fitted, numbers=numbers, seconds=np.full(len(rows), share)))
    return made[::-1]
