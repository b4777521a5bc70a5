"""The data mapping: where rows come from and which columns mean what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from udfs.config.service_schema import Schema, with_attributes, with_series

Aggregation = Literal["sum", "mean", "min", "max", "first", "last", "none"]
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)


class Matching(Section):
    """Base of what holds for some series."""

    where: dict[str, tuple[str, ...] | str]
    """Key or metadata column -> the value or values it must have."""

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """`where` with every value as a tuple."""
        return {column: (v,) if isinstance(v, str) else v for column, v in self.where.items()}


class Source(Section):
    """Where rows come from: exactly one of `path`, `table`, `sql`; or a DataFrame given to the Python function."""

    path: str | tuple[str, ...] | None = None
    """A file, folder or glob (local, s3a://, abfss://, gs://, dbfs:/), or several."""
    table: str | None = None
    """A table or view that Spark knows: `catalog.schema.table`, `schema.table` or `view`."""
    sql: str | None = None
    """A SELECT."""
    format: Literal["csv", "json", "parquet", "delta"] | None = None
    """Of `path`; null takes it from the suffix."""
    options: dict[str, str | int | bool] = Field(default_factory=dict)
    """Reader options of Spark, such as {sep: ";", header: true, encoding: CP949}. CSV has a header unless told."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column name -> the source's, where they differ."""
    timestamp_format: str | None = None
    """Spark's datetime pattern of text timestamps; null takes ISO forms."""
    schema_: Schema = Field(default=None, alias="schema")
    """For CSV without a header: a schema of Amazon Forecast, as the path of its JSON file or as it is. It names the
    columns by their order, so `columns` is not needed; unknown `series` and `attributes` come from it too."""
    decimal: Literal[".", ","] = "."
    """The decimal sign of numbers that are text."""
    thousands: Literal[".", ",", "'", " "] | None = None
    """The sign between thousands of numbers that are text; null: none is allowed."""

    @model_validator(mode="after")
    def _one_location(self, info: ValidationInfo) -> Source:
        given = [name for name in ("path", "table", "sql") if getattr(self, name)]
        frames = bool(info.context and info.context.get("frames"))
        if len(given) > 1 or (not given and not frames):
            raise ValueError(f"give exactly one of path, table, sql (got {', '.join(given) or 'none'})")
        problems = _text_problems(self)
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _text_problems(source: Source) -> list[str]:
    """What is wrong with how text is to be read."""
    problems = []
    if source.decimal == source.thousands:
        problems.append(f"decimal and thousands are both {source.decimal!r}; they must differ")
    if source.schema_ is None:
        return problems
    if source.columns:
        problems.append("schema and columns are both given; a schema names the columns already: leave one of them out")
    if source.table or source.sql or source.format not in (None, "csv"):
        kind = "table" if source.table else "sql" if source.sql else f"format {source.format}"
        problems.append(f"schema is for CSV files, and this source is {kind}, which has names: leave the schema out")
    return problems


class TargetSource(Source):
    """The target time series."""

    aggregation: Aggregation = "sum"
    """How rows of one series and period become one value; `none` refuses duplicates."""


class RelatedColumn(Section):
    """One related series."""

    column: str | None = None
    """The source's column; null: the same name."""
    aggregation: Aggregation = "mean"
    """How rows of one period become one value."""
    known_in_future: bool = False
    """Whether its values are known over the horizon when a forecast is made."""


class RelatedSource(Source):
    """Related time series, keyed by the whole key, a part of it, or metadata columns: weather by region."""

    key: tuple[str, ...] | None = None
    """The key or metadata columns it has, such as [store_id] or [region]; null: item_id and all dimensions."""
    series: Annotated[dict[str, RelatedColumn], BeforeValidator(lambda v: defaulted(v))]
    """The related series by our name."""

    _from_schema = model_validator(mode="before")(with_series)


def defaulted(value: Any) -> Any:
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
    types: dict[str, Literal["text", "number"]] = Field(default_factory=dict)
    """Attribute -> number, where every value must be one (a row with another is refused as not_a_number). The table
    `series` keeps metadata as text; a number's text can be cast to double. Others are text."""

    _from_schema = model_validator(mode="before")(with_attributes)

    @model_validator(mode="after")
    def _types_of_attributes(self) -> ItemsSource:
        unknown = [name for name in self.types if name not in self.attributes]
        if unknown:
            raise ValueError(f"types names {unknown}, which are no attributes; there are {', '.join(self.attributes)}")
        return self

    @property
    def numbers(self) -> tuple[str, ...]:
        """The attributes that are numbers."""
        return tuple(name for name in self.attributes if self.types.get(name) == "number")


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

    @property
    def numeric_attributes(self) -> tuple[str, ...]:
        """Metadata columns whose text is a number."""
        return tuple(name for source in self.items for name in source.numbers)
