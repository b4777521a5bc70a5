"""Amazon Forecast's domains: the names that each gives to the item, the target and the columns it suggests.

A domain changes names and nothing else. The names are those of the service's developer guide ("Predefined Dataset
Domains and Dataset Types").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from udfs.config.schema import Config
    from udfs.config.sources import Source

DomainName = Literal["CUSTOM", "RETAIL", "INVENTORY_PLANNING", "EC2_CAPACITY", "WORK_FORCE", "WEB_TRAFFIC", "METRICS"]
TIMESTAMP = "timestamp"


@dataclass(frozen=True)
class Domain:
    """Column names of a domain.

    item_id, target: required. dimensions: optional forecast dimensions. related, items: columns that it suggests.
    """

    item_id: str
    target: str
    dimensions: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    items: tuple[str, ...] = ()


_PLACE = ("location",)
DOMAINS: Mapping[str, Domain] = {
    "CUSTOM": Domain("item_id", "target_value", items=("category",)),
    "RETAIL": Domain(
        "item_id", "demand", _PLACE,
        ("price", "promotion_applied", "inventory_onhand", "webpage_hits"), ("category", "brand", "color", "genre"),
    ),
    "INVENTORY_PLANNING": Domain(
        "item_id", "demand", _PLACE, ("price",), ("category", "brand", "lead_time", "order_cycle", "safety_stock")
    ),
    "EC2_CAPACITY": Domain("instance_type", "number_of_instances", _PLACE),
    "WORK_FORCE": Domain(
        "workforce_type", "workforce_demand", _PLACE, items=("wages", "shift_length", "location")
    ),
    "WEB_TRAFFIC": Domain("item_id", "value", items=("category",)),
    "METRICS": Domain("metric_name", "metric_value", items=("category",)),
}  # fmt: skip

ITEM_NAMES = tuple(dict.fromkeys(d.item_id for d in DOMAINS.values()))
TARGET_NAMES = tuple(dict.fromkeys(d.target for d in DOMAINS.values()))


def item_of(names: Iterable[str]) -> str | None:
    """The column among these that names the item, where no domain says which."""
    there = tuple(names)
    return next((name for name in ITEM_NAMES if name in there), None)


def names_of(config: Config, source: Source) -> dict[str, str]:
    """Our column -> the one that the domain, or without one the source's schema, has for it, where they differ."""
    if config.domain is not None:
        domain = DOMAINS[config.domain]
        return {"item_id": domain.item_id, "target": domain.target}
    if source.schema_ is None:
        return {}
    listed = tuple(a.name for a in source.schema_)
    item = item_of(listed)
    target = [name for name in ("target", *TARGET_NAMES) if name in listed]
    return ({"item_id": item} if item else {}) | ({"target": target[0]} if len(target) == 1 else {})


def schema_problems(config: Config) -> Iterator[str]:
    """Attributes that schemas should have and have not: the domain's own, the timestamp, dimensions, what is named."""
    data = config.data
    wanted: list[tuple[str, Source, dict[str, str | None]]] = []
    timed: dict[str, str | None] = {TIMESTAMP: None}
    wanted.append(("target", data.target, dict.fromkeys(config.key) | timed | {"target": None}))
    for i, related in enumerate(data.related):
        columns = {name: column.column for name, column in related.series.items()}
        wanted.append((f"related[{i}]", related, dict.fromkeys(related.key or config.key) | timed | columns))
    for i, items in enumerate(data.items):
        wanted.append((f"items[{i}]", items, dict.fromkeys(items.key) | dict(items.attributes)))
    for place, source, columns in wanted:
        if source.schema_ is None:
            continue
        listed = [attribute.name for attribute in source.schema_]
        named = names_of(config, source)
        theirs = {ours: column or named.get(ours, ours) for ours, column in columns.items()}
        missing = [c if c == ours else f"{c} (for {ours})" for ours, c in theirs.items() if c not in listed]
        if missing:
            by = f"domain {config.domain}" if config.domain else "this config"
            yield (
                f"data.{place}.schema has no attribute {', '.join(missing)}, which {by} needs; "
                f"it has {', '.join(listed)}"
            )
