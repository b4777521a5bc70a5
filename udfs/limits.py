"""Which series a run is limited to: a SQL condition on the key columns, and a list of items."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from udfs.errors import InputError, first_line

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ITEM_SEPARATOR = "/"
_SHOWN = 10


def condition(key: Sequence[str], where: str | None, items: Sequence[str] | None) -> Column | None:
    """The condition for rows with the key columns; None without limits.

    where: SQL over the key columns. items: keys, their parts joined by "/".
    """
    from pyspark.sql import functions as F

    parts = [] if where is None else [F.expr(where)]
    if items is not None:
        parts.append(_item(key).isin(list(items)))
    return reduce(and_, parts) if parts else None


def check_limits(series: DataFrame, key: Sequence[str], where: str | None, items: Sequence[str] | None) -> None:
    """Raise InputError for an expression that Spark cannot read or that uses another column than the key's, for items
    that are not in the lake, and when no series is left."""
    if where is not None:
        _check_expression(series, key, where)
    if items is not None:
        _check_known(series, key, items)
    limit = condition(key, where, items)
    if limit is not None and series.where(limit).isEmpty():
        raise InputError(f"no series meets {where or 'the list of items'!r}; nothing to do")


def _item(key: Sequence[str]) -> Column:
    from pyspark.sql import functions as F

    return F.concat_ws(ITEM_SEPARATOR, *key)


def _check_expression(series: DataFrame, key: Sequence[str], where: str) -> None:
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    try:
        checked = series.select(*key).select(F.expr(where).alias("condition")).schema
        problem = "" if checked["condition"].dataType.simpleString() == "boolean" else "it is not true or false"
    except PySparkException as error:
        problem = first_line(error)
    if problem:
        raise InputError(
            f"the condition {where!r} cannot be used: {problem}. "
            f"Write SQL over the key columns {', '.join(key)}, such as {key[0]} LIKE 'A%'"
        )


def _check_known(series: DataFrame, key: Sequence[str], names: Sequence[str]) -> None:
    rows = series.select(_item(key).alias("item")).where(_item(key).isin(list(names))).distinct().collect()
    unknown = sorted(set(names) - {row["item"] for row in rows})
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (" …" if len(unknown) > _SHOWN else "")
        raise InputError(
            f"{len(unknown)} of {len(names)} items are not in the lake: {shown}. "
            f"An item is its key ({', '.join(key)}) joined by {ITEM_SEPARATOR!r}"
        )
