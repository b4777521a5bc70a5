"""Delta tables of a path lake without Spark or a JVM: the file list from `deltalake`, the rows from Parquet.

For the GPU job. It reads at a version, and writes in one commit that replaces what meets a predicate. The lake is a
folder or on an object store, whose credentials are in the environment (as `deltalake` names them).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import PyFileSystem

from udfs.errors import InputError, first_line
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
_STORES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
_PROPERTIES = {"delta.enableDeletionVectors": "false", "delta.checkpointInterval": "20"}


def lake_root(place: LakeConfig) -> str:
    """Where the tables of a path lake are: a folder, or a URL of an object store. Raises InputError for a lake in a
    catalog, and for a store that `deltalake` does not know."""
    if place.path is None:
        name = ".".join(part for part in (place.catalog, place.schema_) if part)
        raise InputError(
            f"the lake is the schema {name} of a catalog, which cannot be read without Spark; give lake.path, the "
            "folder that holds the tables `series`, `runs`, … (of a managed schema copy `lake`, `series`, `runs` and "
            "`holidays` into a folder by CREATE TABLE … LOCATION … AS SELECT)"
        )
    path = place.path.removeprefix("file://") if place.path.startswith("file:///") else place.path
    if not is_store(path):
        return str(Path(path).absolute())
    if urlsplit(path).scheme not in _STORES:
        known = ", ".join(f"{scheme}://" for scheme in _STORES)
        raise InputError(
            f"lake.path is {place.path}; this job reads a folder or a store ({known}): mount it and name the folder"
        )
    return path.rstrip("/")


def is_store(path: str) -> bool:
    """Whether a path is a URL and not of this machine's file system."""
    return "://" in path or path.startswith("dbfs:")


def open_table(lake: str, name: str, version: int | None = None) -> DeltaTable | None:
    """A table at a version, None where it has not been made.

    Raises InputError for a version that is gone, for a store that does not answer or lets nobody in, and for deletion
    vectors, which only Spark applies.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    place = f"{lake}/{name}"
    try:
        if not DeltaTable.is_deltatable(place):
            return None
    except (DeltaError, OSError) as error:
        raise InputError(
            f"{place} cannot be reached: {first_line(error)}; the store's address and credentials are taken from the "
            "environment (AWS_…, AZURE_…, GOOGLE_…)"
        ) from error
    try:
        table = DeltaTable(place, version=version)
    except (DeltaError, OSError) as error:
        raise InputError(f"table {name} cannot be read at version {version}: {first_line(error)}") from error
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
    opened = _opener(table)
    for action in _actions(table, [partition]):
        rows = opened(action).metadata.num_rows
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
    opener = _opener(table)
    for action in _actions(table, partitions):
        if any(action[name] not in values for name, values in where.items()):
            continue
        opened = opener(action)
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


def _opener(table: DeltaTable) -> Callable[[Mapping[str, Any]], pq.ParquetFile]:
    """What opens a file of a table."""
    root = table.table_uri.removeprefix("file://")
    if not is_store(root):
        return lambda action: pq.ParquetFile(Path(unquote(root)) / unquote(str(action["path"])))
    from deltalake.fs import DeltaStorageHandler

    files = PyFileSystem(DeltaStorageHandler(table.table_uri))
    return lambda action: pq.ParquetFile(files.open_input_file(unquote(str(action["path"]))), pre_buffer=True)


def read_rows(table: DeltaTable, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a small table."""
    rows = [row for part in read_files(table, columns) for row in part.to_pylist(maps_as_pydicts="strict")]
    return [{name: row.get(name) for name in columns} for row in rows]


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """The Arrow types of a table."""
    # NOT NULL is a table feature (invariants) that deltalake uses without listing it; Spark refuses such a table.
    return pa.schema([pa.field(c.name, _TYPES[c.type]) for c in schema.columns])


def replace_rows(lake: str, schema: TableSchema, rows: Iterator[pa.RecordBatch], where: Mapping[str, Any]) -> int:
    """Put rows in place of those that meet a predicate, in one commit, the table made where it is not there; the new
    version. A value of `where` is a text, or a list of them."""
    from deltalake import DeltaTable, write_deltalake

    place, types = f"{lake}/{schema.name}", arrow_schema(schema)
    partition = list(schema.partition_by) or None
    if not DeltaTable.is_deltatable(place):
        DeltaTable.create(place, types, mode="ignore", partition_by=partition, configuration=_PROPERTIES)
    reader = pa.RecordBatchReader.from_batches(types, rows)
    write_deltalake(
        place,
        reader,
        mode="overwrite",
        predicate=_predicate(where),
        partition_by=partition,
        schema_mode="merge",  # a table of an earlier version may lack columns
    )
    return int(DeltaTable(place).version())


def _predicate(where: Mapping[str, Any]) -> str:
    parts = []
    for name, value in where.items():
        texts = [value] if isinstance(value, str) else list(value)
        parts.append(f"{name} IN ({', '.join(_quoted(t) for t in texts)})")
    return " AND ".join(parts)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
