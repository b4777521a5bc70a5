"""Exponential smoothing (ETS): innovations state space models, fitted by compiled code."""

from forecasting.models.ets.likelihood import log_likelihood
from forecasting.models.ets.model import Ets, form_name
from forecasting.models.ets.options import EtsHyperparameters

__all__ = ["Ets", "EtsHyperparameters", "form_name", "log_likelihood"]
