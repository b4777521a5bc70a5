"""Optimised and dynamic theta models (Fiorucci et al. 2016), fitted by compiled code."""

from forecasting.models.theta.model import Theta, ThetaHyperparameters, form_name
from forecasting.models.theta.recursion import residuals

__all__ = ["Theta", "ThetaHyperparameters", "form_name", "residuals"]
