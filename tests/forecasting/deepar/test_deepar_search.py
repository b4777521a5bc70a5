"""The search of settings against its rules in a plain loop, with losses from a formula; no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import pytest

pytest.importorskip("optuna")

from forecasting.deepar import Settings
from forecasting.deepar.search import Budget, Judged, Trial, best_of, search, stages
from forecasting.deepar.settings import search_space

SETTINGS = Settings(epochs=54, batches_per_epoch=10, learning_rate=1e-4)
NAMES = ("context_length", "learning_rate")
HORIZON = 6


def loss_of(settings: Settings, epoch: int) -> float:
    """The best learning rate is 0.01, the best context 12."""
    context = settings.context(HORIZON)
    return abs(math.log10(settings.learning_rate) + 2) + abs(math.log(context / 12)) + 1 / epoch


class Attempts:
    """Trains in no time. ends: after how many epochs a setting stops by itself."""

    def __init__(self, ends: Callable[[Settings], int] = lambda s: s.epochs) -> None:
        self.ends, self.seen = ends, 0

    def __call__(self, settings: Settings, epochs: Sequence[int]) -> Iterator[Judged]:
        self.seen += 1
        for mark in epochs:
            epoch = min(mark, self.ends(settings))
            yield Judged(loss_of(settings, epoch), epoch * settings.batches_per_epoch, epoch == self.ends(settings))


def found(attempt: Attempts, budget: Budget, **more: object) -> list[Trial]:
    return list(search(attempt, SETTINGS, HORIZON, NAMES, budget=budget, **more))  # type: ignore[arg-type]


def bare(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    return [(t.number, t.hyperparameters, t.curve, t.steps, t.state, t.reason) for t in trials]


def test_stages() -> None:
    assert stages(54, 3) == (2, 6, 18, 54)
    assert stages(500, 4) == (8, 32, 125, 500)
    assert stages(2, 3) == (1, 2)
    assert stages(1, 3) == (1,)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("reduction", [2, 3])
def test_a_trial_goes_on_where_it_is_among_the_best(sampler: str, reduction: int) -> None:
    def early(settings: Settings) -> int:  # some end by themselves, in the middle of a stage
        return 7 if settings.learning_rate > 0.03 else settings.epochs

    trials = found(Attempts(early), Budget(25, None, reduction), sampler=sampler)
    assert [t.number for t in trials] == list(range(25))
    marks = stages(SETTINGS.epochs, reduction)
    for trial in trials:
        settings = SETTINGS.model_copy(update=dict(trial.hyperparameters))
        expected, state = [], "complete"
        for place, mark in enumerate(marks):
            epoch = min(mark, early(settings))
            expected.append(loss_of(settings, epoch))
            if epoch == early(settings):
                break
            rivals = [expected[-1]]
            for other in trials[: trial.number]:
                if len(other.curve) > place:
                    rivals.append(other.curve[place])
                elif other.state == "complete":
                    rivals.append(other.curve[-1])
            better = sum(rival < expected[-1] for rival in rivals)
            if trial.number and better >= math.ceil(len(rivals) / reduction):
                state = "pruned"
                break
        assert trial.curve == tuple(expected)
        assert trial.state == state
        assert trial.reason == ("" if state == "complete" else "worse_than_others")
        assert trial.steps == min(marks[len(expected) - 1], early(settings)) * 10
        assert math.isnan(trial.loss) == (state != "complete")
    assert {t.state for t in trials} == {"complete", "pruned"}
    best = best_of(trials)
    assert best is not None
    assert best.loss == min(t.loss for t in trials if t.state == "complete") < trials[0].loss / 2
    space = search_space(HORIZON, NAMES)
    for trial in trials[1:]:
        for name, value in trial.hyperparameters.items():
            assert space[name].low <= value <= space[name].high  # type: ignore[union-attr]


def test_the_configured_setting_is_first_and_whole() -> None:
    first = found(Attempts(), Budget(2))[0]
    assert first.hyperparameters == {"context_length": 12, "learning_rate": 1e-4}
    assert first.state == "complete"
    assert len(first.curve) == 4


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("max_steps", [None, 3000])
def test_same_seed_same_trials_also_where_it_went_on(sampler: str, max_steps: int | None) -> None:
    budget = Budget(18, max_steps)
    whole = found(Attempts(), budget, sampler=sampler, seed=5)
    assert bare(found(Attempts(), budget, sampler=sampler, seed=5)) == bare(whole)
    for n in (1, 7, len(whole)):
        attempts = Attempts()
        rest = found(attempts, budget, sampler=sampler, seed=5, done=whole[:n])
        assert bare(rest) == bare(whole[n:])
        assert attempts.seen == len(whole) - n, "what is done is not run again"
    assert bare(found(Attempts(), budget, sampler=sampler, seed=6)) != bare(whole)
    with pytest.raises(ValueError, match="trial 1 had"):
        found(Attempts(), budget, sampler=sampler, seed=6, done=whole[:2])


def test_the_steps_are_a_budget() -> None:
    unlimited = found(Attempts(), Budget(25))
    limit = 54 * 10 + 250
    limited = found(Attempts(), Budget(25, limit))
    assert sum(t.steps for t in limited) <= limit < sum(t.steps for t in unlimited)
    assert limit - sum(t.steps for t in limited) < stages(54, 3)[0] * 10, "not even one stage is left to be had"
    cut = next(t.number for t in limited if t.reason == "max_steps")
    assert bare(limited)[:cut] == bare(unlimited)[:cut]
    short = found(Attempts(), Budget(25, 200))
    assert (short[0].state, short[0].reason, short[0].steps) == ("pruned", "max_steps", 180)
    assert best_of(short) is None
    assert found(Attempts(), Budget(25, 19)) == []


def test_a_setting_that_fails_is_written_and_passed_by() -> None:
    def attempt(settings: Settings, epochs: Sequence[int]) -> Iterator[Judged]:
        if settings.learning_rate > 0.01:
            raise RuntimeError("the network\nbroke")
        for mark in epochs:
            bad = 0.002 < settings.learning_rate <= 0.01
            yield Judged(math.nan if bad else loss_of(settings, mark), mark * 10, mark == 54)

    trials = list(search(attempt, SETTINGS, HORIZON, NAMES, budget=Budget(20)))
    reasons = {t.reason for t in trials if t.state == "failed"}
    assert reasons == {"RuntimeError: the network broke", "not_finite"}
    assert len(trials) == 20
    best = best_of(trials)
    assert best is not None
    assert best.hyperparameters["learning_rate"] <= 0.002
