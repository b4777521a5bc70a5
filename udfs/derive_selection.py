"""`selection` from the additive statistics: each series' model by its summed loss over the backtest windows.

A series without any score takes the model that is best overall among its own candidates, so the ranking of all models
is made first. That ranking needs, for each set of models that have a score, only sums: a few rows for the driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.evaluation.selection import ONLY_CANDIDATE, best_overall, select_best, selection_loss
from forecasting.evaluation.sums import GroupedSums
from forecasting.frequency import Int64Array
from forecasting.models.registry import get_model
from udfs.arrow import nulls, repeated
from udfs.config import Config
from udfs.derive_sums import HEAD, ArrowStep, in_pieces, n_numbers, packed, series_rows, unpacked
from udfs.lake import Lake, quoted
from udfs.limits import condition
from udfs.runs import find
from udfs.stage import segment_column, segment_models

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_PATTERN_DDL = "scored binary, numbers binary, lost binary"


@dataclass(frozen=True)
class _Contest:
    """The models compared, in the order of the config."""

    models: tuple[str, ...]
    metric: str
    levels: tuple[float, ...]

    @property
    def costs(self) -> list[float]:
        return [get_model(name).cost for name in self.models]


def candidates(config: Config) -> tuple[str, ...]:
    """All models of a config, those of segments too, in its order."""
    names = [*config.models, *(name for models in segment_models(config) for name in models)]
    return tuple(dict.fromkeys(names))


def selection_rows(lake: Lake, run_id: str, sums: DataFrame, config: Config) -> DataFrame:
    """Rows of `selection` for the series of `sums` (see derive_sums)."""
    contest = _Contest(candidates(config), config.selection.metric, config.quantiles)
    patterns = sums.mapInArrow(_patterns_step(contest), _PATTERN_DDL).toArrow()
    ranking = overall_ranking(*_merged(patterns, len(contest.models)), contest.costs)
    return sums.mapInArrow(_choice_step(lake, run_id, contest, tuple(ranking)), _selection_ddl(lake))


def only_candidates(lake: Lake, run_id: str, config: Config) -> DataFrame:
    """Rows of `selection` of a run without backtests: each series' one model, by the config's segments."""
    from pyspark.sql import functions as F

    run = find(lake, run_id)
    series = lake.read("series", run.series_version if run else None)
    if run is not None:
        limit = condition(lake.layout.key, run.plan.where, run.plan.items)
        series = series if limit is None else series.where(limit)
    models = F.array(*(F.lit(next(iter(models))) for models in segment_models(config)))
    constants = {
        "run_id": F.lit(run_id),
        "model": F.get(models, segment_column(config)),
        "metric": F.lit(config.selection.metric),
        "score": F.lit(None).cast("double"),
        "runner_up": F.lit(None).cast("string"),
        "margin": F.lit(None).cast("double"),
        "reason": F.lit(ONLY_CANDIDATE),
    }
    first_pieces = series.where(F.col("segment") == 0)
    return first_pieces.select(*(constants.get(n, F.col(n)).alias(n) for n in lake.schemas["selection"].names))


def _selection_ddl(lake: Lake) -> str:
    return ", ".join(f"{quoted(c.name)} {c.type}" for c in lake.schemas["selection"].columns)


@dataclass(frozen=True)
class _Field:
    """The losses of S series among M models; NaN is no score. ran: bool [S, M], whether the model is a candidate."""

    loss: FloatArray
    n_fallback: Int64Array
    ran: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def _field(batch: pa.RecordBatch, contest: _Contest) -> _Field:
    width = n_numbers(contest.levels)
    rows = series_rows(batch, width, contest.models)
    of = rows.over_windows
    shape = (len(batch), len(contest.models))
    numbers = np.full((*shape, width), np.nan)
    numbers[rows.series[of], rows.model[of]] = rows.numbers[of]
    ran = ~np.isnan(numbers[..., 0])
    loss = selection_loss(numbers[..., len(HEAD) :], contest.levels, contest.metric)
    return _Field(loss, np.where(ran, numbers[..., 1], 0).astype(np.int64), ran)


# --- the ranking of all models ---


def _patterns_step(contest: _Contest) -> ArrowStep:
    """For each set of models that have a score: how many series, and the sums of their losses."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        width = len(contest.models)
        seen: dict[tuple[bool, ...], int] = {}
        sums = GroupedSums(width + 1)
        for batch in in_pieces(batches):
            loss = _field(batch, contest).loss
            scored = np.isfinite(loss)
            unique, inverse = np.unique(scored, axis=0, return_inverse=True)
            slots = np.array([seen.setdefault(tuple(row), len(seen)) for row in unique.tolist()], dtype=np.int64)
            counted = np.concatenate([np.ones((len(loss), 1)), np.where(scored, loss, 0.0)], axis=1)
            sums.add(counted, slots[inverse.reshape(-1)])
        if seen:
            high, low = sums.parts
            columns = [packed(table) for table in (np.array(list(seen), dtype=np.float64), high, low)]
            yield pa.RecordBatch.from_arrays(columns, names=["scored", "numbers", "lost"])

    return run


def _merged(patterns: pa.Table, models: int) -> tuple[FloatArray, FloatArray]:
    """The tasks' patterns as one: for each row the number of series [P], and losses [P, M], NaN where unscored."""
    sums = GroupedSums(models + 1)
    seen: dict[tuple[float, ...], int] = {}
    for batch in patterns.to_batches():
        scored = unpacked(batch.column(0), models)
        slots = np.array([seen.setdefault(tuple(row), len(seen)) for row in scored.tolist()], dtype=np.int64)
        sums.add(unpacked(batch.column(1), models + 1), slots, unpacked(batch.column(2), models + 1))
    totals = sums.totals
    mask = np.array(list(seen), dtype=bool).reshape(len(seen), models)
    return totals[:, 0], np.where(mask, totals[:, 1:], np.nan)


def overall_ranking(count: FloatArray, loss: FloatArray, costs: Sequence[float]) -> list[int]:
    """Positions of all models, the best first, as `best_overall` over all series would say, again and again without
    those already ranked.

    count: [P], series behind each row. loss: [P, M], their summed losses, NaN where these series have no score.
    """
    left = list(range(len(costs)))
    ranking: list[int] = []
    while left:
        part = loss[:, left]
        scored = np.isfinite(part)
        series = (scored * count[:, None]).sum(axis=0)
        shared = scored[:, series > 0].all(axis=1)
        use = shared if series.any() and shared.any() else np.ones(len(part), dtype=bool)
        comparable = series > 0 if series.any() and shared.any() else series == series.max(initial=0)
        sums = np.where(scored, part, 0.0)[use].sum(axis=0)
        row = np.where(comparable & (series > 0), sums, np.nan)
        best = left[best_overall(row[None, :], [costs[m] for m in left])]
        ranking.append(best)
        left.remove(best)
    return ranking


# --- the choice ---


def _choice_step(lake: Lake, run_id: str, contest: _Contest, ranking: tuple[int, ...]) -> ArrowStep:
    schema, key = lake.schemas["selection"], lake.layout.key

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names = pa.array([*contest.models, None], pa.string())
        for batch in in_pieces(batches):
            field = _field(batch, contest)
            choice = select_best(field.loss, contest.costs, field.n_fallback, overall=ranking[0])
            unscored = ~np.isfinite(field.loss).any(axis=1)
            chosen = np.where(unscored, _best_candidate(field, ranking), choice.chosen)
            runner_up = np.where(choice.runner_up < 0, len(contest.models), choice.runner_up)
            columns = {
                "run_id": repeated(run_id, pa.string(), len(batch)),
                **{name: batch.column(name) for name in (*key, "bucket")},
                "model": names.take(pa.array(chosen)),
                "metric": repeated(contest.metric, pa.string(), len(batch)),
                "score": pa.array(np.where(unscored, np.nan, choice.score), from_pandas=True),
                "runner_up": names.take(pa.array(runner_up)) if len(batch) else nulls(pa.string(), 0),
                "margin": pa.array(choice.margin, from_pandas=True),
                "reason": pa.array(choice.reason, pa.string()),
            }
            yield pa.RecordBatch.from_arrays([columns[n] for n in schema.names], names=list(schema.names))

    return run


def _best_candidate(field: _Field, ranking: Sequence[int]) -> Int64Array:
    """The best overall of each series' own candidates, [S]."""
    order = np.asarray(ranking, dtype=np.int64)
    return np.asarray(order[field.ran[:, order].argmax(axis=1)], dtype=np.int64)
