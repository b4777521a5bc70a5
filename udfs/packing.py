"""`target`, `related` and `items` to `series`: one row a series, its history an array on the grid.

Rows that are keyed by the whole key are brought together by bucket in one shuffle, sorted by a hash of the key, and
packed in Arrow batches (`udfs.dense`). Tables that are keyed by a part of the key (weather by origin) are packed by
that part and joined to the packed series, so that a value is never multiplied by the series that share it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa

from forecasting.frequency import Frequency
from udfs.config import Config
from udfs.dense import ITEMS_KIND, KEY_HASH, KIND, ORDINAL, SEQUENCE, PackSpec, pack_batches
from udfs.grid import period_ordinal
from udfs.lake import Lake, LakeInfo, quoted
from udfs.life_dates import with_end_dates
from udfs.observing import masks_of
from udfs.periods import EVERY_PERIOD, Kept
from udfs.placement import placed
from udfs.roles import Role, roles_of
from udfs.schemas import PROFILE

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

Sequences = Mapping[str, Mapping[str, int]]
"""role name -> source -> its sequence."""


@dataclass(frozen=True)
class Packing:
    """What is packed. sequences: the sources that count, by role. common_end: ordinal of the last period of all.
    kept: the periods that series have, where the data's first or last is dropped."""

    lake: Lake
    config: Config
    info: LakeInfo
    sequences: Sequences
    common_end: int
    kept: Kept = EVERY_PERIOD

    @property
    def frequency(self) -> Frequency:
        """The lake's grid."""
        return Frequency.parse(self.info.frequency)


def packed_series(packing: Packing, buckets: Collection[int] | None) -> DataFrame:
    """Rows of `series` for some buckets (None: all)."""
    roles = roles_of(packing.config)
    key = packing.lake.layout.key
    used = [role for role in roles if packing.sequences.get(role.name)]
    whole = [role for role in used if role.key == key]
    parts = [role for role in used if role.key != key]
    rows = _packed(packing, whole, buckets)
    for role in sorted(parts, key=lambda r: r.kind == "related"):  # these may be keyed by metadata
        if role.kind == "related":
            rows = _with_related(rows, _packed_by_part(packing, role), role)
        else:
            rows = _with_metadata(rows, _metadata_by_part(packing, role), role)
    rows = with_end_dates(rows, packing.config, packing.frequency, packing.common_end)
    return _as_table(packing, rows)


def _as_table(packing: Packing, rows: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    layout = packing.lake.layout
    lists = [_or(rows, c, "array<double>", F.array().cast("array<double>")) for c in layout.related]
    texts = [_or(rows, c, "string", None) for c in layout.attributes]
    structs = [F.struct(*lists).alias("related")] if lists else []
    structs += [F.struct(*texts).alias("metadata")] if texts else []
    profile = F.struct(*(F.col(c) for c in PROFILE)).alias("profile")
    return rows.select(
        *layout.key, F.lit(0).alias("segment"), "start", "n", "target", *structs, "lifecycle", profile, "bucket"
    )


def _or(rows: DataFrame, name: str, kind: str, default: Column | None) -> Column:
    from pyspark.sql import functions as F

    if name not in rows.columns:
        return (F.lit(None).cast(kind) if default is None else default).alias(name)
    column = F.col(quoted(name))
    return (column if default is None else F.coalesce(column, default)).alias(name)


# --- the whole key ---


def _packed(packing: Packing, roles: Sequence[Role], buckets: Collection[int] | None) -> DataFrame:
    """Key, bucket, start, start_ordinal, n, target, lifecycle, profile columns, and the columns of `roles`."""
    from pyspark.sql import functions as F

    key = packing.lake.layout.key
    bucket = packing.lake.bucket(packing.info.buckets)
    long, columns = [], {}
    for kind, role in enumerate(sorted(roles, key=lambda r: r.kind != "target")):
        table = packing.lake.read(role.kind)
        if role.kind == "target" and buckets is not None:
            table = table.where(F.col("bucket").isin(sorted(buckets)))
        rows = _long(packing, table, role, ITEMS_KIND if role.kind == "items" else kind).withColumn("bucket", bucket)
        long.append(rows if buckets is None else rows.where(F.col("bucket").isin(sorted(buckets))))
        if role.timed:
            columns[kind] = dict(role.aggregations)
    opening = packing.config.opening
    attributes = tuple(a for role in roles if role.kind == "items" for a in role.values)
    spec = PackSpec(
        key=key,
        frequency=packing.info.frequency,
        columns=columns,
        attributes=attributes,
        common_end=packing.common_end if packing.kept.last is None else min(packing.common_end, packing.kept.last),
        first=packing.kept.first,
        last=packing.kept.last,
        per_series=packing.config.forecast_start == "per_series",
        missing_is_zero=packing.config.fill.target.middle == "zero",
        masks=masks_of(packing.config),
        week=None if opening is None or not opening.by_calendar else opening.week(packing.config.time_zone),
        open_column=None if opening is None else opening.column,
        silence=packing.config.lifecycle.rule,
    )
    rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), long)
    rows = placed(rows.withColumn("place", F.col("bucket")), packing.info.buckets)
    related = [name for names in list(columns.values())[1:] for name in names]
    schema = {
        **dict.fromkeys(key, "string"),
        "start": "timestamp_ntz",
        "start_ordinal": "bigint",
        "n": "int",
        "target": "array<double>",
        **dict.fromkeys(related, "array<double>"),
        **dict.fromkeys(attributes, "string"),
        "lifecycle": "string",
        **PROFILE,
    }
    return _mapped(rows, spec, schema).withColumn("bucket", bucket)


def _long(packing: Packing, table: DataFrame, role: Role, kind: int) -> DataFrame:
    """A table's rows of one role as the packer wants them."""
    from pyspark.sql import functions as F

    sequences = packing.sequences[role.name]
    if role.kind != "target":
        table = table.where(F.col("role") == role.name)
    table = table.where(F.col("source").isin(list(sequences))) if len(sequences) == 1 else table
    if role.kind == "target":
        values = [F.col("target"), F.col("n_rows").alias("target#n")]
    elif role.kind == "related":
        values = [F.col(quoted(c, part)).alias(f"{c}{end}") for c in role.values for part, end in _PARTS]
    else:
        values = [F.col(quoted(c)) for c in role.values]
    time = period_ordinal(packing.frequency, F.col("timestamp")) if role.timed else F.lit(None).cast("bigint")
    rows = table.select(*role.key, time.alias(ORDINAL), *values, "source")
    return _sequenced(rows, sequences).withColumn(KIND, F.lit(kind)).withColumn(KEY_HASH, F.xxhash64(*role.key))


_PARTS = (("value", ""), ("n", "#n"))


def _sequenced(rows: DataFrame, sequences: Mapping[str, int]) -> DataFrame:
    """With `#sequence` in place of `source`; rows of sources that do not count are left out."""
    from pyspark.sql import functions as F

    if len(sequences) == 1:
        return rows.withColumn(SEQUENCE, F.lit(next(iter(sequences.values())))).drop("source")
    listed = rows.sparkSession.createDataFrame(list(sequences.items()), f"source string, `{SEQUENCE}` int")
    return rows.join(F.broadcast(listed), "source").drop("source")


def _mapped(rows: DataFrame, spec: PackSpec, schema: Mapping[str, str]) -> DataFrame:
    """Sort by key within the partitions and pack."""
    names = list(schema)
    used = [*spec.key, KEY_HASH, KIND, ORDINAL, SEQUENCE, *spec.attributes]
    used += [c + end for columns in spec.columns.values() for c in columns for end in ("", "#n")]
    ddl = ", ".join(f"{quoted(name)} {kind}" for name, kind in schema.items())
    rows = rows.select(*(quoted(c) for c in used)).sortWithinPartitions(KEY_HASH)
    return rows.mapInArrow(_task(spec, names), ddl)


def _task(spec: PackSpec, names: list[str]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for packed in pack_batches(spec, batches):
            yield packed.select(names)

    return run


# --- a part of the key ---


def _packed_by_part(packing: Packing, role: Role) -> DataFrame:
    """The related columns of a role, one row for each value of its part of the key."""
    from pyspark.sql import functions as F

    spec = PackSpec(key=role.key, frequency=packing.info.frequency, columns={1: dict(role.aggregations)}, bare=True)
    rows = _long(packing, packing.lake.read("related"), role, 1).repartition(F.col(KEY_HASH))
    schema = {**dict.fromkeys(role.key, "string"), "start_ordinal": "bigint"}
    return _mapped(rows, spec, schema | dict.fromkeys(role.values, "array<double>"))


def _with_related(rows: DataFrame, part: DataFrame, role: Role) -> DataFrame:
    """Series with the related columns of a part of their key, from their own start."""
    from pyspark.sql import functions as F

    part = part.withColumnRenamed("start_ordinal", "#part_start")
    for name in set(role.key) - set(rows.columns):  # metadata that no source has brought yet
        rows = rows.withColumn(name, F.lit(None).cast("string"))
    joined = rows.join(part, list(role.key), "left")
    late = (F.col("start_ordinal") - F.col("#part_start")).cast("int")
    for name in role.values:
        values = F.col(name)
        before = F.array_repeat(F.lit(float("nan")), F.greatest(-late, F.lit(0)))
        left = F.greatest(F.size(values) - late, F.lit(0))
        moved = (
            F.when(values.isNull() | (F.size(values) == 0), F.array().cast("array<double>"))
            .when(late >= 0, F.slice(values, F.greatest(late, F.lit(0)) + 1, left))
            .otherwise(F.concat(before, values))
        )
        joined = joined.withColumn(name, moved)
    return joined.drop("#part_start")


def _metadata_by_part(packing: Packing, role: Role) -> DataFrame:
    """The metadata of a role, one row for each value of its part of the key; of each column the latest source's."""
    from pyspark.sql import functions as F

    rows = packing.lake.read("items").where(F.col("role") == role.name).select(*role.key, *role.values, "source")
    sequences = packing.sequences[role.name]
    if len(sequences) == 1:  # one row a key already
        return rows.where(F.col("source") == next(iter(sequences))).drop("source")
    rows = _sequenced(rows, sequences)
    latest = [F.max_by(c, F.when(F.col(c).isNotNull(), F.col(SEQUENCE))).alias(c) for c in role.values]
    return rows.groupBy(*role.key).agg(*latest)


def _with_metadata(rows: DataFrame, part: DataFrame, role: Role) -> DataFrame:
    return rows.join(part, list(role.key), "left")
