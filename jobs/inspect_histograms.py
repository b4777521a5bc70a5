"""Histograms of the profiles' numbers, drawn."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.charts import columns
from jobs.inspect_words import digits, share
from jobs.markup import Markup, joined, tag
from udfs.inspection import Inspection
from udfs.inspection.overview import Histogram

_PERCENT = ("missing_share", "zero_share")
_TRIMMED = ("n_obs", "adi", "cv2")
_MEASURES = {
    "n_obs": "Observations a series",
    "missing_share": "Share of periods without a value, first to last",
    "zero_share": "Share of zeros among the observations",
    "adi": "Average demand interval: periods from one sale to the next",
    "cv2": "Squared variation of the sizes (cv2)",
    "trend_strength": "Strength of the trend",
    "seasonal_strength": "Strength of the season",
    "spectral_entropy": "Spectral entropy: 0 is one clear wave, 1 is noise",
}


def charts(facts: Inspection, *measures: str) -> Markup:
    """The histograms of some measures, beside each other; of those that no series has, none."""
    found = [_chart(h) for m in measures if (h := histogram_of(facts, m)) is not None]
    return tag("div", *found, class_="charts") if found else joined([])


def histogram_of(facts: Inspection, measure: str) -> Histogram | None:
    """The histogram of a measure, where some series has it."""
    return next((h for h in facts.histograms if h.measure == measure), None)


def _chart(h: Histogram) -> Markup:
    labels, tips = list(_labels(h)), [""] * len(h.counts)
    shown = [i for i, n in enumerate(h.counts) if n] if h.measure in _TRIMMED else []
    first, stop = (shown[0], max(shown[-1] + 1, shown[0] + 1)) if shown else (0, len(h.counts))
    if not h.counts[-1]:  # nothing lies above the last bound
        stop = min(stop, len(h.counts) - 1)
    for i, (label, n) in enumerate(zip(labels, h.counts, strict=True)):
        low = labels[i - 1] if i else None
        range_ = f"above {low}" if label == ">" else f"up to {label}" if low is None else f"above {low}, up to {label}"
        tips[i] = f"{range_}: {n:,} series"
    drawn = columns(h.counts[first:stop], labels[first:stop], tips[first:stop], _MEASURES[h.measure])
    unit = (lambda v: share(v, 1.0)) if h.measure in _PERCENT else digits
    note = f"median {unit(h.median)}, 80 % from {unit(h.low)} to {unit(h.high)}; bins go up to the number below"
    return tag("figure", tag("figcaption", tag("strong", _MEASURES[h.measure]), tag("span", note)), drawn)


def _labels(h: Histogram) -> Iterator[str]:
    for upper in h.uppers:
        if h.measure in _PERCENT:
            yield f"{100 * upper:g}%"
        else:
            yield f"{upper / 1000:g}k" if upper >= 1000 else f"{upper:g}"
    yield ">"
