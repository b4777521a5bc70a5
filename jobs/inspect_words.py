"""Words and numbers of the page of `inspect`: levels, shares, names of steps, states and kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.charts import bar
from jobs.markup import Markup

FINE, NOTE, LOOK = "fine", "note", "look"
"""How a section's conclusion is meant: nothing to do, good to know, something to decide."""


@dataclass(frozen=True)
class Section:
    """A part of the page. said: what a reader should conclude, in a sentence or two."""

    id: str
    title: str
    level: str
    said: str
    body: Markup


STEPS = {
    "min": "minute", "h": "hour", "D": "day", "W": "week", "2W": "two weeks", "4W": "four weeks",
    "MS": "month, first day", "ME": "month, last day", "QS": "quarter, first day",
    "QE": "quarter, last day", "YS": "year, first day", "YE": "year, last day", "irregular": "no regular step",
}  # fmt: skip
STATES = {
    "active": "sells as it always did",
    "new": "fewer observations than a season, or none",
    "returning": "sells again after a long silence",
    "dormant": "silent for longer than usual; forecast by the models",
    "ended": "silent for very long, or its end date has passed",
}
CLASSES = {
    "smooth": "sells in most periods, in similar amounts",
    "erratic": "sells in most periods, in very different amounts",
    "intermittent": "sells now and then, in similar amounts",
    "lumpy": "sells now and then, in very different amounts",
    "none": "every observation is zero",
    "unknown": "fewer than 8 observations",
}
SPORADIC = ("intermittent", "lumpy")
FOR_SPORADIC = frozenset({"croston_sba", "tsb", "adida", "imapa", "npts", "empirical"})
EVENTS = {"level_shift": "level shift", "surge": "surge", "outlier": "outlier"}


def share(part: float, whole: float) -> str:
    """A part of a whole in per cent; "< 0.1 %" is more than nothing."""
    if not part or not whole:
        return "0 %"
    percent = 100 * part / whole
    if part == whole:
        return "100 %"
    if percent < 0.1:
        return "< 0.1 %"
    if percent > 99.9:
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent < 10 or percent > 90 else f"{percent:.0f} %"


def count(n: int, what: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def counted(n: int, total: int, *, strong: bool = False) -> tuple[Markup, str, str]:
    """Three cells of a table: a bar, the number, its share."""
    return bar(n / total if total else 0.0, strong=strong), f"{n:,}", share(n, total)


def digits(value: float) -> str:
    """Three significant digits, written out."""
    if value == 0 or 1e-4 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"


def step_words(step: str) -> str:
    """A step of timestamps as people say it."""
    number = step.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = step.removeprefix(number)
    if step in STEPS or not number:
        return STEPS.get(step, step)
    return f"{number} {STEPS.get(unit, unit).partition(',')[0]}s"


def level_of(part: float, note: float, look: float) -> str:
    """LOOK from `look` on, NOTE above `note`."""
    return LOOK if part >= look else NOTE if part > note else FINE


def in_order(counts: Mapping[str, int], known: Mapping[str, str]) -> list[tuple[str, int]]:
    """Counts in the order of the words for them, others last."""
    places = list(known)
    return sorted(counts.items(), key=lambda item: places.index(item[0]) if item[0] in places else len(places))
