"""Intermittent demand: Croston with the Syntetos-Boylan correction, TSB, ADIDA and IMAPA, with laws for counts."""

from forecasting.models.intermittent.model import Adida, CrostonSba, Imapa, Tsb

__all__ = ["Adida", "CrostonSba", "Imapa", "Tsb"]
