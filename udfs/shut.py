"""What closed periods change in a task: the history of models that need whole seasons, and the forecasts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from forecasting.api import Forecast
from forecasting.closures import carried

if TYPE_CHECKING:
    from udfs.parts import Part
    from udfs.spec import ModelSpec

WHOLE_SEASONS = ("seasonal_naive", "npts")
"""Models that need an observation in every phase of the season: a weekday without any leaves them without a season.
They get the last open value in closed periods; all others skip these periods as missing."""


def with_whole_seasons(part: Part, model: ModelSpec) -> Part:
    """The part as a model can read it."""
    if part.closed is None or model.name.partition("+")[0] not in WHOLE_SEASONS:
        return part
    series = carried(part.series)
    return part if series is part.series else replace(part, series=series)


def shut(part: Part, forecast: Forecast) -> Forecast:
    """The forecast with 0 in closed steps, after everything else was done to it."""
    if part.closed is None or not part.closed.any():
        return forecast
    closed = part.closed.reshape(forecast.mean.shape) & np.isfinite(forecast.mean)
    quantiles = np.where(closed[..., None], 0.0, forecast.quantiles)
    return replace(forecast, mean=np.where(closed, 0.0, forecast.mean), quantiles=quantiles)
