"""Delta tables of a path lake without Spark or a JVM: the file list from `deltalake`, the rows from Parquet.

For the GPU job. It reads at a version, and writes in one commit that replaces what meets a predicate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.errors import InputError
from udfs.layout import TableSchema

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from udfs.config.schema import LakeConfig

_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_ntz": pa.timestamp("us"),
    "array<double>": pa.list_(pa.float64()),
    "map<string, double>": pa.map_(pa.string(), pa.float64()),
}
_PROPERTIES = {"delta.enableDeletionVectors": "false", "delta.checkpointInterval": "20"}


def lake_folder(place: LakeConfig) -> Path:
    """The folder of a path lake. Raises InputError for a lake in a catalog or on an object store."""
    if place.path is None:
        name = ".".join(part for part in (place.catalog, place.schema_) if part)
        raise InputError(
            f"the lake is the schema {name} of a catalog, which cannot be read without Spark; give lake.path, the "
            "folder that holds the tables `series`, `runs`, … (of a managed schema copy `lake`, `series`, `runs` and "
            "`holidays` into a folder by CREATE TABLE … LOCATION … AS SELECT)"
        )
    path = place.path.removeprefix("file://") if place.path.startswith("file:///") else place.path
    if "://" in path or path.startswith("dbfs:"):
        raise InputError(
            f"lake.path is {place.path}; this job reads a local or mounted folder: mount it and name that"
        )
    return Path(path).absolute()


def open_table(lake: Path, name: str, version: int | None = None) -> DeltaTable | None:
    """A table at a version, None where it has not been made.

    Raises InputError for a version that is gone, and for deletion vectors, which only Spark applies.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    folder = str(lake / name)
    if not DeltaTable.is_deltatable(folder):
        return None
    try:
        table = DeltaTable(folder, version=version)
    except (DeltaError, OSError) as error:
        raise InputError(f"table {name} cannot be read at version {version}: {str(error).splitlines()[0]}") from error
    if _has_deletion_vectors(table):
        raise InputError(
            f"table {name} has deletion vectors, which only Spark applies; run "
            f"`ALTER TABLE … SET TBLPROPERTIES ('delta.enableDeletionVectors' = false)` and "
            f"`REORG TABLE … APPLY (PURGE)` on it"
        )
    return table


def _has_deletion_vectors(table: DeltaTable) -> bool:
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return False
    found = getattr(table, "deletion_vectors", None)
    return found is None or pa.table(found()).num_rows > 0


def rows_by(table: DeltaTable, partition: str) -> dict[Any, int]:
    """The number of rows of each value of a partition column."""
    found: dict[Any, int] = {}
    for action in _actions(table, [partition]):
        rows = pq.read_metadata(_place(table, action)).num_rows
        found[action[partition]] = found.get(action[partition], 0) + rows
    return found


def read_files(
    table: DeltaTable, columns: Sequence[str], where: Mapping[str, Collection[Any]] | None = None
) -> Iterator[pa.Table]:
    """The columns of a table, file by file in the order of their names; a column that a file lacks is absent, but for
    partition columns, which are not in the files and come from Delta's log. where: values of partition columns, only
    files that have one of them are read."""
    where = where or {}
    partitions = [c for c in table.metadata().partition_columns if c in columns or c in where]
    schema = pa.schema(table.schema().to_arrow())
    for action in _actions(table, partitions):
        if any(action[name] not in values for name, values in where.items()):
            continue
        opened = pq.ParquetFile(_place(table, action))
        there = opened.schema_arrow.names
        rows = opened.read(columns=[c for c in columns if c.split(".")[0] in there and c not in partitions])
        for name in partitions:
            if name in columns:
                value = pa.scalar(action[name]).cast(schema.field(name).type)
                rows = rows.append_column(name, pa.repeat(value, opened.metadata.num_rows))
        yield rows


def _actions(table: DeltaTable, partitions: Sequence[str]) -> list[dict[str, Any]]:
    """The files of a table in the order of their paths: `path` and the values of partition columns."""
    actions = pa.table(table.get_add_actions(flatten=True))
    if not actions.num_rows:
        return []
    chosen = actions.select(["path", *(f"partition.{c}" for c in partitions)]).rename_columns(["path", *partitions])
    return sorted(chosen.to_pylist(), key=lambda a: str(a["path"]))


def _place(table: DeltaTable, action: Mapping[str, Any]) -> Path:
    return Path(_root(table)) / unquote(str(action["path"]))


def _root(table: DeltaTable) -> str:
    return unquote(table.table_uri.removeprefix("file://"))


def read_rows(table: DeltaTable, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a small table."""
    rows = [row for part in read_files(table, columns) for row in part.to_pylist(maps_as_pydicts="strict")]
    return [{name: row.get(name) for name in columns} for row in rows]


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """The Arrow types of a table."""
    # NOT NULL is a table feature (invariants) that deltalake uses without listing it; Spark refuses such a table.
    return pa.schema([pa.field(c.name, _TYPES[c.type]) for c in schema.columns])


def replace_rows(lake: Path, schema: TableSchema, rows: Iterator[pa.RecordBatch], where: Mapping[str, Any]) -> int:
    """Put rows in place of those that meet a predicate, in one commit, the table made where it is not there; the new
    version. A value of `where` is a text, or a list of them."""
    from deltalake import DeltaTable, write_deltalake

    folder, types = str(lake / schema.name), arrow_schema(schema)
    partition = list(schema.partition_by) or None
    if not DeltaTable.is_deltatable(folder):
        DeltaTable.create(folder, types, mode="ignore", partition_by=partition, configuration=_PROPERTIES)
    reader = pa.RecordBatchReader.from_batches(types, rows)
    write_deltalake(
        folder,
        reader,
        mode="overwrite",
        predicate=_predicate(where),
        partition_by=partition,
        schema_mode="merge",  # a table of an earlier version may lack columns
    )
    return int(DeltaTable(folder).version())


def _predicate(where: Mapping[str, Any]) -> str:
    parts = []
    for name, value in where.items():
        texts = [value] if isinstance(value, str) else list(value)
        parts.append(f"{name} IN ({', '.join(_quoted(t) for t in texts)})")
    return " AND ".join(parts)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
