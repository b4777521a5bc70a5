"""A training step as one CUDA graph: its hundreds of small kernels are launched at once, without the host between."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from forecasting.deepar.windows import Window

Step = Callable[[Window], Tensor]
"""What is done with a window, into tensors that stay where they are; what it returns is written anew each time."""
_WARM_UP = 3


class StepGraph:
    """Runs a step on a CUDA device: the first times as it is, so that libraries settle, then as a recorded graph.

    All windows must have the same shape. The graph writes where the tensors of the recorded step lay: whoever replaces
    one of them (an optimizer's state, say) must make a new StepGraph.
    """

    def __init__(self, step: Step, generator: torch.Generator) -> None:
        """generator: the one that the step draws from; its seed at each call is what counts."""
        self._step, self._generator = step, generator
        self._side = torch.cuda.Stream(generator.device)
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._held: list[Tensor] = []
        self._result = torch.empty(0)

    def __call__(self, window: Window) -> Tensor:
        """The step's result for a window; overwritten by the next call."""
        self._calls += 1
        if self._calls <= _WARM_UP:
            return self._aside(window)
        if self._graph is None:
            self._record(window)
        assert self._graph is not None
        for held, given in zip(self._held, _tensors(window), strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._result

    def _aside(self, window: Window) -> Tensor:
        """As it is, on the stream that is recorded later: autograd ties gradients to the stream of their first use."""
        current = torch.cuda.current_stream(self._generator.device)
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            result = self._step(window)
        current.wait_stream(self._side)
        return result

    def _record(self, window: Window) -> None:
        self._held = [t.clone() for t in _tensors(window)]
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        torch.cuda.synchronize(self._generator.device)
        # another thread may be bringing the next chunk to the device meanwhile
        with torch.cuda.graph(graph, stream=self._side, capture_error_mode="thread_local"):
            self._result = self._step(Window(*self._held))
        self._graph = graph


def _tensors(window: Window) -> tuple[Tensor, ...]:
    return window.inputs, window.codes, window.scale, window.target, window.observed
