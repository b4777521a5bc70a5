"""The verb `leaderboard`: what each model of a run buys, accuracy beside cost."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from jobs.context import ConfigSource, open_job
from jobs.picture import draw_front
from jobs.tables import console as default_console
from jobs.tables import table
from udfs import runs
from udfs.board import COST, METRICS, Board, board_query
from udfs.derive import config_of
from udfs.errors import InputError
from udfs.lake import Lake
from udfs.results import DEEPAR
from udfs.series_rows import ALL_WINDOWS
from udfs.views import existing_tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BoardFormat = Literal["table", "csv", "json"]
_VIEW = "almanac_leaderboard_"
IN_SAMPLE = "selected is scored in sample: it was chosen by the one window there is; use two or more to judge it"


@dataclass(frozen=True)
class Leaderboard:
    """Models of a run, the best first; in each segment where there are some.

    metric: what they are ranked by. segment: the metadata column, None for all series together. rows: a mapping a
    model (and value of the segment), names as in the view `leaderboard`, and `value` and `best_share`. in_sample:
    whether `selected` was chosen by the window that it is scored on, as there is no other.
    """

    run_id: str
    metric: str
    segment: str | None
    rows: tuple[Mapping[str, Any], ...]
    in_sample: bool = False


def leaderboard(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    run_id: str | None = None,
    metric: str = "mean_wQL",
    segment: str | None = None,
    plot: str | Path | None = None,
    overrides: Iterable[str] = (),
) -> Leaderboard:
    """The models of a run over all its backtest windows, with core-seconds per 1,000 series, how often each was best
    and chosen, and whether it stands on the Pareto front: no other is both cheaper and better.

    run_id: the run; None takes the newest that has metrics. plot: a picture of the front to draw. Raises InputError
    for a run without metrics, a metric that cannot rank, a segment that is no metadata column, and a picture of
    segments.
    """
    job = open_job(config, spark, overrides=overrides)
    lake = job.lake
    if segment is not None and plot is not None:
        raise InputError("a picture shows one board; leave out the segment or the picture")
    found = _run_id(lake, run_id)
    ranked = [name for name in METRICS if name in lake.read("metrics").columns]
    if metric not in ranked:
        raise InputError(f"metric is {metric!r}; a leaderboard can be ranked by {', '.join(ranked)}")
    if segment is not None and segment not in lake.layout.attributes:
        known = ", ".join(lake.layout.attributes) or "none"
        raise InputError(f"segment is {segment!r}; the metadata columns of the data are: {known}")
    board = _read(lake, found, metric, segment)
    if plot is not None:
        draw_front(board.rows, metric, COST, f"run {found}", Path(plot))
    return board


def _run_id(lake: Lake, run_id: str | None) -> str:
    from pyspark.sql import functions as F

    if run_id is not None:
        runs.get(lake, run_id)  # says which runs there are
    if lake.exists("metrics"):
        scored = lake.read("metrics").where((F.col("window") == ALL_WINDOWS) & (F.col("scope") == "total"))
        names = {row["run_id"] for row in scored.select("run_id").distinct().collect()}
        for run in runs.newest(lake):
            if run.run_id in names and run_id in (None, run.run_id):
                return run.run_id
    which = "no run of this lake" if run_id is None else f"run {run_id} has none; a run"
    raise InputError(f"{which} has metrics of backtests; run `almanac backtest` and `almanac select` first")


def _read(lake: Lake, run_id: str, metric: str, segment: str | None) -> Leaderboard:
    tables = existing_tables(lake)
    for name in ("metrics", "selection", "series"):
        if name in tables:
            lake.read(name).createOrReplaceTempView(_VIEW + name)
    weighted = "selection" in tables and "weights" in lake.read("selection").columns
    board = Board(lake.layout.key, metric, run_id, segment, weighted, contest=True)
    try:
        rows = lake.spark.sql(board_query(board, lambda name: _VIEW + name, tables)).collect()
    finally:
        for name in ("metrics", "selection", "series"):
            lake.spark.catalog.dropTempView(_VIEW + name)
    in_sample = config_of(runs.get(lake, run_id)).backtest.windows == 1
    return Leaderboard(run_id, metric, segment, tuple(row.asDict() for row in rows), in_sample)


def render(board: Leaderboard, form: BoardFormat = "table", console: Console | None = None) -> None:
    """Print a board: a table with a star at the models of the front, CSV, or one JSON object a line."""
    out = console or default_console()
    if form == "json":
        for row in board.rows:
            out.out(json.dumps(row), highlight=False)
        return
    names = [name for name in (board.rows[0] if board.rows else ()) if name != "run_id"]
    if form == "csv":
        line = io.StringIO()
        writer = csv.writer(line, lineterminator="\n")
        writer.writerow(("run_id", *names))
        writer.writerows(["" if v is None else _text(v) for v in (row["run_id"], *(row[n] for n in names))]
                         for row in board.rows)  # fmt: skip
        out.out(line.getvalue().rstrip("\n"), highlight=False)
        return
    title = f"Leaderboard of run {board.run_id} by {board.metric}"
    cells = [[("*" if row[n] else "") if n == "pareto" else row[n] for n in names] for row in board.rows]
    headings = [_HEADINGS.get(n, n) if n != "value" else str(board.segment) for n in names]
    out.print(table(headings, cells, title=title))
    out.print("* on the Pareto front: no other model is both cheaper and better", highlight=False)
    if any(row["model"] == DEEPAR for row in board.rows):
        out.print(
            f"{DEEPAR} costs what predicting costs (not known on a GPU); training stands in the table `models`",
            highlight=False,
        )
    if board.in_sample:
        out.print(IN_SAMPLE, highlight=False, soft_wrap=True)


_HEADINGS = {
    "fallback_share": "fallback",
    COST: "core-s / 1000 series",
    "chosen_share": "chosen",
    "best_share": "best",
    "n_series": "series",
}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


if __name__ == "__main__":
    from jobs.cli import main

    main("leaderboard")
