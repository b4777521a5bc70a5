"""Complex exponential smoothing: none, simple, partial or full seasonality, chosen by an information criterion."""

from forecasting.models.ces.model import Ces, CesHyperparameters, form_name

__all__ = ["Ces", "CesHyperparameters", "form_name"]
