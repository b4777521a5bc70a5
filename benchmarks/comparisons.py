"""Which of our models is compared with what, on which data; a peer's library is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from cases import LEVELS, Case

from forecasting.batch import FloatArray

Peer = Callable[[Case, int], FloatArray]
"""Series i of a case to quantiles [H, 3]."""


@dataclass(frozen=True)
class Comparison:
    """A model of ours and its peer. data: its name -> number of series. target: times faster, None for none."""

    model: str
    peer_name: str
    peer: Peer
    data: Mapping[str, int]
    target: float | None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


def statsforecast(name: str, **options: Any) -> Peer:
    """A model of statsforecast with its 80 % interval; its mean stands for the median."""

    def peer(case: Case, i: int) -> FloatArray:
        import statsforecast.models

        model = getattr(statsforecast.models, name)(**{"season_length": case.season, **options})
        y = case.arrays[i]
        answer = model.forecast(y=y[np.isfinite(y)], h=case.horizon, level=[80])
        return np.stack([answer["lo-80"], answer["mean"], answer["hi-80"]], axis=1)

    return peer


def gluonts_npts(seasonal: bool = True, kernel: str = "exponential") -> Peer:
    """GluonTS' NPTSPredictor with its 100 samples."""

    def peer(case: Case, i: int) -> FloatArray:
        from gluonts.model.npts import NPTSPredictor
        from gluonts.model.npts._predictor import KernelType

        predictor = NPTSPredictor(
            prediction_length=case.horizon, use_seasonal_model=seasonal, kernel_type=KernelType[kernel]
        )
        start = case.starts[i] if case.starts is not None else "2000-01-01"
        period = pd.Period(start, {"MS": "M", "QS": "Q", "YS": "Y"}.get(case.frequency, case.frequency))
        made = next(iter(predictor.predict([{"start": period, "target": case.arrays[i]}])))
        return np.stack([made.quantile(level) for level in LEVELS], axis=1)

    return peer


COMPARISONS = (
    Comparison(
        "ets",
        "AutoETS",
        statsforecast("AutoETS"),
        {"monthly": 24, "daily": 24, "m4_weekly:1": 24, "m4_weekly": 12, "m4_hourly": 12},
        30,
    ),
    Comparison(
        "npts",
        "GluonTS",
        gluonts_npts(),
        {"monthly": 12, "daily": 12, "m4_hourly": 12, "nn5_daily": 12},
        200,
        {"use_seasonal_model": True},
    ),
    Comparison(
        "npts",
        "GluonTS",
        gluonts_npts(),
        {"monthly": 12, "daily": 12},
        200,
        {"use_seasonal_model": True, "distance": "gluonts"},
    ),
    Comparison(
        "npts",
        "GluonTS, no season",
        gluonts_npts(seasonal=False),
        {"monthly": 12, "daily": 12},
        None,
        {"use_seasonal_model": False},
    ),
    Comparison(
        "npts",
        "GluonTS, uniform",
        gluonts_npts(kernel="uniform"),
        {"monthly": 12, "daily": 12},
        None,
        {"use_seasonal_model": True, "kernel_type": "uniform"},
    ),
)
