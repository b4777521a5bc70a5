"""A user's own models, as the documentation shows them: one function a model."""

from __future__ import annotations

import os
import signal

import numpy as np
from scipy.special import ndtri


def drift(y, horizon, quantiles, season_length, weight=1.0):
    """The last observation plus the average change a step, with the spread of the changes."""
    del season_length
    at = np.flatnonzero(~np.isnan(y))
    seen, step = y[at], np.arange(1, horizon + 1)
    slope = (seen[-1] - seen[0]) / (at[-1] - at[0]) if len(seen) > 1 else 0.0
    spread = np.std(np.diff(seen)) if len(seen) > 2 else 0.0
    mean = seen[-1] + weight * slope * (step + len(y) - 1 - at[-1])
    return mean, mean[:, None] + spread * np.sqrt(step)[:, None] * ndtri(quantiles)


def chokes_on_13(y, horizon, quantiles, season_length):
    """Refuses a series that holds the number 13."""
    if (y == 13.0).any():
        raise ArithmeticError("13 is in the data")
    return drift(y, horizon, quantiles, season_length)


def answers_wrongly(y, horizon, quantiles, season_length):
    """Another shape than asked for, or infinity, as the first number says."""
    mean, table = drift(y, horizon, quantiles, season_length)
    return (mean[:-1], table) if y[0] > 0 else (mean, table * np.inf)


def price_ahead(y, horizon, quantiles, season_length, related, scale=1.0):
    """The known future price, scaled; refuses to see what no one can know."""
    del season_length
    ahead = related["price"][len(y) : len(y) + horizon]
    assert np.isfinite(ahead).all()
    assert np.isnan(related["traffic"][len(y) :]).all()
    assert np.isfinite(related["traffic"][: len(y)]).all()
    return scale * ahead, np.tile((scale * ahead)[:, None], len(quantiles))


def known_price(y, horizon, quantiles, season_length, related):
    """The known future price as it is."""
    del season_length
    ahead = related["price"][len(y) : len(y) + horizon]
    return ahead, np.tile(ahead[:, None], len(quantiles))


def dies_once(y, horizon, quantiles, season_length, marker):
    """Kills its own process the first time that it is called; `marker` is the file that remembers it."""
    if not os.path.exists(marker):
        with open(marker, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return drift(y, horizon, quantiles, season_length)
