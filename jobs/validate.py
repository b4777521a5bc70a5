"""The verb `validate`: every rule over all series, before any fit, as one report; nothing is written to the lake."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jobs import tables
from jobs.context import ConfigSource
from jobs.ingest import frames_of
from udfs.errors import InputError
from udfs.validation import Finding, ValidationReport, validate_sources

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COLUMNS = (
    "severity", "table", "place", "column", "rule", "series", "total", "count", "unit", "examples", "detail",
)  # fmt: skip
_SUFFIXES = (".json", ".csv")


def validate(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    target: DataFrame | None = None,
    related: Sequence[DataFrame | None] = (),
    items: Sequence[DataFrame | None] = (),
    only: Sequence[str] | None = None,
    where: str | None = None,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
) -> ValidationReport:
    """Check the sources of the config against every rule; the lake stays as it is.

    target, related, items: DataFrames in place of the config's sources, as for `ingest`. only (keys, their parts
    joined by "/"), where (SQL over the key): selectors that must meet a series. out: a .json or .csv file to write
    the report to. Raises InputError for a config or file name that cannot be used and for another group's lake; what
    is wrong with the data is in the report.
    """
    if out is not None and Path(out).suffix.lower() not in _SUFFIXES:
        raise InputError(f"out is {str(out)!r}; expected a file that ends in {' or '.join(_SUFFIXES)}")
    job, frames = frames_of(config, spark, target=target, related=related, items=items, overrides=overrides)
    report = validate_sources(job.lake, job.config, frames, items=only, where=where)
    if out is not None:
        write(report, Path(out))
    return report


def write(report: ValidationReport, path: Path) -> None:
    """The report as JSON (one object), or as CSV (a row a finding). Raises InputError where the file cannot be."""
    try:
        if path.suffix.lower() == ".json":
            content = {
                "errors": len(report.errors),
                "warnings": len(report.warnings),
                "frequency": report.frequency,
                "series": report.n_series,
                "first": report.first,
                "last": report.last,
                "rows": dict(report.rows),
                "findings": [f.as_dict() for f in report.findings],
            }
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            return
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for each in report.findings:
                row = vars(each) | {"examples": _examples(each)}
                writer.writerow(["" if row[c] is None else row[c] for c in COLUMNS])
    except OSError as error:
        raise InputError(f"the report cannot be written to {path}: {error.strerror or error}") from None


def render(report: ValidationReport, console: Console | None = None) -> None:
    """Print the findings, what each rule means and what to do, and the sums."""
    out = console or tables.console()
    rows = ", ".join(f"{n:,} rows of {role}" for role, n in report.rows.items()) or "no rows"
    span = f", {report.first} to {report.last}" if report.first and report.last else ""
    out.print(f"validate: {rows}; {report.n_series:,} series on the grid {report.frequency}{span}", highlight=False)
    if report.findings:
        headings = ["", "where", "column", "rule", "series", "of", "count", "first ten, by key"]
        cells = [
            [f.severity, f.place, f.column or "", f.rule, _n(f.series), _n(f.total), _counted(f), _examples(f)]
            for f in report.findings
        ]
        out.print(tables.table(headings, cells))
    said: set[tuple[str, str]] = set()
    for each in report.findings:
        if (each.rule, each.detail) not in said:
            said.add((each.rule, each.detail))
            out.print(f"{each.rule}: {each.detail}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"{len(report.errors)} errors, {len(report.warnings)} warnings", highlight=False)


def _n(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _counted(each: Finding) -> str:
    return "" if each.count is None else f"{each.count:,} {each.unit}"


def _examples(each: Finding) -> str:
    return ", ".join(key if n is None else f"{key} ({n})" for key, n in each.examples)


if __name__ == "__main__":
    from jobs.cli import main

    main("validate")
