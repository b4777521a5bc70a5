"""What a stage reads: the packed series with, for each, the list of models it runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forecasting.evaluation.calibration import Intervals
from forecasting.features import Features
from forecasting.frequency import Frequency
from forecasting.models.contract import Hyperparameters, RegressionHyperparameters
from forecasting.models.registry import get_model
from udfs.arrow import RELATED_PREFIX
from udfs.calibration_table import stored_calibration
from udfs.cold_columns import cold_columns
from udfs.config import Config
from udfs.config.abrupt import treatments
from udfs.config.cold_start import ColdStart, active_cold_start
from udfs.config.evaluation import least_history
from udfs.config.variants import competing_models
from udfs.deep_forecasts import COLD, MISSING, NO_FORECASTS, DeepForecasts, with_deep_forecasts, with_stand_ins
from udfs.holiday_table import REGION, frozen_calendar
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.life_stage import life_columns, life_spec, with_inherited
from udfs.members import FACTORS, SEGMENT, WEIGHTS
from udfs.observing import fill_group_columns, fill_rules, needs_region, observing
from udfs.pieces import joined
from udfs.segments import segment_column, segment_name
from udfs.spec import Members, ModelSpec, Stage, TaskSpec
from udfs.stored import COLUMNS, FITS, FULL
from udfs.work import RunPlan, slots

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

Choices = tuple[tuple[ModelSpec, ...], ...]
FROM_SPARK = ("run_id", "stage")
"""Columns of `results` that are the same in all rows of a stage: Spark adds them, Arrow does not carry them."""


@dataclass(frozen=True)
class StageInput:
    """The series of a stage. choices: lists of models, one a config segment. chosen: the run whose `selection` says
    which of its list a series runs, and with what weights; None: all of it. shares: by model, the share of series
    that run it, for the plan; None: all do. stored: the run and the version of `parameters` that fits go on from.
    deep: the global model's forecasts that a selection's members are taken from."""

    lake: Lake
    config: Config
    version: int
    choices: Choices
    chosen: str | None = None
    stored: tuple[str, int] | None = None
    shares: Mapping[str, float] | None = None
    deep: DeepForecasts = NO_FORECASTS

    @property
    def models(self) -> dict[str, ModelSpec]:
        """All models of the stage, by name and hyperparameters."""
        return {f"{m.name} {sorted(m.hyperparameters.items())}": m for models in self.choices for m in models}

    @property
    def related(self) -> dict[str, bool]:
        """The related series that some model uses, and whether their future is known."""
        price = self.cold.price if self.cold is not None else None
        reads = any(map(_reads_related, self.models.values()))
        columns = self.config.data.related_columns
        return {name: column.known_in_future for name, column in columns.items() if reads or name == price}

    @property
    def cold(self) -> ColdStart | None:
        """How series with hardly any history are forecast."""
        return active_cold_start(self.config)

    @property
    def read_beside(self) -> tuple[str, ...]:
        """All related series that the tasks read: those of models, and those that say what is an observation."""
        opening = self.config.opening
        column = () if opening is None or opening.column is None else (opening.column,)
        return tuple(dict.fromkeys((*self.related, *self.config.fill.mask, *column)))

    @property
    def features(self) -> Features:
        """The features that some model reads."""
        section = self.config.features
        if section is None or not any(map(_reads_related, self.models.values())):
            return Features()
        return section.rules(self.config.time_zone)

    @property
    def takes_holidays(self) -> bool:
        """Whether the config has holidays and some model uses them."""
        return self.config.holidays is not None and any(map(_takes_holidays, self.models.values()))

    def profiles(self, where: Column | None) -> DataFrame:
        """Narrow rows for planning: key, bucket, segment, start, n, choice; one a piece of a series."""
        return self._chosen(self._read(where, None), ("segment", "start", "n"), None, wide=False)

    def rows(self, plan: RunPlan, where: Column | None, buckets: Sequence[int]) -> DataFrame:
        """Wide rows for the task: key, bucket, start, target, related series, choice; one a series."""
        from pyspark.sql import functions as F

        read = self._read(where, buckets)
        related = [F.col(f"related.{quoted(name)}").alias(RELATED_PREFIX + name) for name in self.read_beside]
        groups = fill_group_columns(self.config)
        if plan.pieces:
            read = joined(read, self.lake.layout.key, list(self.read_beside))
            related = [F.col(RELATED_PREFIX + name) for name in self.read_beside]
        cold = (*cold_columns(self.config), *self._cold_deepar())
        beside = (*related, *self._region(), *groups, *life_columns(self, plan), *cold)
        rows = self._chosen(read, ("start", "target", *beside), buckets)
        rows = with_inherited(rows, self, plan, buckets)
        if self.chosen is not None and self.deep.version is not None:
            rows = with_deep_forecasts(rows, self.lake, self.deep, buckets)
        return rows if self.stored is None else self._with_stored(rows, *self.stored, buckets)

    def _region(self) -> list[Column]:
        """The column that says which holidays a series keeps, where there is one and it matters."""
        from pyspark.sql import functions as F

        section = self.config.holidays
        wanted = self.takes_holidays or needs_region(self.config)
        if not wanted or section is None or section.country_column is None:
            return []
        name = section.country_column
        column = F.col(name) if name in self.lake.layout.key else F.col("metadata")[name]
        return [column.alias(REGION)]

    def _cold_deepar(self) -> list[Column]:
        """The column that says whether the global model takes a series that has hardly any history."""
        if self.chosen is None or self.deep.version is None or not self.deep.cold:
            return []
        return [segment_name(self.config).isin(list(self.deep.cold)).alias(COLD)]

    def _with_stored(self, rows: DataFrame, run_id: str, version: int, buckets: Sequence[int]) -> DataFrame:
        """With what a run has stored of each series' fit."""
        from pyspark.sql import functions as F

        key = self.lake.layout.key
        fits = self.lake.read("parameters", version)
        fits = fits.where((F.col("run_id") == run_id) & F.col("bucket").isin([int(b) for b in buckets]))
        of_series = fits.groupBy(*key).agg(F.collect_list(F.struct(*COLUMNS)).alias(FITS))
        return rows.join(of_series, list(key), "left")

    def _read(self, where: Column | None, buckets: Sequence[int] | None) -> DataFrame:
        from pyspark.sql import functions as F

        rows = self.lake.read("series", self.version)
        if buckets is not None:
            rows = rows.where(F.col("bucket").isin([int(b) for b in buckets]))
        return rows if where is None else rows.where(where)

    def _chosen(
        self, rows: DataFrame, columns: Sequence[Any], buckets: Sequence[int] | None, *, wide: bool = True
    ) -> DataFrame:
        """With the column `choice`, the place of a series' segment, and what `selection` says of it where that
        decides. wide: the latter too."""
        from pyspark.sql import functions as F

        key = self.lake.layout.key
        segment = segment_column(self.config)
        rows = rows.select(*key, "bucket", *columns, segment.alias("choice"))
        if self.chosen is None or not wide:
            return rows
        selection = _taken(self.lake, self.chosen, self.deep)
        if buckets is not None:
            selection = selection.where(F.col("bucket").isin([int(b) for b in buckets]))
        beside = (F.col("weights").alias(WEIGHTS), MISSING, *_calibration_columns(selection))
        return rows.join(selection.select(*key, *beside), list(key), "left")


def weights_column(selection: DataFrame) -> Column:
    """The weights of a series' models; a selection of earlier versions has one model."""
    from pyspark.sql import functions as F

    one = F.create_map(F.col("model"), F.lit(1.0))
    return F.coalesce(F.col("weights"), one) if "weights" in selection.columns else one


def _taken(lake: Lake, run_id: str, deep: DeepForecasts) -> DataFrame:
    """The rows of `selection` of a run with the weights that its forecast can take."""
    from pyspark.sql import functions as F

    selection = lake.read("selection").where(F.col("run_id") == run_id)
    return with_stand_ins(lake, selection, weights_column(selection), deep)


def _calibration_columns(selection: DataFrame) -> tuple[Column, Column]:
    from pyspark.sql import functions as F

    kinds = {"segment": (SEGMENT, "string"), "factors": (FACTORS, "array<double>")}
    there = {
        name: F.col(name) if name in selection.columns else F.lit(None).cast(kind[1]) for name, kind in kinds.items()
    }
    segment, factors = (there[name].alias(kind[0]) for name, kind in kinds.items())
    return segment, factors


def _options(model: ModelSpec) -> Hyperparameters:
    return get_model(model.name).Hyperparameters.model_validate(dict(model.hyperparameters))


def _reads_related(model: ModelSpec) -> bool:
    return get_model(model.name).reads_related(_options(model))


def _takes_holidays(model: ModelSpec) -> bool:
    options = _options(model)
    return isinstance(options, RegressionHyperparameters) and options.use_holidays


def all_models(config: Config) -> Choices:
    """For the stage backtest: every model of each segment."""
    return tuple(
        tuple(ModelSpec(name, dict(options)) for name, options in models.items())
        for models in competing_models(config)
    )


def fixed_model(config: Config, model: str | None) -> Choices:
    """For a forecast without a selection: the given model, else the only one, of each segment."""
    return tuple(
        (ModelSpec(model, dict(models.get(model, {}))) if model else _first(models),)
        for models in competing_models(config)
    )


def member_models(lake: Lake, run_id: str, config: Config, deep: DeepForecasts) -> tuple[Choices, dict[str, float]]:
    """For a forecast by `selection`: of each segment the models that some series takes (its first where none does),
    and the share of series that takes each model. The global model is not among them: its forecasts are there."""
    from pyspark.sql import functions as F

    selection = _taken(lake, run_id, deep)
    names = selection.select(F.explode(F.map_keys("weights")).alias("model"))
    used = {row["model"]: int(row["count"]) for row in names.groupBy("model").count().collect()}
    series = max(selection.count(), 1)
    choices = tuple(tuple(m for m in models if m.name in used) or models[:1] for models in all_models(config))
    return choices, {name: count / series for name, count in used.items()}


def _first(models: Mapping[str, Mapping[str, Any]]) -> ModelSpec:
    name = next(iter(models))
    return ModelSpec(name, dict(models[name]))


def cell_column(key: Sequence[str], buckets: int) -> Column:
    """The cell of a row, from its key and bucket (see `udfs.work`)."""
    from pyspark.sql import functions as F

    n = slots(buckets)
    return F.col("bucket") * n + F.pmod(F.hash(*key), F.lit(n))


def spec_of(
    stage: Stage,
    config: Config,
    frequency: Frequency,
    span: tuple[int, int],
    related: Mapping[str, bool],
    choices: Choices,
    columns: Sequence[str],
) -> TaskSpec:
    """What tasks need to know and the config tells. span: ordinals of the first and the last period of all series.
    columns: of the table that the rows go to."""
    fills = fill_rules(config, related)
    return TaskSpec(
        stage=stage,
        key=config.key,
        frequency=frequency.name,
        horizon=config.horizon,
        quantiles=config.quantiles,
        windows=config.backtest.windows,
        offset=config.offset,
        stride=config.stride,
        history=config.backtest.history,
        min_history=least_history(config),
        forecast_start=config.forecast_start,
        global_start=span[0],
        global_end=span[1],
        choices=choices,
        columns=tuple(c for c in columns if c not in FROM_SPARK),
        seed=config.seed,
        mase_season_length=config.evaluation.mase_season_length or frequency.season_length,
        score_filled=config.evaluation.score_filled,
        fill=fills if len(fills) > 1 else fills[0],
        bounds=config.bounds.of_forecasts,
        related=related,
    )


def task_spec(stage: Stage, source: StageInput, plan: RunPlan) -> TaskSpec:
    """All that the tasks of a stage need to know."""
    config = source.config
    columns = source.lake.schemas["results"].names
    span = (plan.start, plan.end)
    told = spec_of(stage, config, Frequency.parse(plan.frequency), span, source.related, source.choices, columns)
    calendar = None
    if source.takes_holidays:
        calendar = frozen_calendar(source.lake, config, plan.frequency, *span, plan.holidays)
    local = str(source.lake.spark.conf.get("spark.master", "")).startswith("local")
    return replace(
        told,
        backtest_refit=config.backtest.refit,
        max_evaluations=config.limits.max_evaluations,
        observing=observing(source.lake, config, plan.frequency, *span, plan.holidays),
        calendar=calendar,
        paths=tuple(sys.path) if local else (),
        refit=plan.refit if stage == "forecast" and source.stored is not None else FULL,
        lifecycle=life_spec(stage, source, plan),
        features=source.features,
        treatments=treatments(config),
        members=_members(source) if stage == "forecast" and source.chosen is not None else None,
    )


def _members(source: StageInput) -> Members:
    """How a selection's members become one forecast."""
    assert source.chosen is not None
    config = source.config
    intervals = Intervals.of(config.quantiles, config.horizon)
    found = stored_calibration(source.lake, source.chosen, intervals)
    return Members(config.selection.mode, found.segments, found.table, deepar=source.deep.version is not None)
