"""Numbers as people write them: decimal commas, signs between thousands, and metadata that are numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from udfs.config.sources import ItemsSource, Source

if TYPE_CHECKING:
    from pyspark.sql import Column

_SPACES = " \u00a0\u202f"
"""What stands between thousands where a space does: also the two that do not break a line."""
_WHOLE = 1e15
"""Smaller whole numbers are exact as double and are written without a point."""


def plain(text: Column, source: Source) -> Column:
    """Text with a point before decimals and nothing between thousands, as a cast to double wants it.

    Text with a digit that is not written in the source's way becomes something that is no number: with a decimal
    comma "1.5" is an error and not fifteen. Text without digits (NaN, n/a) stays.
    """
    from pyspark.sql import functions as F

    decimal, thousands = source.decimal, source.thousands
    if decimal == "." and thousands is None:
        return text
    bare = F.regexp_replace(text, f"^[\\s{_SPACES}]+|[\\s{_SPACES}]+$", "")
    between = "" if thousands is None else f"[{_SPACES}]" if thousands == " " else re.escape(thousands)
    grouped = rf"|\d{{1,3}}(?:{between}\d{{3}})+" if between else ""
    point = re.escape(decimal)
    number = bare.rlike(rf"^[+-]?(?:(?:\d+{grouped})(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$")
    joined = F.regexp_replace(bare, between, "") if between else bare
    read = F.replace(joined, F.lit(decimal), F.lit("."))
    return F.when(number, read).when(bare.rlike("[0-9]"), F.concat(F.lit("? "), bare)).otherwise(bare)


def as_text(number: Column) -> Column:
    """A number as text that casts back to it; whole ones without a point, so that 12 stays "12"."""
    from pyspark.sql import functions as F

    whole = (F.abs(number) < _WHOLE) & (number == F.floor(number))
    return F.when(whole, number.cast("bigint").cast("string")).otherwise(number.cast("string"))


def numbers_of(source: Source) -> tuple[str, ...]:
    """The metadata columns of a source that are numbers."""
    return source.numbers if isinstance(source, ItemsSource) else ()
