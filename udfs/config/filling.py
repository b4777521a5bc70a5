"""The section `fill`: what becomes of gaps, and what is a gap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from udfs.config.opening import MaskRule
from udfs.config.segments import condition_problems
from udfs.config.sources import Matching, Section

if TYPE_CHECKING:
    from udfs.config.schema import Config

FillMethod = str | float
FILL_METHODS = ("zero", "nan", "mean", "median", "min", "max")
OF_RELATED = {"middle": ("ffill", "linear"), "back": ("ffill",), "future": ("ffill",)}
"""What related series may take beside, by region."""


class TargetFill(Section):
    """Filling of the target. `nan`: missing stays missing."""

    front: FillMethod = "nan"
    """Before the first observation, from the earliest start of any series."""
    middle: FillMethod = "nan"
    """Between the first and the last observation."""
    back: FillMethod = "nan"
    """After the last observation, to the common end (forecast_start: global)."""


class RelatedFill(Section):
    """Filling of one related series."""

    middle: FillMethod = "nan"
    """Between the first and the last value."""
    back: FillMethod = "nan"
    """After the last value, to the common end."""
    future: FillMethod = "nan"
    """Over the horizon, where the value is not known."""


class FillGroup(Matching):
    """Other fill rules for some series; the first group that matches a series counts. Beside key and metadata columns
    `where` may name lifecycle and demand_class."""

    target: TargetFill | None = None
    """In place of fill.target; null keeps it."""
    related: dict[str, RelatedFill] = Field(default_factory=dict)
    """In place of fill.related of these series."""


class Fill(Section):
    """Fill keys: zero, nan, mean, median, min, max (of the 64 latest observations), or a number; in related series
    also ffill (the last value before) and, in the middle, linear (between the values on both sides)."""

    target: TargetFill = TargetFill()
    related: dict[str, RelatedFill] = Field(default_factory=dict)
    """By the name of the related series."""
    mask: dict[str, MaskRule] = Field(default_factory=dict)
    """Related series that say when the target is no observation, by name."""
    groups: tuple[FillGroup, ...] = ()

    @model_validator(mode="after")
    def _known_methods(self) -> Fill:
        rules: dict[str, Section] = {"target": self.target, **{f"related.{k}": v for k, v in self.related.items()}}
        for position, group in enumerate(self.groups):
            place = f"groups[{position}]"
            rules |= {f"{place}.related.{k}": v for k, v in group.related.items()}
            rules |= {} if group.target is None else {f"{place}.target": group.target}
        for place, rule in rules.items():
            for key, method in rule.model_dump().items():
                known = [*FILL_METHODS, *(OF_RELATED.get(key, ()) if isinstance(rule, RelatedFill) else ())]
                if isinstance(method, str) and method not in known:
                    raise ValueError(f"{place}.{key} is {method!r}; expected one of {', '.join(known)} or a number")
        return self


def fill_problems(config: Config) -> Iterator[str]:
    """What the section names and the data have not."""
    known = config.data.related_columns
    named = [("fill", config.fill.related)]
    named += [(f"fill.groups[{i}]", group.related) for i, group in enumerate(config.fill.groups)]
    for place, rules in named:
        yield from (f"{place}.related.{name}: no such related series" for name in rules if name not in known)
    for i, group in enumerate(config.fill.groups):
        wrong = condition_problems(group.conditions, (*config.key, *config.data.attributes))
        yield from (f"fill.groups[{i}]: {problem}" for problem in wrong)


__all__ = ["Fill", "FillGroup", "RelatedFill", "TargetFill", "fill_problems"]
