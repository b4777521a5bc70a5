"""Seasonal ARIMA with regressors: automatic orders, exact likelihood, compiled code."""

from forecasting.models.arima.model import Arima
from forecasting.models.arima.options import ArimaHyperparameters

__all__ = ["Arima", "ArimaHyperparameters"]
