"""Histories that lie in several rows of `series`, joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from udfs.arrow import RELATED_PREFIX
from udfs.lake import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def joined_pieces(rows: DataFrame, key: Sequence[str], related: Sequence[str]) -> DataFrame:
    """One row a series: key, start, target and the related series by their names."""
    from udfs.stage import joined

    whole = joined(rows, key, related)
    names = [quoted(k) for k in key]
    return whole.selectExpr(
        *names, "start", "target", *(f"{quoted(RELATED_PREFIX + r)} AS {quoted(r)}" for r in related)
    )
