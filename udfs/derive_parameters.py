"""The table `parameters`: the fitted numbers of a run's forecasts, from which a later run may go on.

They are in `results` already, as wide as the forecasts beside them; this table is the narrow copy that a later run
joins. It is written once a run, beside `forecasts`, and rows of old runs can be deleted: they are made again from
`results` when a run wants to start from them. Only a model's own fits are kept: a series that had to be helped out
is fitted anew the next time, which is what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from forecasting.models.registry import get_model
from udfs import runs
from udfs.config import Config
from udfs.errors import InputError
from udfs.lake import Lake, literal
from udfs.runs import Run
from udfs.steps import step_label
from udfs.stored import FULL, Refit

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

OWN = ("ok", "timeout")
"""Statuses of fits that are kept."""


@dataclass(frozen=True)
class Start:
    """Where a run's fits start from: the rows of `run_id` in `version` of the table `parameters`; from nothing where
    there is no run."""

    refit: Refit = FULL
    run_id: str = ""
    version: int | None = None

    def pinned(self, run: Run) -> Run:
        """The run with this start in its plan, so that it goes on from the same numbers after a resume."""
        versions = {name: v for name, v in run.input_versions.items() if name != "parameters"}
        if self.version is not None:
            versions["parameters"] = self.version
        plan = replace(run.plan, refit=self.refit, parameters_from=self.run_id)
        return replace(run, plan=plan, input_versions=versions)

    @classmethod
    def of(cls, run: Run) -> Start:
        """The start that a run was pinned to."""
        version = run.input_versions.get("parameters")
        return cls(run.plan.refit, run.plan.parameters_from, version)

    def wanted(self, config: Config) -> bool:
        """Whether this is a start that the config asks for."""
        return self.refit == config.refit and config.parameters_from in (None, self.run_id)


def find_start(lake: Lake, config: Config) -> Start:
    """The start that the config asks for: the run it names, else the published one.

    Raises InputError for a named run that is not there or has no forecasts. Where nothing is published yet there is
    nothing to go on from.
    """
    if config.refit == FULL:
        return Start()
    if config.parameters_from is not None:
        run = runs.get(lake, config.parameters_from)
        if run.state != runs.FINISHED:
            raise InputError(f"parameters_from is run {run.run_id}, which is {run.state}; name a finished run")
    else:
        published = [run for run in runs.newest(lake) if run.published]
        if not published:
            return Start(refit=config.refit)
        run = published[0]
    if not _derived(lake, run.run_id):
        derive_parameters(lake, run.run_id)
    return Start(config.refit, run.run_id, lake.version("parameters"))


def derive_parameters(lake: Lake, run_id: str) -> None:
    """`parameters` of a run, from its forecasts in `results`; replaces what was there in one commit."""
    info = lake.identity()
    lake.ensure("parameters")
    lake.replace("parameters", parameter_rows(lake, run_id, Frequency.parse(info.frequency)), {"run_id": run_id})


def parameter_rows(lake: Lake, run_id: str, frequency: Frequency) -> DataFrame:
    """Rows of `parameters`, a row a series and model."""
    from pyspark.sql import functions as F

    names = lake.schemas["parameters"].names
    results = lake.read("results")
    if "hyperparameters" not in results.columns:  # written before fits could be gone on from
        return lake.rows("parameters", [])
    mine = results.where((F.col("run_id") == run_id) & (F.col("stage") == "forecast"))
    kept = mine.where(
        F.col("status").isin(*OWN)
        & F.col("hyperparameters").isNotNull()
        & (F.size("parameters") + F.size("states") > 0)
    )
    models = [row["model"] for row in kept.select("model").distinct().collect()]
    return kept.withColumns(
        {
            "fitted_end": F.expr(step_label(frequency, "forecast_start", "-1")),
            "names": _names(models),
            "run_id": F.lit(run_id),
        }
    ).select(*names)


def count_starts(lake: Lake, run_id: str) -> dict[str, int]:
    """How many series of a run's forecast went on from stored numbers, and how many were fitted anew and why."""
    from pyspark.sql import functions as F

    rows = lake.read("results").where((F.col("run_id") == run_id) & (F.col("stage") == "forecast"))
    counted = rows.where(F.col("refit").isNotNull()).groupBy("refit").agg(F.count("*").alias("n"))
    return {f"refit_{row['refit'].replace(': ', '_')}": int(row["n"]) for row in counted.collect()}


def _names(models: list[str]) -> Column:
    from pyspark.sql import functions as F

    listed = {model: get_model(model).parameter_names for model in models}
    cases = "".join(
        f" WHEN {literal(model)} THEN array({', '.join(map(literal, names))})"
        for model, names in listed.items()
        if names
    )
    empty = "cast(array() AS array<string>)"
    return F.expr(f"CASE model{cases} ELSE {empty} END" if cases else empty)


def _derived(lake: Lake, run_id: str) -> bool:
    from pyspark.sql import functions as F

    return lake.exists("parameters") and not lake.read("parameters").where(F.col("run_id") == run_id).isEmpty()
