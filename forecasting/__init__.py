"""The mathematics of Almanac: numpy and numba over series batches. No Spark, no Delta, no files."""

from forecasting.api import FittedBatch, Forecast, fit, forecast
from forecasting.batch import RelatedSeries, SeriesBatch
from forecasting.frequency import Frequency, FrequencyError
from forecasting.models.contract import Status
from forecasting.postprocess import Bounds

__all__ = [
    "Bounds",
    "FittedBatch",
    "Forecast",
    "Frequency",
    "FrequencyError",
    "RelatedSeries",
    "SeriesBatch",
    "Status",
    "fit",
    "forecast",
]
