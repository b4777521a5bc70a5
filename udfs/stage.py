"""What a stage reads: the packed series with, for each, the list of models it runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forecasting import Bounds
from forecasting.filling import FillRules, RelatedFill, TargetFill
from forecasting.frequency import Frequency
from forecasting.models.contract import Hyperparameters, RegressionHyperparameters
from forecasting.models.registry import get_model
from udfs.arrow import RELATED_PREFIX
from udfs.config import Config
from udfs.config.evaluation import least_history
from udfs.holiday_table import REGION, frozen_calendar
from udfs.lake import Lake, quoted
from udfs.spec import ModelSpec, Stage, TaskSpec
from udfs.stored import COLUMNS, FULL, PREFIX
from udfs.work import RunPlan, slots

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

Choices = tuple[tuple[ModelSpec, ...], ...]
FROM_SPARK = ("run_id", "stage")
"""Columns of `results` that are the same in all rows of a stage: Spark adds them, Arrow does not carry them."""


@dataclass(frozen=True)
class StageInput:
    """The series of a stage. choices: lists of models; chosen: whether `selection` decides among them (one model a
    list), and if so for which run. stored: the run and the version of `parameters` that fits go on from."""

    lake: Lake
    config: Config
    version: int
    choices: Choices
    chosen: str | None = None
    stored: tuple[str, int] | None = None

    @property
    def models(self) -> dict[str, ModelSpec]:
        """All models of the stage, by name and hyperparameters."""
        return {f"{m.name} {sorted(m.hyperparameters.items())}": m for models in self.choices for m in models}

    @property
    def related(self) -> dict[str, bool]:
        """The related series that some model uses, and whether their future is known."""
        if not any(map(_reads_related, self.models.values())):
            return {}
        return {name: column.known_in_future for name, column in self.config.data.related_columns.items()}

    @property
    def takes_holidays(self) -> bool:
        """Whether the config has holidays and some model uses them."""
        return self.config.holidays is not None and any(map(_takes_holidays, self.models.values()))

    def profiles(self, where: Column | None) -> DataFrame:
        """Narrow rows for planning: key, bucket, segment, start, n, choice; one a piece of a series."""
        return self._chosen(self._read(where, None), ("segment", "start", "n"), None)

    def rows(self, plan: RunPlan, where: Column | None, buckets: Sequence[int]) -> DataFrame:
        """Wide rows for the task: key, bucket, start, target, related series, choice; one a series."""
        from pyspark.sql import functions as F

        read = self._read(where, buckets)
        related = [F.col(f"related.{quoted(name)}").alias(RELATED_PREFIX + name) for name in self.related]
        if plan.pieces:
            read = joined(read, self.lake.layout.key, list(self.related))
            related = [F.col(RELATED_PREFIX + name) for name in self.related]
        rows = self._chosen(read, ("start", "target", *related, *self._region()), buckets)
        return rows if self.stored is None else self._with_stored(rows, *self.stored, buckets)

    def _region(self) -> list[Column]:
        """The column that says which holidays a series keeps, where there is one and it matters."""
        from pyspark.sql import functions as F

        section = self.config.holidays
        if not self.takes_holidays or section is None or section.country_column is None:
            return []
        name = section.country_column
        column = F.col(name) if name in self.lake.layout.key else F.col("metadata")[name]
        return [column.alias(REGION)]

    def _with_stored(self, rows: DataFrame, run_id: str, version: int, buckets: Sequence[int]) -> DataFrame:
        """With what a run has stored of each series' fit."""
        from pyspark.sql import functions as F

        key = self.lake.layout.key
        fits = self.lake.read("parameters", version)
        fits = fits.where((F.col("run_id") == run_id) & F.col("bucket").isin([int(b) for b in buckets]))
        beside = [F.col(name).alias(PREFIX + name) for name in COLUMNS]
        return rows.join(fits.select(*key, *beside), list(key), "left")

    def _read(self, where: Column | None, buckets: Sequence[int] | None) -> DataFrame:
        from pyspark.sql import functions as F

        rows = self.lake.read("series", self.version)
        if buckets is not None:
            rows = rows.where(F.col("bucket").isin([int(b) for b in buckets]))
        return rows if where is None else rows.where(where)

    def _chosen(self, rows: DataFrame, columns: Sequence[Any], buckets: Sequence[int] | None) -> DataFrame:
        """With the column `choice`, from the segments, or from `selection` where that decides."""
        from pyspark.sql import functions as F

        key = self.lake.layout.key
        segment = segment_column(self.config)
        if self.chosen is None:
            return rows.select(*key, "bucket", *columns, segment.alias("choice"))
        selection = self.lake.read("selection").where(F.col("run_id") == self.chosen)
        if buckets is not None:
            selection = selection.where(F.col("bucket").isin([int(b) for b in buckets]))
        selection = selection.select(*key, F.col("model").alias("selected:model"))
        narrow = rows.select(*key, "bucket", *columns, segment.alias("segment:index"))
        choice = _selected_choice(self.config, self.choices)
        return (
            narrow.join(selection, list(key), "left")
            .withColumn("choice", choice)
            .drop("selected:model", "segment:index")
        )


def _options(model: ModelSpec) -> Hyperparameters:
    return get_model(model.name).Hyperparameters.model_validate(dict(model.hyperparameters))


def _reads_related(model: ModelSpec) -> bool:
    return get_model(model.name).reads_related(_options(model))


def _takes_holidays(model: ModelSpec) -> bool:
    options = _options(model)
    return isinstance(options, RegressionHyperparameters) and options.use_holidays


def joined(rows: DataFrame, key: Sequence[str], related: Sequence[str]) -> DataFrame:
    """One row a series from the pieces of its history, in the order of `segment`."""
    from pyspark.sql import functions as F

    parts = ["segment", "start", "target", *(f"related.{quoted(name)}" for name in related)]
    names = ["segment", "start", "target", *(RELATED_PREFIX + name for name in related)]
    piece = F.struct(*(F.col(part).alias(name) for part, name in zip(parts, names, strict=True)))
    others = [F.max_by(c, "segment").alias(c) for c in ("bucket", "metadata") if c in rows.columns]
    grouped = rows.groupBy(*key).agg(F.sort_array(F.collect_list(piece)).alias("pieces"), *others)
    lists = [F.flatten(F.col(f"pieces.{quoted(name)}")).alias(name) for name in names[2:]]
    kept = [c for c in ("bucket", "metadata") if c in rows.columns]
    return grouped.select(*key, *kept, F.col("pieces")[0]["start"].alias("start"), *lists)


def segment_models(config: Config) -> tuple[Mapping[str, Mapping[str, Any]], ...]:
    """The models of each segment in order; those of the series that no segment matches come last."""
    return (*(segment.models for segment in config.segments), config.models)


def segment_column(config: Config) -> Column:
    """The position of a series' segment in `segment_models`: the first that matches."""
    from pyspark.sql import functions as F

    attributes = config.data.attributes
    branch: Any = F
    for position, segment in enumerate(config.segments):
        matches = F.lit(True)
        for column, values in segment.conditions.items():
            place = F.col("metadata")[column] if column in attributes else F.col(column)
            matches = matches & place.isin(list(values))
        branch = branch.when(F.coalesce(matches, F.lit(False)), position)
    chosen: Column = branch.otherwise(len(config.segments)) if config.segments else F.lit(0)
    return chosen


def all_models(config: Config) -> Choices:
    """For the stage backtest: every model of each segment."""
    return tuple(
        tuple(ModelSpec(name, dict(options)) for name, options in models.items()) for models in segment_models(config)
    )


def fixed_model(config: Config, model: str | None) -> Choices:
    """For a forecast without a selection: the given model, else the only one, of each segment."""
    return tuple(
        (ModelSpec(model, dict(models.get(model, {}))) if model else _first(models),)
        for models in segment_models(config)
    )


def selectable_models(config: Config) -> Choices:
    """For a forecast by `selection`: a list of one for each segment and model."""
    return tuple((model,) for models in all_models(config) for model in models)


def _first(models: Mapping[str, Mapping[str, Any]]) -> ModelSpec:
    name = next(iter(models))
    return ModelSpec(name, dict(models[name]))


def _selected_choice(config: Config, choices: Choices) -> Column:
    """The position in `selectable_models`; a series that `selection` does not know takes its segment's first model."""
    from pyspark.sql import functions as F

    branch: Any = F
    base, defaults = 0, []
    for position, models in enumerate(all_models(config)):
        here = F.col("segment:index") == position
        for i, model in enumerate(models):
            branch = branch.when(here & (F.col("selected:model") == model.name), base + i)
        defaults.append((here, base))
        base += len(models)
    for here, first in defaults:
        branch = branch.when(here, first)
    assert base == len(choices)
    choice: Column = branch.otherwise(0)
    return choice


def cell_column(key: Sequence[str], buckets: int) -> Column:
    """The cell of a row, from its key and bucket (see `udfs.work`)."""
    from pyspark.sql import functions as F

    n = slots(buckets)
    return F.col("bucket") * n + F.pmod(F.hash(*key), F.lit(n))


def task_spec(stage: Stage, source: StageInput, plan: RunPlan) -> TaskSpec:
    """All that the tasks of a stage need to know."""
    config = source.config
    frequency = Frequency.parse(plan.frequency)
    related = source.related
    fills = {name: rule for name, rule in config.fill.related.items() if name in related}
    calendar = None
    if source.takes_holidays:
        span = (plan.frequency, plan.start, plan.end)
        calendar = frozen_calendar(source.lake, config, *span, plan.holidays)
    local = str(source.lake.spark.conf.get("spark.master", "")).startswith("local")
    return TaskSpec(
        stage=stage,
        key=source.lake.layout.key,
        frequency=plan.frequency,
        horizon=config.horizon,
        quantiles=config.quantiles,
        windows=config.backtest.windows,
        offset=config.offset,
        stride=config.stride,
        history=config.backtest.history,
        min_history=least_history(config),
        backtest_refit=config.backtest.refit,
        forecast_start=config.forecast_start,
        global_start=plan.start,
        global_end=plan.end,
        choices=source.choices,
        columns=tuple(c for c in source.lake.schemas["results"].names if c not in FROM_SPARK),
        seed=config.seed,
        max_evaluations=config.limits.max_evaluations,
        mase_season_length=config.evaluation.mase_season_length or frequency.season_length,
        score_filled=config.evaluation.score_filled,
        fill=FillRules(
            target=TargetFill(**config.fill.target.model_dump()),
            related={name: RelatedFill(**rule.model_dump()) for name, rule in fills.items()},
        ),
        bounds=Bounds(**config.bounds.model_dump()),
        related=related,
        calendar=calendar,
        paths=tuple(sys.path) if local else (),
        refit=plan.refit if stage == "forecast" and source.stored is not None else FULL,
    )
