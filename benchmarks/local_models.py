"""Every local family beside its peer in one run: milliseconds a series on one core, and accuracy.

python benchmarks/local_models.py [--model ets] [--data m4_hourly] [--series N]

Times are processor time of this process, fit and forecast with an 80 % interval, compiled code warm; the first call
beside them also compiles what the cache on disk does not have. Both sides are scored on the same series. Real sets are
used where their folders lie beside the checkout; mean wQL over 0.1, 0.5, 0.9, MASE with the set's own season and sMAPE
of the median.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
from cases import LEVELS, Case, Score, daily, monthly, real, score
from comparisons import COMPARISONS, Comparison
from rich.console import Console
from rich.table import Table

from forecasting import forecast


@dataclass(frozen=True)
class Outcome:
    """Milliseconds a series and the scores."""

    milliseconds: float
    score: Score


def ours(case: Case, comparison: Comparison) -> Outcome:
    batch = case.batch()
    options = {"season_length": case.season, **comparison.hyperparameters}
    started = time.process_time()
    result = forecast(batch, comparison.model, case.horizon, LEVELS, fallback=False, **options)
    spent = time.process_time() - started
    return Outcome(1e3 * spent / len(batch), score(case, result.quantiles))


def theirs(case: Case, comparison: Comparison) -> Outcome:
    started = time.process_time()
    quantiles = np.array([comparison.peer(case, i) for i in range(len(case.arrays))])
    spent = time.process_time() - started
    return Outcome(1e3 * spent / len(case.arrays), score(case, quantiles))


def find(data: str, n: int) -> Case | None:
    """`monthly`, `daily`, or a set's name, `name:season` for a season of its own."""
    if data in ("monthly", "daily"):
        return monthly(n) if data == "monthly" else daily(n)
    name, _, season = data.partition(":")
    return real(name, n, int(season) if season else None)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Our local models beside their peers, on one core.")
    parser.add_argument("--model", action="append", help="one model's comparisons (may be repeated)")
    parser.add_argument("--data", action="append", help="one data set (may be repeated)")
    parser.add_argument("--series", type=int, help="series of each set; by default what the peer's speed allows")
    arguments = parser.parse_known_args()[0]
    warnings.simplefilter("ignore")
    table = Table(title="Local models beside their peers, core-milliseconds a series")
    for heading in ("model", "peer", "data", "series", "first call, s", "ours", "peer", "times", "target"):
        table.add_column(heading, justify="left" if heading in ("model", "peer", "data") else "right")
    for heading in ("wQL ours", "peer", "MASE ours", "peer", "sMAPE ours", "peer"):
        table.add_column(heading, justify="right")
    for comparison in COMPARISONS:
        if arguments.model and comparison.model not in arguments.model:
            continue
        for data, n in comparison.data.items():
            case = find(data, arguments.series or n)
            if case is None or (arguments.data and data not in arguments.data):
                continue
            started = time.perf_counter()
            ours(case, comparison)  # compiles, where the cache has nothing, and warms
            first = time.perf_counter() - started
            a, b = ours(case, comparison), theirs(case, comparison)
            ratio = b.milliseconds / a.milliseconds
            row = [comparison.model, comparison.peer_name, case.name, str(len(case.arrays)), f"{first:.1f}"]
            row += [f"{a.milliseconds:.3f}", f"{b.milliseconds:.2f}", f"{ratio:.0f}"]
            row += ["" if comparison.target is None else f"{comparison.target:.0f}"]
            for x, y, digits in (
                (a.score.wql, b.score.wql, 4),
                (a.score.mase, b.score.mase, 3),
                (a.score.smape, b.score.smape, 2),
            ):
                row += ["" if np.isnan(v) else f"{v:.{digits}f}" for v in (x, y)]
            table.add_row(*row)
            print(" · ".join(row), flush=True)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
