"""The verb `tune`: each model's hyperparameters searched on a sample of series per segment, into `hpo_trials`."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jobs.context import ConfigSource, Job, open_job
from jobs.stage import ingested
from jobs.tables import console as default_console
from jobs.tables import table
from udfs.config.load import load_config
from udfs.errors import InputError
from udfs.execute import OnProgress
from udfs.tuned import TABLE, studies
from udfs.tuning import begin, run_tuning, unfinished

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Found:
    """What was found for a segment ("" for the series that none matches) and model.

    loss, best_loss: of the configured and the best setting where it was searched; held_out, best_held_out: where it
    was not, None where there was nothing to confirm. chosen: the setting that later backtests try, None for none.
    evaluations, seconds: likelihood passes and core-seconds spent.
    """

    segment: str
    model: str
    trials: int
    loss: float | None
    best_loss: float | None
    held_out: float | None
    best_held_out: float | None
    chosen: Mapping[str, Any] | None
    evaluations: int
    seconds: float
    reason: str

    @property
    def gain(self) -> float | None:
        """The share by which the best setting's loss is smaller where it was not searched."""
        if self.held_out is None or self.best_held_out is None or self.held_out <= 0:
            return None
        return 1 - self.best_held_out / self.held_out


@dataclass(frozen=True)
class Report:
    """A finished tuning."""

    run_id: str
    found: tuple[Found, ...]


def tune(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    run_id: str | None = None,
    resume: bool = False,
    overrides: Iterable[str] = (),
    on_progress: OnProgress | None = None,
) -> Report:
    """Search as the config's section `tuning` says and return what was found; the table keeps every trial.

    run_id: the tuning's id; made up unless given. resume: go on with the newest unfinished tuning of this config (or
    `run_id`), on the version of the series that it began with; without one, begin anew. on_progress: called with
    (segments and models done, of all). Raises InputError for a config without the section, a lake without series,
    windows that do not fit, and where optuna is not installed, here or on the workers.
    """
    loaded = load_config(config, overrides)
    if loaded.tuning is None:
        raise InputError("the config has no section tuning; add one (tuning: {} takes its defaults)")
    if importlib.util.find_spec("optuna") is None:
        raise InputError("optuna, which searches the hyperparameters, is not installed: pip install 'almanac[tune]'")
    job = open_job(loaded, spark)
    info = ingested(job)
    tuning = (unfinished(job.lake, job.config, run_id) if resume else None) or begin(job.lake, run_id)
    run_tuning(job.lake, job.config, tuning, info, on_progress)
    return report(job, tuning.run_id)


def report(job: Job, run_id: str) -> Report:
    """What a tuning found, in the order of the config."""
    from pyspark.sql import functions as F

    rows = job.lake.read(TABLE).where(F.col("run_id") == run_id).orderBy("trial").collect()
    by_study: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        by_study.setdefault((row["segment"], row["model"]), []).append(row)
    return Report(run_id, tuple(_found(*s.key, by_study[s.key]) for s in studies(job.config) if s.key in by_study))


def _found(segment: str, model: str, trials: Sequence[Any]) -> Found:
    first = trials[0]
    complete = [t for t in trials if t["state"] == "complete"]
    best = min(complete, key=lambda t: (t["loss"], t["trial"])) if complete else first
    return Found(
        segment=segment,
        model=model,
        trials=len(trials),
        loss=first["loss"],
        best_loss=best["loss"],
        held_out=first["loss_held_out"],
        best_held_out=None if best is first else best["loss_held_out"],
        chosen=json.loads(best["hyperparameters"]) if best["chosen"] else None,
        evaluations=sum(t["evaluations"] for t in trials),
        seconds=sum(t["seconds"] for t in trials),
        reason=_why(first, best),
    )


def _why(first: Any, best: Any) -> str:
    """Why nothing was chosen, "" where something was."""
    if best["chosen"]:
        return ""
    if first["state"] != "complete" or first["reason"]:
        return str(first["reason"])
    return "the configured setting is the best" if best["trial"] == 0 else "no gain on what was held out"


def render(made: Report, console: Console | None = None) -> None:
    """Print each segment and model with its losses and what was chosen."""
    out = console or default_console()
    several = any(f.segment for f in made.found)
    names = (*(("segment",) if several else ()), "model", "trials", "loss", "best loss", "gain held out", "chosen")
    rows = [
        (
            *((f.segment or "(all others)",) if several else ()),
            f.model, f.trials, f.loss, f.best_loss,
            None if f.gain is None else f"{f.gain:.1%}",
            f.reason if f.chosen is None else ", ".join(f"{k} {json.dumps(v)}" for k, v in f.chosen.items()),
            f.evaluations, round(f.seconds, 2),
        )
        for f in made.found
    ]  # fmt: skip
    out.print(table((*names, "evaluations", "core-seconds"), rows, title=f"Tuning {made.run_id}"))
    n = sum(f.chosen is not None for f in made.found)
    if n:
        out.print("Chosen settings compete in the next backtests as <model>+tuned", highlight=False, markup=False)


if __name__ == "__main__":
    from jobs.cli import main

    main("tune")
