"""The verb `query`: SQL over the lake's tables and views."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

import csv
import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from jobs.context import ConfigSource, open_job
from jobs.tables import console as default_console
from jobs.tables import show
from udfs.errors import InputError
from udfs.functions import register
from udfs.views import register_views

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

QueryFormat = Literal["table", "csv", "json"]
_LOOKS = ("SHOW", "DESCRIBE", "DESC", "EXPLAIN")
"""Statements besides queries that only look."""


_WORKER = "from the Python worker"
_RAISED = re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception): (.+)$", re.MULTILINE)
"""The line of a worker's trace that says what was wrong."""


def query(
    config: ConfigSource, sql: str, spark: SparkSession | None = None, *, overrides: Iterable[str] = ()
) -> DataFrame:
    """The answer to a SELECT over the lake: every table by its name, the views of `udfs.views`, and the functions
    forecast_<family> (see `udfs.functions`; quantiles and seed are the config's where a call gives none).

    These become temporary views and functions of the session, where more SQL can use them afterwards. Raises
    InputError for SQL that Spark cannot read and for statements that would change something.
    """
    from pyspark.errors import PySparkException

    job = open_job(config, spark, overrides=overrides)
    names = register_views(job.spark, job.lake)
    register(job.spark, quantiles=job.config.quantiles, seed=job.config.seed)
    if not names:
        raise InputError("the lake is empty; run `almanac ingest` (or `almanac run`) first")
    statement = sql.strip().rstrip(";").strip()
    if not statement:
        raise InputError(f"the query is empty; write a SELECT over {', '.join(names)}")
    try:
        if statement.split(None, 1)[0].upper() not in _LOOKS:
            job.spark.sql(f"SELECT * FROM (\n{statement}\n)")  # only a query can stand here, and none is run by it
        return job.spark.sql(statement)
    except PySparkException as error:
        known = ", ".join(names)
        raise InputError(f"the query cannot be answered: {_reason(error)}. Tables and views: {known}") from None


def _reason(error: Exception) -> str:
    """Spark's message without the query text and the trace."""
    return str(error).strip().split("\n")[0].split("; line ")[0].split(" SQLSTATE")[0].strip().rstrip(".;")


def render(frame: DataFrame, form: QueryFormat = "table", limit: int = 50, console: Console | None = None) -> None:
    """Print an answer: a table of at most `limit` rows, or all rows as CSV or as one JSON object a line.

    Raises InputError for what a function refuses, such as an option that a model does not know."""
    out = console or default_console()
    try:
        if form == "table":
            show(frame, out, limit=limit)
        elif form == "csv":
            _print_csv(frame, out)
        else:
            _print_json(frame, out)
    except Exception as error:  # of Spark's or, out of an iterator, of the bridge's
        if _WORKER not in str(error):
            raise
        raised = _RAISED.findall(str(error).partition(_WORKER)[2])
        raise InputError(f"the query cannot be answered: {raised[0] if raised else _reason(error)}") from None


def _print_csv(frame: DataFrame, out: Console) -> None:
    _print_line(frame.columns, out)
    for row in frame.toLocalIterator():
        _print_line(["" if value is None else _text(value) for value in row], out)


def _text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _print_line(cells: list[str], out: Console) -> None:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    out.out(line.getvalue(), highlight=False)


def _print_json(frame: DataFrame, out: Console) -> None:
    from pyspark.sql import functions as F

    whole = F.to_json(F.struct(*(F.col(f"`{c}`") for c in frame.columns)), {"ignoreNullFields": "false"})
    for row in frame.select(whole.alias("line")).toLocalIterator():
        out.out(row["line"], highlight=False)


if __name__ == "__main__":
    from jobs.cli import main

    main("query")
