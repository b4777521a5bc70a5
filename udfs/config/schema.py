"""The configuration schema. Every field has its meaning beside it; `almanac` refuses any key that is not here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from forecasting.frequency import Frequency
from forecasting.models.registry import get_model

Aggregation = Literal["sum", "mean", "min", "max", "first", "last", "none"]
FillMethod = str | float
FILL_METHODS = ("zero", "nan", "mean", "median", "min", "max")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = frozenset(
    "item_id timestamp target bucket segment start n source n_rows related metadata lifecycle profile run_id stage "
    "unit model window cutoff mean step scenario scope".split()
)


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _identifier(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} {name!r} must be letters, digits and underscores, not starting with a digit")
    return name


class Source(Section):
    """Where rows come from: exactly one of `path`, `table`, `sql`; or a DataFrame given to the Python function."""

    path: str | tuple[str, ...] | None = None
    """A file, folder or glob (local, s3a://, abfss://, gs://, dbfs:/), or several."""
    table: str | None = None
    """A table or view that Spark knows: `catalog.schema.table`, `schema.table` or `view`."""
    sql: str | None = None
    """A SELECT."""
    format: Literal["csv", "json", "parquet", "delta"] | None = None
    """Of `path`; None takes it from the suffix."""
    options: dict[str, str | int | bool] = {}
    """Reader options of Spark, such as {sep: ";", header: true, encoding: CP949}. CSV has a header unless told."""
    columns: dict[str, str] = {}
    """Our column name -> the source's, where they differ."""
    timestamp_format: str | None = None
    """Spark's datetime pattern of text timestamps; None takes ISO forms."""

    @model_validator(mode="after")
    def _one_location(self, info: ValidationInfo) -> Source:
        given = [name for name in ("path", "table", "sql") if getattr(self, name)]
        frames = bool(info.context and info.context.get("frames"))
        if len(given) > 1 or (not given and not frames):
            raise ValueError(f"give exactly one of path, table, sql (got {', '.join(given) or 'none'})")
        return self


class TargetSource(Source):
    """The target time series."""

    aggregation: Aggregation = "sum"
    """How rows of one series and period become one value; `none` refuses duplicates."""


class RelatedColumn(Section):
    """One related series."""

    column: str | None = None
    """The source's column; None: the same name."""
    aggregation: Aggregation = "mean"
    known_in_future: bool = False
    """Whether its values are known over the horizon when a forecast is made."""


class RelatedSource(Source):
    """Related time series, keyed by the whole key or a part of it."""

    key: tuple[str, ...] | None = None
    """The key columns it has, such as [store_id]; None: item_id and all dimensions."""
    series: Annotated[dict[str, RelatedColumn], BeforeValidator(lambda v: _defaulted(v))]
    """The related series by our name."""


def _defaulted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: {} if v is None else v for k, v in value.items()}
    if isinstance(value, list | tuple):
        return {k: {} for k in value}
    return value


class ItemsSource(Source):
    """Item metadata, keyed by the whole key or a part of it."""

    key: tuple[str, ...] = ("item_id",)
    attributes: Annotated[
        dict[str, str], BeforeValidator(lambda v: {k: k for k in v} if isinstance(v, list | tuple) else v)
    ]
    """Metadata columns: ours -> the source's, or a list of names."""


class Data(Section):
    """The three kinds of data of a dataset group."""

    target: TargetSource
    related: tuple[RelatedSource, ...] = ()
    items: tuple[ItemsSource, ...] = ()

    @property
    def related_columns(self) -> dict[str, RelatedColumn]:
        """All related series by name."""
        return {name: column for source in self.related for name, column in source.series.items()}

    @property
    def attributes(self) -> tuple[str, ...]:
        """All metadata columns."""
        return tuple(name for source in self.items for name in source.attributes)


class TargetFill(Section):
    """Filling of the target. `nan`: missing stays missing."""

    front: FillMethod = "nan"
    middle: FillMethod = "nan"
    back: FillMethod = "nan"


class RelatedFill(Section):
    """Filling of one related series."""

    middle: FillMethod = "nan"
    back: FillMethod = "nan"
    future: FillMethod = "nan"


class Fill(Section):
    """Fill keys: zero, nan, mean, median, min, max, or a number."""

    target: TargetFill = TargetFill()
    related: dict[str, RelatedFill] = {}

    @model_validator(mode="after")
    def _known_methods(self) -> Fill:
        rules: dict[str, Section] = {"target": self.target, **{f"related.{k}": v for k, v in self.related.items()}}
        for place, rule in rules.items():
            for key, method in rule.model_dump().items():
                if isinstance(method, str) and method not in FILL_METHODS:
                    known = ", ".join(FILL_METHODS)
                    raise ValueError(f"{place}.{key} is {method!r}; expected one of {known} or a number")
        return self


class BoundsConfig(Section):
    """Limits on every forecast value; whole units rounds the quantiles (a mean of whole units need not be whole)."""

    lower: float | None = None
    upper: float | None = None
    whole_units: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> BoundsConfig:
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower is {self.lower} and upper is {self.upper}; lower must not exceed upper")
        return self


Models = Annotated[dict[str, dict[str, Any]], BeforeValidator(lambda v: _defaulted(v))]


class Segment(Section):
    """Other models or hyperparameters for some series; the first segment that matches a series counts."""

    name: str
    where: dict[str, tuple[str, ...] | str]
    """Key or metadata column -> the value or values it must have."""
    models: Models
    """Replaces the list of models for these series."""

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """`where` with every value as a tuple."""
        return {column: (v,) if isinstance(v, str) else v for column, v in self.where.items()}


class Backtest(Section):
    """Backtest windows: window k is cut k offsets before the end of the history and scored over one horizon."""

    windows: int = Field(default=1, ge=0, le=100)
    offset: int | None = Field(default=None, ge=1)
    """Periods between cutoffs; None: the horizon."""


class Selection(Section):
    """How a series' model is chosen from its backtest scores."""

    metric: Literal["mean_wQL", "WAPE", "RMSE", "MASE", "MAPE"] = "mean_wQL"


class Evaluation(Section):
    """How forecasts are scored."""

    mase_season_length: int | None = Field(default=None, ge=1)
    """Season of MASE's naive error; None: the season of the frequency."""
    score_filled: bool = False
    """Whether points that a fill rule made count as actuals (true where no row is known to mean zero)."""


class LakeConfig(Section):
    """Where the Delta tables live: a path, or `catalog` (optional) and `schema`."""

    path: str | None = None
    catalog: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
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
    conf: dict[str, str | int | bool] = {}
    master: str | None = None
    """None: spark-submit's, else local with all cores."""


class Ingest(Section):
    """How sources become tables."""

    mode: Literal["incremental", "full"] = "incremental"
    """incremental: sources named now are added or replace their own part. full: they are all there is."""
    max_rejected_share: float = Field(default=0.1, ge=0, le=1)
    """More refused rows than this share is an error and leaves the lake as it was."""


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
    """US dollars per core-hour."""


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
    time_zone: str | None = None
    """Zone of the timestamps; hourly and finer data are then put on the grid in UTC. None: times are naive."""
    dimensions: tuple[str, ...] = Field(default=(), max_length=10)
    """Forecast dimensions: with item_id they make the key of a series. Others are aggregated away."""
    data: Data
    fill: Fill = Fill()
    forecast_start: Literal["global", "per_series"] = "global"
    """global: every series is forecast from the common end. per_series: each from its own last point."""
    horizon: int = Field(ge=1)
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    mean: bool = True
    """Whether `forecasts` and exports carry the mean."""
    bounds: BoundsConfig = BoundsConfig()
    models: Models
    """Model name -> hyperparameters; `module:function` for one of your own."""
    segments: tuple[Segment, ...] = ()
    backtest: Backtest = Backtest()
    selection: Selection = Selection()
    evaluation: Evaluation = Evaluation()
    lake: LakeConfig
    spark: SparkConfig = SparkConfig()
    ingest: Ingest = Ingest()
    limits: Limits = Limits()
    cost: Cost = Cost()
    seed: int = 0

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
        """The frequency, parsed."""
        return Frequency.parse(self.frequency)

    @property
    def offset(self) -> int:
        """Periods between backtest cutoffs."""
        return self.backtest.offset or self.horizon


def check_models(models: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError naming every unknown model, hyperparameter or value."""
    problems = [] if models else ["name at least one model"]
    for name, hyperparameters in models.items():
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
    problems: list[str] = []
    key = set(config.key)
    related = [name for source in config.data.related for name in source.series]
    attributes = list(config.data.attributes)
    names = [*config.dimensions, *related, *attributes]
    for name in names:
        if not _NAME.fullmatch(name) or name.lower() in RESERVED:
            problems.append(f"{name!r} cannot name a column: use letters, digits, underscores, and not a name of ours")
    problems += [f"{name!r} is named twice" for name in sorted({n for n in names if names.count(n) > 1})]
    for what, source in (("related", config.data.related), ("items", config.data.items)):
        for position, entry in enumerate(source):
            extra = set(entry.key or config.key) - key  # type: ignore[attr-defined]
            if extra:
                problems.append(f"data.{what}[{position}].key has {sorted(extra)}; the key is {sorted(key)}")
    problems += [f"fill.related.{name}: no such related series" for name in config.fill.related if name not in related]
    for segment in config.segments:
        unknown = [c for c in segment.where if c not in key and c not in attributes]
        if unknown:
            problems.append(f"segment {segment.name!r}: no key or metadata column {unknown}")
        try:
            check_models(segment.models)
        except ValueError as error:
            problems += [f"segment {segment.name!r}: {line}" for line in str(error).split("\n")]
    if config.backtest.offset is not None and config.backtest.offset < config.horizon:
        problems.append(
            f"backtest.offset is {config.backtest.offset} and the horizon {config.horizon}; "
            "the offset must be at least the horizon, so that windows do not overlap"
        )
    if config.backtest.windows == 0 and (len(config.models) > 1 or any(len(s.models) > 1 for s in config.segments)):
        problems.append("backtest.windows is 0, so no model can be chosen: name one model, or use at least one window")
    return problems
