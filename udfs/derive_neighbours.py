"""The table `neighbours`, and what `selection` says of series that cold start forecast: from `results`, repeatable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udfs.cold import COLD_START, FACTS
from udfs.cold_schema import NEIGHBOUR
from udfs.deep_forecasts import INSTEAD
from udfs.lake import Lake
from udfs.results import results_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def derive_cold_start(lake: Lake, run_id: str) -> None:
    """`neighbours` of a run, and its rows of `selection` where cold start took the place of what was chosen."""
    mine = cold_forecasts(lake, run_id)
    if mine is None:
        return
    lake.ensure("neighbours", "cold_pool")
    lake.replace("neighbours", neighbour_rows(lake, run_id, mine), {"run_id": run_id})
    mark_selection(lake, run_id)


def cold_forecasts(lake: Lake, run_id: str) -> DataFrame | None:
    """The rows of `results` by cold start in a run's forecast, or by the global model in its place; None for none."""
    from pyspark.sql import functions as F

    if not lake.exists("results"):
        return None
    cold = (F.col("model") == COLD_START) | F.col("reason").startswith(INSTEAD)
    rows = results_of(lake, run_id, "forecast").where(cold)
    return None if rows.isEmpty() else rows


def neighbour_rows(lake: Lake, run_id: str, forecasts: DataFrame) -> DataFrame:
    """Rows of `neighbours`."""
    from pyspark.sql import functions as F

    key = lake.layout.key
    weights = F.slice("parameters", len(FACTS) + 1, F.size("states"))
    listed = forecasts.where(F.col("states").isNotNull())
    listed = listed.select(*key, F.col("states").alias("donor"), weights.alias("weight"))
    one = listed.select(*key, F.posexplode(F.arrays_zip("donor", "weight")).alias("place", "pair"))
    found = one.select(*key, (F.col("place") + 1).alias("rank"), "pair.donor", "pair.weight").where("donor >= 0")
    donors = lake.read("cold_pool").where(F.col("run_id") == run_id)
    named = donors.select("donor", *(F.col(name).alias(NEIGHBOUR + name) for name in key))
    rows = found.withColumn("donor", F.col("donor").cast("int")).join(F.broadcast(named), "donor")
    return rows.withColumn("run_id", F.lit(run_id)).select(*lake.schemas["neighbours"].names)


def mark_selection(lake: Lake, run_id: str) -> None:
    """In `selection`, model `cold_start` (or `deepar`, where that took its place) with the reason, for the series of a
    run that were forecast by it."""
    from pyspark.sql import functions as F

    mine = cold_forecasts(lake, run_id)
    if mine is None or not lake.exists("selection"):
        return
    key = list(lake.layout.key)
    selection = lake.read("selection").where(F.col("run_id") == run_id)
    why = mine.select(*key, F.col("model").alias("#model"), F.col("reason").alias("#reason"))
    rows = selection.join(why, key)
    changed = rows.withColumns(
        {
            "model": F.col("#model"),
            "weights": F.create_map(F.col("#model"), F.lit(1.0)),
            "score": F.lit(None).cast("double"),
            "runner_up": F.lit(None).cast("string"),
            "margin": F.lit(None).cast("double"),
            "reason": F.col("#reason"),
            "factors": F.lit(None).cast("array<double>"),
        }
    ).drop("#model", "#reason")
    lake.merge("selection", changed)
