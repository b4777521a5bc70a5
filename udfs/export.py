"""Forecasts as files in Amazon Forecast's export layout: item_id, dimensions, date, p10, p50, p90, …, mean.

The date is text such as 2019-02-01T00:00:00Z in CSV and in Parquet, as the service wrote it. In CSV, text that a
spreadsheet would run as a formula gets an apostrophe in front (OWASP, "CSV Injection"); numbers, also in text, stay.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

from forecasting.levels import quantile_column
from udfs.errors import InputError, first_line
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.schemas import BASELINE

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

ExportFormat = Literal["csv", "parquet"]
DATE_PATTERN = "yyyy-MM-dd'T'HH:mm:ss'Z'"
TIMES = frozenset({"date", "timestamp", "backtestwindow_start_time", "backtestwindow_end_time"})
"""Columns of text that is ours."""
_FORMULA = r"^[=+\-@\t\r\n]"
_NUMBER = r"^[+-]?\d+([.,]\d+)*$"
_CSV = {
    "header": "true",
    "quote": '"',
    "escape": '"',  # a quote inside is doubled, as in RFC 4180
    "ignoreLeadingWhiteSpace": "false",
    "ignoreTrailingWhiteSpace": "false",
    "emptyValue": '""',
}


def export_rows(lake: Lake, run_id: str, levels: tuple[float, ...], mean: bool) -> DataFrame:
    """A run's forecasts in the layout of the export, ordered by key and date."""
    from pyspark.sql import functions as F

    key = lake.layout.key
    rows = lake.read("forecasts").where((F.col("run_id") == run_id) & (F.col("scenario") == BASELINE))
    values = [*map(quantile_column, levels), *(["mean"] if mean else [])]
    date = F.date_format("timestamp", DATE_PATTERN).alias("date")
    return rows.orderBy(*key, "step").select(*key, date, *values)


def harmless(text: Column) -> Column:
    """Text with an apostrophe in front where a spreadsheet would run it as a formula."""
    from pyspark.sql import functions as F

    runs = text.rlike(_FORMULA) & ~text.rlike(_NUMBER)
    return F.when(runs, F.concat(F.lit("'"), text)).otherwise(text)


def write_export(
    rows: DataFrame, target: str, form: ExportFormat, *, single: bool = False, overwrite: bool = False
) -> None:
    """Write the rows to a folder of part files, or to one file with `single`.

    Raises InputError where the target exists, unless `overwrite`; a folder is only overwritten when it holds nothing
    but an export's part files.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import StringType

    files = _Files(rows.sparkSession, target)
    files.check_free(target, single=single, overwrite=overwrite)
    if form == "csv":
        texts = {f.name for f in rows.schema.fields if isinstance(f.dataType, StringType)} - TIMES
        rows = rows.select(*(harmless(F.col(quoted(c))).alias(c) if c in texts else quoted(c) for c in rows.columns))
    if not single:
        _written(rows, target, form, "overwrite" if overwrite else "errorifexists")
        return
    part = f"{target}.{uuid.uuid4().hex[:8]}.part"
    try:
        _written(rows.coalesce(1), part, form, "errorifexists")
        files.move_only_part(part, target, overwrite)
    finally:
        files.remove(part)


def _written(rows: DataFrame, target: str, form: ExportFormat, mode: str) -> None:
    writer = rows.write.mode(mode)
    if form == "csv":
        writer.options(**_CSV).csv(target)
    else:
        writer.parquet(target)


class _Files:
    """The file system of a target, local or an object store, through the session's Hadoop client."""

    def __init__(self, spark: SparkSession, target: str) -> None:
        try:
            context: Any = spark.sparkContext
            self._path = context._jvm.org.apache.hadoop.fs.Path
            self._fs = self._path(target).getFileSystem(context._jsc.hadoopConfiguration())
        except Exception as error:
            raise InputError(
                f"export target {target!r} cannot be reached from this session ({first_line(error)[:200]}); "
                "give a path that the session's own file systems know"
            ) from error

    def check_free(self, target: str, *, single: bool, overwrite: bool) -> None:
        place = self._path(target)
        if not self._fs.exists(place):
            return
        if not overwrite:
            raise InputError(f"export target {target} exists already; give another, or --overwrite")
        folder = bool(self._fs.getFileStatus(place).isDirectory())
        if single and folder:
            raise InputError(f"export target {target} is a folder; --single writes one file: give a file name")
        if not single and (not folder or self._others(place)):
            what = "a file" if not folder else f"a folder with other things in it ({self._others(place)[0]})"
            raise InputError(f"export target {target} is {what}; only an earlier export is overwritten: give another")

    def _others(self, place: Any) -> list[str]:
        names = [status.getPath().getName() for status in self._fs.listStatus(place)]
        return [n for n in names if not n.lstrip(".").startswith(("part-", "_SUCCESS"))]

    def move_only_part(self, folder: str, target: str, overwrite: bool) -> None:
        statuses = self._fs.listStatus(self._path(folder))
        parts = [s.getPath() for s in statuses if s.getPath().getName().startswith("part-")]
        if overwrite:
            self._fs.delete(self._path(target), False)
        if len(parts) != 1 or not self._fs.rename(parts[0], self._path(target)):
            raise InputError(f"export target {target} could not be written; check that its folder exists")

    def remove(self, folder: str) -> None:
        self._fs.delete(self._path(folder), True)
