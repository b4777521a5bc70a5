"""What `train-deepar` prints: a line for an epoch, and the model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from jobs import tables

if TYPE_CHECKING:
    from forecasting.deepar import Progress
    from jobs.train_deepar import Trained


def epoch_lines(out: Console, seconds: float = 10.0) -> Callable[[Progress, int], None]:
    """Print loss, windows a second and the time left, in a terminal after every epoch, in a log now and then."""
    started, printed = time.monotonic(), -math.inf
    first: int | None = None

    def show(progress: Progress, epochs: int) -> None:
        nonlocal printed, first
        first = progress.epoch if first is None else first
        elapsed = time.monotonic() - started
        if not out.is_terminal and elapsed - printed < seconds and not progress.stop:
            return
        printed = elapsed
        left = elapsed / (progress.epoch - first + 1) * (epochs - progress.epoch)
        held_out = "" if math.isnan(progress.held_out) else f", held out {progress.held_out:.4f}"
        tail = f", stopped: {progress.stop.replace('_', ' ')}" if progress.stop else f", at most {left:,.0f} s left"
        out.print(
            f"epoch {progress.epoch} of {epochs}: loss {progress.loss:.4f}{held_out}, "
            f"{progress.windows_per_second:,.0f} windows/s{tail}",
            highlight=False,
        )

    return show


def render(found: Trained, console: Console | None = None) -> None:
    """Print the model and what is next."""
    out = console or tables.console()
    row = found.row
    shown = (
        "model_id",
        "folder",
        "series_version",
        "trained_to",
        "left_out",
        "n_series",
        "windows_per_second",
        "seconds",
    )
    rows = [(name, row[name]) for name in shown] + sorted(dict(row["metrics"]).items())
    out.print(tables.table(["", "value"], rows))
    for failure in found.failures:
        out.print(f"warning: {failure}", highlight=False, markup=False)
    for note in found.notes:
        out.print(f"note: not done by this model: {note}", highlight=False, markup=False)
    out.print("Next: almanac predict-deepar", highlight=False)


__all__ = ["epoch_lines", "render"]
