"""A training set in chunks against the same set whole."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from deepar_family import HORIZON, Family, family, loader  # noqa: E402
from nearly import nearly  # noqa: E402
from trained_weights import same, weights  # noqa: E402

from forecasting import SeriesBatch  # noqa: E402
from forecasting.deepar import Ensemble, Facts, PartFacts, SeriesSet, Settings, Trainer  # noqa: E402
from forecasting.deepar.chunks import Chunks, Order  # noqa: E402
from forecasting.deepar.holdout import hold_out  # noqa: E402

SMALL: dict[str, Any] = {"num_cells": 8, "batch_size": 8, "batches_per_epoch": 4, "epochs": 6}

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def known() -> Family:
    return family(24)


def facts_of(known: Family, settings: Settings) -> Facts:
    return Facts.learn(known.batch, known.metadata, HORIZON, settings)


def trained(known: Family, n: int, **changes: Any) -> Trainer:
    settings = Settings(**{**SMALL, **changes})
    facts = facts_of(known, settings)
    return Trainer(Chunks(loader(known, facts, n), n), facts, settings, seed=5)


def test_one_chunk_is_the_whole_set(known: Family) -> None:
    settings = Settings(**SMALL)
    facts = facts_of(known, settings)
    whole = Trainer(SeriesSet.of(known.batch, facts, known.metadata), facts, settings, seed=5)
    one = trained(known, 1)
    assert [p.loss for p in whole.run()] == [p.loss for p in one.run()]
    assert same(weights(whole), weights(one))


def test_facts_do_not_depend_on_how_a_set_was_cut(known: Family) -> None:
    rng = np.random.default_rng(4)
    cuts = np.split(rng.permutation(len(known.batch)), [3, 4, 15])
    settings = Settings()
    parts = [PartFacts.of(known.batch.take(rows), known.metadata.take(rows)) for rows in cuts]
    found = Facts.learn_in_parts(parts, HORIZON, settings).model_dump()
    expected = facts_of(known, settings).model_dump()
    assert found == nearly(expected)


def test_a_training_in_chunks_learns_as_much(known: Family) -> None:
    """The loss after the training, on windows of the whole set that neither was trained on."""
    options = {"epochs": 20, "batches_per_epoch": 20, "learning_rate": 0.01}
    losses = {}
    for n in (1, 3):
        t = trained(known, n, **options)
        first = t.held_out_loss()
        *_, last = t.run()
        assert last.best < first - 0.5
        losses[n] = Trainer.held_out_loss(_judged_on(known, t))
    assert losses[3] < losses[1] + 0.15


def _judged_on(known: Family, t: Trainer) -> Trainer:
    judge = trained(known, 1, holdout_series=24)
    judge.network = t.model().network
    return judge


def test_a_training_in_chunks_goes_on_from_its_state(known: Family) -> None:
    straight, stopped, resumed = (trained(known, 3) for _ in range(3))
    list(straight.run())
    running = stopped.run()
    for _ in range(3):
        next(running)
    resumed.restore(*stopped.state())
    list(resumed.run())
    assert same(weights(straight), weights(resumed))


def test_every_chunk_gives_its_share_to_be_held_out(known: Family) -> None:
    settings = Settings(**SMALL, holdout_series=4)
    facts = facts_of(known, settings)
    load = loader(known, facts, 2)
    found = [hold_out(load(k), settings, 1, 2)[0] for k in range(2)]
    assert [sum(len(draw.rows) for draw in draws) for draws in found] == [2, 2]
    t = Trainer(Chunks(load, 2), facts, settings, seed=1)
    assert np.isfinite(t.held_out_loss())


def test_two_chunks_at_most_are_held(known: Family) -> None:
    settings = Settings(**{**SMALL, "epochs": 12, "num_networks": 2})
    facts = facts_of(known, settings)
    load, alive, most = loader(known, facts, 6), weakref.WeakSet[SeriesSet](), 0

    def counted(k: int) -> SeriesSet:
        nonlocal most
        gc.collect()
        most = max(most, len(alive) + 1)
        made = load(k)
        alive.add(made)
        return made

    ensemble = Ensemble(Chunks(counted, 6), facts, settings, seed=1)
    assert sum(1 for _ in ensemble.run()) == 24
    assert most == 2


def test_chunks_with_nothing_to_learn_are_left_out(known: Family) -> None:
    settings = Settings(**SMALL)
    facts = facts_of(known, settings)
    load, asked = loader(known, facts, 1), []

    def some(k: int) -> SeriesSet:
        asked.append(k)
        if k == 1:
            return load(0)
        batch = SeriesBatch.from_arrays(
            [[np.nan]], "2010-01-01", "MS", related={"price": [[1.0]]}, known_in_future=["price"]
        )
        return SeriesSet.of(batch, facts, known.metadata.take([0]))

    t = Trainer(Chunks(some, 3), facts, settings, seed=5)
    assert asked == [0, 1, 2]
    list(t.run())
    assert set(asked[3:]) <= {1}
    with pytest.raises(ValueError, match="no series has an observation"):
        Trainer(Chunks(lambda k: some(0), 2), facts, settings)


def test_what_loading_raises_comes_out(known: Family) -> None:
    def load(k: int) -> SeriesSet:
        raise OSError(f"chunk {k} is gone")

    settings = Settings(**SMALL)
    with pytest.raises(OSError, match="chunk 0 is gone"):
        Trainer(Chunks(load, 2), facts_of(known, settings), settings)


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=40).filter(any), st.integers(1, 400))
def test_chunks_are_drawn_from_as_often_as_they_weigh(weights: list[float], epochs: int) -> None:
    order = Order(weights)
    counts = np.bincount([order(e) for e in range(epochs)], minlength=len(weights))
    share = np.array(weights) / sum(weights)
    assert (counts[share == 0] == 0).all()
    # the discrepancy of the sequence (Kuipers and Niederreiter 1974, section 2.3)
    assert (np.abs(counts - share * epochs) <= 3 + 2.1 * np.log(epochs)).all()
