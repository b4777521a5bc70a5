"""The classes of demand and where they are cut; what describes a series by them is `forecasting.profiles`."""

from __future__ import annotations

DEMAND_CLASSES = ("smooth", "intermittent", "erratic", "lumpy", "none", "unknown")
"""By interval and variation of the sizes: both low, the first high, the second, both; no demand; too little known."""
ADI_CUT = 1.32
CV2_CUT = 0.49
"""Syntetos, Boylan and Croston (2005), "On the categorization of demand patterns", Journal of the Operational Research
Society 56, 495-503. A value on a cut belongs below it."""
