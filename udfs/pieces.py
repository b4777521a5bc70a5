"""The pieces of a series: how the rows that an ingest appended become one row a series again.

A piece begins where the one before it ends. Its `related` begin with it and go through their last known value, past
its end where a future is known; the related values of a later piece stand in for what an earlier one has behind its
own end. A piece without a period (n = 0) brings only new related values or metadata. Metadata, lifecycle and profile
of a series are those of its last piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from udfs.arrow import RELATED_PREFIX
from udfs.layout import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def joined_pieces(rows: DataFrame, key: Sequence[str], related: Sequence[str]) -> DataFrame:
    """One row a series: key, start, target and the related series by their names."""
    whole = joined(rows, key, related)
    names = [quoted(k) for k in key]
    return whole.selectExpr(
        *names, "start", "target", *(f"{quoted(RELATED_PREFIX + r)} AS {quoted(r)}" for r in related)
    )


PER_SERIES = ("bucket", "metadata", "lifecycle", "profile")
"""Columns of `series` that hold for the whole series."""


def start_sql(pieces: str = "pieces") -> str:
    """The start of a series from its pieces in order: that of the first that has a period."""
    first = f"get(filter({pieces}, p -> size(p.target) > 0), 0).start"
    return f"coalesce({first}, {pieces}[size({pieces}) - 1].start)"


def target_sql(pieces: str = "pieces") -> str:
    """The history from the pieces in order."""
    return f"flatten({pieces}.target)"


def related_sql(name: str, pieces: str = "pieces") -> str:
    """A related series from the pieces in order: of each but the last what lies inside it, padded with NaN."""
    values = f"coalesce(p.{quoted(name)}, cast(array() AS array<double>))"
    n = "size(p.target)"
    padded = f"concat({values}, array_repeat(double('NaN'), {n} - size({values})))"
    inside = f"if(size({values}) >= {n}, slice({values}, 1, {n}), {padded})"
    return f"flatten(transform({pieces}, (p, i) -> if(i = size({pieces}) - 1, {values}, {inside})))"


def joined(rows: DataFrame, key: Sequence[str], related: Sequence[str]) -> DataFrame:
    """One row a series from rows of `series`: key, bucket, metadata, lifecycle, profile, start, target, and each
    related series as `related:<name>`."""
    from pyspark.sql import functions as F

    names = [RELATED_PREFIX + name for name in related]
    lists = [F.col(f"related.{quoted(name)}").alias(ours) for name, ours in zip(related, names, strict=True)]
    kept = [c for c in PER_SERIES if c in rows.columns]
    others = [F.max_by(c, "segment").alias(c) for c in kept]
    piece = F.struct("segment", "start", "target", *lists)
    grouped = rows.groupBy(*key).agg(F.sort_array(F.collect_list(piece)).alias("pieces"), *others)
    columns = [F.expr(start_sql()).alias("start"), F.expr(target_sql()).alias("target")]
    columns += [F.expr(related_sql(name)).alias(name) for name in names]
    return grouped.select(*key, *kept, *columns)


def whole_start() -> Column:
    """The start of a series over its rows of `series`, to aggregate by key: that of the first piece with a period."""
    from pyspark.sql import functions as F

    first = F.min_by("start", F.when(F.col("n") > 0, F.col("segment")))
    return F.coalesce(first, F.max_by("start", "segment")).alias("start")


def has_pieces(rows: DataFrame) -> bool:
    """Whether some series lies in several rows; Delta answers from the statistics of the files."""
    from pyspark.sql import functions as F

    found = rows.agg(F.max("segment")).first()
    return bool(found is not None and found[0])


def latest(rows: DataFrame, key: Sequence[str]) -> DataFrame:
    """The last piece of each series: a row a series, with what holds for all of it."""
    from pyspark.sql import functions as F

    if not has_pieces(rows):
        return rows
    whole = F.struct(*(F.col(c) for c in rows.columns if c not in key))
    return rows.groupBy(*key).agg(F.max_by(whole, "segment").alias("last")).select(*key, "last.*")
