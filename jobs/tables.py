"""Rows as tables in a terminal or a log."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LOG_WIDTH = 200
"""Columns of a line where no terminal says."""
_LIST_ITEMS = 6


def console() -> Console:
    """The terminal; in a log or a pipe, lines that are long enough for a table."""
    found = Console()
    return found if found.is_terminal else Console(width=LOG_WIDTH)


def show(frame: DataFrame, out: Console, title: str | None = None, limit: int = 50) -> None:
    """Print the first `limit` rows of a DataFrame, and say so when there are more."""
    rows = frame.limit(limit + 1).collect()
    out.print(table(frame.columns, [tuple(row) for row in rows[:limit]], title))
    if len(rows) > limit:
        out.print(f"These are the first {limit} rows; there are more.", highlight=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> Table:
    """A table; columns of numbers are aligned to the right."""
    out = Table(title=title, title_justify="left", header_style="bold")
    for position, name in enumerate(columns):
        values = [row[position] for row in rows if row[position] is not None]
        right = bool(values) and all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values)
        out.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in rows:
        out.add_row(*(Text("NULL", style="dim") if value is None else Text(shown(value)) for value in row))
    return out


def shown(value: Any) -> str:
    """A value as a reader wants it: four significant digits, dates without an empty time, short lists."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, numbers.Integral):
        return str(value)
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds").removesuffix(" 00:00:00")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inside(part)}" for name, part in value.items())
    if isinstance(value, tuple) and hasattr(value, "asDict"):
        return shown(value.asDict())
    if isinstance(value, list | tuple):
        head = ", ".join(_inside(part) for part in value[:_LIST_ITEMS])
        return f"[{head}{f', … {len(value)} values' if len(value) > _LIST_ITEMS else ''}]"
    return str(value)


def _inside(value: Any) -> str:
    """A value inside another: names and values in brackets, so that one can see where they end."""
    named = isinstance(value, Mapping) or hasattr(value, "asDict")
    return f"({shown(value)})" if named else shown(value)
