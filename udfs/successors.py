"""Which series goes on from which: a table of the user's to the table `successors`.

Links are read and checked before an ingest writes anything, because a cycle is refused. What they are worth for each
series is decided from `series` when it is written: the scale of each link, chains as a product of scales. The table of
links is as long as products are replaced, so it is walked through on the driver; histories stay with Spark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from forecasting.frequency import Frequency
from forecasting.inheritance import SCALE_FROM, link_scales
from udfs.arrow import label_microseconds, list_buffers
from udfs.config import Config
from udfs.config.evaluation import least_history
from udfs.config.lifecycle import Successors
from udfs.errors import InputError
from udfs.grid import label, ordinal
from udfs.lake import Lake, LakeInfo, as_json
from udfs.layout import quoted
from udfs.life_dates import date_time
from udfs.pieces import joined
from udfs.roles import Role
from udfs.sources import CORRUPT, SOURCE, encodings, locate, read

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

TABLE, ROLE = "successors", "successors"
MOST_LINKS = 1_000_000
_OPTIONAL = ("scale", "switch_date")
_REASON = "#reason"


@dataclass(frozen=True)
class Links:
    """A user's table of links, checked. rows: predecessor, successor, dimensions, scale, switch (microseconds), the
    raw row and the reason for which it is refused, if any. depth: of the longest chain. digest: of what counts."""

    key: tuple[str, ...]
    rows: DataFrame
    depth: int
    digest: str


def read_links(lake: Lake, config: Config, info: LakeInfo | None) -> Links | None:
    """The links of the config; None without. Raises InputError for a table that cannot be read and for cycles."""
    section = config.lifecycle.successors
    if section is None:
        return None
    role = _role(config, section)
    (located,) = locate(lake.spark, [role], {})
    with encodings(lake.spark, [located]):
        raw = read(lake.spark, located, frozenset(located.parts))
        frequency = Frequency.parse(info.frequency if info else config.grid.name)
        rows = _clean(raw, role, config, frequency)
    good = rows.where(f"`{_REASON}` IS NULL").drop("row", _REASON, "source")
    if good.count() > MOST_LINKS:
        raise InputError(f"lifecycle.successors has more than {MOST_LINKS:,} links; name only those of replaced items")
    found = sorted((tuple(row) for row in good.collect()), key=repr)
    width = 2 + len(role.key)
    links = {(link[1], *link[2:width]): (link[0], *link[2:width]) for link in found}
    depth = _depth(links)
    decisive = as_json([repr(found), least_history(config), section.scale_bounds, list(role.key)])
    return Links(role.key, rows, depth, hashlib.sha256(decisive.encode()).hexdigest()[:16])


def _role(config: Config, section: Successors) -> Role:
    """The table as a source that ingest's reader understands."""
    key = tuple(k for k in config.dimensions if k in section.key)
    known = ("predecessor", "successor", *key)
    unknown = [c for c in section.columns if c not in (*known, *_OPTIONAL)]
    if unknown:
        listed = ", ".join((*known, *_OPTIONAL))
        raise InputError(
            f"lifecycle.successors.columns names {unknown[0]!r}, which it does not use; it uses: {listed}"
        )
    columns = {c: section.columns.get(c, c) for c in (*known, *(c for c in _OPTIONAL if c in section.columns))}
    return Role(ROLE, "lifecycle.successors", "items", section, key, known[:2], {}, columns, "")


def _clean(raw: DataFrame, role: Role, config: Config, frequency: Frequency) -> DataFrame:
    """Links in our names, each with the first reason that speaks against it."""
    from pyspark.sql import functions as F
    from pyspark.sql.window import Window

    own = [c for c in raw.columns if not c.startswith("#")]
    found = role.resolve(own, "the table")
    lower = {c.lower(): c for c in own}
    found |= {c: lower[c] for c in _OPTIONAL if c not in found and c in lower}

    def text(name: str) -> Column:
        column = F.col(quoted(found[name])).cast("string") if name in found else F.lit(None).cast("string")
        missing = ("", "null", "nan", "none") if name in _OPTIONAL else ("",)  # an item may be called none
        return F.when(~F.lower(F.trim(column)).isin(*missing), F.trim(column) if name in _OPTIONAL else column)

    names = ("predecessor", "successor", *role.key)
    scale, switch = text("scale").try_cast("double"), date_time(text("switch_date"), frequency, config.time_zone)
    wrong_scale = text("scale").isNotNull() & ~F.coalesce((scale > 0) & (scale < 1e100), F.lit(False))
    checks = [
        ("corrupt_row", F.col(CORRUPT).isNotNull() if CORRUPT in raw.columns else F.lit(False)),
        ("null_item_id", text("predecessor").isNull() | text("successor").isNull()),
        ("null_dimension", _any([text(k).isNull() for k in role.key])),
        ("bad_scale", wrong_scale),
        ("bad_date", text("switch_date").isNotNull() & switch.isNull()),
    ]
    reason = F.lit(None).cast("string")
    for code, failed in reversed(checks):
        reason = F.when(failed, F.lit(code)).otherwise(reason)
    rows = raw.select(
        *(text(name).alias(name) for name in names),
        scale.alias("scale"),
        switch.alias("switch"),
        F.col(SOURCE).alias("source"),
        F.to_json(F.struct(*(F.col(quoted(c)) for c in own)), {"ignoreNullFields": "false"}).alias("row"),
        reason.alias(_REASON),
    ).dropDuplicates([*names, "scale", "switch", _REASON])
    same = Window.partitionBy("successor", *role.key, F.col(quoted(_REASON)).isNull())
    twice = F.col(quoted(_REASON)).isNull() & (F.count(F.lit(1)).over(same) > 1)
    return rows.withColumn(_REASON, F.when(twice, F.lit("duplicate")).otherwise(F.col(quoted(_REASON))))


def _any(conditions: Sequence[Column]) -> Column:
    from pyspark.sql import functions as F

    found = F.lit(False)
    for condition in conditions:
        found = found | condition
    return found


def _depth(links: Mapping[tuple[Any, ...], tuple[Any, ...]]) -> int:
    """The number of links in the longest chain. links: successor -> predecessor. Raises InputError naming cycles."""
    length: dict[tuple[Any, ...], int] = {}
    cycles = []
    for begin in links:
        path: list[tuple[Any, ...]] = []
        at, on_path = begin, set()
        while at in links and at not in length and at not in on_path:
            path.append(at)
            on_path.add(at)
            at = links[at]
        if at in on_path:
            cycles.append([*path[path.index(at) :], at])
        known = length.get(at, 0)
        for back, node in enumerate(reversed(path), start=1):
            length[node] = known + back
    if cycles:
        shown = "; ".join(" -> ".join("/".join(map(str, node)) for node in cycle[::-1]) for cycle in cycles[:5])
        more = f" and {len(cycles) - 5} more" if len(cycles) > 5 else ""
        raise InputError(
            f"lifecycle.successors has {len(cycles)} cycle(s), in which an item would follow itself: {shown}{more}; "
            "take one link out of each"
        )
    return max(length.values(), default=0)


# --- what the links are worth ---


def is_linked(lake: Lake, links: Links) -> bool:
    """Whether `successors` was made of these links."""
    if not lake.exists(TABLE):
        return False
    row = lake.read(TABLE).select("mapping").first()
    return row is not None and row["mapping"] == links.digest


def has_links(lake: Lake) -> bool:
    """Whether some series has a predecessor."""
    return lake.exists(TABLE) and not lake.read(TABLE).isEmpty()


def write_successors(lake: Lake, config: Config, info: LakeInfo, links: Links) -> dict[str, int]:
    """Replace `successors` by what the links mean for today's series, and the links that cannot be used among the
    `rejects`. Returns refused links by reason."""
    from pyspark.sql import functions as F

    lake.ensure(TABLE, "rejects")
    keys = lake.read("series").where(F.col("segment") == 0).select(*lake.layout.key)
    items = keys.select("item_id", *links.key).distinct()
    names = list(links.key)
    known = links.rows.where(f"`{_REASON}` IS NULL").drop(_REASON)
    for side in ("predecessor", "successor"):
        mark = items.withColumnRenamed("item_id", side).withColumn(f"#{side}", F.lit(True))
        known = known.join(mark, [side, *names], "left")
    there = F.col("`#predecessor`").isNotNull() & F.col("`#successor`").isNotNull()
    unknown = known.where(~there).withColumn(_REASON, F.lit("unknown_item"))
    refused = links.rows.where(f"`{_REASON}` IS NOT NULL").unionByName(unknown.select(*links.rows.columns))
    rejects = refused.select(
        F.lit(ROLE).alias("role"),
        "source",
        F.col(quoted(_REASON)).alias("reason"),
        "row",
        F.current_timestamp().alias("rejected_at"),
    )
    good = known.where(there).select("predecessor", "successor", *names, "scale", "switch")
    rows = _inherited(lake, config, info, good, links)
    lake.replace(TABLE, rows, {})
    lake.replace("rejects", rejects, {"role": ROLE})
    return {r["reason"]: r["count"] for r in rejects.groupBy("reason").count().collect()}


def _inherited(lake: Lake, config: Config, info: LakeInfo, good: DataFrame, links: Links) -> DataFrame:
    """Rows of `successors`."""
    from pyspark.sql import functions as F

    key, dimensions = lake.layout.key, list(lake.layout.dimensions)
    direct = _direct(lake, config, info, good, links)
    level = direct.withColumn("position", F.lit(1))
    rows = level
    names = {"item_id": "#item", **{c: f"#{c}" for c in (*dimensions, *_OF_LINK)}}
    above = direct.select(*(F.col(quoted(c)).alias(alias) for c, alias in names.items()))
    for position in range(2, links.depth + 1):
        on = [level["predecessor"] == above["#item"], *(level[d] == above[f"#{d}"] for d in dimensions)]
        both = level.join(above, on).select(
            *(level[k] for k in key),
            F.col("`#predecessor`").alias("predecessor"),
            (level["scale"] * F.col("`#scale`")).alias("scale"),
            F.col("`#scale_from`").alias("scale_from"),
            F.greatest(level["scale_periods"], F.col("`#scale_periods`")).alias("scale_periods"),
            F.col("`#switch`").alias("switch"),
            F.lit(position).alias("position"),
        )
        level = both
        rows = rows.unionByName(level)
    frequency = Frequency.parse(info.frequency)
    return rows.select(
        *key, "position", "predecessor", "scale", "scale_from", "scale_periods",
        label(frequency, ordinal(frequency, F.col("switch"))).alias("switch_date"),
        F.lit(links.digest).alias("mapping"),
        lake.bucket(info.buckets).alias("bucket"),
    )  # fmt: skip


_OF_LINK = ("predecessor", "scale", "scale_from", "scale_periods", "switch")


def _direct(lake: Lake, config: Config, info: LakeInfo, good: DataFrame, links: Links) -> DataFrame:
    """Each successor with its predecessor and the scale of the link."""
    from pyspark.sql import functions as F

    key, dimensions, names = list(lake.layout.key), list(lake.layout.dimensions), list(links.key)
    ends = good.select(F.col("predecessor").alias("item_id"), *names)
    ends = ends.union(good.select(F.col("successor").alias("item_id"), *names)).distinct()
    series = lake.read("series").join(F.broadcast(ends), ["item_id", *names], "left_semi")
    series = joined(series.select(*key, "segment", "start", "target", "bucket"), key, [])
    new = good.withColumnRenamed("successor", "item_id").join(series, ["item_id", *names])
    old = series.select(
        F.col("item_id").alias("predecessor"), *dimensions, F.col("start").alias("#start"),
        F.col("target").alias("#target"),
    )  # fmt: skip
    pairs = new.join(old, ["predecessor", *dimensions]).select(
        *key, "predecessor", "scale", "switch", "start", "target", "`#start`", "`#target`"
    )
    schema = ", ".join(f"{quoted(k)} string" for k in key)
    ddl = f"{schema}, predecessor string, scale double, switch bigint, scale_from string, scale_periods int"
    section = config.lifecycle.successors
    assert section is not None
    frequency = Frequency.parse(info.frequency)
    step = _scale_step(key, frequency, least_history(config), section.scale_bounds)
    return pairs.mapInArrow(step, ddl)


def _scale_step(key: Sequence[str], frequency: Frequency, periods: int, bounds: tuple[float, float]) -> Any:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            sides = []
            for start, target in (("start", "target"), ("#start", "#target")):
                values, offsets = list_buffers(batch.column(target))
                sides.append((values, offsets, frequency.ordinals(label_microseconds(batch.column(start)))))
            scale, code = link_scales(sides[0], sides[1], periods, frequency.season_length, bounds)
            given = batch.column("scale").to_numpy(zero_copy_only=False).astype(np.float64)
            told = np.isfinite(given)
            where = np.array([*SCALE_FROM, "given"], dtype=object)[np.where(told, len(SCALE_FROM), code)]
            learnt = np.where(told | (code == 0), 0, periods).astype(np.int32)
            columns = {name: batch.column(name) for name in (*key, "predecessor")}
            columns |= {
                "scale": pa.array(np.where(told, given, scale)),
                "switch": batch.column("switch"),
                "scale_from": pa.array(where, pa.string()),
                "scale_periods": pa.array(learnt),
            }
            yield pa.RecordBatch.from_pydict(columns)

    return run
