"""The range of a hyperparameter that a search tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Number:
    """A number from low to high, both included; on a logarithmic scale where `log`. whole: an integer."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Range = Choice | Number
SearchSpace = Mapping[str, Range]
