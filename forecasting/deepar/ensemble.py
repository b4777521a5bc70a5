"""Several networks in place of one: each from other first weights, on other windows, with other series held out.

What a network makes of few series depends on its seed; sample paths of several networks together do so less
(Lakshminarayanan, Pritzel and Blundell 2017, deep ensembles: an equal mixture).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from forecasting.deepar.chunks import Chunks
from forecasting.deepar.facts import Facts
from forecasting.deepar.model import DeepAR
from forecasting.deepar.noise import seed_of
from forecasting.deepar.series_set import SeriesSet
from forecasting.deepar.settings import Settings
from forecasting.deepar.training import Progress, Trainer, part_of

_NETWORK = 14
_DONE = "done"


class Ensemble:
    """Trains `num_networks` networks, one after the other, as one training: with one it is its `Trainer`.

    `epoch` of a progress counts on over the networks; `stop` is told by the last one.
    """

    def __init__(self, series: SeriesSet | Chunks, facts: Facts, settings: Settings, *, seed: int = 0) -> None:
        """Raises ValueError as `Trainer`."""
        self.series, self.facts, self.settings, self.seed = series, facts, settings, seed
        self._done: list[Mapping[str, Tensor]] = []
        self._before = {"epoch": 0, "step": 0, "skipped": 0}
        self.trainer = self._next()

    def _next(self) -> Trainer:
        k = len(self._done)
        seed = self.seed if k == 0 else seed_of(self.seed, _NETWORK, k)
        return Trainer(self.series, self.facts, self.settings, seed=seed)

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.series.device

    @property
    def epoch(self) -> int:
        """Epochs of all networks so far."""
        return self._before["epoch"] + self.trainer.epoch

    @property
    def epochs(self) -> int:
        """The epochs of all networks, at most."""
        return self.settings.epochs * self.settings.num_networks

    @property
    def skipped(self) -> int:
        """Steps of all networks that were left out because their gradient was not finite."""
        return self._before["skipped"] + self.trainer.skipped

    def run(self) -> Iterator[Progress]:
        """Train, one epoch after each `next`, until the last network's training ends; leave whenever you like."""
        while True:
            more = len(self._done) + 1 < self.settings.num_networks
            for progress in self.trainer.run():
                yield replace(
                    progress,
                    epoch=self.epoch,
                    step=self._before["step"] + progress.step,
                    skipped=self.skipped,
                    stop="" if more else progress.stop,
                )
            if not more:
                return
            self._begin_next()

    def _begin_next(self) -> None:
        trainer = self.trainer
        self._done.append(trainer.model().network.state_dict())
        self._before["epoch"] += trainer.epoch
        self._before["step"] += trainer.step_number
        self._before["skipped"] += trainer.skipped
        self.trainer = self._next()

    def model(self) -> DeepAR:
        """The model as trained so far; a network that has not seen one epoch is left out where there are others."""
        last = self.trainer.model()
        if self._done and self.trainer.epoch == 0:
            return last.with_weights(self._done)
        return last.with_weights([*self._done, last.network.state_dict()])

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A checkpoint: tensors by name, and numbers that JSON can hold."""
        tensors, numbers = self.trainer.state()
        for k, weights in enumerate(self._done):
            tensors |= {f"{_DONE}.{k}.{name}": w.detach().clone() for name, w in weights.items()}
        return tensors, {**numbers, "done": len(self._done), "before": dict(self._before)}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of the same series, facts, settings and seed; raises ValueError for another seed."""
        self._done = [part_of(tensors, f"{_DONE}.{k}.") for k in range(int(numbers["done"]))]
        self._before = {name: int(value) for name, value in numbers["before"].items()}
        if self._done:
            self.trainer = self._next()
        self.trainer.restore(tensors, numbers)
