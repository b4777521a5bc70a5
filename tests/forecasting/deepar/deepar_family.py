"""A family of monthly series whose truth is known: level by category, a shared season, an effect of the price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from forecasting import SeriesBatch
from forecasting.batch import FloatArray
from forecasting.deepar import ItemMetadata

if TYPE_CHECKING:
    from forecasting.deepar import Facts, SeriesSet

HORIZON = 6
LENGTH = 96
LEVELS = {"small": 10.0, "middle": 50.0, "large": 200.0}
PRICE_EFFECT = -1.0
"""Of the logarithm of the target, for a price that is higher by its usual value."""
NOISE = 0.1
LEVEL_SPREAD = 0.15


@dataclass(frozen=True)
class Family:
    """N series, `actual` [N, H] after them, and what they were made of."""

    batch: SeriesBatch
    metadata: ItemMetadata
    actual: FloatArray
    usual_price: FloatArray


def season(month: FloatArray) -> FloatArray:
    return np.asarray(1.0 + 0.4 * np.sin(2 * np.pi * month / 12))


def family(n: int = 60, seed: int = 0) -> Family:
    rng = np.random.default_rng(seed)
    month = np.arange(LENGTH + HORIZON)
    names = list(LEVELS)
    usual = rng.uniform(5, 10, n)
    categories = [names[i % 3] for i in range(n)]
    targets, prices, actual = [], [], []
    for i in range(n):
        price = usual[i] * (1 + 0.2 * rng.normal(size=len(month)).clip(-1.5, 1.5))
        level = LEVELS[categories[i]] * np.exp(LEVEL_SPREAD * rng.normal())
        effect = np.exp(PRICE_EFFECT * (price / usual[i] - 1))
        y = level * season(month) * effect * np.exp(NOISE * rng.normal(size=len(month)))
        first = int(rng.integers(0, LENGTH // 2)) if i % 4 == 0 else 0  # some are younger, all end together
        y[:first] = np.nan
        targets.append(y[:LENGTH])
        actual.append(y[LENGTH:])
        prices.append(price)
    batch = SeriesBatch.from_arrays(
        targets,
        "2010-01-01",
        "MS",
        keys=[f"item {i}" for i in range(n)],
        related={"price": prices},
        known_in_future=["price"],
    )
    return Family(batch, ItemMetadata({"size": categories}), np.stack(actual), usual)


def loader(known: Family, facts: Facts, n: int, device: str = "cpu") -> Callable[[int], SeriesSet]:
    """What loads chunk k of n of the family onto a device."""
    from forecasting.deepar import SeriesSet

    def load(k: int) -> SeriesSet:
        rows = np.arange(k, len(known.batch), n)
        return SeriesSet.of(known.batch.take(rows), facts, known.metadata.take(rows), device=device)

    return load
