"""Backtests that estimate once: parameters come from the earliest window, and only states move on to later ones."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.api import FittedBatch, fit
from forecasting.batch import SeriesBatch
from forecasting.models.registry import get_model


def moved_fits(
    batch: SeriesBatch,
    model: str,
    ends: npt.ArrayLike,
    *,
    seed: int = 0,
    max_evaluations: int = 20_000,
    history: int | None = None,
    **hyperparameters: Any,
) -> list[FittedBatch]:
    """Fits of windows 1 to W whose parameters are those of window W, the earliest; each is a fit with one window.

    ends: int [N, W], points up to each window's cutoff, not increasing from window 1 to W. history: the latest points
    that the estimate of window W sees; from there the states move on over all points, so later windows do not roll.
    What an update moves is the family's affair, as in a forecast with `refit: never`. Raises ValueError where a later
    window ends before an earlier one.
    """
    visible = np.asarray(ends, dtype=np.int64)
    if (np.diff(visible, axis=1) > 0).any():
        raise ValueError("ends must not increase from window 1, the latest, to the earliest window")
    options: dict[str, Any] = {"seed": seed, "max_evaluations": max_evaluations, **hyperparameters}
    fitted = fit(batch, model, visible[:, -1:], history=history, **options)
    family, made = get_model(model), [fitted]
    for window in range(visible.shape[1] - 2, -1, -1):
        started = time.perf_counter()
        earlier = made[-1].numbers
        rows = replace(earlier.rows, end=batch.offsets[:-1] + visible[:, window])
        spent = np.zeros_like(earlier.evaluations)  # an update's own: the fit's are counted where it was made
        numbers = family.update(replace(earlier, evaluations=spent), rows)
        share = (time.perf_counter() - started) / max(len(rows), 1)
        made.append(replace(fitted, numbers=numbers, seconds=np.full(len(rows), share)))
    return made[::-1]
