"""`target`, `related` and `items` to `series`: one row a series, its history an array on the grid.

Rows that are keyed by the whole key are brought together by bucket in one shuffle, sorted by a hash of the key, and
packed in Arrow batches (`udfs.dense`). Tables that are keyed by a part of the key (weather by origin) are packed by
that part and joined to the packed series, so that a value is never multiplied by the series that share it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.frequency import Frequency
from udfs.config import Config
from udfs.dense import ITEMS_KIND, KEY_HASH, KIND, ORDINAL, SEQUENCE, TARGET_KIND, Appended, PackSpec, pack_batches
from udfs.grid import period_ordinal
from udfs.lake import Lake, LakeInfo
from udfs.layout import quoted
from udfs.life_dates import with_end_dates
from udfs.observing import masks_of
from udfs.periods import EVERY_PERIOD, Kept
from udfs.placement import looked_up, placed
from udfs.roles import Role, roles_of
from udfs.schemas import PROFILE
from udfs.source_codes import CODE

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

    def spec(
        self,
        columns: Mapping[int, Mapping[str, str]],
        attributes: tuple[str, ...],
        appended: Appended | None = None,
    ) -> PackSpec:
        """What the packing tasks of the whole key need to know. columns: by kind, name -> aggregation."""
        opening = self.config.opening
        return PackSpec(
            key=self.lake.layout.key,
            frequency=self.info.frequency,
            columns=columns,
            attributes=attributes,
            common_end=self.common_end if self.kept.last is None else min(self.common_end, self.kept.last),
            per_series=self.config.forecast_start == "per_series",
            missing_is_zero=self.config.fill.target.middle == "zero",
            first=self.kept.first,
            last=self.kept.last,
            masks=masks_of(self.config),
            week=None if opening is None or not opening.by_calendar else opening.week(self.config.time_zone),
            open_column=None if opening is None else opening.column,
            silence=self.config.lifecycle.rule,
            appended=appended,
        )

    def packed_schema(self, columns: Mapping[int, Mapping[str, str]], attributes: Sequence[str]) -> dict[str, str]:
        """The columns that those tasks return, and their types."""
        related = [name for kind, names in columns.items() if kind for name in names]
        return {
            **dict.fromkeys(self.lake.layout.key, "string"),
            "start": "timestamp_ntz",
            "start_ordinal": "bigint",
            "n": "int",
            "target": "array<double>",
            **dict.fromkeys(related, "array<double>"),
            **dict.fromkeys(attributes, "string"),
            "lifecycle": "string",
            **PROFILE,
        }


def packed_series(
    packing: Packing,
    buckets: Collection[int] | None,
    only: DataFrame | None = None,
    ready: DataFrame | None = None,
) -> DataFrame:
    """Rows of `series` for some buckets (None: all). only: keys; the other series are left out. ready: all rows of the
    target, grouped by source, key and period, a bucket in one partition."""
    from pyspark.sql import functions as F

    roles = roles_of(packing.config)
    key = packing.lake.layout.key
    used = [role for role in roles if packing.sequences.get(role.name)]
    whole = [role for role in used if role.key == key]
    parts = [role for role in used if role.key != key]
    if ready is not None and [role.kind for role in whole] == ["target"]:
        rows = _packed_as_placed(packing, whole[0], ready)
    else:
        rows = _packed(packing, whole, buckets, only)
    for role in sorted(parts, key=lambda r: r.kind == "related"):  # these may be keyed by metadata
        if role.kind == "related":
            rows = with_related(rows, packed_by_part(packing, role, packing.lake.read("related")), role)
        else:
            rows = with_metadata(rows, metadata_by_part(packing, role), role)
    rows = with_end_dates(rows, packing.config, packing.frequency, packing.common_end)
    return series_columns(packing, rows.withColumn("segment", F.lit(0)), "segment")


def series_columns(packing: Packing, rows: DataFrame, *more: str) -> DataFrame:
    """The columns of `series` but those named (`more`), which are there already and are kept."""
    from pyspark.sql import functions as F

    layout = packing.lake.layout
    lists = [_or(rows, c, "array<double>", F.array().cast("array<double>")) for c in layout.related]
    texts = [_or(rows, c, "string", None) for c in layout.attributes]
    structs = [F.struct(*lists).alias("related")] if lists else []
    structs += [F.struct(*texts).alias("metadata")] if texts else []
    profile = F.struct(*(F.col(c) for c in PROFILE)).alias("profile")
    return rows.select(*layout.key, *more, "start", "n", "target", *structs, "lifecycle", profile, "bucket")


def _or(rows: DataFrame, name: str, kind: str, default: Column | None) -> Column:
    from pyspark.sql import functions as F

    if name not in rows.columns:
        return (F.lit(None).cast(kind) if default is None else default).alias(name)
    column = F.col(quoted(name))
    return (column if default is None else F.coalesce(column, default)).alias(name)


# --- the whole key ---


def _packed(
    packing: Packing, roles: Sequence[Role], buckets: Collection[int] | None, only: DataFrame | None
) -> DataFrame:
    """Key, bucket, start, start_ordinal, n, target, lifecycle, profile columns, and the columns of `roles`."""
    from pyspark.sql import functions as F

    key = packing.lake.layout.key
    bucket = packing.lake.bucket(packing.info.buckets)
    long, columns = [], {}
    for kind, role in enumerate(sorted(roles, key=lambda r: r.kind != "target")):
        table = packing.lake.read(role.kind)
        if role.kind == "target" and buckets is not None:
            table = table.where(F.col("bucket").isin(sorted(buckets)))
        if only is not None:
            table = table.join(only, list(key), "left_semi")
        rows = long_rows(packing, table, role, ITEMS_KIND if role.kind == "items" else kind)
        rows = rows.withColumn("bucket", bucket)
        long.append(rows if buckets is None else rows.where(F.col("bucket").isin(sorted(buckets))))
        if role.timed:
            columns[kind] = dict(role.aggregations)
    attributes = tuple(a for role in roles if role.kind == "items" for a in role.values)
    rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), long)
    rows = placed(rows.withColumn("place", F.col("bucket")), packing.info.buckets)
    schema = packing.packed_schema(columns, attributes)
    return mapped(rows, packing.spec(columns, attributes), schema).withColumn("bucket", bucket)


def _packed_as_placed(packing: Packing, role: Role, groups: DataFrame) -> DataFrame:
    """The same of rows that were just grouped: they lie together by bucket already."""
    from pyspark.sql import functions as F

    columns = {TARGET_KIND: dict(role.aggregations)}
    numbers = [number for _, number in sorted(packing.sequences[role.name].items())]
    if CODE in groups.columns and len(numbers) > 1:
        groups = groups.withColumn(SEQUENCE, looked_up(np.array(numbers), F.col(CODE)))
    rows = grouped_rows(packing, groups, role, TARGET_KIND, None)
    fixed = {KIND: TARGET_KIND} | ({SEQUENCE: numbers[0]} if len(numbers) == 1 else {})
    # Only means are weighed by the rows behind a value.
    fixed |= {f"{name}#n": 1 for name, how in columns[TARGET_KIND].items() if how != "mean"}
    spec = replace(packing.spec(columns, ()), fixed=fixed)
    packed = mapped(rows, spec, packing.packed_schema(columns, ()))
    return packed.withColumn("bucket", packing.lake.bucket(packing.info.buckets))


def grouped_rows(
    packing: Packing, groups: DataFrame, role: Role, kind: int, sources: Collection[str] | None
) -> DataFrame:
    """Groups of a role's rows (`udfs.cleaning.grouped`) as the packer wants them; of some sources where they are
    given."""
    from pyspark.sql import functions as F

    sequences = {s: n for s, n in packing.sequences[role.name].items() if sources is None or s in sources}
    clear = groups.where(~F.col("#ambiguous"))
    clear = clear.where(F.col("source").isin(list(sequences))) if sources is not None else clear
    values = [quoted(name + end) for name in role.values for end in ("", "#n")]
    number = [SEQUENCE if SEQUENCE in groups.columns else "source"]
    rows = clear.select(*role.key, ORDINAL, *values, *number)
    rows = rows if SEQUENCE in rows.columns else _sequenced(rows, sequences)
    return rows.withColumn(KIND, F.lit(kind)).withColumn(KEY_HASH, F.xxhash64(*role.key))


def long_rows(
    packing: Packing, table: DataFrame, role: Role, kind: int, sources: Collection[str] | None = None
) -> DataFrame:
    """A table's rows of one role as the packer wants them; of some of its sources where they are given."""
    from pyspark.sql import functions as F

    sequences = {s: n for s, n in packing.sequences[role.name].items() if sources is None or s in sources}
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


def mapped(rows: DataFrame, spec: PackSpec, schema: Mapping[str, str]) -> DataFrame:
    """Sort by key within the partitions and pack."""
    names = list(schema)
    used = [*spec.key, KEY_HASH, KIND, ORDINAL, SEQUENCE, *spec.attributes]
    used += spec.appended.carried if spec.appended is not None else ()
    used += [c + end for columns in spec.columns.values() for c in columns for end in ("", "#n")]
    ddl = ", ".join(f"{quoted(name)} {kind}" for name, kind in schema.items())
    rows = rows.select(*(quoted(c) for c in used if c not in spec.fixed)).sortWithinPartitions(KEY_HASH)
    return rows.mapInArrow(_task(spec, names), ddl)


def _task(spec: PackSpec, names: list[str]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for packed in pack_batches(spec, batches):
            yield packed.select(names)

    return run


# --- a part of the key ---


def packed_by_part(packing: Packing, role: Role, table: DataFrame) -> DataFrame:
    """The related columns of a role, one row for each value of its part of the key. table: rows of `related`."""
    from pyspark.sql import functions as F

    spec = PackSpec(key=role.key, frequency=packing.info.frequency, columns={1: dict(role.aggregations)}, bare=True)
    rows = long_rows(packing, table, role, 1).repartition(F.col(KEY_HASH))
    schema = {**dict.fromkeys(role.key, "string"), "start_ordinal": "bigint"}
    return mapped(rows, spec, schema | dict.fromkeys(role.values, "array<double>"))


def with_related(rows: DataFrame, part: DataFrame, role: Role) -> DataFrame:
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


def metadata_by_part(packing: Packing, role: Role) -> DataFrame:
    """The metadata of a role, one row for each value of its part of the key; of each column the latest source's."""
    from pyspark.sql import functions as F

    rows = packing.lake.read("items").where(F.col("role") == role.name).select(*role.key, *role.values, "source")
    sequences = packing.sequences[role.name]
    if len(sequences) == 1:  # one row a key already
        return rows.where(F.col("source") == next(iter(sequences))).drop("source")
    rows = _sequenced(rows, sequences)
    latest = [F.max_by(c, F.when(F.col(c).isNotNull(), F.col(SEQUENCE))).alias(c) for c in role.values]
    return rows.groupBy(*role.key).agg(*latest)


def with_metadata(rows: DataFrame, part: DataFrame, role: Role) -> DataFrame:
    return rows.join(part, list(role.key), "left")
