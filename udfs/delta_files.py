"""Delta tables of a path lake without Spark or a JVM: the file list from `deltalake`, the rows from Parquet.

For the GPU job. It reads at a version, and writes in one commit that replaces what meets a predicate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def read_files(table: DeltaTable, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The columns of a table, file by file in the order of their names; a column that a file lacks is absent, but for
    partition columns, which are not in the files and come from Delta's log."""
    schema = pa.schema(table.schema().to_arrow())
    actions = pa.table(table.get_add_actions(flatten=True))
    partitions = [c for c in table.metadata().partition_columns if c in columns]
    names = ["path", *(f"partition.{c}" for c in partitions)]
    if not actions.num_rows:
        return
    for action in sorted(actions.select(names).to_pylist(), key=lambda a: str(a["path"])):
        opened = pq.ParquetFile(Path(_root(table)) / unquote(str(action["path"])))
        there = opened.schema_arrow.names
        rows = opened.read(columns=[c for c in columns if c.split(".")[0] in there and c not in partitions])
        for name in partitions:
            value = pa.scalar(action[f"partition.{name}"]).cast(schema.field(name).type)
            rows = rows.append_column(name, pa.repeat(value, opened.metadata.num_rows))
        yield rows


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
        schema_mode="merge",  # a table of an older version gets the columns that it lacks
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
