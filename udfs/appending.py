"""New rows to further pieces of `series`, so that a day's rows cost what they are and not what the history is.

A series whose new rows all lie behind its end gets one more piece (see `udfs.pieces`). One with late rows (before its
end), or one that has nothing left that makes it a series, is packed again from the tables: it alone. What a piece says
of its whole series is brought forward from the piece before: counts, mean, last observation and lifecycle; class of
demand, strengths and periods stay as they were last packed, until the bucket is packed again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from forecasting.lifecycle import ACTIVE, DORMANT, ENDED, NEW, RETURNING
from udfs.dense import BEGIN_KIND, ITEM, ITEMS_KIND, KEY_HASH, KIND, LATE, ORDINAL, RELATED, SEQUENCE, Appended
from udfs.grid import label, period_ordinal
from udfs.lake import Lake
from udfs.life_dates import with_end_dates
from udfs.life_states import REASON
from udfs.packing import (
    Packing,
    grouped_rows,
    long_rows,
    mapped,
    metadata_by_part,
    packed_by_part,
    packed_series,
    series_columns,
    with_metadata,
    with_related,
)
from udfs.placement import placed
from udfs.roles import Role, roles_of
from udfs.schemas import PROFILE

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_METADATA, _LIFECYCLE, _PROFILE = "#metadata", "#lifecycle", "#profile"
_FEW_TASKS = 8
"""Tasks that bring forward; each starts a Python worker, and pieces are small."""
_MANY_LATE = 0.3
"""Share of late series of a bucket above which all of it is packed again."""


@dataclass(frozen=True)
class News:
    """What came. added: role -> sources that no table held a row of before. rows: by role, the rows that were read,
    grouped by source, key and period. first: the first period (ordinal) of the target's, None without. metadata:
    whether tables of metadata changed. new_from: sequence of the first source of `added`. packed: buckets that are
    packed again anyway."""

    added: Mapping[str, Collection[str]]
    rows: Mapping[str, DataFrame]
    first: int | None
    metadata: bool
    new_from: int
    packed: Collection[int]

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to append."""
        return not any(self.added.values()) and not self.metadata


def bring_forward(packing: Packing, news: News) -> None:
    """Write `series` as the tables are now: further pieces, late series packed again, and the buckets of `packed`."""
    lake = packing.lake
    packed = sorted(news.packed)
    if news.nothing:
        if packed:
            lake.replace("series", packed_series(packing, packed), {"bucket": packed})
        return
    found = _further(packing, news).persist()
    try:
        _write(packing, news, found)
    finally:
        found.unpersist()


def _write(packing: Packing, news: News, found: DataFrame) -> None:
    from pyspark.sql import functions as F

    lake, key = packing.lake, list(packing.lake.layout.key)
    cells = found.groupBy("bucket").agg(F.count_if(F.col(LATE)).alias("late")).collect()
    late = {row["bucket"] for row in cells if row["late"]}
    whole = _mostly(lake, {row["bucket"]: row["late"] for row in cells if row["late"]})
    partly = sorted(late - whole)
    packed = sorted({*news.packed, *whole})
    columns = lake.schemas["series"].names
    on_time = found.where(~F.col(LATE)).select(*columns)
    if late or packed:
        parts = []
        if packed:
            parts.append(packed_series(packing, packed).select(*columns))
        if partly:
            keys = F.broadcast(found.where(F.col(LATE) & F.col("bucket").isin(partly)).select(*key))
            old = lake.read("series").where(F.col("bucket").isin(partly)).join(keys, key, "left_anti")
            parts.append(old)
            parts.append(on_time.where(F.col("bucket").isin(partly)))
            parts.append(packed_series(packing, partly, keys).select(*columns))
        both = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), parts)
        lake.replace("series", both.repartition("bucket"), {"bucket": sorted({*packed, *partly})})
    rest = [row["bucket"] for row in cells if row["bucket"] not in {*packed, *partly}]
    if rest:
        lake.append("series", on_time.where(F.col("bucket").isin(rest)) if late or packed else on_time)


def _mostly(lake: Lake, late: Mapping[int, int]) -> set[int]:
    """The buckets where many of the series are late. late: how many are."""
    from pyspark.sql import functions as F

    if not late:
        return set()
    series = lake.read("series").where(F.col("bucket").isin(sorted(late)) & (F.col("segment") == 0))
    sizes = {row["bucket"]: row["count"] for row in series.groupBy("bucket").count().collect()}
    return {bucket for bucket, n in late.items() if n > max(1, _MANY_LATE * sizes.get(bucket, 0))}


# --- the pieces ---


def _further(packing: Packing, news: News) -> DataFrame:
    """The touched series that are not in `news.packed`: columns of `series`, and `#late`."""

    key = packing.lake.layout.key
    used = [role for role in roles_of(packing.config) if packing.sequences.get(role.name)]
    whole = [role for role in used if role.key == key]
    parts = [role for role in used if role.key != key]
    series = _there(packing, news)
    begins = _begins(packing, series)
    target = _new_target(packing, news, whole)
    related = [role for role in used if role.kind == "related"]
    bound = _bound(packing, news, related, target, begins) if related else None  # a job of its own
    long = [begins, *([] if target is None else [target])]
    kinds = {role.name: 1 + i for i, role in enumerate(r for r in whole if r.kind == "related")}
    for role in whole:
        if role.kind == "related":
            long += _related_since(packing, news, role, kinds[role.name], bound)
        elif role.kind == "items" and news.metadata:
            items = long_rows(packing, packing.lake.read("items"), role, ITEMS_KIND)
            long.append(_elsewhere(packing, news, items))
    rows = _packed(packing, news, whole, long, series)
    for role in sorted(parts, key=lambda r: r.kind == "related"):  # these may be keyed by metadata
        if role.kind == "related":
            table = _since(packing, packing.lake.read("related"), bound)
            rows = with_related(rows, packed_by_part(packing, role, table), role)
            if news.added.get(role.name):
                rows = _with_news_of_part(packing, news, rows, role)
        else:
            rows = with_metadata(rows, metadata_by_part(packing, role), role)
    return _as_series(packing, news, rows)


def _with_news_of_part(packing: Packing, news: News, rows: DataFrame, role: Role) -> DataFrame:
    """With the flags of the series whose part of the key has new related rows: they may be late for some."""
    from pyspark.sql import functions as F

    table = packing.lake.read("related")
    fresh = long_rows(packing, table, role, 1, news.added[role.name])
    first = fresh.groupBy(*role.key).agg(F.min(ORDINAL).alias("#first"))
    some = F.col(_PROFILE)["n_obs"] + F.col(_PROFILE)["n_missing"] > 0
    late = F.coalesce(some & (F.col("#first") < F.col("start_ordinal")), F.lit(False))
    rows = rows.join(first, list(role.key), "left")
    flags = {LATE: F.col(LATE) | late, RELATED: F.col(RELATED) | F.col("#first").isNotNull()}
    return rows.withColumns(flags).drop("#first")


def _there(packing: Packing, news: News) -> DataFrame:
    from pyspark.sql import functions as F

    rows = packing.lake.read("series")
    return rows.where(~F.col("bucket").isin(sorted(news.packed))) if news.packed else rows


def _begins(packing: Packing, series: DataFrame) -> DataFrame:
    """The pieces that are there, as rows of kind -2."""
    from pyspark.sql import functions as F

    key = packing.lake.layout.key
    some = F.col("profile.n_obs") + F.col("profile.n_missing") > 0
    behind = F.when(some, period_ordinal(packing.frequency, F.col("start")) + F.col("n"))
    metadata = [F.col("metadata").alias(_METADATA)] if "metadata" in series.columns else []
    return series.select(
        *key,
        F.xxhash64(*key).alias(KEY_HASH),
        F.lit(BEGIN_KIND).alias(KIND),
        behind.alias(ORDINAL),
        F.col("segment").alias(SEQUENCE),
        F.col("lifecycle").alias(_LIFECYCLE),
        F.col("profile").alias(_PROFILE),
        *metadata,
    )


def _elsewhere(packing: Packing, news: News, rows: DataFrame) -> DataFrame:
    """Rows whose bucket is not packed again anyway."""

    if not news.packed:
        return rows
    return rows.where(~packing.lake.bucket(packing.info.buckets).isin(sorted(news.packed)))


def _new_target(packing: Packing, news: News, roles: Collection[Role]) -> DataFrame | None:
    """The rows of the new sources."""
    role = next(role for role in roles if role.kind == "target")
    if not news.added.get("target") or news.first is None:
        return None
    return _elsewhere(packing, news, grouped_rows(packing, news.rows["target"], role, 0, news.added["target"]))


def _since(packing: Packing, table: DataFrame, bound: int | None) -> DataFrame:
    from pyspark.sql import functions as F

    return table if bound is None else table.where(F.col("timestamp") >= label(packing.frequency, F.lit(bound)))


def _bound(
    packing: Packing, news: News, related: Collection[Role], target: DataFrame | None, begins: DataFrame
) -> int | None:
    """The first period where some touched series' piece can begin; None: not known, related rows are read whole."""
    from pyspark.sql import functions as F

    key = list(packing.lake.layout.key)
    came = [role for role in related if news.added.get(role.name)]
    if news.metadata or any(list(role.key) != key for role in came):
        return None
    keys = [] if target is None else [target.select(*key)]
    keys += [news.rows[role.name].select(*key) for role in came]
    if not keys:
        return None
    touched = reduce(lambda a, b: a.unionByName(b), keys).distinct()
    row = (
        begins.join(touched, key, "left_semi").groupBy(*key).agg(F.max(ORDINAL).alias("end")).agg(F.min("end")).first()
    )
    ends = [news.first, row[0] if row is not None else None]
    return min((end for end in ends if end is not None), default=None)


def _related_since(packing: Packing, news: News, role: Role, kind: int, bound: int | None) -> list[DataFrame]:
    """Related rows of the whole key from a period on: of the new sources, and what the others know of then."""
    from pyspark.sql import functions as F

    table = _since(packing, packing.lake.read("related"), bound)
    added = news.added.get(role.name)
    if not added:
        return [_elsewhere(packing, news, long_rows(packing, table, role, kind))]
    others = [source for source in packing.sequences[role.name] if source not in added]
    rows = [grouped_rows(packing, news.rows[role.name], role, kind, added)]
    if others:
        held = table.where(~F.col("source").isin(sorted(added)))
        rows.append(long_rows(packing, held, role, kind, others))
    return [_elsewhere(packing, news, part) for part in rows]


def _packed(
    packing: Packing, news: News, whole: Collection[Role], long: list[DataFrame], series: DataFrame
) -> DataFrame:
    from pyspark.sql import functions as F

    lake = packing.lake
    columns = {0: dict(next(r for r in whole if r.kind == "target").aggregations)}
    timed = [role for role in whole if role.kind == "related"]
    columns |= {1 + i: dict(role.aggregations) for i, role in enumerate(timed)}
    attributes = tuple(a for role in whole if role.kind == "items" for a in role.values) if news.metadata else ()
    carried = [c for c in (_LIFECYCLE, _PROFILE, _METADATA) if c in long[0].columns]
    spec = packing.spec(columns, attributes, Appended(tuple(carried), news.new_from))
    bucket = lake.bucket(packing.info.buckets)
    rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), long)
    wanted = [n for names in columns.values() for c in names for n in (c, f"{c}#n")] + list(attributes)
    rows = rows.withColumns({n: F.lit(None).cast(_kind(n, attributes)) for n in wanted if n not in rows.columns})
    shuffle = int(str(rows.sparkSession.conf.get("spark.sql.shuffle.partitions", "200")))
    partitions = min(packing.info.buckets, max(shuffle, _FEW_TASKS))
    rows = placed(rows.withColumn("place", F.pmod(bucket, F.lit(partitions)).cast("int")), partitions)
    kinds = {_LIFECYCLE: "lifecycle", _PROFILE: "profile", _METADATA: "metadata"}
    types = {name: series.schema[column].dataType.simpleString() for name, column in kinds.items() if name in carried}
    flags = {LATE: "boolean", RELATED: "boolean", ITEM: "boolean", SEQUENCE: "int"}
    schema = packing.packed_schema(columns, attributes) | flags | types
    return mapped(rows, spec, schema).withColumn("bucket", bucket)


def _kind(name: str, attributes: Collection[str]) -> str:
    return "string" if name in attributes else "bigint" if name.endswith("#n") else "double"


# --- what a piece says of its series ---


def _as_series(packing: Packing, news: News, rows: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    layout = packing.lake.layout
    begun = F.col(SEQUENCE).isNotNull()
    had = set(rows.schema[_PROFILE].dataType.names)  # type: ignore[attr-defined]
    old = {name: F.col(_PROFILE)[name] if name in had else F.lit(None).cast(PROFILE[name]) for name in PROFILE}
    profile = {name: F.when(begun, was).otherwise(F.col(name)) for name, was in old.items()}
    profile |= {n: F.when(begun, v).otherwise(F.col(n)) for n, v in _forward(old).items()}
    state, reason = _lifecycle(packing, old)
    lifecycle = F.when(begun, state).otherwise(F.col("lifecycle"))
    profile[REASON] = F.when(begun, reason).otherwise(F.col(REASON))
    fresh = {a: F.col(a) if a in rows.columns else F.lit(None).cast("string") for a in layout.attributes}
    changed = F.lit(False)
    if layout.attributes:
        held = rows.schema[_METADATA].dataType.names if _METADATA in rows.columns else []  # type: ignore[attr-defined]
        was_of = {a: F.col(_METADATA)[a] if a in held else F.lit(None).cast("string") for a in layout.attributes}
        if news.metadata:
            for a in layout.attributes:
                changed = changed | ~fresh[a].eqNullSafe(was_of[a])
        else:
            fresh = {a: F.when(begun, was_of[a]).otherwise(fresh[a]) for a in layout.attributes}
    empty = begun & (old["n_obs"] + old["n_missing"] == 0) & (F.col("n") == 0)
    has_item = any(role.kind == "items" and role.key == layout.key for role in roles_of(packing.config))
    gone = empty & ~F.col(ITEM) if news.metadata and has_item else F.lit(False)
    touched = ~begun | (F.col("n") > 0) | F.col(LATE) | F.col(RELATED) | changed | gone
    rows = rows.where(touched).withColumns(
        {
            **{name: column for name, column in profile.items()},
            "lifecycle": lifecycle,
            "segment": F.coalesce(F.col(SEQUENCE) + 1, F.lit(0)),
            LATE: F.col(LATE) | gone,
            **fresh,
        }
    )
    rows = with_end_dates(rows, packing.config, packing.frequency, packing.common_end)
    return series_columns(packing, rows, "segment", LATE)


def _forward(old: Mapping[str, Column]) -> dict[str, Column]:
    """The parts of a profile that follow from the piece before and the new points."""
    from pyspark.sql import functions as F

    n_obs = old["n_obs"] + F.col("n_obs")
    total = F.coalesce(old["mean"] * old["n_obs"], F.lit(0.0)) + F.coalesce(F.col("mean") * F.col("n_obs"), F.lit(0.0))
    return {
        "n_obs": n_obs,
        "n_missing": old["n_missing"] + F.col("n_missing"),
        "n_zero": old["n_zero"] + F.col("n_zero"),
        "mean": F.when(n_obs > 0, total / n_obs),
        "last_observed": F.coalesce(F.col("last_observed"), old["last_observed"]),
    }


def _lifecycle(packing: Packing, old: Mapping[str, Column]) -> tuple[Column, Column]:
    """The state of a series with a further piece, and the reason: new becomes active with observations enough, what
    was silent returns with one."""
    from pyspark.sql import functions as F

    n_obs, was = old["n_obs"] + F.col("n_obs"), F.col(_LIFECYCLE)
    few = packing.config.lifecycle.new_below or packing.frequency.season_length
    counted = F.concat(n_obs.cast("string"), F.lit(f" observations, fewer than {few}"))
    counted = F.when(n_obs > 0, counted).otherwise(F.lit("no observations"))
    quiet = was.isin(DORMANT, ENDED, RETURNING)
    sold = F.col("n_obs") > 0
    state = F.when(sold & quiet, RETURNING).when(sold | (was == NEW), F.when(n_obs < few, NEW).otherwise(ACTIVE))
    reason = F.when(state == NEW, counted).when(state == RETURNING, F.lit("sold again"))
    unchanged = ~sold & (was != NEW)
    return state.otherwise(was), F.when(unchanged, old[REASON]).otherwise(reason)
