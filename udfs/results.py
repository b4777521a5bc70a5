"""The rows of a run's backtests, whoever made them: the model tasks (`results`) or the job of the global model.

`predict-deepar` writes to a table of its own in the layout of `results`, since two writers of one table would block
each other. Everything that is derived from backtests reads both here, so that `deepar` is a model like any other.
Forecasts are not joined so: those of the global model are members of what the forecast stage makes (see
`udfs.deep_forecasts`), and come into `results` by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forecasting.postprocess import Bounds
from udfs.lake import Lake, literal
from udfs.layout import quoted
from udfs.results_schema import RESULTS_DEEPAR, STATISTICS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BACKTEST = "backtest"
DEEPAR = "deepar"
"""The global model."""
DEEPAR_COLD = "deepar+cold"
"""Its backtests in windows that are too short for all other models: what `cold_start` is compared with."""
DEEPAR_COST = 100.0
"""Its static cost, for ties: whoever needs no job of its own comes first."""
_OPEN_FILES = 32


def results_of(lake: Lake, run_id: str, *stages: str) -> DataFrame:
    """The rows of some stages of a run, in the columns of `results`; of backtests the global model's too."""
    from pyspark.sql import functions as F

    mine = (F.col("run_id") == run_id) & F.col("stage").isin(list(stages))
    rows = lake.read("results").where(mine)
    more = deepar_backtests(lake, run_id) if BACKTEST in stages else None
    if more is None:
        return rows
    shared = [name for name in rows.columns if name in more.columns]
    return rows.unionByName(more.select(*map(quoted, shared)), allowMissingColumns=True)


def deepar_backtests(lake: Lake, run_id: str) -> DataFrame | None:
    """The global model's rows of a run's backtests; None where no run has any."""
    from pyspark.sql import functions as F

    if not lake.exists(RESULTS_DEEPAR):
        return None
    return lake.read(RESULTS_DEEPAR).where((F.col("run_id") == run_id) & (F.col("stage") == BACKTEST))


def has_deepar(lake: Lake, run_id: str) -> bool:
    """Whether the global model has backtests in a run that can be compared with those of other models."""
    from pyspark.sql import functions as F

    rows = deepar_backtests(lake, run_id)
    if rows is None:
        return False
    return not rows.where((F.col("model") == DEEPAR) & (F.col("status") != "skipped")).limit(1).isEmpty()


def writing_settings(bounds: Bounds) -> dict[str, str]:
    """Settings of a session that writes rows of `results`: what makes its Parquet files cheap to write."""
    # Hardly two forecasts are equal numbers: a dictionary of them is a quarter of the writing time and saves nothing.
    distinct = ["mean.list.element", STATISTICS]
    distinct += [] if bounds.whole_units else ["quantiles.list.element"]
    # A task writes a few buckets: with a file open for each, rows need no sort before they are written.
    return {"spark.sql.maxConcurrentOutputFileWriters": str(_OPEN_FILES)} | {
        f"parquet.enable.dictionary#{column}": "false" for column in distinct
    }


def results_sql(results: str, deepar: str | None, columns: str) -> str:
    """SELECT the columns of all rows of `results`, and of the backtests in `results_deepar`. results, deepar: what SQL
    calls the tables; None for one that is not there."""
    rows = f"SELECT {columns} FROM {results}"
    if deepar is None:
        return rows
    return f"{rows} UNION ALL SELECT {columns} FROM {deepar} WHERE stage = {literal(BACKTEST)}"
