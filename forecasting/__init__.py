"""The mathematics of Almanac: numpy and numba over series batches. No Spark, no Delta, no files."""

# isort: off
from forecasting import kernel_cache  # before the first kernel is read

# isort: on
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
    "kernel_cache",
]
