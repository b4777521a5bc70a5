"""What a table is made of, and what of the tables depends on the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from forecasting.levels import quantile_column


def quoted(*parts: str) -> str:
    """Identifiers in backquotes, joined by dots."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


@dataclass(frozen=True)
class Column:
    """A column: Spark type, whether it may be NULL, and what it means."""

    name: str
    type: str
    comment: str
    nullable: bool = True


def optional(name: str, kind: str, comment: str) -> Column:
    """A column that may be NULL."""
    return Column(name, kind, comment)


def required(name: str, kind: str, comment: str) -> Column:
    """A column that may not."""
    return Column(name, kind, comment, nullable=False)


@dataclass(frozen=True)
class TableSchema:
    """A table: columns, the key that makes a row unique, partitions and CHECK constraints (name -> SQL)."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        return next(c for c in self.columns if c.name == name) if name in self.names else _missing(self.name, name)

    def ddl(self, names: Iterable[str] | None = None) -> str:
        """Names and types as Spark takes a schema: of these columns, or of all. Raises KeyError as `column`."""
        chosen = self.columns if names is None else [self.column(name) for name in names]
        return ", ".join(f"{quoted(c.name)} {c.type}" for c in chosen)


def _missing(table: str, name: str) -> Column:
    raise KeyError(f"table {table} has no column {name}")


@dataclass(frozen=True)
class Layout:
    """What of the tables and views depends on the data: forecast dimensions, related series and those of them that are
    known in the future, metadata columns and those of them that related series are keyed by, quantiles."""

    dimensions: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    known: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """item_id and the forecast dimensions."""
        return ("item_id", *self.dimensions)

    @property
    def related_key(self) -> tuple[str, ...]:
        """What a row of `related` may be keyed by: the key, and the metadata columns that some source has instead."""
        return (*self.key, *self.joined)


RUN = required("run_id", "string", "run that made the row")
BUCKET = required("bucket", "int", "storage bucket: pmod(xxhash64(key), buckets of the lake)")


def key_columns(layout: Layout, make: Callable[[str, str, str], Column] = required) -> tuple[Column, ...]:
    """item_id and the forecast dimensions as columns. make: `required` or `optional`."""
    return tuple(make(n, "string", "item" if n == "item_id" else "forecast dimension") for n in layout.key)


def quantile_columns(layout: Layout) -> tuple[Column, ...]:
    """A column for each level."""
    return tuple(optional(quantile_column(q), "double", f"quantile {q:g}") for q in layout.quantiles)
