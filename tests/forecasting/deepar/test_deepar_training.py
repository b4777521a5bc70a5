"""Training: what a step may see, same seed, resume, early stopping, averaging, processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepar_family import HORIZON, Family, family  # noqa: E402
from trained_weights import same, weights  # noqa: E402

from forecasting import SeriesBatch  # noqa: E402
from forecasting.deepar import Facts, ItemMetadata, SeriesSet, Settings, Trainer  # noqa: E402
from forecasting.deepar.holdout import hold_out  # noqa: E402
from forecasting.deepar.windows import Draw, Reader, Sampler  # noqa: E402

SMALL: dict[str, Any] = {"num_cells": 8, "batch_size": 8, "batches_per_epoch": 4, "epochs": 3}


@pytest.fixture(scope="module")
def known() -> Family:
    torch.set_num_threads(1)
    return family(12)


def trainer(known: Family, seed: int = 5, **changes: Any) -> Trainer:
    settings = Settings(**{**SMALL, **changes})
    facts = Facts.learn(known.batch, known.metadata, HORIZON, settings)
    return Trainer(SeriesSet.of(known.batch, facts, known.metadata), facts, settings, seed=seed)


def test_same_seed_same_weights(known: Family) -> None:
    first, second, other = trainer(known), trainer(known), trainer(known, seed=6)
    for t in (first, second, other):
        losses = [p.loss for p in t.run()]
        assert np.isfinite(losses).all()
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


def test_golden_losses(known: Family) -> None:
    """A change that should not change results leaves these; libraries differ in the last places."""
    losses = [p.loss for p in trainer(known, epochs=5).run()]
    np.testing.assert_allclose(losses, [1.939237, 1.930995, 1.805109, 1.808013, 1.769023], rtol=1e-3)


def test_the_state_of_torchs_own_generator_is_left_alone(known: Family) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    trainer(known).step()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("averaged", [1, 2])
def test_resumed_training_is_the_uninterrupted_one(known: Family, averaged: int) -> None:
    options = {
        "num_averaged_models": averaged,
        "max_learning_rate_decays": 2,
        "early_stopping_patience": 1,
        "epochs": 6,
    }
    whole = trainer(known, **options)
    curve = [(p.loss, p.held_out, p.learning_rate, p.stop) for p in whole.run()]
    first = trainer(known, **options)
    head = []
    for progress in first.run():
        head.append((progress.loss, progress.held_out, progress.learning_rate, progress.stop))
        if progress.epoch == 2:
            break
    tensors, numbers = first.state()
    resumed = trainer(known, **options)
    resumed.restore(tensors, numbers)
    tail = [(p.loss, p.held_out, p.learning_rate, p.stop) for p in resumed.run()]
    assert head + tail == curve
    assert same(weights(resumed), weights(whole))
    with pytest.raises(ValueError, match="seed 5"):
        trainer(known, seed=9).restore(tensors, numbers)


def test_training_lowers_the_rate_and_then_stops(known: Family) -> None:
    stuck = trainer(
        known,
        epochs=50,
        learning_rate=1e-6,
        early_stopping_patience=2,
        max_learning_rate_decays=2,
        batches_per_epoch=1,
    )
    stuck._best = [(-1e9, stuck.network.state_dict())]  # nothing will be better
    progress = list(stuck.run())
    assert [p.learning_rate for p in progress] == pytest.approx([1e-6] * 2 + [5e-7] * 2 + [2.5e-7] * 2)
    assert progress[-1].stop == "no_improvement"
    assert list(stuck.run()) == []


def test_the_best_epochs_are_averaged(known: Family) -> None:
    t = trainer(known, num_averaged_models=2, epochs=4)
    snapshots = []
    for progress in t.run():
        snapshots.append((progress.held_out, {k: v.clone() for k, v in t.network.state_dict().items()}))
    best = sorted(snapshots, key=lambda pair: pair[0])[:2]
    for name, found in weights(t).items():
        torch.testing.assert_close(found, (best[0][1][name] + best[1][1][name]) / 2)


@pytest.mark.parametrize("sampling", ["uniform", "length", "velocity"])
def test_windows_come_from_the_series_they_should(sampling: str) -> None:
    lengths, level = np.array([10, 40, 90, 0, 30]), np.array([1.0, 3.0, 0.5, 1.0, 8.0])
    arrays = [np.full(n, y) for n, y in zip(lengths, level, strict=True)]
    arrays[4][:] = np.nan  # nothing to learn from
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "D")
    settings = Settings(sampling=sampling, cold_share=0.0)
    facts = Facts.learn(batch, horizon=5, settings=settings)
    series = SeriesSet.of(batch, facts)
    draw = Sampler(series, series.length, settings, 1).draw([0], 0, 30_000, facts.context_length)
    weight = {"uniform": np.ones(3), "length": lengths[:3] - 5 + 1, "velocity": level[:3]}[sampling]
    found = np.bincount(draw.rows.numpy(), minlength=5) / 30_000
    np.testing.assert_allclose(found, [*(weight / weight.sum()), 0, 0], atol=0.012)
    for i in range(3):
        ends = draw.ends[draw.rows == i].numpy()
        assert (ends.min(), ends.max()) == (0, lengths[i] - 5)
        assert ends.mean() == pytest.approx((lengths[i] - 5) / 2, rel=0.05)


def sampler_of(t: Trainer) -> Sampler:
    series = t.chunks.get(0)
    return Sampler(series, series.length, t.settings, t.seed)


def test_steps_drawn_together_are_the_steps(known: Family) -> None:
    sampler = sampler_of(trainer(known))
    together = sampler.draw([3, 4], 0, 8, 12)
    apart = [sampler.draw([step], 0, 8, 12) for step in (3, 4)]
    assert torch.equal(together.rows, torch.cat([part.rows for part in apart]))
    assert torch.equal(together.ends, torch.cat([part.ends for part in apart]))


def test_a_step_can_be_shared(known: Family) -> None:
    sampler = sampler_of(trainer(known))
    whole = sampler.draw([7], 0, 8, 12)
    halves = [sampler.draw([7], first, 4, 12) for first in (0, 4)]
    for name in ("rows", "ends", "begins", "unknown"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(half, name) for half in halves]))


def test_a_window_is_what_a_loop_would_gather() -> None:
    """Every value of a window against plain indexing."""
    rng = np.random.default_rng(2)
    lengths = [30, 9, 0, 17]
    arrays = [np.where(rng.random(n) < 0.2, np.nan, rng.uniform(1, 5, n)) for n in lengths]
    price = [rng.uniform(1, 5, n + 4) for n in lengths]
    traffic = [rng.uniform(1, 5, n) for n in lengths]
    starts = ["2020-01-01", "2020-02-03", "2020-03-01", "2020-01-20"]
    batch = SeriesBatch.from_arrays(
        arrays, starts, "D", related={"price": price, "traffic": traffic}, known_in_future=["price"]
    )
    settings = Settings(lags=(1, 2, 7), context_length=6)
    facts = Facts.learn(batch, horizon=4, settings=settings)
    series = SeriesSet.of(batch, facts)
    rows, ends, begins = [0, 0, 1, 2, 3, 0], [12, 26, 3, 0, 13, 20], [0, 0, 0, 0, 0, 17]
    draw = Draw(torch.tensor(rows), torch.tensor(ends), torch.tensor(begins), None)
    window = Reader(series, facts).window(draw, 4)
    lags, flags, known, _ = window.inputs.split([3, 2, window.inputs.shape[2] - 7, 2], dim=2)
    part = {c.name: c for c in facts.related}
    for b, (i, end, begin) in enumerate(zip(rows, ends, begins, strict=True)):

        def at(values: np.ndarray, p: int, begin: int = begin) -> float:
            return float(values[p]) if begin <= p < len(values) else np.nan

        def either(x: float) -> list[float]:
            return [0.0 if np.isnan(x) else x, float(np.isnan(x))]

        context = np.array([at(arrays[i], p) for p in range(end - 6, end)])
        if np.isfinite(context).any():
            assert float(window.scale[b]) == pytest.approx(np.nanmean(context))
        shown = np.array([at(price[i], p) for p in range(end - 6, end + 4)])
        usual = np.nanmean(shown[:6]) if np.isfinite(shown[:6]).any() else np.nanmean(shown[6:])
        for t, p in enumerate(range(end - 6, end + 4)):
            y = at(arrays[i], p)
            assert bool(window.observed[t, b]) == np.isfinite(y)
            assert float(window.target[t, b]) == pytest.approx(np.nan_to_num(y))
            lagged = np.array([at(arrays[i], p - lag) for lag in (1, 2, 7)])
            np.testing.assert_allclose(lags[t, b], np.nan_to_num(lagged) / float(window.scale[b]), rtol=1e-5)
            shown_flags = [np.isfinite(lagged[0]), np.isfinite(lagged).mean()]
            np.testing.assert_allclose(flags[t, b], shown_flags, rtol=1e-5)
            label = np.datetime64(starts[i]) + p
            weekday = (label.astype(np.int64) + 3) % 7
            assert float(known[t, b, 0]) == pytest.approx(weekday / 6 - 0.5, abs=1e-6)
            z = either((at(price[i], p) - part["price"].mean) / part["price"].deviation)
            around = np.nan_to_num((at(price[i], p) - usual) / part["price"].spread)
            before = [
                either((at(traffic[i], p - lag) - part["traffic"].mean) / part["traffic"].deviation)
                if p >= begin
                else [0.0, 1.0]
                for lag in (4, 7)
            ]
            expected = [np.log10(2 + max(p - begin, 0)) - 1.5, *z, around, *np.array(before).T.ravel()]
            np.testing.assert_allclose(known[t, b, 9:], expected, rtol=1e-4, atol=1e-4)


def test_held_out_values_are_not_trained_on(known: Family) -> None:
    first, other = trainer(known), trainer(known)
    series = other.chunks.get(0)
    draws, _ = hold_out(series, other.settings, other.seed)
    held = torch.cat([draw.rows for draw in draws])
    assert len(held) == 3  # a quarter
    values = series.values
    for i in held.tolist():
        end = int(series.offset[i] + series.length[i])
        values[end - HORIZON : end] = 1e6
    second = Trainer(series, other.facts, other.settings, seed=other.seed)
    for t in (first, second):
        t.settings = t.settings.model_copy(update={"num_averaged_models": 1})
        for _ in range(4):
            t.step()
    assert same(first.network.state_dict(), second.network.state_dict())
    assert first.held_out_loss() != second.held_out_loss()


def test_training_before_a_cutoff_sees_nothing_after_it() -> None:
    """Targets, related series known ahead (beyond the horizon) and not (from the cutoff) may be anything later."""
    rng = np.random.default_rng(3)
    ends = np.array([40, 25, 0, 12])
    target, price, traffic = (rng.uniform(1, 5, (4, 60)) for _ in range(3))

    def found() -> dict[str, Any]:
        batch = SeriesBatch.from_arrays(
            list(target),
            "2020-01-01",
            "D",
            related={"price": list(price), "traffic": list(traffic)},
            known_in_future=["price"],
        )
        settings = Settings(**SMALL)
        facts = Facts.learn(batch, horizon=4, settings=settings, ends=ends)
        t = Trainer(SeriesSet.of(batch, facts, ends=ends), facts, settings, seed=1)
        list(t.run())
        return weights(t)

    before = found()
    for i, end in enumerate(ends):
        target[i, end:], traffic[i, end:], price[i, end + 4 :] = 1e6, -1e6, 1e6
    assert same(found(), before)
    target[0, 30] = 3.21
    assert not same(found(), before)


def test_nothing_to_train_on_is_said() -> None:
    batch = SeriesBatch.from_arrays([[np.nan, np.nan], []], "2020-01-01", "D")
    facts = Facts.learn(batch, horizon=2)
    with pytest.raises(ValueError, match="no series has an observation"):
        Trainer(SeriesSet.of(batch, facts), facts, Settings())


def test_a_step_that_is_not_finite_is_left_out(known: Family) -> None:
    t = trainer(known)
    before = {k: v.clone() for k, v in t.network.state_dict().items()}
    t.network.law.loss = lambda raw, y, scale: raw[..., 0] * torch.nan
    t.step()
    assert t.skipped == 1
    assert same(before, t.network.state_dict())


@pytest.mark.parametrize("sampling", ["uniform", "velocity"])
def test_short_and_odd_series_train(sampling: str) -> None:
    arrays = [[], [3.0], [0.0] * 30, [np.nan] * 9, [1e9] * 30, list(np.linspace(1e-9, 2e-9, 30)), [1.0, np.nan] * 15]
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "D")
    settings = Settings(**SMALL, sampling=sampling)
    facts = Facts.learn(batch, horizon=7, settings=settings)
    t = Trainer(SeriesSet.of(batch, facts), facts, settings)
    assert all(np.isfinite(p.loss) for p in t.run())
    assert t.skipped == 0
    result = t.model().predict(batch, 7, metadata=ItemMetadata())
    assert np.isfinite(result.quantiles).all()
