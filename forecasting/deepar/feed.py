"""What a training is fed: the windows of each step, gathered some steps at a time, on a GPU beside earlier steps."""

from __future__ import annotations

import torch

from forecasting.deepar.windows import Reader, Sampler, Window

_AT_ONCE = {"cpu": 512, "cuda": 8192}
"""Windows that are gathered together: a gather costs much the same for few and for many."""


class Feed:
    """The windows of every step: `n` of them, from place `first` on, whatever was asked for before."""

    def __init__(self, sampler: Sampler, reader: Reader, first: int, n: int) -> None:
        self._sampler, self._reader = sampler, reader
        self._first, self._n = first, n
        kind = "cuda" if reader.device.type == "cuda" else "cpu"
        self._steps = max(1, _AT_ONCE[kind] // n)
        self._beside = torch.cuda.Stream(reader.device) if kind == "cuda" else None
        self._blocks: dict[int, list[Window]] = {}

    def __call__(self, step: int) -> Window:
        """The windows of a step."""
        block = step // self._steps
        if self._beside is None:
            if block not in self._blocks:
                self._blocks = {block: self._gathered(block)}
        elif block not in self._blocks or block + 1 not in self._blocks:
            self._ahead(block, self._beside)
        return self._blocks[block][step - block * self._steps]

    def _ahead(self, block: int, beside: torch.cuda.Stream) -> None:
        """Begin with the next block while the steps of this one are done."""
        current = torch.cuda.current_stream(self._reader.device)
        current.wait_stream(beside)  # this block may be under way there
        own = self._blocks.get(block)
        self._blocks = {}  # the memory of the block before is free for the next one once all steps so far are done
        own = self._gathered(block) if own is None else own
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            self._blocks = {block: own, block + 1: self._gathered(block + 1)}

    def _gathered(self, block: int) -> list[Window]:
        steps = range(block * self._steps, (block + 1) * self._steps)
        draw = self._sampler.draw(steps, self._first, self._n, self._reader.context_length)
        return self._reader.windows(draw, self._reader.horizon, self._steps)
