"""Seeds and random numbers that depend on (run seed, series key, model) and on nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import numba
import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]

KEY_SEPARATOR = "\x1f"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def series_key(*parts: str) -> str:
    """One string for a series' key: item_id and the forecast dimensions in their declared order."""
    return KEY_SEPARATOR.join(parts)


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def key_hashes(keys: Iterable[str]) -> UInt64Array:
    """A stable 64-bit hash (BLAKE2b) of every key, [N]."""
    return np.array([_hash64(key) for key in keys], dtype=np.uint64)


def row_seeds(hashes: UInt64Array, run_seed: int, model: str) -> UInt64Array:
    """A seed for every row from the run's seed, the key's hash and the model's name, [R]."""
    salt = np.uint64(_hash64(f"{run_seed}/{model}"))
    with np.errstate(over="ignore"):
        state = (hashes ^ salt) + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _MIX_1
        state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return np.asarray(state ^ (state >> np.uint64(31)), dtype=np.uint64)


@numba.njit(cache=True)
def next_uniform(state: UInt64Array) -> float:
    """The next uniform in (0, 1) of a SplitMix64 stream (Steele, Lea, Flood 2014); `state` [1] is advanced."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(11)) + 0.5) / 9007199254740992.0


@numba.njit(cache=True)
def next_normal(state: UInt64Array) -> float:
    """The next standard normal by the cosine branch of Box and Muller (1958)."""
    radius = math.sqrt(-2.0 * math.log(next_uniform(state)))
    return radius * math.cos(2.0 * math.pi * next_uniform(state))
