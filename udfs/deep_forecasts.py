"""The global model's forecasts as members of a run's forecast: which of its stored rows, and who stands in where there
is none. They are joined to the series as columns, and a task takes them where it would have run a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.api import Forecast
from forecasting.models.contract import Status
from udfs.lake import Lake
from udfs.packed_numbers import dense
from udfs.results import DEEPAR, results_of
from udfs.runs import Run
from udfs.schemas import RESULTS_DEEPAR

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from udfs.parts import Part
    from udfs.spec import TaskSpec

NO_FORECAST = "no_deepar_forecast"
"""Reason: the series' choice names the global model, and the run has no forecast of it."""
INSTEAD = f"{DEEPAR} in place of cold_start"
PREFIX = "deepar:"
MISSING, COLD = f"{PREFIX}missing", f"{PREFIX}cold"
"""Columns beside a series: whether its forecast by the global model is asked for and not there; whether the global
model takes it should it have hardly any history."""
_COUNTS = ("n_obs", "n_filled", "n_clipped", "evaluations")
_COLUMNS = ("mean", "quantiles", "status", "reason", *_COUNTS)


@dataclass(frozen=True)
class DeepForecasts:
    """The stored forecasts that a run takes: those of `run_id` in `version` of `results_deepar`; version None: none.
    cold: the segments whose series with hardly any history take them (see `udfs.cold_contest`)."""

    run_id: str = ""
    version: int | None = None
    cold: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run) -> DeepForecasts:
        """What a run was pinned to."""
        return cls(run.plan.deepar, run.input_versions.get(RESULTS_DEEPAR), run.plan.deepar_cold)

    def pinned(self, run: Run) -> Run:
        """The run with these in its plan, so that it takes the same after a resume."""
        versions = {name: v for name, v in run.input_versions.items() if name != RESULTS_DEEPAR}
        if self.version is not None:
            versions[RESULTS_DEEPAR] = self.version
        plan = replace(run.plan, deepar=self.run_id, deepar_cold=self.cold)
        return replace(run, plan=plan, input_versions=versions)


NO_FORECASTS = DeepForecasts()


def find_forecasts(
    lake: Lake, decided: str, series_version: int, runs: Sequence[str], cold: tuple[str, ...]
) -> DeepForecasts:
    """The forecasts of the first of some runs that has any, made from this version of `series`: others are of other
    data, and maybe of other days. None where no decision asks for them.

    decided: the run whose `selection` is followed. cold: the segments whose new items take them.
    """
    from pyspark.sql import functions as F

    if not lake.exists(RESULTS_DEEPAR) or not (cold or names_deepar(lake, decided)):
        return DeepForecasts(cold=cold)
    version = lake.version(RESULTS_DEEPAR)
    rows = lake.read(RESULTS_DEEPAR, version).where(F.col("stage") == "forecast")
    if "series_version" not in rows.columns:  # written by an earlier version
        return DeepForecasts(cold=cold)
    for run_id in dict.fromkeys(runs):
        mine = rows.where((F.col("run_id") == run_id) & (F.col("series_version") == series_version))
        if run_id and not mine.limit(1).isEmpty():
            return DeepForecasts(run_id, version, cold)
    return DeepForecasts(cold=cold)


def names_deepar(lake: Lake, run_id: str) -> bool:
    """Whether the global model is among the models that `selection` gives the series of a run."""
    from pyspark.sql import functions as F

    if not (lake.exists(RESULTS_DEEPAR) and lake.exists("selection")):
        return False
    rows = lake.read("selection").where(F.col("run_id") == run_id)
    if "weights" not in rows.columns:  # written by an earlier version
        return False
    return not rows.where(F.map_contains_key("weights", DEEPAR)).limit(1).isEmpty()


def count_missing(lake: Lake, run_id: str) -> int:
    """Series of a run whose forecast had to go without the global model, which `selection` gives them."""
    from pyspark.sql import functions as F

    rows = results_of(lake, run_id, "forecast")
    return rows.where(F.col("mean").isNotNull() & F.col("reason").contains(NO_FORECAST)).count()


def _forecast_rows(lake: Lake, found: DeepForecasts) -> DataFrame:
    from pyspark.sql import functions as F

    rows = lake.read(RESULTS_DEEPAR, found.version)
    return rows.where((F.col("run_id") == found.run_id) & (F.col("stage") == "forecast") & F.col("mean").isNotNull())


def with_stand_ins(lake: Lake, selection: DataFrame, weights: Column, found: DeepForecasts) -> DataFrame:
    """Rows of `selection` with `weights` that name no forecast that is not there, and the column MISSING.

    Where the global model's is not, the other members share its weight; where it was the only one, the runner-up takes
    the series, else the first model of its list.
    """
    from pyspark.sql import functions as F

    key = list(lake.layout.key)
    if found.version is None:
        rows = selection.withColumn("#there", F.lit(None).cast("boolean"))
    else:
        there = _forecast_rows(lake, found).select(*key, F.lit(True).alias("#there"))
        rows = selection.join(there, key, "left")
    missing = F.map_contains_key(weights, DEEPAR) & F.col("#there").isNull()
    others = F.map_filter(weights, lambda model, _: model != DEEPAR)
    second = F.when(F.col("runner_up").isNotNull(), F.create_map(F.col("runner_up"), F.lit(1.0))).otherwise(others)
    stand_in = F.when(F.size(others) > 0, others).otherwise(second)
    return rows.withColumns({"weights": F.when(missing, stand_in).otherwise(weights), MISSING: missing}).drop("#there")


def with_deep_forecasts(rows: DataFrame, lake: Lake, found: DeepForecasts, buckets: Sequence[int]) -> DataFrame:
    """Series with the global model's forecast of each beside it; NULL where there is none."""
    from pyspark.sql import functions as F

    key = list(lake.layout.key)
    mine = _forecast_rows(lake, found).where(F.col("bucket").isin([int(b) for b in buckets]))
    return rows.join(mine.select(*key, *(F.col(name).alias(PREFIX + name) for name in _COLUMNS)), key, "left")


# --- in a task ---


def stored_forecast(part: Part, spec: TaskSpec) -> Forecast:
    """The global model's stored forecasts of N series, leading shape [N]; status failed and NaN for one that has none.

    They are within bounds as `predict-deepar` left them; the time that they took stands in `results_deepar`.
    """
    n, horizon, levels = len(part.series), spec.horizon, len(spec.quantiles)
    index = pa.array(part.positions)
    column = {name: part.source.column(PREFIX + name).take(index) for name in _COLUMNS}
    codes = {status.name.lower(): int(status) for status in Status}
    counts = {name: pc.fill_null(column[name], 0).to_numpy(zero_copy_only=False).astype(np.int64) for name in _COUNTS}
    status = [codes.get(name, int(Status.FAILED)) for name in column["status"].to_pylist()]
    own = np.isin(status, (int(Status.OK), int(Status.TIMEOUT)))
    reason = np.array(pc.fill_null(column["reason"], "").to_pylist(), dtype=object)
    return Forecast(
        model=DEEPAR,
        levels=spec.quantiles,
        mean=dense(column["mean"], horizon),
        quantiles=dense(column["quantiles"], horizon * levels).reshape(n, horizon, levels),
        status=np.array(status, dtype=np.int8),
        reason=np.where(own, "", reason),  # what an item's life makes of it is noted anew
        seconds=np.zeros(n),
        first_step=part.cutoffs[:, -1] + 1,
        **counts,
    )


def takes_cold(part: Part) -> npt.NDArray[np.bool_]:
    """Which series the global model takes should they have hardly any history: it has a forecast of its own, and was
    better in their segment."""
    names = part.source.schema.names
    if COLD not in names or part.ends is not None:
        return np.zeros(len(part.series), dtype=bool)
    wanted = pc.fill_null(part.source.column(COLD), False)
    own = pc.fill_null(pc.is_in(part.source.column(f"{PREFIX}status"), pa.array(["ok", "timeout"])), False)
    return np.asarray(pc.and_(wanted, own).to_numpy(zero_copy_only=False)[part.positions], dtype=bool)


def noting_missing(forecast: Forecast, part: Part) -> Forecast:
    """The forecast with NO_FORECAST among its reasons where the global model's was asked for and is not there."""
    if MISSING not in part.source.schema.names:
        return forecast
    column = pc.fill_null(part.source.column(MISSING), False).to_numpy(zero_copy_only=False)
    missing = column[part.positions].reshape(forecast.status.shape)
    if not missing.any():
        return forecast
    reason = forecast.reason.copy()
    for at in zip(*np.nonzero(missing), strict=True):
        reason[at] = f"{NO_FORECAST}; {reason[at]}" if reason[at] else NO_FORECAST
    return replace(forecast, reason=reason)
