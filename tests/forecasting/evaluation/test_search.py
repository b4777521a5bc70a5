"""The search of hyperparameters: finds what is known to be right, keeps to its budget, is the same every time."""

from __future__ import annotations

import builtins
import itertools
from typing import Any

import numpy as np
import pytest

from forecasting import SeriesBatch, fit
from forecasting.evaluation.metrics import mase_scale
from forecasting.evaluation.search import CHUNK, Budget, Trial, search
from forecasting.evaluation.search_sample import Sample, divided, scaled_losses
from forecasting.evaluation.windows import BacktestPlan, backtest_windows

pytest.importorskip("optuna", reason="the extra tune")
LEVELS = (0.1, 0.5, 0.9)
HORIZON = 6


def sample_of(values: list[Any], windows: int = 3, season: int = 1) -> Sample:
    batch = SeriesBatch.from_arrays(values, start="2020-01-01", freq="D")
    found = backtest_windows(batch, BacktestPlan(HORIZON, windows), "per_series")
    first = np.broadcast_to(batch.offsets[:-1, None], found.ends.shape)
    scale = mase_scale(batch.values, first, first + found.ends, season)
    return Sample(batch, found.ends, found.actuals(batch), scale)


def levels_that_jump(n: int = 24) -> list[np.ndarray[Any, Any]]:
    """Noise about a level that jumped from 10 to 50 forty days before the end: a window of the mean that reaches
    beyond it forecasts far too little in every backtest window (3 of 6 days)."""
    rng = np.random.default_rng(0)
    return [np.concatenate([rng.normal(10, 1, 260), rng.normal(50, 1, 40)]) for _ in range(n)]


def plain(trials: tuple[Trial, ...]) -> list[dict[str, Any]]:
    """Trials without what depends on the clock; NaN as text, which equals itself."""
    return [{k: str(v) for k, v in vars(t).items() if k != "seconds"} for t in trials]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("windows", [1, 3])
def test_a_window_within_the_latest_level_is_found_and_chosen(sampler: Any, windows: int) -> None:
    sample = sample_of(levels_that_jump(), windows)
    trials = search(sample, "mean", {}, quantiles=LEVELS, sampler=sampler, budget=Budget(trials=25))
    assert len(trials) == 25
    assert trials[0].hyperparameters == {}
    (winner,) = (t for t in trials if t.chosen)
    assert winner.hyperparameters["window_length"] <= 34
    assert winner.loss == min(t.loss for t in trials)
    assert winner.loss < 0.2 * trials[0].loss
    assert winner.loss_held_out < 0.2 * trials[0].loss_held_out
    assert all(np.isnan(t.loss_held_out) for t in trials[1:] if t is not winner)


def test_the_loss_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    values = [rng.gamma(2, 5, n) for n in (40, 60, 15)] + [np.full(50, 3.0)]  # the last has no scale
    values[0][-2] = np.nan
    sample = sample_of(values, 2)
    made = fit(sample.batch, "mean", sample.ends).predict(HORIZON, LEVELS)
    expected = []
    for i, y in enumerate(values):
        rows = []
        for w in range(2):
            end = len(y) - (w + 1) * HORIZON
            steps = [abs(b - a) for a, b in itertools.pairwise(y[:end]) if not np.isnan(a + b)]
            scale = sum(steps) / len(steps) if steps else 0.0
            losses = [
                2 * max(q * (a - made.quantiles[i, w, h, k]), (q - 1) * (a - made.quantiles[i, w, h, k]))
                for h, a in enumerate(y[end : end + HORIZON])
                if not np.isnan(a)
                for k, q in enumerate(LEVELS)
            ]
            if losses and scale > 0:
                rows.append(sum(losses) / len(losses) / scale)
        expected.append(sum(rows) / len(rows) if rows else np.nan)
    got = scaled_losses(made.mean, made.quantiles, sample, LEVELS)
    assert got == pytest.approx(np.array(expected), nan_ok=True)
    assert np.isnan(got[3])
    (only,) = search(sample, "mean", {}, quantiles=LEVELS, budget=Budget(trials=1))
    searched, held_out = divided(sample)
    parts = [fit(s.batch, "mean", s.ends).predict(HORIZON, LEVELS) for s in (searched, held_out)]
    losses = [
        np.nanmean(scaled_losses(p.mean, p.quantiles, s, LEVELS))
        for p, s in zip(parts, (searched, held_out), strict=True)
    ]
    assert [only.loss, only.loss_held_out] == pytest.approx(losses)


def test_what_is_held_out_is_not_searched_on() -> None:
    whole = sample_of(levels_that_jump(9), 3)
    searched, held_out = divided(whole)
    assert (searched.ends == whole.ends[:, :2]).all()
    assert (held_out.ends == whole.ends[:, 2:]).all()
    one = sample_of(levels_that_jump(9), 1)
    searched, held_out = divided(one)
    assert sorted([*searched.batch.keys, *held_out.batch.keys]) == sorted(one.batch.keys)
    assert (len(searched), len(held_out)) == (5, 4)
    before = search(whole, "mean", {}, quantiles=LEVELS, budget=Budget(trials=8))
    other = np.array(whole.actuals)
    other[:, 2] += 100.0  # other actuals there change no trial's loss, only what is confirmed
    changed = Sample(whole.batch, whole.ends, other, whole.scale)
    after = search(changed, "mean", {}, quantiles=LEVELS, budget=Budget(trials=8))
    assert [t.loss for t in before] == [t.loss for t in after]
    assert before[0].loss_held_out != after[0].loss_held_out


def test_a_winner_that_loses_where_it_was_not_searched_is_not_chosen() -> None:
    """Thirty exceptional days before the earliest window: who forgets the days before them wins in the later windows,
    whose actuals are as high, and loses in the earliest one, which is as low as ever."""
    rng = np.random.default_rng(3)
    values = []
    for _ in range(12):
        y = rng.normal(10, 1, 200)
        y[-3 * HORIZON - 30 : -3 * HORIZON] += 40  # seen by the earliest window, gone in what it is scored on
        values.append(y)
    sample = sample_of(values, 3)
    actuals = np.array(sample.actuals)
    actuals[:, :2] += 40.0
    sample = Sample(sample.batch, sample.ends, actuals, sample.scale)
    trials = search(sample, "mean", {}, quantiles=LEVELS, budget=Budget(trials=20))
    best = min(trials, key=lambda t: t.loss)
    assert best.loss < 0.9 * trials[0].loss
    assert best.loss_held_out > trials[0].loss_held_out
    assert not any(t.chosen for t in trials)


@pytest.mark.parametrize("limit", [200, 700, 1500])
def test_a_budget_of_evaluations_is_kept_and_reproducible(limit: int) -> None:
    sample = sample_of(levels_that_jump(40), 3)
    options: dict[str, Any] = {"quantiles": LEVELS, "budget": Budget(trials=500, max_evaluations=limit), "seed": 5}
    trials = search(sample, "theta", {}, **options)
    assert plain(trials) == plain(search(sample, "theta", {}, **options))
    spent = sum(t.evaluations for t in trials)
    each = [fit(sample.batch, "theta", sample.ends, **t.hyperparameters).numbers.evaluations.max() for t in trials]
    assert spent <= limit + 2 * CHUNK * max(each)  # a chunk of the two windows that are searched on
    assert spent >= limit / 2
    assert len(trials) < 500
    assert all(t.state == "complete" for t in trials[:-1])
    if trials[-1].state == "pruned":
        assert trials[-1].reason == "max_evaluations"
        assert np.isnan(trials[-1].loss)
    more = search(sample, "theta", {}, **{**options, "budget": Budget(trials=500, max_evaluations=3 * limit)})
    done = [t for t in trials if t.state == "complete"]
    assert [t.loss for t in done] == [t.loss for t in more[: len(done)]]


def test_a_budget_that_is_not_reached_changes_nothing() -> None:
    values = levels_that_jump(40)
    sample = sample_of(values, 2)
    budget = Budget(trials=6)
    whole = search(sample, "empirical", {}, quantiles=LEVELS, budget=budget)
    counted = search(sample, "empirical", {}, quantiles=LEVELS, budget=Budget(trials=6, max_evaluations=10**6))
    assert plain(whole) == plain(counted)


def test_core_seconds_end_a_search() -> None:
    sample = sample_of(levels_that_jump(64), 3)
    trials = search(sample, "theta", {}, quantiles=LEVELS, budget=Budget(trials=100_000, core_seconds=0.3))
    assert 1 < len(trials) < 100_000
    assert sum(t.seconds for t in trials) < 1.0
    (only,) = search(sample, "theta", {}, quantiles=LEVELS, budget=Budget(core_seconds=1e-9))
    assert (only.state, only.reason, only.chosen) == ("pruned", "core_seconds", False)


def test_settings_that_cannot_be_are_failed_trials() -> None:
    """What is configured for theta behind the seasons is nothing that ets could take; the search goes on."""
    sample = sample_of(levels_that_jump(4), 2)
    hyperparameters = {"trend_hyperparameters": {"criterion": "mse"}, "trend_forecaster": "theta"}
    trials = search(sample, "mstl", hyperparameters, quantiles=LEVELS, budget=Budget(trials=8))
    by_trend = {t.hyperparameters["trend_forecaster"]: t for t in trials}
    assert by_trend["ets"].state == "failed"
    assert "mse" in by_trend["ets"].reason
    assert by_trend["theta"].state == "complete"
    assert all(t.hyperparameters["trend_hyperparameters"] == {"criterion": "mse"} for t in trials)


def test_a_setting_that_was_tried_costs_nothing() -> None:
    sample = sample_of(levels_that_jump(6), 2)
    trials = search(sample, "ets", {}, quantiles=LEVELS, budget=Budget(trials=60), sampler="random")
    again = [t for t in trials if t.reason]
    assert again
    for trial in again:
        first = trials[int(trial.reason.removeprefix("same_as_"))]
        assert (trial.evaluations, trial.loss) == (0, first.loss)


def test_one_series_and_nothing_to_score_end_with_trial_0() -> None:
    (one,) = search(sample_of(levels_that_jump(1), 1), "mean", {}, quantiles=LEVELS)
    assert (one.state, one.reason) == ("complete", "nothing_held_out")
    (none,) = search(sample_of([np.full(40, 2.0)], 2), "mean", {}, quantiles=LEVELS)
    assert (none.state, none.reason) == ("failed", "no_scored_points")


def test_what_cannot_be_searched_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = sample_of(levels_that_jump(2), 2)
    with pytest.raises(ValueError, match="'naive' has no ranges"):
        search(sample, "naive", {}, quantiles=LEVELS)
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'almanac\[tune\]'"):
        search(sample, "mean", {}, quantiles=LEVELS)
