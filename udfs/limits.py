"""Which series a run is limited to: a SQL condition on the key columns, and a list of items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from udfs.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ITEM_SEPARATOR = "/"
_SHOWN = 10


def limited(
    series: DataFrame, key: Sequence[str], where: str | None, items: Sequence[str] | None
) -> tuple[Column | None, tuple[str, ...] | None]:
    """The condition for the rows of `series`, and the items that exist; (None, None) without limits.

    where: SQL over the key columns. items: keys, their parts joined by "/". Raises InputError for an expression that
    Spark cannot read or that uses another column, for items that are not in the lake, and when no series is left.
    """
    from pyspark.sql import functions as F

    condition = None
    if where is not None:
        _check(series, key, where)
        condition = F.expr(where)
    names = None
    if items is not None:
        names = tuple(dict.fromkeys(items))
        _check_known(series, key, names)
        listed = _item(key).isin(list(names))
        condition = listed if condition is None else condition & listed
    if condition is not None and series.where(condition).isEmpty():
        raise InputError(f"no series meets {where or 'the list of items'!r}; nothing to do")
    return condition, names


def _item(key: Sequence[str]) -> Column:
    from pyspark.sql import functions as F

    return F.concat_ws(ITEM_SEPARATOR, *key)


def _check(series: DataFrame, key: Sequence[str], where: str) -> None:
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    try:
        checked = series.select(*key).select(F.expr(where).alias("condition")).schema
        problem = "" if checked["condition"].dataType.simpleString() == "boolean" else "it is not true or false"
    except PySparkException as error:
        problem = str(error).strip().splitlines()[0]
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
