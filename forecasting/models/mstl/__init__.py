"""MSTL: several seasons taken out by loess, the rest forecast by another family."""

from forecasting.models.mstl.model import Mstl, MstlHyperparameters

__all__ = ["Mstl", "MstlHyperparameters"]
