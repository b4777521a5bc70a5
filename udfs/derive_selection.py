"""`selection` from the additive statistics: each series' model, or weights of several, by its losses in the backtests.

A series leans on its segment as far as few windows speak for it (see `forecasting.evaluation.crowd`); one without any
score takes what its segment takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.evaluation.ensemble import series_weights
from forecasting.evaluation.selection import BEST, NO_SCORES, ONLY_CANDIDATE, Selection, select_best
from udfs.arrow import ArrowStep, repeated
from udfs.config import Config
from udfs.config.variants import competing_models
from udfs.contest import Contest, Field, Standing
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.limits import condition
from udfs.losses import stored_fields
from udfs.member_rows import MEMBERS, OTHERS
from udfs.members import ENSEMBLE
from udfs.packed_numbers import packed
from udfs.pieces import latest
from udfs.runs import find
from udfs.segments import segment_column, segment_name
from udfs.series_rows import in_pieces

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CROWD = "crowd"
"""Reason: the segment's ranking outweighed the series' own few windows."""
SEGMENT_BEST = "best_in_segment"
OVERALL_BEST = "best_overall"
WEIGHTED = "weighted"
ALL_MODELS = "all_candidates"


@dataclass(frozen=True)
class Rule:
    """How models are chosen: the mode, the standing of the models, the segments' weights [G, M] for ensembles."""

    mode: str
    smallest_weight: float
    standing: Standing
    weights: FloatArray | None = None

    @property
    def contest(self) -> Contest:
        return self.standing.contest


@dataclass(frozen=True)
class Decision:
    """For S series: weights [S, M]; the models by their scores; the loss of the heaviest [S]; why."""

    weights: FloatArray
    ranking: Selection
    score: FloatArray
    reason: np.ndarray[tuple[int, ...], np.dtype[np.object_]]


def decide(lines: Field, segments: list[str], rule: Rule) -> Decision:
    """The decision for the series of a field."""
    scores = rule.standing.scores(lines, segments)
    n, models = scores.shape
    ranking = select_best(np.exp(scores), rule.contest.costs, lines.n_fallback, overall=_last_resort(rule))
    chosen = np.where(np.isfinite(scores).any(axis=1), ranking.chosen, _first_candidate(lines, ranking.chosen))
    reason = _reasons(lines, chosen, ranking)
    if rule.mode in ("best_overall", "best_per_segment"):
        chosen, reason = _fixed(lines, segments, rule, chosen, reason)
    weights = np.zeros((n, models))
    weights[np.arange(n), chosen] = 1.0
    if rule.mode == ENSEMBLE:
        weights, reason = _ensemble(scores, segments, rule, weights, reason)
    elif rule.mode in ("mean", "median"):
        all_of_them = np.isfinite(scores)
        some = all_of_them.sum(axis=1) > 1
        equal = all_of_them / np.maximum(all_of_them.sum(axis=1, keepdims=True), 1)
        weights = np.where(some[:, None], equal, weights)
        reason = np.where(some, ALL_MODELS, reason)
    best = weights.argmax(axis=1)
    return Decision(weights, ranking, lines.loss[np.arange(n), best], reason)


def _last_resort(rule: Rule) -> int:
    return rule.standing.best_of_all()


def _first_candidate(lines: Field, chosen: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
    """For series that nothing is known of: the best of all where it is a candidate, else the first candidate."""
    ran = lines.ran[np.arange(len(chosen)), chosen] | ~lines.ran.any(axis=1)
    return np.asarray(np.where(ran, chosen, lines.ran.argmax(axis=1)))


def _reasons(
    lines: Field, chosen: FloatArray, ranking: Selection
) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    scored = np.isfinite(lines.loss)
    own = np.where(scored, lines.loss, np.inf)
    best_own = own.min(axis=1, initial=np.inf)
    mine = own[np.arange(len(own)), chosen]
    reason = np.array(ranking.reason, dtype=object)
    outvoted = (reason == BEST) & (mine > best_own * (1 + 1e-9))
    reason[outvoted] = CROWD
    reason[~scored.any(axis=1)] = NO_SCORES
    reason[scored.any(axis=1) & (lines.ran.sum(axis=1) == 1)] = ONLY_CANDIDATE
    return reason


def _fixed(
    lines: Field,
    segments: list[str],
    rule: Rule,
    chosen: FloatArray,
    reason: np.ndarray[tuple[int, ...], np.dtype[np.object_]],
) -> tuple[FloatArray, np.ndarray[tuple[int, ...], np.dtype[np.object_]]]:
    """One model for all series of a segment, or for all; a series for which it is no candidate keeps its own."""
    everywhere = rule.mode == "best_overall"
    best = rule.standing.best()
    wanted = np.array(
        [rule.standing.best_of_all() if everywhere else best.get(s, -1) for s in segments], dtype=np.int64
    )
    can = (wanted >= 0) & lines.ran[np.arange(len(wanted)), wanted]
    why = OVERALL_BEST if everywhere else SEGMENT_BEST
    return np.asarray(np.where(can, wanted, chosen)), np.where(can, why, reason)


def _ensemble(
    scores: FloatArray,
    segments: list[str],
    rule: Rule,
    single: FloatArray,
    reason: np.ndarray[tuple[int, ...], np.dtype[np.object_]],
) -> tuple[FloatArray, np.ndarray[tuple[int, ...], np.dtype[np.object_]]]:
    at = rule.standing.positions(segments)
    shared = np.zeros_like(scores)
    if rule.weights is not None and len(rule.weights):
        shared = np.where((at >= 0)[:, None], rule.weights[at], 0.0)
    crowd = rule.standing.crowd_scores(segments)
    weights = series_weights(scores, shared, crowd, rule.smallest_weight)
    none = ~(weights > 0).any(axis=1)
    weights[none] = single[none]
    several = (weights > 0).sum(axis=1) > 1
    return weights, np.where(several & (reason != NO_SCORES), WEIGHTED, reason)


def selection_rows(
    lake: Lake, run_id: str, series: DataFrame, rules: Sequence[Rule], left_out: Sequence[int] = ()
) -> DataFrame:
    """Rows of `selection` for series with LOSSES and the column `segment`, and beside them OTHERS and MEMBERS.

    rules: by all windows, and without each of those left out.
    """
    more = f"{quoted(OTHERS)} binary, {quoted(MEMBERS)} array<string>"
    return series.mapInArrow(_choice_step(lake, run_id, rules, left_out), f"{lake.schemas['selection'].ddl()}, {more}")


def _choice_step(lake: Lake, run_id: str, rules: Sequence[Rule], left_out: Sequence[int]) -> ArrowStep:
    schema, key, contest = lake.schemas["selection"], lake.layout.key, rules[0].contest

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names = pa.array([*contest.models, None], pa.string())
        for batch in in_pieces(batches):
            fields = stored_fields(batch, contest, left_out)
            segments = batch.column("segment").to_pylist()
            lines, decided = fields[0], decide(fields[0], segments, rules[0])
            others = [decide(f, segments, r).weights for f, r in zip(fields[1:], rules[1:], strict=True)]
            of_windows = np.stack(others or [decided.weights], axis=1)
            ranking = decided.ranking
            best = decided.weights.argmax(axis=1)
            second = np.where(best == ranking.chosen, ranking.runner_up, ranking.chosen)
            second = np.where(decided.reason == NO_SCORES, -1, second)
            several = (decided.weights > 0).sum(axis=1) > 1
            model = names.take(pa.array(best)).to_numpy(zero_copy_only=False)
            columns: dict[str, pa.Array] = {
                "run_id": repeated(run_id, pa.string(), len(batch)),
                **{name: batch.column(name) for name in (*key, "bucket", "segment")},
                "model": pa.array(np.where(several, ENSEMBLE, model), pa.string()),
                "weights": weight_maps(contest.models, decided.weights),
                "metric": repeated(contest.metric, pa.string(), len(batch)),
                "score": pa.array(decided.score, from_pandas=True),
                "runner_up": names.take(pa.array(np.where(second < 0, len(contest.models), second))),
                "margin": pa.array(_margin(lines.loss, best, second), from_pandas=True),
                "reason": pa.array(decided.reason, pa.string()),
                "factors": pa.nulls(len(batch), pa.list_(pa.float64())),
                OTHERS: packed(of_windows.reshape(len(batch), -1)),
                MEMBERS: _members(contest.models, (of_windows > 0).any(axis=1) | (decided.weights > 0)),
            }
            wanted = [*schema.names, OTHERS, MEMBERS]
            yield pa.RecordBatch.from_arrays([columns[n] for n in wanted], names=wanted)

    return run


def _members(models: tuple[str, ...], used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> pa.Array:
    """bool [S, M] as S lists of models."""
    offsets = np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(models).take(pa.array(np.nonzero(used)[1])))


def _margin(loss: FloatArray, best: FloatArray, second: FloatArray) -> FloatArray:
    """By how much the runner-up's own loss is larger, as a share of it; below 0 where the crowd outvoted it."""
    rows = np.arange(len(loss))
    mine, other = loss[rows, best], np.where(second >= 0, loss[rows, second], np.nan)
    equal = np.where(np.isfinite(mine) & np.isfinite(other), 0.0, np.nan)
    return np.asarray(np.divide(other - mine, other, out=equal, where=other > 0))


def weight_maps(models: tuple[str, ...], weights: FloatArray) -> pa.Array:
    """[S, M] as S maps from a model to its weight, those above 0."""
    series, model = np.nonzero(weights)
    offsets = np.concatenate([[0], np.cumsum((weights > 0).sum(axis=1))]).astype(np.int32)
    keys = pa.array(list(models), pa.string()).take(pa.array(model))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(weights[series, model]))


def only_candidates(lake: Lake, run_id: str, config: Config) -> DataFrame:
    """Rows of `selection` of a run without backtests: each series' one model, by the config's segments."""
    from pyspark.sql import functions as F

    run = find(lake, run_id)
    series = lake.read("series", run.series_version if run else None)
    if run is not None:
        limit = condition(lake.layout.key, run.plan.where, run.plan.items)
        series = series if limit is None else series.where(limit)
    models = F.array(*(F.lit(next(iter(models))) for models in competing_models(config)))
    model = F.get(models, segment_column(config))
    constants: Mapping[str, object] = {
        "run_id": F.lit(run_id),
        "model": model,
        "segment": segment_name(config),
        "weights": F.create_map(model, F.lit(1.0)),
        "metric": F.lit(config.selection.metric),
        "score": F.lit(None).cast("double"),
        "runner_up": F.lit(None).cast("string"),
        "margin": F.lit(None).cast("double"),
        "reason": F.lit(ONLY_CANDIDATE),
        "factors": F.lit(None).cast("array<double>"),
    }
    rows = latest(series, lake.layout.key)
    return rows.select(*(constants.get(n, F.col(n)).alias(n) for n in lake.schemas["selection"].names))  # type: ignore[attr-defined]
