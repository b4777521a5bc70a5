"""Uniform numbers from counters: draw k of a stream depends on its seed and k alone, on every device.

So a series' sample paths do not depend on the other series of a batch, and a training step's windows not on the steps
before it. The mixer is SplitMix64's (Steele, Lea, Flood 2014), in wrapping int64.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)
_LOW_32 = 0xFFFFFFFF
_STEP = 2.0**-32
_ALL_64 = (1 << 64) - 1


def _wrapped(number: int) -> int:
    """An integer modulo 2^64, signed."""
    number &= _ALL_64
    return number - (1 << 64) if number >> 63 else number


def mixed(state: Tensor) -> Tensor:
    """SplitMix64's finaliser of int64 [...]: every bit of the result depends on every bit of the state."""
    state = (state ^ ((state >> 30) & 0x3FFFFFFFF)) * _MIX_1
    state = (state ^ ((state >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    return state ^ ((state >> 31) & 0x1FFFFFFFF)


def seed_of(seed: int, purpose: int, step: int) -> int:
    """A seed of 63 bits for a purpose and a step."""
    state = seed & _ALL_64
    for part in (purpose, step):
        state = (state + (part + 1) * 0x9E3779B97F4A7C15) & _ALL_64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _ALL_64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _ALL_64
        state ^= state >> 31
    return state >> 1


def streams(seeds: Tensor, n: int) -> Tensor:
    """n seeds from each seed, int64 [..., n]."""
    return mixed(seeds.unsqueeze(-1) + torch.arange(1, n + 1, device=seeds.device) * _GOLDEN)


class Noise:
    """Draws of many streams in step. `pair` gives the next two uniforms in (0, 1) of every stream, float32."""

    def __init__(self, seeds: Tensor, counter: int = 0) -> None:
        self.seeds = seeds
        self._counter = counter

    def skip(self) -> int:
        """What to add to the seeds for the next 64 bits, which are taken as read."""
        self._counter += 1
        return _wrapped(self._counter * _GOLDEN)

    def bits(self) -> Tensor:
        """The next 64 bits of every stream."""
        return mixed(self.seeds + self.skip())

    def pair(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Two independent uniforms with 32 bits each. Never 0; 1 only by rounding to float32."""
        bits = self.bits()
        high, low = (bits >> 32) & _LOW_32, bits & _LOW_32
        return (high.to(dtype) + 0.5) * _STEP, (low.to(dtype) + 0.5) * _STEP
