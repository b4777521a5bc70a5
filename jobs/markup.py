"""HTML by construction: a text becomes markup only through `tag`, which escapes it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"meta", "br", "rect", "line", "path", "circle"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """A value as it is to be read; characters that HTML cannot hold become U+FFFD."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_CONTROL.sub("\ufffd", str(value))))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Children that are no Markup are escaped, lists are joined. Attributes: `class_` and the like for
    words of Python, "_" for "-"; None leaves one out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    listed = "".join(f' {key}="{text(value)}"' for key, value in given.items())
    if name in _VOID and not children:
        return Markup(f"<{name}{listed}{'' if name in ('meta', 'br') else '/'}>")
    return Markup(f"<{name}{listed}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Markup:
    """Several children as one."""
    parts = (joined(c) if isinstance(c, list | tuple) else text(c) for c in children if c is not None)
    return Markup("".join(parts))


def name(value: object) -> Markup:
    """A name of the user's, set apart so that its direction of writing does not turn what is around it."""
    return tag("bdi", value)


def table(headings: Iterable[object], rows: Iterable[Iterable[object]]) -> Markup:
    """A table; headings that begin with ">" are of numbers, aligned to the right."""
    heads = [(str(h).removeprefix(">"), str(h).startswith(">")) for h in headings]
    classes = ["number" if right else None for _, right in heads]
    top = tag("tr", *(tag("th", h, class_=c) for (h, _), c in zip(heads, classes, strict=True)))
    body = [tag("tr", *(tag("td", v, class_=c) for v, c in zip(row, classes, strict=True))) for row in rows]
    return tag("div", tag("table", tag("thead", top), tag("tbody", body)), class_="wide")
