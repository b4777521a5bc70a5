"""Which of our models is compared with what, on which data; a peer's library is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from cases import LEVELS, Case

from forecasting.batch import FloatArray, SeriesBatch

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


def prophet_package() -> Peer:
    """The `prophet` package with its 80 % interval of 1,000 paths; yhat stands for the median."""

    def peer(case: Case, i: int) -> FloatArray:
        import logging

        from prophet import Prophet

        logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
        n = len(case.arrays[i])
        start = case.starts[i] if case.starts is not None else "2000-01-01"
        batch = SeriesBatch.from_arrays([case.arrays[i]], start, case.frequency)
        dates = batch.frequency.labels(batch.start[0] + np.arange(n + case.horizon))
        frame = pd.DataFrame({"ds": pd.to_datetime(dates, unit="us")})
        frame["y"] = np.r_[case.arrays[i], np.full(case.horizon, np.nan)]
        model = Prophet(interval_width=0.8)
        for name, column in case.related.items():
            frame[name] = pd.Series(column[i]).ffill().bfill().fillna(0.0).to_numpy()
            model.add_regressor(name)
        np.random.seed(i)
        forecast = model.fit(frame.iloc[:n]).predict(frame.iloc[n:].drop(columns="y"))
        return forecast[["yhat_lower", "yhat", "yhat_upper"]].to_numpy(dtype=np.float64)

    return peer


def constant(name: str, **options: Any) -> Peer:
    """A model of statsforecast without intervals: its mean stands for every quantile."""

    def peer(case: Case, i: int) -> FloatArray:
        import statsforecast.models

        y = case.arrays[i]
        mean = getattr(statsforecast.models, name)(**options).forecast(y=y[np.isfinite(y)], h=case.horizon)["mean"]
        return np.stack([mean] * 3, axis=1)

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
    Comparison(
        "prophet",
        "Prophet",
        prophet_package(),
        {
            "monthly": 24,
            "daily": 24,
            "nn5_daily": 24,
            "m4_hourly": 24,
            "electricity_hourly_small": 3,
            "consumer_electronics": 24,
            "orange_juice": 24,
        },
        40,
    ),
    Comparison(
        "theta",
        "AutoTheta",
        statsforecast("AutoTheta"),
        {"monthly": 24, "daily": 24, "m4_weekly": 12, "m4_hourly": 24},
        100,
    ),
    Comparison(
        "theta",
        "DynamicOptimizedTheta",
        statsforecast("DynamicOptimizedTheta"),
        {"hospital": 64, "m3_monthly": 64},
        15,
        {"form": "DOTM"},
    ),
    Comparison(
        "mstl",
        "MSTL",
        statsforecast("MSTL", season_length=[24, 168]),
        {"m4_hourly": 24, "electricity_hourly_small": 3},
        30,
        {"season_lengths": (24, 168)},
    ),
    Comparison(
        "ces",
        "AutoCES",
        statsforecast("AutoCES"),
        {"monthly": 12, "daily": 12, "hospital": 24, "m3_monthly": 24, "m4_weekly": 6, "m4_hourly": 6},
        50,
    ),
    Comparison(
        "arima",
        "AutoARIMA",
        statsforecast("AutoARIMA"),
        {"monthly": 6, "daily": 3, "hospital": 24, "m3_monthly": 24, "m4_weekly:1": 6, "m4_hourly": 1},
        50,
    ),
    Comparison("croston_sba", "CrostonSBA", constant("CrostonSBA"), {"car_parts": 500}, None),
    Comparison("tsb", "TSB", constant("TSB", alpha_d=0.1, alpha_p=0.1), {"car_parts": 500}, None),
    Comparison("adida", "ADIDA", constant("ADIDA"), {"car_parts": 500}, None),
    Comparison("imapa", "IMAPA", constant("IMAPA"), {"car_parts": 500}, None),
)
