"""The lake known to a catalog: the SQL that a fresh session, or a SQL warehouse, needs to read tables and views.

A path lake is registered as external tables over its folders; a lake in a schema has its tables there already. Views
refer to tables by their full names, so that they mean the same in every session.
"""

from __future__ import annotations

import json

from forecasting.models.registry import model_names
from udfs import probabilities
from udfs.config import Config
from udfs.errors import InputError
from udfs.functions import RETURNS, function_name
from udfs.lake import Lake, literal
from udfs.layout import quoted
from udfs.views import existing_tables, view_queries

FUNCTIONS = {
    "quantile_loss": (
        "actual DOUBLE, forecast DOUBLE, level DOUBLE",
        "DOUBLE",
        "2 * greatest(level * (actual - forecast), (level - 1) * (actual - forecast))",
        "Twice the pinball loss: sum(quantile_loss(actual, p90, 0.9)) / sum(abs(actual)) is wQL at 0.9",
    ),
}
"""Functions in SQL alone, which any catalog can hold. Name: parameters, type, body, comment."""


def registration(lake: Lake, catalog: str | None = None, schema: str | None = None) -> list[str]:
    """The statements, in order, that make the lake's tables and views known under `catalog.schema`.

    catalog: None takes the session's own. schema: None takes the dataset group's name for a path lake, and the lake's
    own schema otherwise. Raises InputError for an empty lake, and for a lake of a schema that is asked to move.
    """
    info = lake.info()
    if info is None:
        raise InputError("the lake is empty, so there is nothing to register; run `almanac ingest` first")
    place = _place(lake, catalog, schema or info.dataset_group)
    tables = existing_tables(lake)
    statements = [f"CREATE SCHEMA IF NOT EXISTS {quoted(*place)}"]
    if lake.place.path is not None:
        statements += [_external_table(lake, table, place) for table in tables]
    queries = view_queries(lake, lambda table: quoted(*place, table), tables, lasting=True)
    statements += [f"CREATE OR REPLACE VIEW {quoted(*place, view)} AS {query}" for view, query in queries.items()]
    return statements


def functions(lake: Lake, catalog: str | None = None, schema: str | None = None) -> list[str]:
    """The statements that make our SQL functions known; a catalog may refuse them."""
    info = lake.info()
    place = _place(lake, catalog, schema or (info.dataset_group if info else None))
    return [
        f"CREATE OR REPLACE FUNCTION {quoted(*place, name)}({parameters}) RETURNS {kind} COMMENT {literal(comment)} "
        f"RETURN {body}"
        for name, (parameters, kind, body, comment) in FUNCTIONS.items()
    ]


def forecast_functions(
    lake: Lake, config: Config, wheel: str, catalog: str | None = None, schema: str | None = None
) -> list[str]:
    """The statements for Unity Catalog on Databricks that keep `forecast_<family>`, `forecast_probability` and
    `forecast_quantile` there, as batch Python functions (Databricks Runtime 16.3 and later).

    wheel: the path of almanac's wheel in a volume, which the functions load. No other catalog keeps Python functions:
    elsewhere `udfs.register(spark)` makes them known to a session. A function of Unity Catalog takes a fixed number of
    arguments, so `options` is always given there, as JSON or NULL, and a law has no bounds.
    """
    info = lake.info()
    place = _place(lake, catalog, schema or (info.dataset_group if info else None))
    known = "related: MAP<STRING, ARRAY<DOUBLE>>, known_in_future: ARRAY<STRING>"
    fields = "target: ARRAY<DOUBLE>, start: TIMESTAMP_NTZ, frequency: STRING, season: INT, key: STRING"
    struct = f"STRUCT<{fields}, {known}>" if lake.layout.related else f"STRUCT<{fields}>"
    environment = f"ENVIRONMENT (dependencies = {literal(json.dumps([wheel]))}, environment_version = 'None')"
    levels = tuple(config.quantiles)
    laws = [
        f"CREATE OR REPLACE FUNCTION {quoted(*place, name)}(levels ARRAY<DOUBLE>, quantiles ARRAY<DOUBLE>, {rest}) "
        f"RETURNS {probabilities.RETURNS} LANGUAGE PYTHON PARAMETER STYLE PANDAS HANDLER 'answer' {environment} "
        f"AS $$\n"
        f"from udfs.probabilities import batches_of\n\n"
        f"def answer(batches):\n    yield from batches_of({name!r}, batches)\n$$"
        for name, rest in (
            (probabilities.PROBABILITY, "low DOUBLE, high DOUBLE"),
            (probabilities.QUANTILE, "p DOUBLE"),
        )
    ]
    return laws + [
        f"CREATE OR REPLACE FUNCTION {quoted(*place, function_name(model))}(series {struct}, horizon INT, "
        f"options STRING) RETURNS {RETURNS} LANGUAGE PYTHON PARAMETER STYLE PANDAS HANDLER 'answer' "
        f"{environment} AS $$\nfrom udfs.functions import batches_of\n\n"
        f"def answer(batches):\n    yield from batches_of({model!r}, {levels!r}, {config.seed}, batches)\n$$"
        for model in model_names()
    ]


def _place(lake: Lake, catalog: str | None, schema: str | None) -> tuple[str, ...]:
    if lake.place.path is None:
        own = (lake.place.catalog, lake.place.schema_)
        if catalog not in (None, own[0]):
            raise InputError(f"the lake lives in {quoted(*(p for p in own if p))}; its views are made there")
        return tuple(part for part in own if part)
    return tuple(part for part in (catalog, schema) if part)


def _external_table(lake: Lake, table: str, place: tuple[str, ...]) -> str:
    location = literal(lake.absolute_location(table))
    return f"CREATE TABLE IF NOT EXISTS {quoted(*place, table)} USING delta LOCATION {location}"
