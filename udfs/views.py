"""The views that readers use, as SQL over the lake's tables: in a session, or in a catalog (see `udfs.catalog`).

One rule for quantile columns: a view has one for every level that `forecasts` has a column for or the config asks
for, in order of level; NULL in the rows of a run that did not ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from forecasting.levels import quantile_column, quantile_level
from forecasting.seeds import KEY_SEPARATOR
from udfs.arrow import RELATED_PREFIX
from udfs.board import Board, board_query
from udfs.lake import Lake, literal
from udfs.layout import quoted
from udfs.pieces import has_pieces, related_sql, start_sql, target_sql
from udfs.results import results_sql
from udfs.schemas import BASELINE, RESULTS_DEEPAR
from udfs.steps import finite, quantile_value_of_run, step_label

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Name = Callable[[str], str]
"""From a table to what SQL calls it."""

_QUANTILE = re.compile(r"p\d{1,2}(_\d+)?")
_SOURCES = {
    "forecasts_latest": ("forecasts", "runs"),
    "forecast_plan": ("forecasts", "runs"),
    "forecast_quantiles": ("forecasts",),
    "backtest": ("results", "runs"),
    "ledger": ("results",),
    "series_input": ("series",),
    "parameter_values": ("parameters",),
    "component_values": ("components",),
    "leaderboard": ("metrics",),
}
VIEWS = tuple(_SOURCES)


def register_views(spark: SparkSession, lake: Lake, prefix: str = "") -> tuple[str, ...]:
    """Make every table of the lake that is there, and every view over them, a temporary view of the session.

    Names are those of the tables and views after `prefix`; temporary views of these names are replaced.
    Returns the names.
    """
    tables = existing_tables(lake)
    for table in tables:
        lake.read(table).createOrReplaceTempView(quoted(prefix + table))
    queries = view_queries(lake, lambda table: quoted(prefix + table), tables)
    for view, query in queries.items():
        spark.sql(query).createOrReplaceTempView(quoted(prefix + view))
    return tuple(prefix + name for name in (*tables, *queries))


def existing_tables(lake: Lake) -> tuple[str, ...]:
    """The lake's tables that have been made."""
    return tuple(table for table in lake.schemas if lake.exists(table))


def view_queries(lake: Lake, name: Name, tables: Collection[str], *, lasting: bool = False) -> dict[str, str]:
    """The SELECT of every view whose tables are there, by name. lasting: the views outlive the session, and the tables
    change under them."""
    info = lake.info()
    if info is None:
        return {}
    stored = lake.read("forecasts").columns if "forecasts" in tables else []
    levels = quantile_levels(lake, stored)
    makers: dict[str, Callable[[], str]] = {
        "forecasts_latest": lambda: _forecasts_latest(lake, name, levels, stored),
        "forecast_plan": lambda: _forecast_plan(lake, name, stored),
        "forecast_quantiles": lambda: _forecast_quantiles(lake, name, levels, stored),
        "backtest": lambda: _backtest(lake, name, levels, Frequency.parse(info.frequency), tables),
        "ledger": lambda: _ledger(lake, name, tables),
        "series_input": lambda: _series_input(lake, name, Frequency.parse(info.frequency), lasting),
        "parameter_values": lambda: _parameter_values(lake, name),
        "component_values": lambda: _component_values(lake, name, Frequency.parse(info.frequency)),
        "leaderboard": lambda: _leaderboard(lake, name, tables),
    }
    return {view: makers[view]() for view, sources in _SOURCES.items() if set(sources) <= set(tables)}


def quantile_levels(lake: Lake, columns: Sequence[str]) -> tuple[float, ...]:
    """The levels of a view's quantile columns."""
    mine = [c for c in columns if _QUANTILE.fullmatch(c) and c not in lake.layout.key]
    return tuple(sorted({*lake.layout.quantiles, *map(quantile_level, mine)}))


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(map(quoted, columns))


def _forecasts_latest(lake: Lake, name: Name, levels: Sequence[float], stored: Collection[str]) -> str:
    quantiles = [quantile_column(q) for q in levels]
    values = [quoted(q) if q in stored else f"cast(NULL AS double) AS {quoted(q)}" for q in quantiles]
    columns = _listed(("run_id", *lake.layout.key, "step", "timestamp", "model", "mean"))
    values.append("lifecycle" if "lifecycle" in stored else "cast(NULL AS string) AS lifecycle")
    return (
        f"SELECT {columns}, {', '.join(values)} FROM {name('forecasts')} "
        f"WHERE scenario = {literal(BASELINE)} AND run_id IN (SELECT run_id FROM {name('runs')} WHERE published)"
    )


def _forecast_plan(lake: Lake, name: Name, stored: Collection[str]) -> str:
    """What to plan with, by the costs of error of the published run; no row where it has none."""
    columns = _listed(("run_id", *lake.layout.key, "step", "timestamp", "model"))
    plan = [c if c in stored else f"cast(NULL AS double) AS {c}" for c in ("plan_quantile", "plan")]
    priced = "plan IS NOT NULL" if "plan" in stored else "false"
    return (
        f"SELECT {columns}, {', '.join(plan)} FROM {name('forecasts')} WHERE {priced} "
        f"AND scenario = {literal(BASELINE)} AND run_id IN (SELECT run_id FROM {name('runs')} WHERE published)"
    )


def _forecast_quantiles(lake: Lake, name: Name, levels: Sequence[float], stored: Collection[str]) -> str:
    columns = _listed(("run_id", "scenario", *lake.layout.key, "step", "timestamp", "model"))
    there = [q for q in levels if quantile_column(q) in stored]
    pairs = ", ".join(f"{literal(q)}D, {quoted(quantile_column(q))}" for q in there)
    return (
        f"SELECT {columns}, quantile, value FROM {name('forecasts')} "
        f"LATERAL VIEW stack({len(there)}, {pairs}) long AS quantile, value WHERE value IS NOT NULL"
    )


def _backtest(lake: Lake, name: Name, levels: Sequence[float], frequency: Frequency, tables: Collection[str]) -> str:
    key = ", ".join(f"r.{quoted(k)}" for k in lake.layout.key)
    quantiles = ", ".join(quantile_value_of_run(q, "position", "levels") for q in levels)
    label = step_label(frequency, "forecast_start", "position")
    packed = ("stage", "forecast_start", "mean", "quantiles", "actuals", "status")
    rows = _results(name, tables, _listed(("run_id", *lake.layout.key, "model", "window", *packed)))
    return (
        f"SELECT run_id, {_listed(lake.layout.key)}, model, window, forecast_start, position + 1 AS step, "
        f"{label} AS timestamp, {finite('get(actuals, position)')} AS actual, {finite('step_mean')} AS mean, "
        f"{quantiles}, status FROM (SELECT r.run_id, {key}, r.model, r.window, r.forecast_start, r.mean, r.quantiles, "
        f"r.actuals, r.status, u.quantiles AS levels FROM ({rows}) r JOIN {name('runs')} u "
        "ON r.run_id = u.run_id WHERE r.stage IN ('backtest', 'selection')) "
        "LATERAL VIEW posexplode(mean) steps AS position, step_mean"
    )


def _ledger(lake: Lake, name: Name, tables: Collection[str]) -> str:
    columns = _listed(
        (
            *("run_id", "stage", *lake.layout.key, "model", "window", "forecast_start", "status", "reason", "seconds"),
            *("n_obs", "n_filled", "n_clipped", "evaluations", "unit"),
        )
    )
    known = lake.read("results").columns  # results of earlier versions say nothing of these
    later = {
        "n_masked": "bigint",
        "n_closed": "bigint",
        "refit": "string",
        "treatment": "string",
        "n_treated": "bigint",
    }
    more = ", ".join(c if c in known else f"cast(NULL AS {kind}) AS {c}" for c, kind in later.items())
    return f"SELECT * FROM ({_results(name, tables, f'{columns}, {more}')}) WHERE stage <> 'selection'"


def _results(name: Name, tables: Collection[str], columns: str) -> str:
    """The rows of `results`, with the backtests of the global model."""
    return results_sql(name("results"), name(RESULTS_DEEPAR) if RESULTS_DEEPAR in tables else None, columns)


def _series_input(lake: Lake, name: Name, frequency: Frequency, lasting: bool) -> str:
    """Each series as the struct that `udfs.functions` forecast. Histories that lie in pieces are joined, which costs a
    shuffle: in a view of a session only where there are any when it is made."""
    key, related = lake.layout.key, lake.layout.related
    columns = ["start", "target", *(f"related.{quoted(r)} AS {quoted(RELATED_PREFIX + r)}" for r in related)]
    rows = f"SELECT {_listed(key)}, {', '.join(columns)} FROM {name('series')}"
    if lasting or has_pieces(lake.read("series")):
        lists = [(target_sql(), "target"), *((related_sql(RELATED_PREFIX + r), RELATED_PREFIX + r) for r in related)]
        whole = ", ".join(f"{values} AS {quoted(c)}" for values, c in lists)
        rows = (
            f"SELECT {_listed(key)}, {start_sql()} AS start, {whole} FROM (SELECT {_listed(key)}, "
            f"array_sort(collect_list(struct(segment, {', '.join(columns)}))) AS pieces FROM {name('series')} "
            f"GROUP BY {_listed(key)})"
        )
    fields = {
        "target": "target",
        "start": "start",
        "frequency": literal(frequency.name),
        "season": str(frequency.season_length),
        "key": f"concat_ws(char({ord(KEY_SEPARATOR)}), {_listed(key)})",
    }
    if related:
        pairs = ", ".join(f"{literal(r)}, {quoted(RELATED_PREFIX + r)}" for r in related)
        known = ", ".join(literal(r) for r in related if r in lake.layout.known)
        fields |= {"related": f"map({pairs})", "known_in_future": f"cast(array({known}) AS array<string>)"}
    struct = ", ".join(f"{literal(field)}, {value}" for field, value in fields.items())
    return f"SELECT {_listed(key)}, named_struct({struct}) AS series FROM ({rows})"


def _parameter_values(lake: Lake, name: Name) -> str:
    columns = _listed(("run_id", *lake.layout.key, "model"))
    return (
        f"SELECT {columns}, pair.names AS name, {finite('pair.parameters')} AS value FROM {name('parameters')} "
        "LATERAL VIEW explode(arrays_zip(names, parameters)) long AS pair"
    )


def _component_values(lake: Lake, name: Name, frequency: Frequency) -> str:
    columns = _listed(("run_id", *lake.layout.key, "model", "component"))
    label = step_label(frequency, "start", "position")
    return (
        f"SELECT {columns}, {label} AS timestamp, {label} >= forecast_start AS in_horizon, "
        f"{finite('component_value')} AS value FROM {name('components')} "
        "LATERAL VIEW posexplode(values) long AS position, component_value"
    )


def _leaderboard(lake: Lake, name: Name, tables: Collection[str]) -> str:
    weighted = "selection" in tables and "weights" in lake.read("selection").columns
    return board_query(Board(key=lake.layout.key, weighted=weighted), name, tables)
