"""Several networks: one training of all, a mixture of their paths, and a state to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepar_family import HORIZON, Family, family  # noqa: E402

from forecasting.deepar import DeepAR, Ensemble, Facts, SeriesSet, Settings, Trainer  # noqa: E402
from jobs.model_folder import (  # noqa: E402
    ModelFolderError,
    load_checkpoint,
    load_model,
    save_checkpoint,
    save_model,
)

LEVELS = (0.1, 0.5, 0.9)
SMALL: dict[str, Any] = {"num_cells": 6, "batch_size": 8, "batches_per_epoch": 3, "epochs": 2, "num_networks": 3}


@pytest.fixture(scope="module")
def known() -> Family:
    torch.set_num_threads(1)
    return family(12)


def begun(known: Family, kind: type[Any] = Ensemble, seed: int = 5, **changes: Any) -> Any:
    settings = Settings(**{**SMALL, **changes})
    facts = Facts.learn(known.batch, known.metadata, HORIZON, settings)
    return kind(SeriesSet.of(known.batch, facts, known.metadata), facts, settings, seed=seed)


def predicted(model: DeepAR, known: Family, n: int = 30) -> Any:
    return model.predict(known.batch, HORIZON, LEVELS, known.metadata, num_samples=n)


def test_one_network_is_its_trainer(known: Family) -> None:
    alone, whole = begun(known, Trainer), begun(known, num_networks=1)
    assert list(alone.run())[-1].loss == list(whole.run())[-1].loss
    for name, w in alone.model().weights().items():
        assert torch.equal(w, whole.model().weights()[name])


def test_every_network_is_a_training_of_its_own(known: Family) -> None:
    ensemble = begun(known)
    told = [(p.epoch, p.step, p.stop) for p in ensemble.run()]
    assert told == [(1, 3, ""), (2, 6, ""), (3, 9, ""), (4, 12, ""), (5, 15, ""), (6, 18, "epochs")]
    assert ensemble.epochs == 6
    model = ensemble.model()
    assert len(model.networks) == 3
    first = begun(known, Trainer)
    list(first.run())
    assert torch.equal(model.network.head.weight, first.model().network.head.weight)
    heads = [network.head.weight for network in model.networks]
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])


def test_a_forecast_is_the_mixture(known: Family) -> None:
    """The mean is the mean of the networks' own; at many paths the quantiles are those of their paths together."""
    model = begun(known, likelihood="gaussian")
    list(model.run())
    both = model.model()
    alone = [DeepAR(both.settings, both.facts, network) for network in both.networks]
    means = [predicted(one, known, 2000).mean for one in alone]
    found = predicted(both, known, 6000)
    level = np.nanmean(np.abs(found.mean), axis=1)[:, None]
    assert (np.abs(found.mean - np.mean(means, axis=0)) / level).max() < 0.05
    low = np.min([predicted(one, known, 2000).quantiles for one in alone], axis=0)
    high = np.max([predicted(one, known, 2000).quantiles for one in alone], axis=0)
    slack = 0.1 * level[..., None]
    assert ((low - slack <= found.quantiles) & (found.quantiles <= high + slack)).all()


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_fewer_paths_than_networks_are_one_each(known: Family, n: int) -> None:
    model = begun(known)
    list(model.run())
    assert np.isfinite(predicted(model.model(), known, n).quantiles).all()


@pytest.mark.parametrize("left_at", [1, 2, 3, 5])
def test_a_resumed_training_is_the_uninterrupted_one(known: Family, tmp_path: Path, left_at: int) -> None:
    whole = begun(known)
    curve = [(p.epoch, p.loss, p.held_out) for p in whole.run()]
    first = begun(known)
    head = []
    for progress in first.run():
        head.append((progress.epoch, progress.loss, progress.held_out))
        if progress.epoch == left_at:
            break
    save_checkpoint(first, tmp_path / "checkpoint")
    resumed = begun(known)
    load_checkpoint(resumed, tmp_path / "checkpoint")
    assert resumed.epoch == left_at
    assert head + [(p.epoch, p.loss, p.held_out) for p in resumed.run()] == curve
    for name, w in whole.model().weights().items():
        assert torch.equal(w, resumed.model().weights()[name])
    with pytest.raises(ModelFolderError, match="seed"):
        load_checkpoint(begun(known, seed=6), tmp_path / "checkpoint")


def test_the_folder_holds_all_networks(known: Family, tmp_path: Path) -> None:
    ensemble = begun(known)
    for progress in ensemble.run():
        if progress.epoch == 4:
            break  # two of the three: what there is, is saved
    model = ensemble.model()
    digest = save_model(model, tmp_path / "model")
    loaded, _ = load_model(tmp_path / "model", digest=digest)
    assert len(loaded.networks) == 2
    np.testing.assert_array_equal(predicted(loaded, known).quantiles, predicted(model, known).quantiles)
