"""The one module that knows the Delta tables: where they are, how they are made, read and written.

A lake is a folder of Delta tables (`lake.path`) or a schema of a catalog (`lake.schema`). Every write is one commit
that can be repeated: a replacement by predicate, an append with a transaction id of its own, or a merge by key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import InputError
from udfs.layout import quoted
from udfs.schemas import SCHEMA_VERSION, Layout, TableSchema, table_schemas

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from udfs.config import Config
    from udfs.config.schema import LakeConfig

# Readers without a JVM cannot read deletion vectors; small files of repeated small writes are compacted on the way.
_PROPERTIES = {
    "delta.enableDeletionVectors": "false",
    "delta.checkpointInterval": "20",
    "delta.columnMapping.mode": "none",
}


def literal(value: object) -> str:
    """A SQL literal for predicates that Delta wants as text (replaceWhere)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def predicate(where: Mapping[str, object | Sequence[object]]) -> str:
    """`column = value` or `column IN (values)`, joined by AND."""
    parts = []
    for column, value in where.items():
        if isinstance(value, list | tuple | set | frozenset):
            parts.append(f"{quoted(column)} IN ({', '.join(literal(v) for v in value)})")
        else:
            parts.append(f"{quoted(column)} = {literal(value)}")
    return " AND ".join(parts)


def absolute(path: str) -> str:
    """A path without a scheme, from the folder this process is in: the JVM would take the one it was started in."""
    return path if ":" in path else str(Path(path).absolute())


@dataclass(frozen=True)
class LakeInfo:
    """The identity of a lake."""

    dataset_group: str
    frequency: str
    dimensions: tuple[str, ...]
    buckets: int

    @classmethod
    def planned(cls, config: Config, frequency: str) -> LakeInfo:
        """The identity that a new lake of this config will have."""
        return cls(config.dataset_group, frequency, config.dimensions, config.lake.buckets)


class Lake:
    """Access to one lake through one Spark session."""

    def __init__(self, spark: SparkSession, place: LakeConfig, layout: Layout) -> None:
        self.spark = spark
        self.place = place
        self.layout = layout
        self.schemas = table_schemas(layout)
        self._info: LakeInfo | None = None  # never changes once it is there

    @classmethod
    def of(cls, spark: SparkSession, config: Config) -> Lake:
        """The lake of a config; nothing is made or checked yet."""
        return cls(spark, config.lake, layout_of(config))

    # --- where tables are ---

    def location(self, table: str) -> str:
        """The folder of a table of a path lake."""
        return f"{str(self.place.path).rstrip('/')}/{table}"

    def identifier(self, table: str) -> str:
        """The table's name in SQL."""
        if self.place.path is not None:
            return f"delta.{quoted(self.absolute_location(table))}"
        return quoted(*(part for part in (self.place.catalog, self.place.schema_, table) if part))

    def absolute_location(self, table: str) -> str:
        """The folder of a table, absolute where it is local."""
        return absolute(self.location(table))

    def exists(self, table: str) -> bool:
        """Whether the table has been made."""
        if self.place.path is None:
            return bool(self.spark.catalog.tableExists(self.identifier(table)))
        from delta.tables import DeltaTable

        return bool(DeltaTable.isDeltaTable(self.spark, self.absolute_location(table)))

    def version(self, table: str) -> int:
        """The newest version of a table."""
        history = self.spark.sql(f"DESCRIBE HISTORY {self.identifier(table)} LIMIT 1")
        return int(history.select("version").first()[0])  # type: ignore[index]

    # --- reading ---

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """A table, at a version where one is given. Raises InputError when it has not been made yet."""
        if not self.exists(table):
            raise InputError(f"the lake has no table {table!r} yet; run `almanac ingest` (or `almanac run`) first")
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        if self.place.path is not None:
            return reader.load(self.absolute_location(table))
        return reader.table(self.identifier(table))

    # --- making ---

    def ensure(self, *tables: str) -> None:
        """Make the tables that are not there, with their types, comments, constraints and properties."""
        for name in tables:
            if not self.exists(name):
                self._create(self.schemas[name])

    def _create(self, schema: TableSchema) -> None:
        if self.place.schema_ is not None:
            self.spark.sql(
                f"CREATE SCHEMA IF NOT EXISTS {quoted(*(p for p in (self.place.catalog, self.place.schema_) if p))}"
            )
        columns = ", ".join(
            f"{quoted(c.name)} {c.type}{'' if c.nullable else ' NOT NULL'} COMMENT {literal(c.comment)}"
            for c in schema.columns
        )
        partition = f"PARTITIONED BY ({', '.join(map(quoted, schema.partition_by))})" if schema.partition_by else ""
        properties = dict(_PROPERTIES) | dict(schema.properties)
        properties |= {f"delta.constraints.{name}": check for name, check in schema.checks.items()}
        listed = ", ".join(f"{literal(k)} = {literal(v)}" for k, v in properties.items())
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.identifier(schema.name)} ({columns}) USING delta {partition} "
            f"TBLPROPERTIES ({listed})"
        )

    # --- writing ---

    def _writer(self, table: str, rows: DataFrame) -> Any:
        schema = self.schemas[table]
        missing = [c for c in schema.names if c not in rows.columns]
        if missing:
            raise ValueError(f"rows for {table} lack {missing}")
        extra = [c for c in rows.columns if c not in schema.names]
        writer = rows.select(*schema.names, *extra).write.format("delta").option("mergeSchema", "true")
        return writer.partitionBy(*schema.partition_by) if schema.partition_by else writer

    def _save(self, table: str, writer: Any) -> None:
        if self.place.path is not None:
            writer.save(self.absolute_location(table))
        else:
            writer.saveAsTable(self.identifier(table))

    def append_once(self, table: str, rows: DataFrame, transaction: str) -> None:
        """Append in one commit that Delta refuses to repeat: `transaction` is used for this one write only."""
        writer = self._writer(table, rows).mode("append").option("txnAppId", transaction).option("txnVersion", 1)
        self._save(table, writer)

    def append(self, table: str, rows: DataFrame) -> None:
        """Append in one commit; for a writer that knows by itself whether it has been here before."""
        self._save(table, self._writer(table, rows).mode("append"))

    def replace(self, table: str, rows: DataFrame, where: Mapping[str, object | Sequence[object]]) -> None:
        """Replace the rows that meet the predicate by `rows`, in one commit; an empty predicate replaces all."""
        writer = self._writer(table, rows).mode("overwrite")
        if where:
            writer = writer.option("replaceWhere", predicate(where))
        self._save(table, writer)

    def delete(self, table: str, where: Column) -> None:
        """Delete the rows that meet a condition, in one commit."""
        self._delta(table).delete(where)

    def _delta(self, table: str) -> Any:
        from delta.tables import DeltaTable

        if self.place.path is not None:
            return DeltaTable.forPath(self.spark, self.absolute_location(table))
        return DeltaTable.forName(self.spark, self.identifier(table))

    def merge(self, table: str, rows: DataFrame) -> None:
        """Insert or update by the table's primary key, in one commit."""
        schema = self.schemas[table]
        on = " AND ".join(f"old.{quoted(c)} <=> new.{quoted(c)}" for c in schema.primary_key)
        merge = self._delta(table).alias("old").merge(rows.select(*schema.names).alias("new"), on)
        merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()

    def rows(self, table: str, records: Sequence[Mapping[str, object]]) -> DataFrame:
        """A small DataFrame with the table's own types from plain records."""
        schema = self.schemas[table]
        return self.spark.createDataFrame([tuple(r.get(n) for n in schema.names) for r in records], schema.ddl())

    # --- identity ---

    def info(self) -> LakeInfo | None:
        """The lake's identity; None for a lake that is not there yet. Raises InputError for another schema version."""
        if self._info is not None:
            return self._info
        row = self.read("lake").first() if self.exists("lake") else None
        if row is None:
            return None
        if row["schema_version"] != SCHEMA_VERSION:
            raise InputError(
                f"the lake has schema version {row['schema_version']}, this almanac writes {SCHEMA_VERSION}; "
                "use the version of almanac that made it, or ingest into a new lake"
            )
        self._info = LakeInfo(row["dataset_group"], row["frequency"], tuple(row["dimensions"]), row["buckets"])
        return self._info

    def identity(self) -> LakeInfo:
        """The lake's identity. Raises InputError for a lake that is not there yet, and as `info` does."""
        info = self.info()
        if info is None:
            raise InputError("the lake is empty; run `almanac ingest` (or `almanac run`) first")
        return info

    def check_identity(self, config: Config) -> LakeInfo | None:
        """The lake's identity if it belongs to the config's dataset group (None: not made yet); else InputError."""
        info = self.info()
        return None if info is None else same_group(info, config)

    def identify(self, config: Config, frequency: str) -> LakeInfo:
        """Write the identity of a new lake; that of an existing one stays."""
        info = self.check_identity(config)
        if info is not None:
            return info
        self.ensure("lake")
        info = LakeInfo.planned(config, frequency)
        record = {
            "dataset_group": info.dataset_group,
            "frequency": info.frequency,
            "dimensions": list(info.dimensions),
            "buckets": info.buckets,
            "schema_version": SCHEMA_VERSION,
            "created_at": datetime.now(timezone.utc),
        }
        self.replace("lake", self.rows("lake", [record]), {})
        return info

    def bucket(self, buckets: int) -> Column:
        """The storage bucket of a row, from its key columns."""
        from pyspark.sql import functions as F

        return F.pmod(F.xxhash64(*self.layout.key), F.lit(buckets)).cast("int")


def layout_of(config: Config) -> Layout:
    """What of the tables depends on the config."""
    columns = config.data.related_columns
    return Layout(
        dimensions=config.dimensions,
        related=tuple(columns),
        known=tuple(name for name, column in columns.items() if column.known_in_future),
        attributes=config.data.attributes,
        joined=tuple(a for a in config.data.attributes if any(a in (r.key or ()) for r in config.data.related)),
        quantiles=config.quantiles,
    )


def same_group(info: LakeInfo, config: Config) -> LakeInfo:
    """The identity of a lake that belongs to the config's dataset group. Raises InputError for another one's."""
    wrong = []
    if info.dataset_group != config.dataset_group:
        wrong.append(f"dataset_group is {config.dataset_group!r}, the lake's is {info.dataset_group!r}")
    grid = config.grid
    if not _same_grid(grid, info.frequency):
        wrong.append(f"frequency is {grid.name!r}, the lake's is {info.frequency!r}")
    if info.dimensions != config.dimensions:
        wrong.append(f"dimensions are {list(config.dimensions)}, the lake's are {list(info.dimensions)}")
    if wrong:
        raise InputError(
            f"the lake holds another dataset group: {'; '.join(wrong)}. One lake holds one group: "
            "give another lake.path (or schema), or the group's own config"
        )
    return info


def _same_grid(grid: Any, stored: str) -> bool:
    from forecasting.frequency import Frequency

    known = Frequency.parse(stored)
    return bool(grid == known or (not grid.anchored and replace(known, origin=grid.origin, anchored=False) == grid))


def as_json(value: object) -> str:
    """Compact JSON with stable order, as kept in text columns."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
