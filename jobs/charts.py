"""Small charts as inline SVG; colours come from the classes of the page's style, so that dark pages are readable."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jobs.markup import Markup, tag

WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 8, 18


def bar(share: float, *, strong: bool = False) -> Markup:
    """One bar of a table: a share of 1 is full."""
    width = max(1.0, 160 * min(max(share, 0.0), 1.0)) if share > 0 else 0.0
    drawn = tag("rect", x=0, y=2, width=_n(width), height=10, rx=2, class_="strong" if strong else "fill")
    return tag("svg", drawn, viewBox="0 0 160 14", width=160, height=14, class_="bar", role="img", aria_hidden="true")


def columns(counts: Sequence[int], labels: Sequence[str], tips: Sequence[str], title: str) -> Markup:
    """A histogram: a column a bin, its label below it."""
    height, room = 130, WIDTH - 8
    most = max(counts, default=0) or 1
    each = room / len(counts)
    base = height - _BOTTOM
    drawn = [tag("line", x1=4, x2=WIDTH - 4, y1=base, y2=base, class_="axis")]
    for i, (count, label, tip) in enumerate(zip(counts, labels, tips, strict=True)):
        x, size = 4 + i * each, (base - 16) * count / most
        if count:
            size = max(size, 1.0)
            shape = {"x": _n(x + 1), "y": _n(base - size), "width": _n(each - 2), "height": _n(size), "rx": 1.5}
            drawn.append(tag("rect", tag("title", tip), class_="fill", **shape))
            if count == most:
                where = {"x": _n(x + each / 2), "y": _n(base - size - 4), "text_anchor": "middle"}
                drawn.append(tag("text", f"{count:,}", **where))
        drawn.append(tag("text", label, x=_n(x + each / 2), y=height - 5, text_anchor="middle", class_="quiet"))
    return tag("svg", drawn, viewBox=f"0 0 {WIDTH} {height}", class_="chart", role="img", aria_label=title)


def line(
    low: Sequence[float],
    high: Sequence[float],
    n: int,
    length: int,
    ends: tuple[str, str],
    title: str,
    span: tuple[int, int] | None = None,
) -> Markup:
    """A history as a line that is broken where nothing is known, and shaded from its end to that of the data.

    low, high: the lowest and highest value of each of equal stretches, NaN where none is known. n: periods of the
    history. length: periods to the end of the data. ends: labels of the first and the last of these. span: positions
    of the first and last period to mark.
    """
    height = 120
    known = [v for v in (*low, *high) if not math.isnan(v)]
    bottom, top = min(0.0, *known) if known else 0.0, max(0.0, *known) if known else 1.0
    top = top if top > bottom else bottom + 1.0
    right, base, length = WIDTH - _RIGHT, height - _BOTTOM, max(length, n, 1)

    def across(period: float) -> float:
        return _LEFT + (right - _LEFT) * period / max(length - 1, 1)

    def up(value: float) -> float:
        return base - (base - _TOP) * (value - bottom) / (top - bottom)

    drawn = []
    if n < length:
        drawn.append(_box(across(max(n - 1, 0)), right, _TOP, base, "silent"))
    if span is not None:
        begin, end = across(span[0]), across(span[1])
        drawn.append(_box(max(begin - 1.5, _LEFT), min(max(end, begin) + 1.5, right), _TOP, base, "event"))
    for value in (bottom, top):
        y = _n(up(value))
        drawn.append(tag("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="axis"))
        drawn.append(tag("text", short(value), x=_LEFT - 5, y=_n(up(value) + 3.5), text_anchor="end", class_="quiet"))
    each = n / len(low) if len(low) else 1.0
    path, dots, pen_down = [], [], False
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if math.isnan(a):
            pen_down = False
            continue
        x = across(min(i * each + (each - 1) / 2, max(n - 1, 0)))
        place = f"{_n(x)} {_n(up(b))}"
        alone = not pen_down and (i + 1 == len(low) or math.isnan(low[i + 1]))
        if alone and a == b:
            dots.append(f"M{place}h0")  # without a length, so the round cap of the line is all there is
            continue
        path.append(f"{'L' if pen_down else 'M'}{place}{f'V{_n(up(a))}' if b > a else ''}")
        pen_down = True
    drawn += [tag("path", d="".join(d), class_=kind) for d, kind in ((path, "line"), (dots, "line dots")) if d]
    for label, x, anchor in ((ends[0], _LEFT, "start"), (ends[1], right, "end")):
        drawn.append(tag("text", label, x=x, y=height - 4, text_anchor=anchor, class_="quiet"))
    return tag("svg", drawn, viewBox=f"0 0 {WIDTH} {height}", class_="chart", role="img", aria_label=title)


def short(value: float) -> str:
    """A number in few characters: 0.012, 12.3, 4,560, 78k, 1.2M."""
    size = abs(value)
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scale = 1e3 if unit == "k" else limit
            return f"{value / scale:.3g}{unit}" if size < 1e12 else f"{value:.2g}"
    return f"{value:,.0f}" if size >= 100 else f"{value:.3g}"


def _box(left: float, right: float, top: float, base: float, kind: str) -> Markup:
    return tag("rect", x=_n(left), y=_n(top), width=_n(right - left), height=_n(base - top), class_=kind)


def _n(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
