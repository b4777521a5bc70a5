"""Compile the models' kernels while Spark starts and reads, so that the first tasks find them in the cache on disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from forecasting import SeriesBatch, fit
from udfs.config import Config
from udfs.stage import segment_models

_HISTORY = 3
"""Seasons of the made-up series: enough for every seasonal kernel."""


@contextmanager
def warming(config: Config, given: Any = None) -> Iterator[None]:
    """Warm up beside the block and wait at its end.

    With a session that is given, the workers may be other machines with a cache of their own: nothing is done then.
    """
    if given is not None:
        yield
        return
    thread = threading.Thread(target=warm, args=(config,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def warm(config: Config) -> None:
    """Fit every model of the config once to two small series; what fails here fails with a reason in a task."""
    grid = config.grid
    season = min(max(grid.season_length, 2), 60)
    steps = np.arange(_HISTORY * season + 2)
    series = [5.0 + np.sin(2 * np.pi * steps / season), np.where(steps % 4, 0.0, 3.0)]
    batch = SeriesBatch.from_arrays(series, start="2020-01-01", freq=grid)
    ends = np.repeat([[len(steps) - 1, len(steps)]], 2, axis=0)
    for models in segment_models(config):
        for name, hyperparameters in models.items():
            if ":" in name:
                continue
            try:
                fit(batch, name, ends, **hyperparameters).predict(2, config.quantiles)
            except Exception:
                continue
