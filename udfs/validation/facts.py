"""What `validate` knows of each key: a row a series, made by Spark in one shuffle of a role's rows.

Rows are brought together by key once; from there on duplicates, periods and series are counted where they lie. Then
rules are conditions over these rows, and a *flag* is a rule that a key breaks. Flags are counted, and the first keys
of each kept, inside the tasks; what leaves them is a few rows a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from udfs.cleaning import ORDINAL, REASON, TIME
from udfs.limits import ITEM_SEPARATOR
from udfs.roles import Role
from udfs.validation.rules import EXAMPLES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class Flag:
    """A rule that may hold for a row. place, column: what it is said of. amount: what is counted. label: what it is
    listed under; None: the key."""

    place: str
    rule: str
    column: str | Column
    holds: Column
    amount: Column | None = None
    label: Column | None = None


ROWS, EXTRA = "#rows", "#extra"
SERIES = "#series"
"""The flag that every row has: how many there are."""
_GROUP = ("place", "rule", "column")


def label(key: Sequence[str]) -> Column:
    """A key as `--item` takes it; a part that is missing reads NULL."""
    from pyspark.sql import functions as F

    return F.concat_ws(ITEM_SEPARATOR, *(F.coalesce(F.col(k), F.lit("NULL")) for k in key))


def target_facts(
    rows: DataFrame, kept: DataFrame | None, role: Role, bounds: tuple[float | None, float | None]
) -> DataFrame:
    """Key, rows, extra (rows of a time that has one already), n, first, last (ordinals of observations), low, high,
    below, above (observations outside the bounds).

    rows: clean rows that are valid. kept: rows of the lake's `target` that stay, as `kept_target` makes them.
    """
    from pyspark.sql import functions as F

    v = F.col("target")
    times = _by_key(rows, role).groupBy(*role.key, ORDINAL, TIME).agg(
        F.count(F.lit(1)).alias(ROWS), F.count(v).alias("n"), F.sum(v).alias("sum"), F.min(v).alias("low"),
        F.max(v).alias("high"),
    )  # fmt: skip
    times = times.withColumn(EXTRA, F.col(ROWS) - 1)
    if kept is not None:
        times = _by_key(times.unionByName(kept), role)
    some = F.col("n") > 0
    value = {
        "sum": F.sum("sum"),
        "mean": F.sum("sum") / F.sum("n"),
        "min": F.min("low"),
        "max": F.max("high"),
        "none": F.max("high"),
        "first": F.min(F.when(some, F.struct(TIME, "low")))["low"],
        "last": F.max(F.when(some, F.struct(TIME, "high")))["high"],
    }[role.aggregations["target"]]
    periods = times.groupBy(*role.key, ORDINAL).agg(
        F.sum(ROWS).alias(ROWS), F.sum(EXTRA).alias(EXTRA), F.when(F.sum("n") > 0, value).alias("v")
    )
    v, at = F.col("v"), F.when(F.col("v").isNotNull(), F.col(ORDINAL))
    lower, upper = bounds
    return periods.groupBy(*role.key).agg(
        F.sum(ROWS).alias("rows"), F.sum(EXTRA).alias("extra"), F.count(v).alias("n"), F.min(at).alias("first"),
        F.max(at).alias("last"), F.min(v).alias("low"), F.max(v).alias("high"),
        F.count_if(v < F.lit(lower) if lower is not None else F.lit(False)).alias("below"),
        F.count_if(v > F.lit(upper) if upper is not None else F.lit(False)).alias("above"),
    )  # fmt: skip


def kept_target(table: DataFrame, ordinal: Column, role: Role) -> DataFrame:
    """Rows of the lake's `target` in the form of clean rows by time: each is a source's aggregate of a period."""
    from pyspark.sql import functions as F

    v = F.col("target")
    n = F.when(v.isNotNull(), F.col("n_rows") if role.aggregations["target"] == "mean" else F.lit(1))
    total = v * F.col("n_rows") if role.aggregations["target"] == "mean" else v
    return table.select(
        *role.key, ordinal.alias(ORDINAL), F.lit(0).cast("bigint").alias(TIME), F.col("n_rows").alias(ROWS),
        F.coalesce(n, F.lit(0)).cast("bigint").alias("n"), total.alias("sum"), v.alias("low"), v.alias("high"),
        F.lit(0).cast("bigint").alias(EXTRA),
    )  # fmt: skip


def related_facts(rows: DataFrame, kept: DataFrame | None, role: Role, end: int) -> DataFrame:
    """Key, rows, extra, and of each column c: c#n, c#first, c#last (ordinals of known values), c#future (how many lie
    after the ordinal `end`)."""
    from pyspark.sql import functions as F

    times = _by_key(rows, role).groupBy(*role.key, ORDINAL, TIME).agg(
        F.count(F.lit(1)).alias(ROWS), *(F.count(c).alias(c) for c in role.values)
    )  # fmt: skip
    times = times.withColumn(EXTRA, F.col(ROWS) - 1)
    if kept is not None:
        times = _by_key(times.unionByName(kept), role)
    periods = times.groupBy(*role.key, ORDINAL).agg(
        F.sum(ROWS).alias(ROWS), F.sum(EXTRA).alias(EXTRA), *((F.sum(c) > 0).alias(c) for c in role.values)
    )
    found = []
    for c in role.values:
        at = F.when(F.col(c), F.col(ORDINAL))
        found += [F.count(at).alias(f"{c}#n"), F.min(at).alias(f"{c}#first"), F.max(at).alias(f"{c}#last"),
                  F.count_if(at > F.lit(end)).alias(f"{c}#future")]  # fmt: skip
    return periods.groupBy(*role.key).agg(F.sum(ROWS).alias("rows"), F.sum(EXTRA).alias("extra"), *found)


def kept_related(table: DataFrame, ordinal: Column, role: Role) -> DataFrame:
    """Rows of the lake's `related` in the form of clean rows by time."""
    from pyspark.sql import functions as F

    known = [F.coalesce(F.col(c)["n"], F.lit(0)).cast("bigint").alias(c) for c in role.values]
    nothing = F.lit(0).cast("bigint")
    return table.select(
        *role.key, ordinal.alias(ORDINAL), nothing.alias(TIME), F.lit(1).cast("bigint").alias(ROWS), *known,
        nothing.alias(EXTRA),
    )  # fmt: skip


def items_facts(rows: DataFrame, role: Role) -> DataFrame:
    """Key, rows, extra, and the attributes (where several rows differ, one of their values)."""
    from pyspark.sql import functions as F

    n = F.count(F.lit(1))
    return rows.groupBy(*role.key).agg(
        n.alias("rows"), (n - 1).alias("extra"), *(F.max(a).alias(a) for a in role.values)
    )


def _by_key(rows: DataFrame, role: Role) -> DataFrame:
    from pyspark.sql import functions as F

    return rows.repartition(*(F.col(k) for k in role.key))


# --- flags ---


def flagged(rows: DataFrame, key: Sequence[str], flags: Sequence[Flag]) -> DataFrame:
    """A row for each flag that holds for a row: place, rule, column, label, amount."""
    from pyspark.sql import functions as F

    made = []
    for flag in flags:
        column = F.lit(flag.column) if isinstance(flag.column, str) else flag.column
        amount = F.lit(None) if flag.amount is None else flag.amount
        named = label(key) if flag.label is None else flag.label
        parts = {"place": F.lit(flag.place), "rule": F.lit(flag.rule), "column": column, "label": named,
                 "amount": amount.cast("bigint")}  # fmt: skip
        made.append(F.when(flag.holds, F.struct(*(part.alias(name) for name, part in parts.items()))))
    return rows.select(F.explode(F.array_compact(F.array(*made))).alias("flag")).select("flag.*")


def refused(marked: DataFrame, place: str, role: Role, count: Column | None = None) -> DataFrame:
    """Flags of refused rows, by reason and key. count: how many a group of rows is, where it is not their number."""
    from pyspark.sql import functions as F

    rows = marked.where(F.col(REASON).isNotNull())
    rows = rows.groupBy(REASON, *role.key).agg((F.count(F.lit(1)) if count is None else count).alias("amount"))
    reason = F.col(REASON)
    column = F.when(reason == "null_item_id", "item_id").when(reason.rlike("time"), "timestamp").otherwise("")
    place_, rule, column = F.lit(place).alias("place"), reason.alias("rule"), column.alias("column")
    return rows.select(place_, rule, column, label(role.key).alias("label"), "amount")


def summary(flags: Sequence[DataFrame]) -> DataFrame:
    """place, rule, column, n (flags), amount (their sum), examples (the first by label, each with its amount)."""
    from pyspark.sql import functions as F

    together = reduce(lambda a, b: a.unionByName(b), flags)
    example = "array<struct<label: string, amount: bigint>>"
    partial = together.mapInArrow(
        _task(), f"place string, rule string, column string, n bigint, amount bigint, examples {example}"
    )
    first = F.slice(F.array_sort(F.flatten(F.collect_list("examples"))), 1, EXAMPLES)
    return partial.groupBy(*_GROUP).agg(
        F.sum("n").alias("n"), F.sum("amount").alias("amount"), first.alias("examples")
    )


def _task() -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from count_flags(batches)

    return run


def count_flags(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One task's flags as one row a rule: counts, sums and the first labels."""
    counts: pa.Table | None = None
    first: pa.Table | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        rows = pa.Table.from_batches([batch])
        found = rows.group_by(list(_GROUP)).aggregate([("label", "count"), ("amount", "sum")])
        counts = found if counts is None else pa.concat_tables([counts, found])
        first = _first(rows if first is None else pa.concat_tables([first, rows]))
    if counts is None or first is None:
        return
    totals = counts.group_by(list(_GROUP)).aggregate([("label_count", "sum"), ("amount_sum", "sum")])
    examples: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for row in first.to_pylist():  # at most ten a rule
        place = tuple(row[c] for c in _GROUP)
        examples.setdefault(place, []).append({"label": row["label"], "amount": row["amount"]})
    listed = [examples[tuple(row[c] for c in _GROUP)] for row in totals.select(list(_GROUP)).to_pylist()]
    kind = pa.list_(pa.struct([("label", pa.string()), ("amount", pa.int64())]))
    columns = {c: totals.column(c).combine_chunks() for c in _GROUP}
    columns |= {"n": totals.column("label_count_sum").combine_chunks().cast(pa.int64())}
    columns |= {"amount": totals.column("amount_sum_sum").combine_chunks().cast(pa.int64())}
    yield pa.RecordBatch.from_pydict(columns | {"examples": pa.array(listed, kind)})


def _first(rows: pa.Table) -> pa.Table:
    """The first rows of each rule by label."""
    rows = rows.sort_by([(c, "ascending") for c in (*_GROUP, "label")])
    new = np.zeros(len(rows), dtype=bool)
    new[:1] = True
    for name in _GROUP:
        values = rows.column(name).combine_chunks().dictionary_encode()
        codes = values.indices.to_numpy(zero_copy_only=False) if isinstance(values, pa.DictionaryArray) else None
        assert codes is not None
        new[1:] |= codes[1:] != codes[:-1]
    start = np.flatnonzero(new)
    rank = np.arange(len(rows)) - np.repeat(start, np.diff(np.append(start, len(rows))))
    return rows.filter(pa.array(rank < EXAMPLES))
