"""The section on items with little or no history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from udfs.config.evaluation import least_history
from udfs.config.sources import Section

if TYPE_CHECKING:
    from udfs.config.schema import Config

MOST_DONORS = 5000


class ColdStart(Section):
    """Forecasts of items with little or no history, from the items that are most like them by metadata (and price)."""

    below: int | None = Field(default=None, ge=1)
    """Series with fewer observations than this are forecast so; null: backtest.min_history, which is what the models
    need (the horizon, at least 3)."""
    features: tuple[str, ...] | None = None
    """Metadata columns, and columns of a key that has several, to compare items by; null: all of them."""
    price: str | None = None
    """A related series whose mean is compared too, such as a price; null: none."""
    donors: int = Field(default=500, ge=1, le=MOST_DONORS)
    """Series with a history that are looked at, spread evenly over what metadata they have, taken by the hash of the
    key."""
    neighbours: int = Field(default=20, ge=1, le=200)
    """Donors that an item is forecast from."""


def active_cold_start(config: Config) -> ColdStart | None:
    """The settings in force, None where cold start is off."""
    section = config.cold_start
    if isinstance(section, ColdStart):
        return section
    wanted = bool(config.data.items) if section is None else section
    return ColdStart() if wanted else None


def cold_below(config: Config, section: ColdStart) -> int:
    """Observations below which a series is forecast by cold start."""
    return section.below or least_history(config)


def known_features(config: Config) -> tuple[str, ...]:
    """Columns that items can be compared by: metadata, and the key's where it has several."""
    key = config.key if len(config.key) > 1 else ()
    return (*config.data.attributes, *key)


def cold_start_problems(config: Config) -> Iterator[str]:
    """Columns that are not there."""
    section = config.cold_start
    if not isinstance(section, ColdStart):
        return
    known = known_features(config)
    for name in section.features or ():
        if name not in known:
            there = ", ".join(known) or "none: add data.items"
            yield f"cold_start.features: no metadata column {name!r}; there are {there}"
    related = config.data.related_columns
    if section.price is not None and section.price not in related:
        there = ", ".join(related) or "none"
        yield f"cold_start.price: no related series {section.price!r}; there are {there}"
