"""What a table is made of, and what of the tables depends on the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
