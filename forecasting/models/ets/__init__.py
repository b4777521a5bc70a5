"""Exponential smoothing (ETS): innovations state space models, fitted by compiled code."""

from forecasting.models.ets.likelihood import log_likelihood
from forecasting.models.ets.model import Ets, EtsHyperparameters, form_name

__all__ = ["Ets", "EtsHyperparameters", "form_name", "log_likelihood"]
