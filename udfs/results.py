"""The rows of a run's backtests, whoever made them: the model tasks (`results`) or the job of the global model.

`predict-deepar` writes to a table of its own in the layout of `results`, since two writers of one table would block
each other. Everything that is derived from backtests reads both here, so that `deepar` is a model like any other.
Forecasts are not joined so: those of the global model are members of what the forecast stage makes (see
`udfs.deep_forecasts`), and come into `results` by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from udfs.lake import Lake, literal, quoted
from udfs.schemas import RESULTS_DEEPAR

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BACKTEST = "backtest"
DEEPAR = "deepar"
"""The global model."""
DEEPAR_COLD = "deepar+cold"
"""Its backtests in windows that are too short for all other models: what `cold_start` is compared with."""
DEEPAR_COST = 100.0
"""Its static cost, for ties: whoever needs no job of its own comes first."""


def results_of(lake: Lake, run_id: str, *stages: str) -> DataFrame:
    """The rows of some stages of a run, in the columns of `results`; of backtests the global model's too."""
    from pyspark.sql import functions as F

    mine = (F.col("run_id") == run_id) & F.col("stage").isin(list(stages))
    rows = lake.read("results").where(mine)
    if BACKTEST not in stages or not lake.exists(RESULTS_DEEPAR):
        return rows
    more = lake.read(RESULTS_DEEPAR).where(mine & (F.col("stage") == BACKTEST))
    shared = [name for name in rows.columns if name in more.columns]
    return rows.unionByName(more.select(*map(quoted, shared)), allowMissingColumns=True)


def has_deepar(lake: Lake, run_id: str) -> bool:
    """Whether the global model has backtests in a run that can be compared with those of other models."""
    from pyspark.sql import functions as F

    if not lake.exists(RESULTS_DEEPAR):
        return False
    mine = (F.col("run_id") == run_id) & (F.col("stage") == BACKTEST) & (F.col("model") == DEEPAR)
    return not lake.read(RESULTS_DEEPAR).where(mine & (F.col("status") != "skipped")).limit(1).isEmpty()


def results_sql(results: str, deepar: str | None, columns: str) -> str:
    """SELECT the columns of all rows of `results`, and of the backtests in `results_deepar`. results, deepar: what SQL
    calls the tables; None for one that is not there."""
    rows = f"SELECT {columns} FROM {results}"
    if deepar is None:
        return rows
    return f"{rows} UNION ALL SELECT {columns} FROM {deepar} WHERE stage = {literal(BACKTEST)}"
