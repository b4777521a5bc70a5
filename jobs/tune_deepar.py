"""The verb `tune-deepar`: settings of the global model, tried and judged, into `hpo_trials`. No Spark, no JVM.

A setting is trained on what lies before the windows that it is judged on, and these lie before the backtests' own: a
model that is trained with the best setting and `--before-backtests` has honest backtests.
"""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from forecasting.deepar.search import Attempt, Budget, Judged, Trial, best_of, search
from forecasting.evaluation.metrics import Layout, ratios
from forecasting.seeds import key_hashes
from jobs import tables
from jobs.context import ConfigSource
from jobs.deepar_lake import check_libraries, device_of, setting_digest
from jobs.deepar_rows import answered, scored
from jobs.train_deepar import training_set
from udfs.arrow import joined_keys
from udfs.config import Config, load_config
from udfs.config.load import config_hash
from udfs.deep_source import DeepSource, not_done, open_source
from udfs.delta_files import arrow_schema, lake_root, open_table, read_rows, replace_rows
from udfs.errors import InputError
from udfs.lake import as_json
from udfs.parts import Part
from udfs.results import DEEPAR
from udfs.runs import new_run_id
from udfs.series_chunks import SeriesChunks
from udfs.tuning_schema import tuning_schema

if TYPE_CHECKING:
    from forecasting.deepar import DeepAR, Settings

OnTrial = Callable[[Trial, int], None]
"""Called after a trial, with how many there may be."""


@dataclass(frozen=True)
class Tuned:
    """A finished tuning. trials: in their order, those of an earlier call included. n_series: that settings were
    judged on. notes: what of the config the global model does not do."""

    run_id: str
    trials: tuple[Trial, ...]
    n_series: int
    notes: tuple[str, ...]

    @property
    def best(self) -> Trial | None:
        """What `train-deepar --tuned` takes; None where no trial was complete."""
        return best_of(self.trials)


def tune(
    config: ConfigSource,
    *,
    overrides: Iterable[str] = (),
    run_id: str | None = None,
    resume: bool = False,
    on_trial: OnTrial | None = None,
) -> Tuned:
    """Search as `deepar.tuning` says. Each trial is in `hpo_trials` as soon as it has ended.

    run_id: the tuning's id; made up unless given. resume: go on with `run_id`, else with the newest tuning of this
    config, on the data that it began with; without one begin anew. The same config, data and seed give the same
    trials, on a CPU to the last digit.
    Raises InputError where torch or optuna is missing, for a lake that is empty or in a catalog, an id that is there
    already, and histories that are too short to be judged on.
    """
    check_libraries()
    if find_spec("optuna") is None:
        raise InputError("optuna, which searches the settings, is not installed: pip install 'almanac[tune]'")
    loaded = load_config(config, overrides)
    rows = _rows_of(loaded, run_id, resume)
    same: Mapping[str, Any] = (
        rows[0] if rows else {"run_id": run_id or new_run_id(), "started_at": datetime.now(timezone.utc)}
    )
    source = judging(open_source(loaded, version=same.get("series_version")))
    judge = _Judge.of(source)
    constants = {
        "run_id": same["run_id"],
        "n_series": judge.n_series,
        "digest": setting_digest(loaded),
        "config_hash": _identity(loaded),
        "series_version": source.series_version,
        "started_at": same["started_at"],
    }
    section = loaded.deepar.tuning
    trials = [_trial(row) for row in rows]
    found = search(
        _attempts(source, judge),
        loaded.deepar.settings,
        loaded.horizon,
        section.parameters,
        budget=Budget(section.trials, section.max_steps, section.reduction),
        sampler=section.sampler,
        seed=loaded.seed,
        done=trials.copy(),
    )
    for trial in found:
        trials.append(trial)
        _write(source, trials, constants)
        if on_trial is not None:
            on_trial(trial, section.trials)
    return Tuned(same["run_id"], tuple(trials), judge.n_series, tuple(not_done(loaded)))


def judging(source: DeepSource) -> DeepSource:
    """The same series with the windows that settings are judged on: just before the earliest backtest window."""
    config = source.config
    windows, horizon = config.deepar.tuning.windows, config.horizon
    seen = source.plan.span if config.backtest.windows else 0
    backtest = config.backtest.model_copy(update={"windows": windows, "offset": seen + horizon, "stride": horizon})
    return replace(source, config=config.model_copy(update={"backtest": backtest}))


@dataclass(frozen=True)
class _Judge:
    """Windows made ready once."""

    source: DeepSource
    parts: tuple[Part, ...]
    n_series: int

    @classmethod
    def of(cls, source: DeepSource) -> _Judge:
        """Of the series that are sampled: those with the smallest hashes among all that begin before the windows."""
        held = source.series
        hashes = key_hashes(joined_keys(held.batch(0, len(held)), source.config.key))
        first = source.frequency.ordinals(held.start)
        end = source.end if source.config.forecast_start == "global" else first + held.lengths - 1
        there = np.flatnonzero((held.lengths > 0) & (end - first + 1 > source.plan.span))
        chosen = np.zeros(len(held), dtype=bool)
        chosen[there[np.argsort(hashes[there], kind="stable")[: source.config.deepar.tuning.sample]]] = True
        sample, spec = (
            replace(source, chunks=SeriesChunks.whole(held.only(chosen), source.frequency)),
            source.spec("backtest"),
        )
        parts = [part for part in sample.parts(spec) if not part.short and not part.ended]
        return cls(source, tuple(parts), sum(len(part.series) for part in parts))

    def loss(self, model: DeepAR) -> float:
        """Mean wQL over all of them; NaN where nothing is scored."""
        spec = self.source.spec("backtest")
        sums = np.zeros(len(Layout.of(spec.quantiles)))
        for part in self.parts:
            sums += scored(answered(model, part, spec), part, spec)
        return float(ratios(sums, spec.quantiles)["mean_wQL"])


def _attempts(source: DeepSource, judge: _Judge) -> Attempt:
    """How a setting is trained and judged; the training set is made ready once."""
    config, device = source.config, device_of(source.config)
    batch, metadata, ends = training_set(source, True)

    def attempt(settings: Settings, epochs: Sequence[int]) -> Iterator[Judged]:
        from forecasting.deepar import Facts, SeriesSet, Trainer

        facts = Facts.learn(batch, metadata, config.horizon, settings, ends)
        series = SeriesSet.of(batch, facts, metadata, ends=ends, device=device)
        trainer = Trainer(series, facts, settings, seed=config.seed)
        running = trainer.run()
        for mark in epochs:
            while trainer.epoch < mark and not trainer.stop:
                next(running)
            yield Judged(judge.loss(trainer.model()), trainer.step_number, bool(trainer.stop))

    return attempt


# --- the table ---


def _identity(config: Config) -> str:
    """A digest of all that trials depend on."""
    apart = {"device", "models", "checkpoint_seconds"}
    content = [config_hash(config), DEEPAR, config.deepar.model_dump(mode="json", exclude=apart)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _rows_of(config: Config, run_id: str | None, resume: bool) -> list[dict[str, Any]]:
    """The rows of the tuning to go on with, in the order of the trials; none where one begins."""
    table = open_table(lake_root(config.lake), tuning_schema().name)
    rows = [] if table is None else read_rows(table, tuning_schema().names)
    mine = [row for row in rows if run_id in (None, row["run_id"])]
    if run_id is not None and mine and not resume:
        raise InputError(f"tuning {run_id!r} exists already; go on with it by --resume, or give another id")
    if not resume:
        return []
    same = [row for row in mine if row["config_hash"] == _identity(config)]
    if run_id is not None and mine and not same:
        raise InputError(
            f"tuning {run_id} was begun with another config; give the config it was begun with, or a new run id"
        )
    newest = max(same, key=lambda row: (row["started_at"], row["run_id"]), default=None)
    if newest is None:
        return []
    return sorted((row for row in same if row["run_id"] == newest["run_id"]), key=lambda row: int(row["trial"]))


def _trial(row: Mapping[str, Any]) -> Trial:
    hyperparameters = json.loads(row["hyperparameters"])
    curve = tuple(row["curve"])
    return Trial(row["trial"], hyperparameters, curve, row["evaluations"], row["seconds"], row["state"], row["reason"])


def _write(source: DeepSource, trials: Sequence[Trial], constants: Mapping[str, Any]) -> None:
    """All trials of a tuning in one commit: which one is the best changes with each."""
    best = best_of(trials)
    records = [
        {
            **constants,
            "segment": "",
            "model": DEEPAR,
            "trial": trial.number,
            "hyperparameters": as_json(dict(trial.hyperparameters)),
            "loss": trial.loss if trial.state == "complete" else None,
            "evaluations": trial.steps,
            "seconds": trial.seconds,
            "state": trial.state,
            "reason": trial.reason,
            "chosen": trial is best,
            "curve": list(trial.curve),
        }
        for trial in trials
    ]
    rows = pa.RecordBatch.from_pylist(records, schema=arrow_schema(tuning_schema()))
    replace_rows(source.lake, tuning_schema(), iter([rows]), {"run_id": str(constants["run_id"])})


# --- what is printed ---


def trial_lines(out: Console) -> OnTrial:
    """Print each trial as it ends."""

    def show(trial: Trial, trials: int) -> None:
        loss = f"mean wQL {trial.curve[-1]:.4f}" if trial.curve else "no loss"
        state = trial.state if not trial.reason else f"{trial.state}: {trial.reason.replace('_', ' ')}"
        out.print(
            f"trial {trial.number + 1} of {trials}: {_words(trial)}, {loss}, {state}, {trial.steps:,} steps, "
            f"{trial.seconds:,.1f} s",
            highlight=False,
            markup=False,
        )

    return show


def render(found: Tuned, console: Console | None = None) -> None:
    """Print the trials, the best one, and what is next."""
    out = console or tables.console()
    best = found.best
    rows = [
        (t.number, _words(t), t.curve[-1] if t.curve else None, t.state, t.reason, t.steps, round(t.seconds, 1))
        for t in found.trials
    ]
    names = ("trial", "setting", "mean wQL", "state", "why", "steps", "seconds")
    out.print(tables.table(names, rows, title=f"Tuning {found.run_id}, judged on {found.n_series:,} series"))
    for note in found.notes:
        out.print(f"note: not done by this model: {note}", highlight=False, markup=False)
    if best is None:
        out.print("No trial was complete: raise deepar.tuning.max_steps, or see why they failed", highlight=False)
    else:
        out.print(f"Best: trial {best.number}. Next: almanac train-deepar --tuned {found.run_id}", highlight=False)


def _words(trial: Trial) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in trial.hyperparameters.items())


__all__ = ["Tuned", "judging", "render", "trial_lines", "tune"]

if __name__ == "__main__":
    from jobs.cli import main

    main("tune-deepar")
