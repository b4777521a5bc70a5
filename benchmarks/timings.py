"""What the kernel benchmarks share: one row a comparison, one table for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Timing:
    """Core-milliseconds per series of one of our models and of its peer, on the same data in the same run.

    target: how many times faster ours is meant to be; None where the row is for information.
    """

    model: str
    data: str
    ours_ms: float
    peer: str
    peer_ms: float
    target: float | None = None

    @property
    def ratio(self) -> float:
        return self.peer_ms / self.ours_ms


def best_ms(call: Callable[[], object], n_series: int, repeats: int) -> float:
    """Processor time per series of the fastest of several calls, after one that compiles and warms."""
    call()
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        call()
        best = min(best, time.process_time() - started)
    return 1e3 * best / n_series


def print_timings(rows: Sequence[Timing], title: str) -> None:
    """One table: ours, the peer, how many times faster, and the target."""
    table = Table(title=title)
    table.add_column("model")
    table.add_column("data")
    for name in ("ours, us", "peer, ms", "times faster", "target"):
        table.add_column(name, justify="right")
    table.add_column("peer")
    for row in rows:
        verdict = "" if row.target is None else f"{row.target:.0f} {'met' if row.ratio >= row.target else 'missed'}"
        table.add_row(
            row.model,
            row.data,
            f"{1e3 * row.ours_ms:.1f}",
            f"{row.peer_ms:.2f}",
            f"{row.ratio:.0f}",
            verdict,
            row.peer,
        )
    Console(width=130).print(table)
