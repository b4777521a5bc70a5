"""The verb `plot`: a picture of one item's forecast."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.context import ConfigSource, open_job
from jobs.picture import draw_fan, draw_step
from jobs.reading import run_to_read
from jobs.tables import console as default_console
from udfs.derive import config_of
from udfs.fan import read_fan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def plot(
    config: ConfigSource,
    item: str,
    out: str | Path,
    spark: SparkSession | None = None,
    *,
    step: int | None = None,
    history: int | None = None,
    run_id: str | None = None,
    overrides: Iterable[str] = (),
) -> Path:
    """Draw an item's history, forecast fan and known actuals, or with `step` the whole distribution of one step.

    item: the key's parts joined by "/". out: a .png, .svg, .pdf or .jpg. history: periods before the forecast.
    run_id: the run; None takes the published one. Returns the picture's path. Raises InputError for an item or step
    that is not there and where matplotlib is missing.
    """
    job = open_job(config, spark, overrides=overrides)
    run = run_to_read(job.lake, run_id)
    fan = read_fan(job.lake, run, item)
    path = Path(out)
    if step is None:
        draw_fan(fan, path, history)
    else:
        bounds = config_of(run).bounds
        draw_step(fan, step, path, bounds.lower, bounds.upper)
    return path


def render(path: Path, console: Console | None = None) -> None:
    """Print where the picture is."""
    (console or default_console()).print(f"picture: {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    from jobs.cli import main

    main("plot")
