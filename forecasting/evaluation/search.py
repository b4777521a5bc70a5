"""Search of a family's hyperparameters on a sample of series, judged by backtest windows.

The loss of a setting is the mean over series of the mean quantile loss (2 sum pinball / points, averaged over levels)
in units of the row's seasonal naive error (the scale of MASE), so that no series counts for more because its numbers
are large (`search_sample`). Rows whose own forecast failed count with what stood in.

Trying many settings on few windows finds some that fit these windows by chance. So a part of the sample is held out:
the earliest window, or every other series where one window is all there is. The best setting of the search is compared
with the configured one there, once, and is chosen only if it gains there too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ValidationError

from forecasting.api import fit
from forecasting.batch import FloatArray
from forecasting.evaluation.sampler import Sampler, distribution, new_study, place_of, value_of
from forecasting.evaluation.search_sample import Sample, divided, scaled_losses
from forecasting.models.contract import Hyperparameters
from forecasting.models.ranges import SearchSpace
from forecasting.models.registry import get_model
from forecasting.postprocess import Bounds

if TYPE_CHECKING:
    from optuna.study import Study

State = Literal["complete", "pruned", "failed"]

NO_SCORED_POINTS, NOTHING_HELD_OUT = "no_scored_points", "nothing_held_out"
MAX_EVALUATIONS, CORE_SECONDS = "max_evaluations", "core_seconds"
CHUNK = 16
"""Series between two looks at a budget."""
_GAIN = 1e-9
"""Relative differences below are rounding."""


@dataclass(frozen=True)
class Budget:
    """What a search may spend: settings tried, likelihood passes (a row of a family that counts none is one pass) and
    core-seconds; None is no limit. Looked at every CHUNK series, and the confirmation is reserved for."""

    trials: int = 20
    max_evaluations: int | None = None
    core_seconds: float | None = None


@dataclass(frozen=True)
class Trial:
    """A setting that was tried.

    hyperparameters: all that are given, as for `fit`. loss: on what was searched on, NaN unless complete.
    loss_held_out: NaN unless it was judged there. evaluations, seconds: likelihood passes and core-seconds spent.
    reason: why it is not complete, "same_as_k" for a setting that trial k tried already. chosen: it gained on what
    was held out as well.
    """

    number: int
    hyperparameters: Mapping[str, Any]
    loss: float
    evaluations: int
    seconds: float
    state: State
    reason: str = ""
    loss_held_out: float = float("nan")
    chosen: bool = False


@dataclass
class _Meter:
    """What has been spent. reserved: passes and seconds kept for the confirmation of the best setting so far; ratio:
    what a confirmation costs beside a trial."""

    budget: Budget
    evaluations: int = 0
    seconds: float = 0.0
    reserved: tuple[float, float] = (0.0, 0.0)
    ratio: tuple[float, float] = (0.0, 0.0)

    def over(self, evaluations: int = 0, seconds: float = 0.0) -> str:
        """Which limit is reached when a trial that has spent so much goes on, "" for none."""
        kept = max(self.reserved[0], evaluations * self.ratio[0]), max(self.reserved[1], seconds * self.ratio[1])
        limit, core_seconds = self.budget.max_evaluations, self.budget.core_seconds
        if limit is not None and self.evaluations + kept[0] >= limit:
            return MAX_EVALUATIONS
        if core_seconds is not None and self.seconds + kept[1] >= core_seconds:
            return CORE_SECONDS
        return ""


@dataclass(frozen=True)
class _Judge:
    """How settings are judged. seed, max_evaluations: as `fit` takes them."""

    model: str
    quantiles: tuple[float, ...]
    bounds: Bounds
    seed: int
    max_evaluations: int
    meter: _Meter = field(repr=False)

    def loss(self, sample: Sample, hyperparameters: Mapping[str, Any], *, limited: bool = True) -> _Answer:
        """The loss over the series of a sample; stops at the budget where `limited`."""
        found: list[FloatArray] = []
        evaluations, seconds = 0, 0.0
        whole = self.meter.budget.max_evaluations is None and self.meter.budget.core_seconds is None
        try:
            for part in _chunks(sample, len(sample) if whole else CHUNK):
                if limited and (why := self.meter.over(evaluations, seconds)):
                    return _Answer(float("nan"), evaluations, seconds, "pruned", why)
                started = time.process_time()
                losses, spent = self._series(part, hyperparameters)
                elapsed = time.process_time() - started
                found.append(losses)
                evaluations, seconds = evaluations + spent, seconds + elapsed
                self.meter.evaluations += spent
                self.meter.seconds += elapsed
        except Exception as error:
            return _Answer(float("nan"), evaluations, seconds, "failed", _words(error))
        losses = np.concatenate([np.empty(0), *found])
        if np.isnan(losses).all():
            return _Answer(float("nan"), evaluations, seconds, "failed", NO_SCORED_POINTS)
        return _Answer(float(np.nanmean(losses)), evaluations, seconds, "complete", "")

    def _series(self, sample: Sample, hyperparameters: Mapping[str, Any]) -> tuple[FloatArray, int]:
        """The loss of each series [N], NaN where none of its rows can be scored, and the passes spent."""
        options: dict[str, Any] = {"seed": self.seed, "max_evaluations": self.max_evaluations}
        fitted = fit(sample.batch, self.model, sample.ends, history=sample.history, **options, **dict(hyperparameters))
        forecast = fitted.predict(sample.actuals.shape[2], self.quantiles, bounds=self.bounds)
        spent = int(np.maximum(forecast.evaluations, 1).sum())
        return scaled_losses(forecast.mean, forecast.quantiles, sample, self.quantiles), spent


@dataclass(frozen=True)
class _Answer:
    loss: float
    evaluations: int
    seconds: float
    state: State
    reason: str

    def trial(self, number: int, hyperparameters: Mapping[str, Any]) -> Trial:
        return Trial(number, hyperparameters, self.loss, self.evaluations, self.seconds, self.state, self.reason)


def search(
    sample: Sample,
    model: str,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    quantiles: Sequence[float],
    budget: Budget | None = None,
    sampler: Sampler = "tpe",
    study: str = "",
    seed: int = 0,
    bounds: Bounds | None = None,
    max_evaluations: int = 20_000,
) -> tuple[Trial, ...]:
    """Try settings of a family's `search_space`, the given hyperparameters first; trial 0 is these as they are.

    hyperparameters: those that are configured; a setting keeps what its range does not name. study: with seed and
    model it seeds the sampler (tpe: Bergstra, Bardenet, Bengio and Kegl 2011, "Algorithms for hyper-parameter
    optimization"; random: Bergstra and Bengio 2012). max_evaluations: likelihood passes that a row may spend.
    Without `core_seconds` in the budget the trials are the same on every run. At most one trial is `chosen`. A search
    ends with trial 0 where that fails, passes the budget or has nothing held out to be compared on.
    Raises ValueError for a model that has nothing to tune, ImportError where optuna is not installed.
    """
    space = get_model(model).search_space
    if not space:
        raise ValueError(f"model {model!r} has no ranges to search")
    limits = budget or Budget()
    configured = dict(hyperparameters or {})
    usable = sample.take(np.flatnonzero(sample.scorable.any(axis=1)))
    searched, held_out = divided(usable)
    meter = _Meter(limits)
    judge = _Judge(model, tuple(quantiles), bounds or Bounds(), seed, max_evaluations, meter)
    optuna_study = new_study(sampler, f"{seed}/{study}/{model}", limits.trials)
    if limits.core_seconds is not None and len(usable):  # what compiles now is not the search's to pay
        judge.loss(searched.take([0]), configured, limited=False)
        meter.evaluations, meter.seconds = 0, 0.0
    first = _first_trial(judge, configured, searched, held_out)
    if first.state != "complete" or first.reason:
        return (first,)
    trials = [first, *_tried(judge, optuna_study, space, first, searched)]
    best = min((t for t in trials if t.state == "complete"), key=lambda t: (t.loss, t.number))
    if best.loss < first.loss * (1 - _GAIN):
        trials[best.number] = _confirmed(judge, best, first, held_out)
    return tuple(trials)


def _first_trial(judge: _Judge, configured: Mapping[str, Any], searched: Sample, held_out: Sample) -> Trial:
    """The configured setting, on both parts."""
    answer = judge.loss(searched, configured)
    if answer.state != "complete":
        return answer.trial(0, configured)
    confirmation = judge.loss(held_out, configured)
    judge.meter.ratio = (
        confirmation.evaluations / max(answer.evaluations, 1),
        confirmation.seconds / max(answer.seconds, 1e-9),
    )
    if confirmation.state == "failed":
        answer = replace(answer, reason=NOTHING_HELD_OUT)
    elif confirmation.state == "pruned":
        answer = replace(confirmation, evaluations=answer.evaluations, seconds=answer.seconds)
    trial = answer.trial(0, configured)
    return replace(
        trial,
        loss_held_out=confirmation.loss,
        evaluations=answer.evaluations + confirmation.evaluations,
        seconds=answer.seconds + confirmation.seconds,
    )


def _tried(judge: _Judge, study: Study, space: SearchSpace, first: Trial, searched: Sample) -> Iterator[Trial]:
    """Trials 1 and on, until the budget ends them."""
    import optuna

    family = get_model(judge.model).Hyperparameters
    distributions = {name: distribution(span) for name, span in space.items()}
    start = family.model_validate(dict(first.hyperparameters))
    inside = {name: place_of(getattr(start, name), span) for name, span in space.items()}
    if all(value is not None for value in inside.values()):
        study.add_trial(optuna.trial.create_trial(params=inside, distributions=distributions, value=first.loss))
    known = {_digest(start): first}
    best = first.loss
    for number in range(1, judge.meter.budget.trials):
        if judge.meter.over():
            return
        asked = study.ask(distributions)
        setting = {
            **first.hyperparameters,
            **{name: value_of(asked.params[name], span) for name, span in space.items()},
        }
        trial = _one(judge, number, setting, family, searched, known)
        study.tell(asked, *((trial.loss,) if trial.state == "complete" else (None, optuna.trial.TrialState.FAIL)))
        if trial.state == "complete" and trial.loss < best:
            best, ratio = trial.loss, judge.meter.ratio
            judge.meter.reserved = (trial.evaluations * ratio[0], trial.seconds * ratio[1])
        yield trial
        if trial.state == "pruned":
            return


def _one(
    judge: _Judge,
    number: int,
    setting: Mapping[str, Any],
    family: type[Hyperparameters],
    searched: Sample,
    known: dict[str, Trial],
) -> Trial:
    try:
        digest = _digest(family.model_validate(dict(setting)))
    except ValidationError as error:
        return Trial(number, setting, float("nan"), 0, 0.0, "failed", _words(error))
    if digest in known:
        same = known[digest]
        return Trial(number, setting, same.loss, 0, 0.0, same.state, f"same_as_{same.number}")
    trial = judge.loss(searched, setting).trial(number, setting)
    known[digest] = trial
    return trial


def _confirmed(judge: _Judge, best: Trial, first: Trial, held_out: Sample) -> Trial:
    """The winner with its loss on what was held out, chosen where that is below the configured setting's."""
    answer = judge.loss(held_out, best.hyperparameters, limited=False)
    return replace(
        best,
        loss_held_out=answer.loss,
        evaluations=best.evaluations + answer.evaluations,
        seconds=best.seconds + answer.seconds,
        chosen=bool(answer.loss < first.loss_held_out * (1 - _GAIN)),
    )


def _chunks(sample: Sample, size: int) -> Iterator[Sample]:
    for begin in range(0, len(sample), max(size, 1)):
        yield sample.take(np.arange(begin, min(begin + size, len(sample))))


def _digest(options: Hyperparameters) -> str:
    return json.dumps(options.model_dump(mode="json"), sort_keys=True)


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"[:200]
