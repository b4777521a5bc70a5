"""The Prophet family (Taylor and Letham 2018)."""

from forecasting.models.prophet.model import Prophet
from forecasting.models.prophet.options import ProphetHyperparameters, RegressorOptions, Seasonality

__all__ = ["Prophet", "ProphetHyperparameters", "RegressorOptions", "Seasonality"]
