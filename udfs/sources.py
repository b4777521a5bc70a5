"""From a source of the config, or a DataFrame in its place, to raw rows, with a fingerprint that changes when they do.

A *source* in the tables is one file of a path (its path), a Delta table, a table or view (its name), a query (a digest
of it) or a DataFrame (`dataframe`). CSV and JSON are read as text, so that bad values are seen and kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from udfs.errors import InputError
from udfs.lake import absolute
from udfs.roles import Role
from udfs.session_settings import settings
from udfs.unreadable import explained, is_nanoseconds

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

SOURCE = "#source"
"""The column of raw rows that names their source."""
CORRUPT = "#corrupt"
"""The column of raw rows with the text of a line that could not be taken apart (CSV, JSON)."""
NANOSECONDS = "#nanoseconds"
"""Prefix of a column that held timestamps in nanoseconds and was read as bigint."""

_SUFFIXES = {
    "csv": "csv", "tsv": "csv", "txt": "csv", "json": "json", "jsonl": "json", "ndjson": "json",
    "parquet": "parquet", "parq": "parquet", "pqt": "parquet", "delta": "delta",
}  # fmt: skip
_COMPRESSED = ("gz", "bz2", "zst", "snappy", "lz4", "deflate")
_LISTING_OPTIONS = ("recursiveFileLookup", "pathGlobFilter", "modifiedBefore", "modifiedAfter")
_ENCODING = ("encoding", "charset")
_WIDE = ("utf-16", "utf16", "utf-32", "utf32")
_PATTERN = re.compile(r"[\[\]{}*?\\=]")
"""What makes a file's name more than a name: a pattern, or the value of a partition."""
_SPARKS_ENCODINGS = {"iso-8859-1", "us-ascii", "utf-16", "utf-16be", "utf-16le", "utf-32", "utf-8"}
_NANOS_AS_LONG = "spark.sql.legacy.parquet.nanosAsLong"


@dataclass(frozen=True)
class Located:
    """A role's input, found but not read. parts: source -> fingerprint. rows: raw rows where there are no files.

    described: one row a source (role, source, fingerprint), still to be counted by Spark. main: of a Delta table, its
    name without a version.
    """

    role: Role
    format: str
    parts: Mapping[str, str]
    rows: DataFrame | None = None
    described: DataFrame | None = None
    main: str = ""

    @property
    def where(self) -> str:
        """The input in the words of a message."""
        source = self.role.source
        if self.format == "frame":
            return "the DataFrame"
        if source.sql:
            return "the result of its sql"
        return source.table or ", ".join(_paths(self.role))


def locate(spark: SparkSession, roles: Iterable[Role], frames: Mapping[str, DataFrame]) -> list[Located]:
    """Find the sources of every role and take their fingerprints, in one Spark job at most.

    frames: role name -> DataFrame in place of what the config says. Raises InputError for a path, table or query that
    is not there or a source that is neither in the config nor in frames.
    """
    found, problems = [], []
    for role in roles:
        try:
            found.append(_locate(spark, role, frames.get(role.name)))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    open_ends = [located.described for located in found if located.described is not None]
    if not open_ends:
        return found
    union = open_ends[0]
    for described in open_ends[1:]:
        union = union.unionByName(described)
    with explained("the sources", {located.role.place: located.where for located in found}):
        listed = union.collect()
    parts: dict[str, dict[str, str]] = {}
    for row in sorted(listed, key=lambda r: str(r["source"])):
        parts.setdefault(row["role"], {})[row["source"]] = row["fingerprint"]
    return [_complete(each, parts.get(each.role.name, {})) for each in found]


def _locate(spark: SparkSession, role: Role, frame: DataFrame | None) -> Located:
    source = role.source
    if frame is not None:
        return _hashed(role, "frame", frame, "dataframe")
    with explained(role.place, {}):
        if source.sql:
            rows = spark.sql(f"SELECT * FROM (\n{source.sql.rstrip().rstrip(';')}\n)")
            return _hashed(role, "sql", rows, f"sql:{hashlib.sha256(source.sql.encode()).hexdigest()[:16]}")
        if source.table:
            return _table(spark, role, source.table)
        if not source.path:
            raise InputError(f"{role.place} has no path, table or sql, and no DataFrame was given for it")
        return _files(spark, role, _paths(role))


def _paths(role: Role) -> list[str]:
    path = role.source.path
    return [absolute(each) for each in ([path] if isinstance(path, str) else path or ())]


def _table(spark: SparkSession, role: Role, name: str) -> Located:
    """A Delta table is pinned to its newest version; anything else is known by its content."""
    rows = spark.read.table(name)  # raises for a table that is not there
    version = _delta_version(spark, name)
    if version is None:
        return _hashed(role, "table", rows, name)
    pinned = spark.read.option("versionAsOf", version[0]).table(name)
    return Located(role, "delta", {name: version[1]}, rows=_named(pinned, name))


def _delta_version(spark: SparkSession, identifier: str) -> tuple[int, str] | None:
    """Newest version and the fingerprint it gives; None for what is not a Delta table."""
    from pyspark.sql import functions as F

    try:
        history = spark.sql(f"DESCRIBE HISTORY {identifier} LIMIT 1")
        row = history.select("version", F.unix_micros("timestamp").alias("at")).first()
    except Exception:  # each kind of view and table that is not Delta's has its own error
        return None
    return None if row is None else (int(row["version"]), f"delta:{row['version']}@{row['at']}")


def _files(spark: SparkSession, role: Role, paths: Sequence[str]) -> Located:
    from delta.tables import DeltaTable
    from pyspark.sql import functions as F

    kind = role.source.format or ("csv" if role.source.schema_ else _format_of(paths))
    if kind == "delta" or (kind is None and len(paths) == 1 and DeltaTable.isDeltaTable(spark, paths[0])):
        if len(paths) > 1:
            raise InputError(f"{role.place} names {len(paths)} Delta tables; a Delta table is read alone")
        return _delta_path(spark, role, paths[0])
    options = {k: v for k, v in role.source.options.items() if k in _LISTING_OPTIONS}
    listing = spark.read.format("binaryFile").options(**options).load(list(paths))
    stamp = F.concat_ws("@", F.col("_metadata.file_size"), F.unix_micros(F.col("_metadata.file_modification_time")))
    described = listing.select(F.lit(role.name).alias("role"), _file().alias("source"), stamp.alias("fingerprint"))
    return Located(role, kind or "", {}, described=described)


def _delta_path(spark: SparkSession, role: Role, path: str) -> Located:
    version = _delta_version(spark, "delta.`" + path.replace("`", "``") + "`")
    if version is None:
        raise InputError(f"{role.place}: {path} is not a Delta table; give its folder, or another format")
    rows = spark.read.format("delta").option("versionAsOf", version[0]).load(path)
    return Located(role, "delta", {path: version[1]}, rows=_named(rows, path))


def _format_of(paths: Iterable[str]) -> str | None:
    """The format that the suffixes agree on; None where they do not say."""
    found = set()
    for path in paths:
        parts = path.rstrip("/").rsplit("/", 1)[-1].lower().split(".")[1:]
        while parts and parts[-1] in _COMPRESSED:
            parts.pop()
        found.add(_SUFFIXES.get(parts[-1]) if parts else None)
    return found.pop() if len(found) == 1 else None


def _file() -> Column:
    """The path of a row's file as a person writes it: decoded, and without `file:` where it is local."""
    from pyspark.sql import functions as F

    path = F.col("_metadata.file_path")
    # A plus sign stands for itself in a path's URI, and for a space in what url_decode undoes. Few paths have anything
    # to undo, and doing it costs more than reading the row.
    decoded = F.url_decode(F.regexp_replace(path, r"\+", "%2B"))
    plain = F.when(path.contains("%"), decoded).otherwise(path)
    local = F.concat(F.lit("/"), F.ltrim(plain.substr(len("file:") + 1, 1 << 30), F.lit("/")))
    return F.when(plain.startswith("file:/"), local).otherwise(plain)


def _named(rows: DataFrame, name: str) -> DataFrame:
    from pyspark.sql import functions as F

    return rows.withColumn(SOURCE, F.lit(name))


def _hashed(role: Role, kind: str, rows: DataFrame, name: str) -> Located:
    """A source without files or versions: its fingerprint is the sum of its rows' hashes, whatever their order."""
    from pyspark.sql import functions as F

    located = Located(role, kind, {}, rows=_named(rows, name))
    columns = role.resolve(rows.columns, f"{located.where}")
    used = [_column(rows, c) for c in dict.fromkeys(columns.values())]
    # A NULL leaves a hash as it is, so where the NULLs are is hashed too.
    row_hash = F.xxhash64(*used, *(c.isNull() for c in used)).cast("decimal(38,0)")
    stamp = F.concat_ws("#", F.count(F.lit(1)), F.coalesce(F.sum(row_hash), F.lit(0)))
    fingerprint = F.concat(F.lit("rows:"), stamp).alias("fingerprint")
    described = rows.agg(fingerprint).select(
        F.lit(role.name).alias("role"), F.lit(name).alias("source"), "fingerprint"
    )
    return replace(located, described=described)


def _column(rows: DataFrame, name: str) -> Column:
    return rows["`" + name.replace("`", "``") + "`"]


def _complete(located: Located, parts: Mapping[str, str]) -> Located:
    if located.described is None:
        return located
    if not parts:
        raise InputError(f"{located.role.place}: {located.where} is empty; there is no file with anything in it")
    kind = located.format or _format_of(parts) or ""
    if not kind:
        suffixes = ", ".join(sorted(set(_SUFFIXES)))
        raise InputError(
            f"{located.role.place}: the file names of {located.where} do not tell its format (known: {suffixes}); "
            "set format to csv, json, parquet or delta"
        )
    return replace(located, format=kind, parts=parts)


# --- reading ---


@contextmanager
def encodings(spark: SparkSession, located: Iterable[Located]) -> Iterator[None]:
    """Let Spark read text in any encoding that Java knows while the block runs, where a source asks for one.

    Since version 4 Spark knows seven encodings unless its session says otherwise; the setting is put back afterwards.
    """
    wanted = {str(v).lower() for e in located for k, v in e.role.source.options.items() if k.lower() in _ENCODING}
    if not wanted - _SPARKS_ENCODINGS:
        yield
        return
    with settings(spark, {"spark.sql.legacy.javaCharsets": "true"}, needed=True):
        yield


def read(spark: SparkSession, located: Located, sources: Collection[str]) -> DataFrame:
    """Raw rows of some of the sources: the source's own columns, `#source`, and `#corrupt` for CSV and JSON.

    Raises InputError when they cannot be opened. Broken bytes inside a file show when the rows are used.
    """
    from pyspark.sql import functions as F

    if located.rows is not None:
        return located.rows
    some = set(sources) < set(located.parts) and not any(_PATTERN.search(source) for source in sources)
    with explained(located.role.place, {located.role.place: located.where}):
        opened = _open(spark, located, sorted(sources) if some else _paths(located.role))
    if len(located.parts) == 1:
        return _named(opened, next(iter(located.parts)))
    rows = opened.select("*", _file().alias(SOURCE))
    if set(sources) < set(located.parts):
        rows = rows.where(F.col(SOURCE).isin(sorted(sources)))
    return rows


def _open(spark: SparkSession, located: Located, paths: list[str]) -> DataFrame:
    role = located.role
    options: dict[str, Any] = dict(role.source.options)
    if located.format == "csv":
        return _open_csv(spark, located, paths, options)
    if located.format == "json":
        text: dict[str, Any] = {"primitivesAsString": True, "columnNameOfCorruptRecord": CORRUPT}
        rows = spark.read.options(**(text | options)).json(paths)
        return rows if CORRUPT in rows.columns else rows.select("*", _no_text())
    return _open_parquet(spark, paths, options)


def _no_text() -> Column:
    from pyspark.sql import functions as F

    return F.lit(None).cast("string").alias(CORRUPT)


def _open_csv(spark: SparkSession, located: Located, paths: list[str], options: dict[str, Any]) -> DataFrame:
    """All columns as text, under the names of the first line; lines with more or fewer fields are marked."""
    from pyspark.sql.types import StringType, StructField, StructType

    tabs: dict[str, Any] = {"sep": "\t"} if _suffix(located) == "tsv" else {}
    # Quotes inside quotes are doubled, as everything but Spark writes them.
    if any(k.lower() in _ENCODING and str(v).lower().startswith(_WIDE) for k, v in options.items()):
        tabs["multiLine"] = True  # Spark looks for single bytes between lines, and these have two or four
    declared = located.role.source.schema_
    usual: dict[str, Any] = {"header": not declared, "escape": '"'} | tabs | options | {"inferSchema": False}
    names = spark.read.options(**usual).csv(paths).columns
    if not names:
        raise InputError(f"{located.role.place}: {located.where} is empty")
    if declared:
        names = _declared(located, names)
    schema = StructType([StructField(name, StringType()) for name in [*names, CORRUPT]])
    # Without pruning every field of a line is counted; with enforceSchema off, files with other headers are refused.
    strict: dict[str, Any] = {"columnNameOfCorruptRecord": CORRUPT, "columnPruning": False, "enforceSchema": False}
    if declared:
        strict["enforceSchema"] = True  # the schema names the columns, whatever a header says
    return spark.read.schema(schema).options(**(usual | strict)).csv(paths)


def _declared(located: Located, found: Sequence[str]) -> list[str]:
    """The columns' names by the schema of the source, which must have as many as the first line has fields."""
    names = [attribute.name for attribute in located.role.source.schema_ or ()]
    if len(names) != len(found):
        raise InputError(
            f"{located.role.place}: the schema has {len(names)} attributes ({', '.join(names)}) and the first line of "
            f"{located.where} {len(found)} fields; give one attribute a column, in the order of the file, and "
            "options.sep where the fields are not separated by commas"
        )
    return names


def _suffix(located: Located) -> str:
    name = next(iter(located.parts)).lower()
    return next((part for part in reversed(name.split(".")) if part not in _COMPRESSED), "")


def _open_parquet(spark: SparkSession, paths: list[str], options: dict[str, Any]) -> DataFrame:
    """Parquet as it is; timestamps in nanoseconds, which Spark refuses, come as bigint under a marked name."""
    from pyspark.sql.types import LongType

    reader = spark.read.options(**options)
    try:
        return reader.parquet(*paths)
    except Exception as error:
        if not is_nanoseconds(error):
            raise
    # The schema is fixed here; reading the rows needs no setting.
    with settings(spark, {_NANOS_AS_LONG: "true"}, needed=True):
        rows = reader.parquet(*paths)
    # The schema cannot say which bigint was a time; only a column used as one is ever read as nanoseconds.
    whole = [field.name for field in rows.schema if isinstance(field.dataType, LongType)]
    return rows.select("*", *(_column(rows, name).alias(NANOSECONDS + name) for name in whole))
