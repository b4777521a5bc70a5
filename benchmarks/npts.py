"""NPTS beside GluonTS' NPTSPredictor: fit and forecast of generated series, one core, one run.

    taskset -c 0 python benchmarks/npts.py

Ours gives the exact mean and three quantiles, the peer 100 samples (its default).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from timings import Timing, best_ms, print_timings

from forecasting import SeriesBatch, fit

TARGET = 200.0
PEER = "gluonts NPTSPredictor"
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Case:
    """Generated series with a season, seeded."""

    name: str
    freq: str
    period: str
    length: int
    season: int
    horizon: int

    def arrays(self, n_series: int) -> list[np.ndarray]:
        rng = np.random.default_rng(1)
        wave = 50 + 20 * np.sin(2 * np.pi * np.arange(self.length) / self.season)
        return [wave * rng.gamma(20.0, 0.05, self.length) for _ in range(n_series)]


CASES = (
    Case("monthly 144, m=12, h=12", "MS", "M", 144, 12, 12),
    Case("daily 730, m=7, h=28", "D", "D", 730, 7, 28),
)
VARIANTS = {
    "npts": {},
    "npts, no season": {"use_seasonal_model": False},
    "npts, uniform": {"kernel_type": "uniform"},
    "npts, gluonts distance": {"distance": "gluonts"},
}


def ours_ms(case: Case, options: dict[str, object], n_series: int = 500) -> float:
    batch = SeriesBatch.from_arrays(case.arrays(n_series), start="2020-01-01", freq=case.freq)

    def run() -> None:
        fitted = fit(batch, "npts", **options)
        fitted.model.predict(fitted.numbers, case.horizon, QUANTILES)

    return best_ms(run, n_series, repeats=9)


def peer_ms(case: Case, options: dict[str, object], n_series: int = 5) -> float:
    from gluonts.model.npts import NPTSPredictor
    from gluonts.model.npts._predictor import KernelType

    seasonal, kernel = options.get("use_seasonal_model", True), str(options.get("kernel_type", "exponential"))
    predictor = NPTSPredictor(
        prediction_length=case.horizon, use_seasonal_model=bool(seasonal), kernel_type=KernelType[kernel]
    )
    start = pd.Period("2020-01-01", case.period)
    entries = [{"start": start, "target": y} for y in case.arrays(n_series)]

    def run() -> None:
        for made in predictor.predict(entries):
            for q in QUANTILES:
                made.quantile(q)

    return best_ms(run, n_series, repeats=3)


def measure() -> list[Timing]:
    warnings.filterwarnings("ignore", module="gluonts")
    rows = []
    for case in CASES:
        for name, options in VARIANTS.items():
            kernel = {k: v for k, v in options.items() if k != "distance"}
            target = None if options else TARGET
            rows.append(Timing(name, case.name, ours_ms(case, options), PEER, peer_ms(case, kernel), target))
    return rows


def main() -> None:
    print_timings(measure(), "NPTS, core time per series")


if __name__ == "__main__":
    main()
