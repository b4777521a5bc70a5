"""Training: steps over drawn windows, a held-out window that says when to stop, and a state to go on from."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forecasting.deepar.chunks import Chunks, Order
from forecasting.deepar.facts import Facts
from forecasting.deepar.feed import Feed
from forecasting.deepar.graph import StepGraph
from forecasting.deepar.holdout import hold_out
from forecasting.deepar.model import DeepAR
from forecasting.deepar.network import Network
from forecasting.deepar.noise import seed_of
from forecasting.deepar.series_set import SeriesSet
from forecasting.deepar.settings import Settings
from forecasting.deepar.windows import Reader, Sampler, Window, drawn_from

_INITIAL_SEED, _DROPOUT_SEED = 11, 12


@dataclass(frozen=True)
class Progress:
    """After an epoch. loss: mean over the epoch's observed values. held_out: the loss on the held-out windows, NaN
    without. windows_per_second: of the training steps alone. seconds: since the training began or went on. stop: why
    the training ends here, "" when it goes on."""

    epoch: int
    step: int
    loss: float
    held_out: float
    best: float
    learning_rate: float
    windows_per_second: float
    seconds: float
    skipped: int
    stop: str


class Trainer:
    """Trains a network on a series set, or on one in chunks.

    The windows of a step and its dropout follow from the seed and the step's number, so that a training that is
    resumed from `state` goes on exactly as the uninterrupted one would have. Of a set in chunks each epoch draws from
    one, and all of them are read once before the first to hold windows out and to weigh them.
    With `torch.distributed` initialised each process makes its part of every batch and gradients are summed: a run on
    several processes sees the windows that one process would. batch_size must then be a multiple of the processes.
    """

    def __init__(self, series: SeriesSet | Chunks, facts: Facts, settings: Settings, *, seed: int = 0) -> None:
        """Raises ValueError when no series has an observation, or when the batch cannot be shared evenly."""
        self.chunks = Chunks.whole(series) if isinstance(series, SeriesSet) else series
        self.device = self.chunks.device
        self.facts, self.settings, self.seed = facts, settings, seed
        self._rank, self._processes = _place()
        if settings.batch_size % self._processes:
            raise ValueError(
                f"batch_size is {settings.batch_size}; it must be a multiple of the {self._processes} processes"
            )
        self._held_out: list[Window] = []
        self._order = Order(self._read_once())
        self._open = -1
        self._feed: Feed | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, _INITIAL_SEED, 0))
            self.network = Network(facts, settings).to(self.device)
        self._dropout = torch.Generator(self.device)
        self._weights = list(self.network.parameters())
        self._adam = torch.optim.Adam(
            self._weights,
            lr=self._rate(settings.learning_rate),
            weight_decay=settings.weight_decay,
            fused=True,
            capturable=self._cuda,
        )
        self._skipped = torch.zeros((), device=self.device)
        self._graph = self._new_graph()
        self.step_number = 0
        self.epoch = 0
        self.stop = ""
        self._decays = 0
        self._waited = 0
        self._best: list[tuple[float, dict[str, Tensor]]] = []

    def _read_once(self) -> list[float]:
        """Hold windows out of every chunk, and tell what each chunk weighs in the draw."""
        n = len(self.chunks)
        weights = [self._looked_at(k, k + 1 if k + 1 < n else None) for k in range(n)]
        if not any(weights):
            raise ValueError("no series has an observation: there is nothing to train on")
        return weights

    def _looked_at(self, chunk: int, following: int | None) -> float:
        series = self.chunks.get(chunk, following)
        draws, ends = hold_out(series, self.settings, self.seed, len(self.chunks))
        reader = Reader(series, self.facts)
        self._held_out += [reader.window(draw, self.facts.horizon) for draw in draws]
        return float(drawn_from(series, ends, self.settings.sampling).sum())

    def window(self, step: int) -> Window:
        """The windows of a step, this process' part of them."""
        return self._feed_of(step // self.settings.batches_per_epoch)(step)

    def _feed_of(self, epoch: int) -> Feed:
        """What the steps of an epoch are fed from, counted from 0."""
        chunk = self._order(epoch)
        if self._feed is None or chunk != self._open:
            self._feed = None  # the chunk before is let go before the one after this one is loaded
            following = self._order(epoch + 1) if epoch + 1 < self.settings.epochs else None
            series, settings = self.chunks.get(chunk, following), self.settings
            _, ends = hold_out(series, settings, self.seed, len(self.chunks))
            n = settings.batch_size // self._processes
            sampler, reader = Sampler(series, ends, settings, self.seed), Reader(series, self.facts)
            self._open, self._feed = chunk, Feed(sampler, reader, self._rank * n, n)
        return self._feed

    @property
    def _cuda(self) -> bool:
        return self.device.type == "cuda"

    def _rate(self, rate: float) -> float | Tensor:
        """A learning rate as Adam takes it: a graph reads it where it lies."""
        return torch.tensor(rate, device=self.device) if self._cuda else rate

    def _new_graph(self) -> StepGraph | None:
        return StepGraph(self._on, self._dropout) if self._cuda and self._processes == 1 else None

    @property
    def skipped(self) -> int:
        """Steps that were left out because their gradient was not finite."""
        return int(self._skipped)

    def step(self) -> Tensor:
        """One step of training: the sum of the losses and the number of observed values, float32 [2]. On a GPU the
        next step writes over them."""
        window = self.window(self.step_number)
        self._dropout.manual_seed(seed_of(self.seed, _DROPOUT_SEED + self._rank, self.step_number))
        self.step_number += 1
        return self._on(window) if self._graph is None else self._graph(window)

    def _on(self, window: Window) -> Tensor:
        """A step on a window, without a word to the host."""
        with torch.autocast(
            self.device.type, torch.bfloat16, self.settings.precision == "bfloat16", cache_enabled=False
        ):
            raw = self.network(window, self._dropout)
        total, count = self._losses(raw.float(), window)
        everywhere = count.clone()
        _summed([everywhere])
        self._adam.zero_grad(set_to_none=True)
        (total / everywhere.clamp(min=1)).backward()  # type: ignore[no-untyped-call]
        _summed([w.grad for w in self._weights if w.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self.settings.gradient_clip, foreach=True)
        useless = torch.isfinite(norm).logical_not().to(torch.float32)
        self._adam.found_inf = useless  # type: ignore[attr-defined]
        self._adam.step()
        self._skipped += useless
        return torch.stack([total.detach(), count.to(torch.float32)])

    def run(self) -> Iterator[Progress]:
        """Train, one epoch after each `next`, until the epochs are done or the held-out loss has ended the training.

        A caller may leave at any time: `state` and `model` then give what there is.
        """
        started = time.perf_counter()
        while not self.stop:
            progress = self._epoch(started)
            if progress.stop:
                self._feed = None  # and with it what it draws from
            yield progress

    def _epoch(self, started: float) -> Progress:
        settings = self.settings
        begun = time.perf_counter()
        self.network.train()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for _ in range(settings.batches_per_epoch):
            sums += self.step()
        _summed([sums])
        loss = float(sums[0] / sums[1].clamp(min=1))
        seconds = time.perf_counter() - begun
        self.epoch += 1
        held_out = self.held_out_loss()
        rate = float(self._adam.param_groups[0]["lr"])
        self._judge(held_out if self._held_out else loss)
        return Progress(
            epoch=self.epoch,
            step=self.step_number,
            loss=loss,
            held_out=held_out,
            best=self._best[0][0] if self._best else math.nan,
            learning_rate=rate,
            windows_per_second=settings.batches_per_epoch * settings.batch_size / max(seconds, 1e-9),
            seconds=time.perf_counter() - started,
            skipped=self.skipped,
            stop=self.stop,
        )

    def held_out_loss(self) -> float:
        """The mean loss over the horizon of the held-out windows; NaN without any."""
        if not self._held_out:
            return math.nan
        self.network.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.inference_mode():
            for window in self._held_out:
                before = self.facts.context_length
                total, count = self._losses(self.network(window)[before:], window, before)
                sums += torch.stack([total.to(torch.float64), count.to(torch.float64)])
        if self._processes > 1:  # rounding must not let one process stop and another go on
            torch.distributed.broadcast(sums, src=0)
        return float(sums[0] / sums[1].clamp(min=1))

    def _losses(self, raw: Tensor, window: Window, first: int = 0) -> tuple[Tensor, Tensor]:
        """The sum of the losses of the observed values from period `first` of the windows, and their number.

        raw: the law's parameters of these periods.
        """
        losses = self.network.law.loss(raw, window.target[first:], window.scale)
        seen = window.observed[first:]
        return torch.where(seen, losses, 0.0).sum(), seen.sum()

    def _judge(self, loss: float) -> None:
        """Keep the weights if they are among the best; lower the learning rate or stop when nothing gets better."""
        settings = self.settings
        improved = not self._best or loss < self._best[0][0]
        if not self._held_out and settings.num_averaged_models == 1:
            self._best = []  # without a judge the last weights are the ones
            improved = True
        elif math.isfinite(loss):
            weights = {name: w.detach().clone() for name, w in self.network.state_dict().items()}
            self._best.append((loss, weights))
            self._best.sort(key=lambda pair: pair[0])
            del self._best[settings.num_averaged_models :]
        self._waited = 0 if improved else self._waited + 1
        patience = settings.early_stopping_patience
        if patience is not None and self._waited >= patience and self._held_out:
            if self._decays < settings.max_learning_rate_decays:
                self._decays += 1
                self._waited = 0
                for group in self._adam.param_groups:
                    group["lr"] *= settings.learning_rate_decay
            else:
                self.stop = "no_improvement"
        if self.epoch >= settings.epochs and not self.stop:
            self.stop = "epochs"

    def model(self) -> DeepAR:
        """The model as trained so far: the average of the best epochs' weights."""
        network = Network(self.facts, self.settings).to(self.device)
        network.load_state_dict(_average([w for _, w in self._best]) if self._best else self.network.state_dict())
        return DeepAR(self.settings, self.facts, network.eval())

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A checkpoint: tensors by name, and numbers that JSON can hold."""
        tensors = {f"network.{name}": w for name, w in self.network.state_dict().items()}
        for i, held in self._adam.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{name}": value for name, value in held.items()}
        for j, (_, weights) in enumerate(self._best):
            tensors |= {f"best.{j}.{name}": w for name, w in weights.items()}
        numbers = {
            "seed": self.seed,
            "step": self.step_number,
            "epoch": self.epoch,
            "skipped": self.skipped,
            "stop": self.stop,
            "decays": self._decays,
            "waited": self._waited,
            "learning_rate": float(self._adam.param_groups[0]["lr"]),
            "best": [loss for loss, _ in self._best],
        }
        return {name: t.detach().clone() for name, t in tensors.items()}, numbers

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of the same series, facts, settings and seed; raises ValueError for another seed."""
        if numbers["seed"] != self.seed:
            raise ValueError(f"the checkpoint was made with seed {numbers['seed']}, not {self.seed}")
        self.network.load_state_dict(part_of(tensors, "network."))
        held = {}
        for i in range(len(self._weights)):
            if part := part_of(tensors, f"adam.{i}."):
                held[i] = part
        self._adam.load_state_dict({"state": held, "param_groups": self._adam.state_dict()["param_groups"]})
        for group in self._adam.param_groups:
            group["lr"] = self._rate(numbers["learning_rate"])
        self._graph = self._new_graph()
        self._best = [(loss, part_of(tensors, f"best.{j}.")) for j, loss in enumerate(numbers["best"])]
        self.step_number, self.epoch = int(numbers["step"]), int(numbers["epoch"])
        self._skipped.fill_(numbers["skipped"])
        self.stop = str(numbers["stop"])
        self._decays, self._waited = int(numbers["decays"]), int(numbers["waited"])

    def warm_start(self, model: DeepAR) -> None:
        """Begin with the weights of a model of the same facts; raises ValueError where the networks differ."""
        try:
            self.network.load_state_dict(model.network.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the model to start from has another network: {error}") from error


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Copies of the tensors whose names begin so, by the rest of the name."""
    return {name[len(prefix) :]: t.clone() for name, t in tensors.items() if name.startswith(prefix)}


def _average(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([w[name] for w in weights]).mean(0) for name in weights[0]}


def _place() -> tuple[int, int]:
    """This process' rank, and how many there are."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _summed(tensors: Sequence[Tensor]) -> None:
    """Sum each tensor over the processes, in place."""
    if _place()[1] > 1:
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)
