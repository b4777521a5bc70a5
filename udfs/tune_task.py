"""What a Spark task does with the sample of a segment: one search of one model's hyperparameters, rows for
`hpo_trials` out. It never sees a Spark object."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.evaluation.sampler import Sampler
from forecasting.evaluation.search import Budget, Trial, search
from forecasting.evaluation.search_sample import Sample
from udfs.lake import as_json
from udfs.parts import prepare
from udfs.shut import with_whole_seasons
from udfs.spec import ModelSpec, TaskSpec
from udfs.tuned import Study

KINDS: dict[str, pa.DataType] = {
    "segment": pa.string(),
    "model": pa.string(),
    "trial": pa.int32(),
    "hyperparameters": pa.string(),
    "n_series": pa.int32(),
    "loss": pa.float64(),
    "loss_held_out": pa.float64(),
    "evaluations": pa.int64(),
    "seconds": pa.float64(),
    "state": pa.string(),
    "reason": pa.string(),
    "chosen": pa.bool_(),
}
"""Columns of `hpo_trials` that a task makes."""


@dataclass(frozen=True)
class TuneSpec:
    """All that a task needs to know. task: as in a backtest. studies: by the value of the column `place`."""

    task: TaskSpec
    studies: tuple[Study, ...]
    budget: Budget
    sampler: Sampler


def tune_task(spec: TuneSpec) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for mapInArrow."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return process(spec, batches)

    return run


def process(spec: TuneSpec, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows of `hpo_trials` for the samples in `batches`, which hold what a backtest reads and `place`."""
    sys.path.extend(path for path in spec.task.paths if path not in sys.path)
    found = list(batches)
    if not found:
        return
    rows = pa.Table.from_batches(found)
    for place in sorted(pc.unique(rows.column("place")).to_pylist()):
        mine = rows.filter(pc.equal(rows.column("place"), place))
        # Sums of numbers depend on their order, and rows come in any.
        mine = mine.sort_by([(name, "ascending") for name in spec.task.key]).combine_chunks()
        study = spec.studies[place]
        sample = sample_of(mine.to_batches()[0], spec.task, study.model)
        trials = search(
            sample,
            study.model,
            study.hyperparameters,
            quantiles=spec.task.quantiles,
            budget=spec.budget,
            sampler=spec.sampler,
            study=study.segment,
            seed=spec.task.seed,
            bounds=spec.task.bounds,
            max_evaluations=spec.task.max_evaluations,
        )
        yield record_batch([record(study, trial, len(sample)) for trial in trials])


def sample_of(piece: pa.RecordBatch, spec: TaskSpec, model: str) -> Sample:
    """The series as a backtest of the model sees them; windows that it would leave out for short history unscored."""
    part = with_whole_seasons(prepare(piece, spec), ModelSpec(model))
    assert part.ends is not None
    assert part.actuals is not None
    assert part.own is not None
    enough = (part.own >= max(spec.min_history, 1))[:, :, None]
    actuals = np.where(enough, part.actuals, np.nan)
    return Sample(part.series, part.ends, actuals, part.scale, spec.history)


def record(study: Study, trial: Trial, n_series: int) -> dict[str, Any]:
    """A row of the table, without what the driver adds."""
    return {
        "segment": study.segment,
        "model": study.model,
        "trial": trial.number,
        "hyperparameters": as_json(dict(trial.hyperparameters)),
        "n_series": n_series,
        "loss": _number(trial.loss),
        "loss_held_out": _number(trial.loss_held_out),
        "evaluations": trial.evaluations,
        "seconds": trial.seconds,
        "state": trial.state,
        "reason": trial.reason,
        "chosen": trial.chosen,
    }


def record_batch(records: list[Mapping[str, Any]]) -> pa.RecordBatch:
    """Rows as Arrow."""
    columns = [pa.array([r[name] for r in records], kind) for name, kind in KINDS.items()]
    return pa.RecordBatch.from_arrays(columns, names=list(KINDS))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
