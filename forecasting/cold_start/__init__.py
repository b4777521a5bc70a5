"""Cold start: items with little or no history, forecast from similar ones; needs no training beyond a regression."""

from forecasting.cold_start.features import Features, FeatureSpace
from forecasting.cold_start.model import ColdForecast, ColdModel, ColdTargets, fit_cold
from forecasting.cold_start.pool import DonorPool

__all__ = ["ColdForecast", "ColdModel", "ColdTargets", "DonorPool", "FeatureSpace", "Features", "fit_cold"]
