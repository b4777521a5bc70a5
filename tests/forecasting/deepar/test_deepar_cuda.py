"""On a GPU: the recorded step does what the plain one does, forecasts are those of the CPU. Skipped without one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepar_family import HORIZON, Family, family, loader  # noqa: E402

from forecasting.deepar import Facts, SeriesSet, Settings, Trainer  # noqa: E402
from forecasting.deepar.chunks import Chunks  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SMALL: dict[str, Any] = {"num_cells": 16, "batch_size": 16, "batches_per_epoch": 10, "epochs": 4}


@pytest.fixture(scope="module")
def known() -> Family:
    return family(12)


def trainer(known: Family, device: str = "cuda", **changes: Any) -> Trainer:
    settings = Settings(**{**SMALL, **changes})
    facts = Facts.learn(known.batch, known.metadata, HORIZON, settings)
    return Trainer(SeriesSet.of(known.batch, facts, known.metadata, device=device), facts, settings, seed=5)


@pytest.mark.parametrize("likelihood", ["student-T", "negative-binomial", "piecewise-linear"])
def test_the_recorded_step_is_the_plain_one(known: Family, likelihood: str) -> None:
    recorded, plain = (trainer(known, likelihood=likelihood) for _ in range(2))
    assert recorded._graph is not None
    plain._graph = None
    for _ in range(12):
        torch.testing.assert_close(recorded.step().clone(), plain.step(), rtol=1e-4, atol=1e-4)
    assert recorded._graph._graph is not None
    for name, w in plain.network.state_dict().items():
        torch.testing.assert_close(recorded.network.state_dict()[name], w, rtol=2e-3, atol=2e-4)


def test_losses_are_those_of_the_cpu_without_dropout(known: Family) -> None:
    torch.backends.cudnn.allow_tf32 = False
    found = [[p.loss for p in trainer(known, device, dropout=0.0).run()] for device in ("cuda", "cpu")]
    np.testing.assert_allclose(found[0], found[1], rtol=2e-3)


def in_chunks(known: Family, device: str, n: int) -> Trainer:
    settings = Settings(**{**SMALL, "dropout": 0.0, "epochs": 6})
    facts = Facts.learn(known.batch, known.metadata, HORIZON, settings)
    return Trainer(Chunks(loader(known, facts, n, device), n, device), facts, settings, seed=5)


def test_chunks_are_brought_to_the_device_beside_the_steps(known: Family) -> None:
    torch.backends.cudnn.allow_tf32 = False
    there, here = in_chunks(known, "cuda", 3), in_chunks(known, "cpu", 3)
    losses = [[(p.loss, p.held_out) for p in t.run()] for t in (there, here)]
    assert there._graph is not None
    assert there._graph._graph is not None
    assert there.chunks.get(0).device.type == "cuda"
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)


def test_a_resumed_training_goes_on(known: Family) -> None:
    options = {"max_learning_rate_decays": 2, "early_stopping_patience": 1, "epochs": 6}
    whole = [(p.loss, p.held_out, p.learning_rate) for p in trainer(known, **options).run()]
    first = trainer(known, **options)
    head = []
    for progress in first.run():
        head.append((progress.loss, progress.held_out, progress.learning_rate))
        if progress.epoch == 3:
            break
    tensors, numbers = first.state()
    resumed = trainer(known, **options)
    resumed.restore(tensors, numbers)
    tail = [(p.loss, p.held_out, p.learning_rate) for p in resumed.run()]
    np.testing.assert_allclose(head + tail, whole, rtol=2e-3)


def test_a_lower_rate_reaches_the_recorded_step(known: Family) -> None:
    t = trainer(known)
    for _ in range(6):
        t.step()
    before = {k: v.clone() for k, v in t.network.state_dict().items()}
    for group in t._adam.param_groups:
        group["lr"] *= 0.0
    t.step()
    assert all(torch.equal(before[k], v) for k, v in t.network.state_dict().items())


def test_a_step_that_is_not_finite_is_left_out(known: Family) -> None:
    t = trainer(known)
    for _ in range(6):
        t.step()
    before = {k: v.clone() for k, v in t.network.state_dict().items()}
    for block in t._feed._blocks.values():
        for window in block:
            window.target.fill_(torch.inf)
    t.step()
    assert t.skipped == 1
    assert all(torch.equal(before[k], v) for k, v in t.network.state_dict().items())


@pytest.mark.parametrize("likelihood", ["student-T", "negative-binomial"])
def test_forecasts_are_those_of_the_cpu(known: Family, likelihood: str) -> None:
    t = trainer(known, "cpu", likelihood=likelihood)
    list(t.run())
    model = t.model()
    here = model.predict(known.batch, HORIZON, (0.1, 0.5, 0.9), known.metadata)
    model.network.to("cuda")
    there = model.predict(known.batch, HORIZON, (0.1, 0.5, 0.9), known.metadata)
    level = np.nanmean(np.abs(here.mean), axis=1)[:, None]
    assert np.quantile(np.abs(here.mean - there.mean) / level, 0.99) < 1e-2
    assert np.quantile(np.abs(here.quantiles - there.quantiles) / level[..., None], 0.9) < 2e-2


def test_narrow_numbers_train_as_well(known: Family) -> None:
    wide, narrow = ([p.loss for p in trainer(known, precision=p).run()] for p in ("float32", "bfloat16"))
    np.testing.assert_allclose(narrow, wide, rtol=3e-2)
