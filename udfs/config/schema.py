"""The configuration schema. Every field has its meaning beside it; `almanac` refuses any key that is not here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator, model_validator

from forecasting.frequency import Frequency
from forecasting.models.contract import Model as ModelFamily
from forecasting.models.registry import family_of, get_model
from forecasting.postprocess import Bounds
from udfs.config.abrupt import Abrupt, abrupt_problems
from udfs.config.cold_start import ColdStart, cold_start_problems
from udfs.config.compat import with_compat
from udfs.config.covariates import covariate_problems
from udfs.config.deepar import DeepARConfig, deepar_problems
from udfs.config.domains import DomainName, schema_problems
from udfs.config.evaluation import Backtest, Calibration, Evaluation, Selection, evaluation_problems
from udfs.config.features import FeaturesConfig, feature_problems
from udfs.config.filling import Fill, fill_problems
from udfs.config.grid import FrequencyCheck, PartialPeriods, TimeAlignment, alignment_problems
from udfs.config.holidays import HolidaysConfig
from udfs.config.lifecycle import Lifecycle, lifecycle_problems
from udfs.config.opening import Opening, opening_problems
from udfs.config.segments import DEMAND_CLASS, condition_problems
from udfs.config.sources import NAME, Data, Matching, Section, defaulted
from udfs.config.tuning import Tuning, tuning_problems
from udfs.results import DEEPAR

RESERVED = frozenset(
    "item_id timestamp target bucket segment start n source n_rows related metadata lifecycle profile run_id stage "
    "unit model window cutoff mean step scenario scope place choice".split()
) | {DEMAND_CLASS}


def _identifier(name: str, what: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"{what} {name!r} must be letters, digits and underscores, not starting with a digit")
    return name


class BoundsConfig(Section):
    """Limits on every forecast value; whole units rounds the quantiles (a mean of whole units need not be whole)."""

    lower: float | None = None
    """Smallest value a forecast may have, such as 0 for demand."""
    upper: float | None = None
    """Largest value a forecast may have."""
    whole_units: bool = False
    """Round the quantiles to whole numbers."""

    @model_validator(mode="after")
    def _ordered(self) -> BoundsConfig:
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower is {self.lower} and upper is {self.upper}; lower must not exceed upper")
        return self

    @property
    def of_forecasts(self) -> Bounds:
        """What forecasts are held to."""
        return Bounds(self.lower, self.upper, self.whole_units)


Models = Annotated[dict[str, dict[str, Any]], BeforeValidator(lambda v: defaulted(v))]


class Segment(Matching):
    """Other models or hyperparameters for some series; the first segment that matches a series counts.

    Beside key and metadata columns `where` may name lifecycle (new, active, dormant, ended, returning) and
    demand_class (smooth, intermittent, erratic, lumpy, none, unknown), so that intermittent items need not pay for
    ARIMA.
    """

    name: str
    """A name for messages."""
    models: Models
    """Replaces the list of models for these series."""
    abrupt: Abrupt | None = None
    """Replaces the section `abrupt` for these series; null keeps it."""


class LakeConfig(Section):
    """Where the Delta tables live: a path, or `catalog` (optional) and `schema`."""

    path: str | None = None
    """A folder of Delta tables, local or on an object store."""
    catalog: str | None = None
    """With `schema`: the catalog, where it is not the session's own."""
    schema_: str | None = Field(default=None, alias="schema")
    """A schema (database) of a catalog, instead of a path."""
    buckets: int = Field(default=16, ge=1, le=4096)
    """Storage buckets of a new lake; kept by an existing one."""

    @model_validator(mode="after")
    def _one_place(self) -> LakeConfig:
        if (self.path is None) == (self.schema_ is None):
            raise ValueError("give either path, or schema (with or without catalog)")
        for name in (self.catalog, self.schema_):
            if name is not None:
                _identifier(name, "catalog or schema")
        return self


class SparkConfig(Section):
    """The session, where Almanac opens one; a session that is given keeps its own settings."""

    packages: tuple[str, ...] = ()
    """Maven coordinates, such as the connector of an object store."""
    conf: dict[str, str | int | bool] = Field(default_factory=dict)
    """Any Spark setting."""
    master: str | None = None
    """Null: spark-submit's, else local with all cores."""


class Ingest(Section):
    """How sources become tables."""

    mode: Literal["incremental", "full"] = "incremental"
    """Incremental: sources named now are added or replace their own part. full: they are all there is."""
    max_rejected_share: float = Field(default=0.1, ge=0, le=1)
    """More refused rows than this share is an error and leaves the lake as it was."""
    frequency_check: FrequencyCheck = FrequencyCheck()
    partial_periods: PartialPeriods = PartialPeriods()
    compact_after: int = Field(default=16, ge=1)
    """Pieces of a series from which on its bucket is packed again, a few buckets an ingest. 1: always all buckets with
    new rows."""


class Limits(Section):
    """What a run may spend and how much may go wrong."""

    max_evaluations: int = Field(default=20_000, ge=1)
    """Likelihood passes per series, model and window."""
    max_failed_share: float = Field(default=0.05, ge=0, le=1)
    """More series without a forecast of their own than this share ends the job with exit code 3."""
    unit_seconds: float = Field(default=20.0, gt=0)
    """Expected core-seconds of one work unit; smaller units resume finer and cost more overhead."""


class Cost(Section):
    """Prices for the estimate and the report."""

    core_hour: float = Field(default=0.05, ge=0)
    """US dollars for an hour of one core."""


def _quantiles(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or any(not 0 < q < 1 for q in values):
        raise ValueError(f"got {list(values)}; give at least one, all between 0 and 1 and neither 0 nor 1")
    if len(set(values)) != len(values):
        raise ValueError(f"got {list(values)}; each quantile may be given once")
    return tuple(sorted(values))


class Config(Section):
    """A whole configuration."""

    dataset_group: str
    """Name of the data in this lake: letters, digits, underscores."""
    frequency: str
    """D, W, W-THU, MS, ME, QS, YS, h, 15min, … or an ISO 8601 period."""
    time_alignment: TimeAlignment = TimeAlignment()
    time_zone: str | None = None
    """Zone of the timestamps; hourly and finer data are then put on the grid in UTC. null: times are naive."""
    dimensions: tuple[str, ...] = Field(default=(), max_length=10)
    """Forecast dimensions: with item_id they make the key of a series. Others are aggregated away."""
    data: Data
    domain: DomainName | None = None
    """A domain of Amazon Forecast, whose column names the sources have (RETAIL: demand is the target); null: ours."""
    compat: Literal["amazon_forecast"] | None = None
    """amazon_forecast: the service's defaults for all keys that are not given (fill, windows, seasons, selection)."""
    fill: Fill = Fill()
    opening: Opening | None = None
    """When it is open; null: always."""
    holidays: HolidaysConfig | None = None
    """Holidays as regressors of the models that take them; null: none."""
    lifecycle: Lifecycle = Lifecycle()
    forecast_start: Literal["global", "per_series"] = "global"
    """global: every series is forecast from the common end. per_series: each from its own last point."""
    horizon: int = Field(ge=1)
    """Periods to forecast."""
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Levels to forecast, any number between 0 and 1: columns p10, p50, p90 (p2_5 for 0.025)."""
    mean: bool = True
    """Whether `forecasts` and exports carry the mean."""
    bounds: BoundsConfig = BoundsConfig()
    models: Models
    """Model -> hyperparameters; `module:function` for one of your own; `ets+damped` for a second setting of `ets`."""
    segments: tuple[Segment, ...] = ()
    covariates: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Families of covariates, such as price or weather -> related series, or the word holidays. Models that regress
    then compete without covariates, with each family and with all; a segment keeps what its backtests gain by."""
    features: FeaturesConfig | None = None
    """Related series that are derived from others or from the calendar; null: none."""
    abrupt: Abrupt | None = None
    """Level shifts, surges and outliers; null: nothing is looked for."""
    cold_start: ColdStart | bool | None = None
    """How items with little or no history are forecast; null: by cold start where there is item metadata; false: by
    the models, like all others."""
    tuning: Tuning | None = None
    """Search of hyperparameters; null: none."""
    deepar: DeepARConfig = DeepARConfig()
    refit: Literal["full", "warm", "never"] = "full"
    """How `forecast` comes to its fits. full: from nothing. warm: from an earlier run's parameters, which move. never:
    with an earlier run's parameters, only the states move over the new points."""
    parameters_from: str | None = None
    """The run whose parameters `refit` starts from; null: the published one."""
    components: bool | tuple[str, ...] = False
    """Whether `forecast` also takes fits and forecasts apart, into the table `components`: of all models, or of those
    named."""
    backtest: Backtest = Backtest()
    selection: Selection = Selection()
    calibration: Calibration = Calibration()
    evaluation: Evaluation = Evaluation()
    lake: LakeConfig
    spark: SparkConfig = SparkConfig()
    ingest: Ingest = Ingest()
    limits: Limits = Limits()
    cost: Cost = Cost()
    seed: int = 0
    """With a series' key and the model's name it seeds whatever is random."""

    _compat = model_validator(mode="before")(with_compat)
    _check_quantiles = field_validator("quantiles")(_quantiles)

    @field_validator("dataset_group")
    @classmethod
    def _group_name(cls, value: str) -> str:
        return _identifier(value, "dataset_group")

    @field_validator("frequency")
    @classmethod
    def _known_frequency(cls, value: str) -> str:
        Frequency.parse(value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except Exception as error:
                raise ValueError(f"time zone {value!r} is not known; write it like Europe/Paris") from error
        return value

    @field_validator("models")
    @classmethod
    def _known_models(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        check_models(value)
        return value

    @model_validator(mode="after")
    def _names_agree(self) -> Config:
        problems = list(_name_problems(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def key(self) -> tuple[str, ...]:
        """item_id and the forecast dimensions."""
        return ("item_id", *self.dimensions)

    @property
    def grid(self) -> Frequency:
        """The frequency, parsed, as time_alignment lets it begin."""
        return self.time_alignment.of(Frequency.parse(self.frequency))

    @property
    def offset(self) -> int:
        """Periods between the end and the latest backtest cutoff."""
        return self.backtest.offset or self.horizon

    @property
    def stride(self) -> int:
        """Periods between backtest cutoffs."""
        return self.backtest.stride or self.offset


def check_models(models: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError naming every unknown model, hyperparameter or value."""
    problems = [] if models else ["name at least one model"]
    for name, hyperparameters in models.items():
        if family_of(name) == DEEPAR:
            problems.append(
                f"{name} is not named among models: train it by `almanac train-deepar`, and `almanac predict-deepar` "
                "makes it a model of a run"
            )
            continue
        try:
            get_model(name).Hyperparameters.model_validate(dict(hyperparameters))
        except ValueError as error:
            details = getattr(error, "errors", None)
            if details is None:
                problems.append(str(error))
            else:
                known = ", ".join(get_model(name).Hyperparameters.model_fields)
                for item in details():
                    where = ".".join(str(part) for part in item["loc"])
                    hint = f" (known: {known})" if item["type"] == "extra_forbidden" else ""
                    problems.append(f"{name}.{where}: {item['msg']}, got {item['input']!r}{hint}")
    if problems:
        raise ValueError("\n".join(problems))


def _name_problems(config: Config) -> list[str]:
    """Names that must agree between sections."""
    problems: list[str] = list(alignment_problems(config.frequency, config.time_alignment))
    key = set(config.key)
    related = [name for source in config.data.related for name in source.series]
    attributes = list(config.data.attributes)
    names = [*config.dimensions, *related, *attributes]
    for name in names:
        if not NAME.fullmatch(name) or name.lower() in RESERVED:
            problems.append(f"{name!r} cannot name a column: use letters, digits, underscores, and not a name of ours")
    problems += [f"{name!r} is named twice" for name in sorted({n for n in names if names.count(n) > 1})]
    for what, source in (("related", config.data.related), ("items", config.data.items)):
        for position, entry in enumerate(source):
            joined = set(attributes) if what == "related" else set()
            extra = set(entry.key or config.key) - key - joined  # type: ignore[attr-defined]
            if extra:
                or_else = f", metadata columns are {sorted(joined) or 'none'}" if what == "related" else ""
                problems.append(f"data.{what}[{position}].key has {sorted(extra)}; the key is {sorted(key)}{or_else}")
    problems += fill_problems(config)
    problems += opening_problems(config)
    for segment in config.segments:
        wrong = condition_problems(segment.conditions, (*key, *attributes))
        problems += [f"segment {segment.name!r}: {problem}" for problem in wrong]
        try:
            check_models(segment.models)
        except ValueError as error:
            problems += [f"segment {segment.name!r}: {line}" for line in str(error).split("\n")]
    problems += schema_problems(config)
    problems += covariate_problems(config)
    problems += feature_problems(config, frozenset((*config.key, *related, *attributes, *RESERVED)))
    problems += cold_start_problems(config)
    problems += evaluation_problems(config, known=(*key, *attributes))
    problems += tuning_problems(config)
    problems += deepar_problems(config)
    problems += lifecycle_problems(config)
    problems += abrupt_problems(config)
    if config.parameters_from is not None and config.refit == "full":
        problems.append(
            "parameters_from is given and refit is full, which starts from nothing; set refit: warm or never"
        )
    if isinstance(config.components, tuple):
        named = {*config.models, *(model for segment in config.segments for model in segment.models)}
        problems += [f"components: {m!r} is no model of this config" for m in config.components if m not in named]
        problems += [
            f"components: {m!r} cannot take its forecasts apart; leave it out"
            for m in config.components
            if m in named and type(get_model(m)).components is ModelFamily.components
        ]
    if config.backtest.windows == 0 and (len(config.models) > 1 or any(len(s.models) > 1 for s in config.segments)):
        problems.append("backtest.windows is 0, so no model can be chosen: name one model, or use at least one window")
    return problems
