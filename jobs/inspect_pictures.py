"""The series that stick out, drawn."""

from __future__ import annotations

from collections.abc import Callable

from forecasting.frequency import Frequency
from jobs.charts import line, short
from jobs.inspect_words import FINE, Section, count, digits, share
from jobs.markup import Markup, joined, name, tag
from udfs.inspection import Inspection
from udfs.inspection.worst import Standout

_KINDS: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "largest": ("Largest", "they decide most of any total", lambda v: f"{short(v)} in all"),
    "missing": ("Most missing", "periods without a value, first to last", lambda v: f"{share(v, 1.0)} missing"),
    "silent": ("Longest silence", "ended, delisted or late data?", lambda v: f"silent for {v:,.0f} periods"),
    "zeros": ("Most zeros", "no demand, or zeros that stand for missing?", lambda v: f"{share(v, 1.0)} zeros"),
    "erratic": ("Most erratic", "sizes of sales that vary most", lambda v: f"cv2 {digits(v)}"),
    "shortest": ("Shortest", "few observations to learn from", lambda v: count(int(v), "observation")),
    "level_shift": ("Strongest level shifts", "a new level for good, so far", lambda v: f"{digits(v)} noise scales"),
    "surge": ("Strongest surges", "up or down, and back", lambda v: f"{digits(v)} noise scales"),
    "outlier": ("Strongest outliers", "one or two periods far from the rest", lambda v: f"{digits(v)} noise scales"),
}  # fmt: skip


def pictures(facts: Inspection) -> Section:
    """Up to three series of each kind."""
    body: list[Markup] = []
    for kind, (title, why, _) in _KINDS.items():
        found = [s for s in facts.standouts if s.kind == kind]
        if found:
            body += [
                tag("h3", title, tag("small", why)),
                tag("div", *(_figure(s, facts) for s in found), class_="charts"),
            ]
    said = (
        "The most of each kind, ties by key: a look at these finds most mistakes in data. "
        "Shaded on the right: silence up to the end of the data."
    )
    return Section("standouts", "Series to look at", FINE, said, joined(body))


def _figure(one: Standout, facts: Inspection) -> Markup:
    grid, picture = facts.grid, one.picture
    common = facts.config.forecast_start == "global" and picture.n > 0
    end = max(facts.extent.end, picture.start + picture.n - 1) if common else picture.start + picture.n - 1
    length = max(end - picture.start + 1, 1)
    value = _KINDS[one.kind][2](one.value)
    span = None
    if one.mark is not None:
        # A run may have seen other data than the lake holds now.
        inside = [min(max(at - picture.start, 0), length - 1) for at in (one.mark, one.until or one.mark)]
        span = (inside[0], inside[1])
        size = one.size or 0.0
        value += f", {'+' if size > 0 else ''}{short(size)} at {_label(grid, one.mark)}"
    ends = (_label(grid, picture.start), _label(grid, end))
    drawn = line(picture.low, picture.high, picture.n, length, ends, f"history of {one.name}", span)
    return tag("figure", tag("figcaption", tag("strong", name(one.name)), tag("span", value)), drawn)


def _label(grid: Frequency, ordinal: int) -> str:
    return str(grid.labels([ordinal]).astype("M8[us]")[0].astype("M8[m]")).replace("T", " ").removesuffix(" 00:00")
