"""The additive statistics of a run's backtests, one row a series: what metrics and selection are made from.

A row of `results` is a few dozen numbers from here on: those that its task wrote beside it, or that are made of its
arrays, read once, by numba over Arrow's buffers. The sums of each horizon step come with them, over all series of a
task: a few rows more, without a key.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from udfs.config.evaluation import ErrorCost
from udfs.error_costs import with_unit_costs
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.results import BACKTEST, deepar_backtests, results_of
from udfs.results_schema import STATISTICS, STEP_STATISTICS
from udfs.row_numbers import IF_THERE, OF_ROWS, STEP, statistics_form, statistics_step, stored_step
from udfs.runs import find
from udfs.series_rows import NAMES, gathered

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SELECTED = "selected"
"""The pseudo-model that is each series' chosen one."""


def series_sums(
    lake: Lake,
    run_id: str,
    levels: Sequence[float],
    costs: ErrorCost | None = None,
    stages: Sequence[str] = (BACKTEST,),
) -> DataFrame:
    """One row a series that the run has backtested: the key, `bucket` and `rows`, a list of (NAMES, numbers).

    numbers: HEAD and then the statistics, in the order of `Layout.of(levels).names`, as `packed`, for each of the
    models and windows that NAMES names. costs: what errors cost. stages: of the rows in `results`.
    """
    return _sums(lake, run_id, levels, costs, stages, steps=False).drop(STEP)


def step_and_series_sums(
    lake: Lake,
    run_id: str,
    levels: Sequence[float],
    costs: ErrorCost | None = None,
    stages: Sequence[str] = (BACKTEST,),
) -> DataFrame:
    """The rows of `series_sums` with the column STEP, and rows without a key: the sums of each horizon step over the
    series of some tasks. Their numbers are as many again: the sums and then what rounding lost."""
    return _sums(lake, run_id, levels, costs, stages, steps=True)


def of_series(sums: DataFrame) -> DataFrame:
    """Of `step_and_series_sums` (or `series_sums`) the rows of series."""
    return sums.where(f"{STEP} IS NULL").drop(STEP) if STEP in sums.columns else sums


def _sums(
    lake: Lake,
    run_id: str,
    levels: Sequence[float],
    costs: ErrorCost | None,
    stages: Sequence[str],
    *,
    steps: bool,
) -> DataFrame:
    from pyspark.sql import functions as F

    run = find(lake, run_id)
    if costs is not None or run is None or run.plan.statistics != statistics_form(levels):
        rows = results_of(lake, run_id, *stages).where("status <> 'skipped'")
        return sums_of(lake, rows, levels, costs, steps=steps)
    key = lake.layout.key
    identity = _identity(key)
    wanted = (STATISTICS, STEP_STATISTICS) if steps else (STATISTICS,)
    mine = lake.read("results").where((F.col("run_id") == run_id) & F.col("stage").isin(list(stages)))
    mine = mine.where(" OR ".join(f"{name} IS NOT NULL" for name in wanted)).select(*identity, "seconds", *wanted)
    step = stored_step(identity, levels, key if steps else None)
    found = mine.mapInArrow(gathered(step, key), _gathered_ddl(lake))
    more = deepar_backtests(lake, run_id) if BACKTEST in stages else None
    if more is not None:
        found = found.unionByName(_of_arrays(lake, more.where("status <> 'skipped'"), levels, None, steps=steps))
    return grouped(found, key)


def sums_of(
    lake: Lake, results: DataFrame, levels: Sequence[float], costs: ErrorCost | None, *, steps: bool = True
) -> DataFrame:
    """The sums of some rows of `results` by their arrays, as `step_and_series_sums`; without steps their column is
    NULL."""
    return grouped(_of_arrays(lake, results, levels, costs, steps=steps), lake.layout.key)


def _of_arrays(
    lake: Lake, results: DataFrame, levels: Sequence[float], costs: ErrorCost | None, *, steps: bool
) -> DataFrame:
    rows = with_unit_costs(lake, results, costs)
    identity = _identity(lake.layout.key)
    wanted = rows.select(*identity, *OF_ROWS, *(quoted(c) for c in IF_THERE if c in rows.columns))
    return with_numbers(lake, wanted, levels, steps=steps)


def with_numbers(lake: Lake, rows: DataFrame, levels: Sequence[float], *, steps: bool = True) -> DataFrame:
    """Rows with OF_ROWS and what there is of IF_THERE to rows that `grouped` takes."""
    key = lake.layout.key
    step = statistics_step(_identity(key), levels, key if steps else None)
    return rows.mapInArrow(gathered(step, key), _gathered_ddl(lake))


def _identity(key: Sequence[str]) -> tuple[str, ...]:
    return (*key, "bucket", "model", "window")


def _gathered_ddl(lake: Lake) -> str:
    owner = lake.schemas["results"].ddl((*lake.layout.key, "bucket"))
    return f"{owner}, {STEP} int, {NAMES} string, numbers binary"


def grouped(found: DataFrame, key: Sequence[str]) -> DataFrame:
    """Gathered rows as one row a series, or a step and some tasks."""
    from pyspark.sql import functions as F

    rows = F.collect_list(F.struct(NAMES, "numbers")).alias("rows")
    return found.groupBy(*key, "bucket", STEP).agg(rows)


@contextmanager
def kept(rows: DataFrame) -> Iterator[DataFrame]:
    """The rows kept by the executors while the block runs; made anew for each use where a cluster keeps nothing."""
    try:
        stored = rows.persist()
    except Exception:  # serverless clusters refuse to keep data
        logging.getLogger(__name__).debug("rows are not kept", exc_info=True)
        yield rows
        return
    try:
        yield stored
    finally:
        stored.unpersist()
