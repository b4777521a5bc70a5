"""The leaderboard as SQL: each model's accuracy beside what it costs, for the view and for the verb."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from udfs.derive_sums import SELECTED
from udfs.lake import literal
from udfs.layout import quoted
from udfs.series_rows import ALL_WINDOWS

METRICS = (
    *("mean_wQL", "WAPE", "WAPE_mean", "RMSE", "MAPE", "MASE", "sMAPE", "RMSSE", "OWA", "CRPS", "log_loss"),
    *("cost", "cost_under", "cost_over"),
)
"""What a leaderboard can be ranked by: less is better."""
COST = "core_seconds_per_1000_series"
_SHOWN = ("mean_wQL", "WAPE", "RMSE", "MASE", "coverage")
_ENSEMBLES = "ensemble%"


@dataclass(frozen=True)
class Board:
    """What to put on a leaderboard. metric: one of METRICS. run_id: None for every run. segment: a metadata column, a
    board for each of its values; None: all series together. key: the columns of a series' key. weighted: whether
    `selection` has weights. contest: whether to look through all items for the one that was best for each."""

    key: Sequence[str]
    metric: str = "mean_wQL"
    run_id: str | None = None
    segment: str | None = None
    weighted: bool = False
    contest: bool = False


def board_query(board: Board, name: Callable[[str], str], tables: Collection[str]) -> str:
    """SELECT a row for each run, model and value of the segment.

    A choice or an ensemble of models costs what all models cost together: they had to run so that it could be made.
    Where the cost of one is not known (the global model on a GPU), that of the choice is not either: NULL.
    chosen_share: the mean of the weights that the model has in the series' choices. best_share: series whose metric it
    makes smallest, ties shared; the pseudo-models do not take part. pareto: on the front of accuracy and cost, where
    every model is better than all that cost as much or less.
    """
    metric, group = quoted(board.metric), "PARTITION BY run_id, value"
    shown = [quoted(c) for c in dict.fromkeys((*_SHOWN, board.metric))]
    parts = {"t": _totals(board, name, shown), "s": _series(board, name)}
    chosen = best = ""
    if "selection" in tables:
        parts["c"] = _chosen(board, name)
        chosen = " LEFT JOIN c ON t.run_id = c.run_id AND t.model = c.model AND t.value <=> c.value"
    if board.contest:
        parts["b"] = _best(board, name)
        best = " LEFT JOIN b ON t.run_id = b.run_id AND t.model = b.model AND t.value <=> b.value"
    over = "OVER (PARTITION BY t.run_id, t.value)"
    every = (
        f"CASE WHEN bool_and({_pseudo('t.model')} OR t.seconds IS NOT NULL) {over} "
        f"THEN sum(CASE WHEN NOT {_pseudo('t.model')} THEN t.seconds END) {over} END"
    )
    seconds = f"CASE WHEN {_pseudo('t.model')} THEN {every} ELSE t.seconds END"
    real = f"NOT {_pseudo('t.model')}"
    parts["p"] = (
        f"SELECT t.*, s.n_series, t.n_fallback / nullif(t.n_rows, 0) AS fallback_share, "
        f"1000 * ({seconds}) / nullif(s.n_series, 0) AS {COST}, "
        f"{f'CASE WHEN {real} THEN coalesce(c.share, 0D) END' if chosen else 'CAST(NULL AS double)'} AS chosen_share, "
        f"{f'CASE WHEN {real} THEN coalesce(b.share, 0D) END' if best else 'CAST(NULL AS double)'} AS best_share "
        f"FROM t JOIN s ON t.run_id = s.run_id AND t.model = s.model AND t.value <=> s.value{chosen}{best}"
    )
    order = f"ORDER BY {COST} ASC NULLS LAST, {metric} ASC NULLS LAST, model"
    cheaper = f"min({metric}) OVER ({group} {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    front = f"{metric} IS NOT NULL AND {COST} IS NOT NULL AND {metric} < coalesce({cheaper}, double('infinity'))"
    extra = "value, " if board.segment is not None else ""
    contest = "best_share, " if board.contest else ""
    columns = ", ".join(shown)
    return (
        f"WITH {', '.join(f'{alias} AS ({query})' for alias, query in parts.items())} "
        f"SELECT run_id, {extra}rank() OVER ({group} ORDER BY {metric} ASC NULLS LAST) AS rank, model, {columns}, "
        f"n_series, fallback_share, {COST}, chosen_share, {contest}{front} AS pareto FROM p "
        f"ORDER BY run_id, {extra}rank, model"
    )


def _pseudo(model: str) -> str:
    """Whether a name stands for a choice or a blend of models."""
    return f"({model} = {literal(SELECTED)} OR {model} LIKE {literal(_ENSEMBLES)})"


def _where(board: Board, scope: str, windows: str) -> str:
    conditions = [f"scope = {literal(scope)}", windows]
    if board.run_id is not None:
        conditions.append(f"run_id = {literal(board.run_id)}")
    if board.segment is not None and scope == "segment":
        conditions.append(f"attribute = {literal(board.segment)}")
    return " AND ".join(conditions)


def _scope(board: Board) -> str:
    return "total" if board.segment is None else "segment"


def _totals(board: Board, name: Callable[[str], str], shown: Sequence[str]) -> str:
    where = _where(board, _scope(board), f"window = {ALL_WINDOWS}")
    return (
        f"SELECT run_id, value, model, {', '.join(shown)}, n_series AS n_rows, n_fallback, seconds "
        f"FROM {name('metrics')} WHERE {where}"
    )


def _series(board: Board, name: Callable[[str], str]) -> str:
    return (
        f"SELECT run_id, value, model, max(n_series) AS n_series FROM {name('metrics')} "
        f"WHERE {_where(board, _scope(board), 'window > 0')} GROUP BY run_id, value, model"
    )


def _with_value(board: Board, name: Callable[[str], str], rows: str) -> str:
    """Rows of series with the value of the segment that each belongs to."""
    if board.segment is None:
        return f"SELECT r.*, CAST(NULL AS string) AS value FROM ({rows}) r"
    key = ", ".join(map(quoted, board.key))
    newest = f"max_by(metadata.{quoted(board.segment)}, segment)"
    members = f"SELECT {key}, {newest} AS value FROM {name('series')} GROUP BY {key}"
    same = " AND ".join(f"r.{quoted(k)} = m.{quoted(k)}" for k in board.key)
    return f"SELECT r.*, m.value FROM ({rows}) r LEFT JOIN ({members}) m ON {same}"


def _chosen(board: Board, name: Callable[[str], str]) -> str:
    key = ", ".join(map(quoted, board.key))
    only = "" if board.run_id is None else f" WHERE run_id = {literal(board.run_id)}"
    alone = "map(model, 1D)"
    weights = f"coalesce(weights, {alone})" if board.weighted else alone
    rows = f"SELECT run_id, {key}, {weights} AS parts FROM {name('selection')}{only}"
    every = f"SELECT run_id, value, count(*) AS n FROM ({_with_value(board, name, rows)}) GROUP BY run_id, value"
    return (
        "SELECT w.run_id, w.value, w.model, sum(w.weight) / first(n.n) AS share FROM "
        f"(SELECT run_id, value, model, weight FROM ({_with_value(board, name, rows)}) "
        f"LATERAL VIEW explode(parts) one AS model, weight) w JOIN ({every}) n "
        "ON w.run_id = n.run_id AND w.value <=> n.value GROUP BY w.run_id, w.value, w.model"
    )


def _best(board: Board, name: Callable[[str], str]) -> str:
    key, metric = ", ".join(map(quoted, board.key)), quoted(board.metric)
    where = _where(board, "item", f"window = {ALL_WINDOWS}")
    rows = (
        f"SELECT run_id, {key}, model, {metric} AS score, min({metric}) OVER (PARTITION BY run_id, {key}) AS least "
        f"FROM {name('metrics')} WHERE {where} AND {metric} IS NOT NULL AND NOT {_pseudo('model')}"
    )
    tied = (
        f"SELECT run_id, {key}, model, 1D / count(*) OVER (PARTITION BY run_id, {key}) AS part "
        f"FROM ({rows}) WHERE score = least"
    )
    return (
        "SELECT run_id, value, model, sum(part) / sum(sum(part)) OVER (PARTITION BY run_id, value) AS share "
        f"FROM ({_with_value(board, name, tied)}) GROUP BY run_id, value, model"
    )
