"""Search of settings: trials one after the other, hopeless ones ended early. No torch; how a setting is trained and
judged is the caller's.

Ending early is successive halving as ASHA does it with one worker (Li and others 2020, "A system for massively
parallel hyperparameter tuning"): after a stage of training a trial goes on where its loss is among the best 1/R of all
that trials had there so far, its own included; a training that ended by itself keeps its last loss. The configured
setting comes first and is always trained to its end. Everything follows from the seed and the losses, so a search goes
on from the trials that are done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from forecasting.deepar.settings import Settings, search_space
from forecasting.evaluation.sampler import Sampler, distribution, new_study, place_of, value_of

if TYPE_CHECKING:
    import optuna

State = Literal["complete", "pruned", "failed"]
WORSE, MAX_STEPS, NOT_FINITE = "worse_than_others", "max_steps", "not_finite"
_STAGES = 3


@dataclass(frozen=True)
class Judged:
    """A training after a stage. steps: of training, from its beginning. finished: it has ended by itself."""

    loss: float
    steps: int
    finished: bool


Attempt = Callable[[Settings, Sequence[int]], Iterator[Judged]]
"""Trains a setting; one `Judged` after each of the given numbers of epochs, the last one where it ends by itself."""


@dataclass(frozen=True)
class Trial:
    """A setting that was tried. hyperparameters: what is searched. curve: the loss after each stage that it came to.
    steps: of training that it took. reason: why it is not complete."""

    number: int
    hyperparameters: Mapping[str, Any]
    curve: tuple[float, ...]
    steps: int
    seconds: float
    state: State
    reason: str = ""

    @property
    def loss(self) -> float:
        """Of the finished training; NaN unless complete."""
        return self.curve[-1] if self.state == "complete" else math.nan


@dataclass(frozen=True)
class Budget:
    """trials: settings tried. max_steps: steps of training that all may spend; None is no limit. reduction: R."""

    trials: int = 20
    max_steps: int | None = None
    reduction: int = 3


def stages(epochs: int, reduction: int) -> tuple[int, ...]:
    """After how many epochs a trial is judged: 1/R^3, 1/R^2 and 1/R of them, and all."""
    return tuple(sorted({math.ceil(epochs / reduction**k) for k in range(_STAGES + 1)}))


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial with the smallest loss, the first of equal ones; None where none is complete."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=lambda t: (t.loss, t.number)) if complete else None


def search(
    attempt: Attempt,
    settings: Settings,
    horizon: int,
    names: Sequence[str],
    *,
    budget: Budget,
    sampler: Sampler = "tpe",
    seed: int = 0,
    done: Sequence[Trial] = (),
) -> Iterator[Trial]:
    """Try settings, those given first, and return each when it has ended.

    names: what is searched, see `search_space`. done: the first trials of the same search, which are not run again.
    Raises ValueError for trials of another search, ImportError where optuna is not installed.
    """
    space = search_space(horizon, names)
    study = new_study(sampler, f"{seed}/deepar", budget.trials)
    distributions = {name: distribution(span) for name, span in space.items()}
    known: list[Trial] = []
    for number in range(budget.trials):
        asked = study.ask(distributions) if number else None
        if asked is None:
            hyperparameters = {name: getattr(settings, name) for name in space}
            if "context_length" in space:
                hyperparameters["context_length"] = settings.context(horizon)
        else:
            hyperparameters = {name: value_of(asked.params[name], span) for name, span in space.items()}
        if number < len(done):
            trial = done[number]
            if trial.hyperparameters != hyperparameters:
                raise ValueError(
                    f"trial {number} had {dict(trial.hyperparameters)}, this search has {hyperparameters}"
                )
        else:
            epochs = _affordable(known, settings, budget)
            if not epochs:
                return
            trial = _tried(attempt, number, hyperparameters, settings, epochs, known, budget)
            yield trial
        known.append(trial)
        if asked is not None:
            _tell(study, asked, trial)
        elif trial.state == "complete":
            inside = {name: place_of(trial.hyperparameters[name], span) for name, span in space.items()}
            if all(value is not None for value in inside.values()):
                _add(study, inside, distributions, trial.loss)


def _affordable(known: Sequence[Trial], settings: Settings, budget: Budget) -> tuple[int, ...]:
    """The stages that the steps that are left suffice for."""
    marks = stages(settings.epochs, budget.reduction)
    if budget.max_steps is None:
        return marks
    left = budget.max_steps - sum(trial.steps for trial in known)
    return tuple(mark for mark in marks if mark * settings.batches_per_epoch <= left)


def _tried(
    attempt: Attempt,
    number: int,
    hyperparameters: Mapping[str, Any],
    settings: Settings,
    epochs: tuple[int, ...],
    known: Sequence[Trial],
    budget: Budget,
) -> Trial:
    started, curve, steps = time.perf_counter(), [], 0
    state: State = "pruned"
    reason = MAX_STEPS
    try:
        for judged in attempt(settings.model_copy(update=dict(hyperparameters)), epochs):
            steps = judged.steps
            if not math.isfinite(judged.loss):
                state, reason = "failed", NOT_FINITE
                break
            curve.append(judged.loss)
            if judged.finished:
                state, reason = "complete", ""
                break
            if number and not _among_best(curve, known, budget.reduction):
                reason = WORSE
                break
    except Exception as error:
        state, reason = "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    return Trial(number, hyperparameters, tuple(curve), steps, time.perf_counter() - started, state, reason)


def _among_best(curve: Sequence[float], known: Sequence[Trial], reduction: int) -> bool:
    """Whether the last loss of a curve is among the best 1/R that trials had at that stage."""
    place = len(curve) - 1
    there = [trial for trial in known if len(trial.curve) > place or trial.state == "complete"]
    losses = sorted([curve[-1], *(trial.curve[min(place, len(trial.curve) - 1)] for trial in there)])
    return curve[-1] <= losses[math.ceil(len(losses) / reduction) - 1]


def _tell(study: optuna.study.Study, asked: optuna.trial.Trial, trial: Trial) -> None:
    from optuna.trial import TrialState

    for place, loss in enumerate(trial.curve):
        asked.report(loss, place)
    if trial.state == "complete":
        study.tell(asked, trial.loss)
    else:
        study.tell(asked, state=TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL)


def _add(study: optuna.study.Study, inside: Mapping[str, Any], distributions: Mapping[str, Any], loss: float) -> None:
    from optuna.trial import create_trial

    study.add_trial(create_trial(params=dict(inside), distributions=dict(distributions), value=loss))


__all__ = ["Attempt", "Budget", "Judged", "Trial", "best_of", "search", "stages"]
