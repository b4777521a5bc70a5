"""The verb `register`: tables, views and functions made known to a catalog."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.context import ConfigSource, open_job
from jobs.tables import console as default_console
from udfs.catalog import forecast_functions, functions, registration
from udfs.functions import register as register_functions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Registration:
    """statements: the SQL, in order. functions: SQL that a catalog may refuse. ran: whether it was run. refused: why
    the catalog took no functions, None where it did."""

    statements: tuple[str, ...]
    functions: tuple[str, ...]
    ran: bool = False
    refused: str | None = None


def register(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    catalog: str | None = None,
    schema: str | None = None,
    wheel: str | None = None,
    run: bool = False,
    overrides: Iterable[str] = (),
) -> Registration:
    """The SQL that makes the lake's tables and views known under `catalog.schema`, so that any session of that catalog
    can SELECT from them; with `run` it is run in this session.

    schema: by default the dataset group's name for a lake at a path. wheel: almanac's wheel in a volume of Unity
    Catalog: with it the functions forecast_<family> are kept in the catalog as well. Without, and in any other
    catalog, they belong to a session: `run` makes them known to this one, as `udfs.register(spark)` does in a
    notebook. Run it again when the config asks for other quantiles or when new tables have appeared. Raises InputError
    for an empty lake.
    """
    job = open_job(config, spark, overrides=overrides)
    statements = registration(job.lake, catalog, schema)
    extra = functions(job.lake, catalog, schema)
    if wheel is not None:
        extra += forecast_functions(job.lake, job.config, wheel, catalog, schema)
    if not run:
        return Registration(tuple(statements), tuple(extra))
    for statement in statements:
        job.spark.sql(statement)
    register_functions(job.spark, quantiles=job.config.quantiles, seed=job.config.seed)
    return Registration(tuple(statements), tuple(extra), ran=True, refused=_try(job.spark, extra))


def _try(spark: SparkSession, statements: Iterable[str]) -> str | None:
    from pyspark.errors import PySparkException

    try:
        for statement in statements:
            spark.sql(statement)
    except PySparkException as error:
        return str(error).strip().split("\n")[0]
    return None


def render(registration: Registration, console: Console | None = None) -> None:
    """Print the SQL as a script, or what running it did."""
    out = console or default_console()
    if not registration.ran:
        for statement in (*registration.statements, *registration.functions):
            out.out(f"{statement};", highlight=False)
        return
    out.print(f"{len(registration.statements)} statements run: tables and views are known to the catalog")
    if registration.refused is not None:
        out.print(f"the catalog does not take all functions: {registration.refused}", highlight=False, markup=False)


if __name__ == "__main__":
    from jobs.cli import main

    main("register")
