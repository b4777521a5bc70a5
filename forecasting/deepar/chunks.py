"""A training set in chunks: the series that the steps draw from, and the next ones loaded beside the training.

A set that fits is one chunk. Of a larger one a chunk is on the device at a time, and the next one on its way. Each
epoch draws from one chunk; which one follows from the epoch's number alone: the places of the golden-ratio sequence
(Weyl 1916: equidistributed; no other sequence of multiples leaves smaller gaps, Knuth 1973, section 6.4) on the
chunks' cumulated weights, so that after some epochs each has been drawn from as often as it weighs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate

import torch

from forecasting.deepar.series_set import SeriesSet

_GOLDEN = 0.6180339887498949


class Chunks:
    """`n` series sets on one device, of which the one in use and the one after it are held."""

    def __init__(self, load: Callable[[int], SeriesSet], n: int, device: str | torch.device = "cpu") -> None:
        """load: makes a chunk by its number, the same one each time; it is called in a thread of its own."""
        self._load, self._n, self.device = load, n, torch.device(device)
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="chunk")
        self._held: dict[int, Future[SeriesSet]] = {}

    @classmethod
    def whole(cls, series: SeriesSet) -> Chunks:
        """A set that fits as one chunk."""
        return cls(lambda _: series, 1, series.device)

    def __len__(self) -> int:
        return self._n

    def get(self, number: int, following: int | None = None) -> SeriesSet:
        """A chunk, and begin with the one that will be asked for after it; all others are let go.

        Raises what `load` raised.
        """
        wanted = [number] if following is None or following == number else [number, following]
        self._held = {k: self._held[k] for k in wanted if k in self._held}
        for k in wanted:
            if k not in self._held:
                self._held[k] = self._beside.submit(self._load, k)
        return self._held[number].result()


class Order:
    """Which chunk each epoch draws from."""

    def __init__(self, weights: Sequence[float]) -> None:
        """weights: of each chunk, at least one above 0."""
        total = sum(weights)
        self._shares = [weight / total for weight in weights]
        self._cumulated = list(accumulate(self._shares))

    def __call__(self, epoch: int) -> int:
        """The chunk of an epoch, counted from 0; never one without weight."""
        place = (0.5 + epoch * _GOLDEN) % 1.0
        some = [k for k, share in enumerate(self._shares) if share > 0]
        return next((k for k in some if place < self._cumulated[k]), some[-1])  # the last: rounding
