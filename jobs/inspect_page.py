"""The page of `inspect`: one file without anything from elsewhere, readable in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobs.inspect_words import LOOK, NOTE, Section, count, share
from jobs.markup import Markup, joined, name, tag, text
from udfs.inspection import Inspection

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbf9; --card: #ffffff; --ink: #1c2228; --quiet: #5f6a74; --rule: #dde1e5;
  --fill: #2f6fa7; --strong: #b4472a; --good: #2f7a4f; --shade: #e9ecef; --event: #f3cdbf; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --card: #1b2025; --ink: #e4e8eb; --quiet: #97a2ac;
  --rule: #2e353c; --fill: #6aa8dc; --strong: #ef8f6c; --good: #6fc392; --shade: #262c32; --event: #57301f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .35rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
h3 small { font-weight: normal; color: var(--quiet); margin-left: .6rem; }
p { margin: .4rem 0; max-width: 50rem; }
a { color: inherit; text-decoration-color: var(--quiet); text-underline-offset: .2em; }
.quiet { color: var(--quiet); font-size: .875rem; }
.lead { font-size: 1.05rem; margin: 0 0 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.45rem; font-weight: 600; line-height: 1.25; }
.tile span { color: var(--quiet); font-size: .85rem; }
.short { list-style: none; padding: 0; margin: .5rem 0; }
.short li { display: grid; grid-template-columns: 3.4rem 1fr; gap: .75rem; padding: .4rem 0;
  border-bottom: 1px solid var(--rule); }
.level { font-size: .72rem; font-weight: 600; letter-spacing: .04em; text-transform: uppercase; padding-top: .25rem; }
.fine { color: var(--good); } .note { color: var(--fill); } .look { color: var(--strong); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .92rem; }
th { text-align: left; font-weight: 600; color: var(--quiet); font-size: .82rem; vertical-align: bottom; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--rule); }
td { vertical-align: top; overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .85em ui-monospace, Consolas, monospace; overflow-wrap: anywhere; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--quiet); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: .9rem; margin: .8rem 0; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .7rem .8rem; }
figcaption { font-size: .85rem; margin-bottom: .3rem; overflow-wrap: anywhere; }
figcaption strong { display: block; font-weight: 600; } figcaption span { color: var(--quiet); }
svg { display: block; max-width: 100%; } svg.bar { margin-top: .3rem; } svg.chart { width: 100%; height: auto; }
svg text { font: 10px system-ui, sans-serif; fill: var(--ink); } svg text.quiet { fill: var(--quiet); }
svg .fill { fill: var(--fill); } svg .strong { fill: var(--strong); }
svg .axis { stroke: var(--rule); stroke-width: 1; } svg .silent { fill: var(--shade); }
svg .event { fill: var(--event); }
svg .line { fill: none; stroke: var(--fill); stroke-width: 1.3; stroke-linejoin: round; stroke-linecap: round; }
svg .dots { stroke-width: 3; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""
_WORDS = {LOOK: "look", NOTE: "note"}


def page(facts: Inspection, sections: Sequence[Section]) -> str:
    """The whole page."""
    title = f"{facts.info.dataset_group}: what is in the data"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(_STYLE)),
    )
    parts = [
        tag("h1", title),
        _subtitle(facts),
        _tiles(facts),
        tag("h2", "In short", id="short"),
        tag("ul", *(_item(s) for s in _by_level(sections)), class_="short"),
        *(_section(s) for s in sections),
    ]
    body = tag("body", tag("main", joined(parts)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _by_level(sections: Sequence[Section]) -> list[Section]:
    """What wants a decision first."""
    return sorted(sections, key=lambda s: (LOOK, NOTE).index(s.level) if s.level in _WORDS else len(_WORDS))


def _item(section: Section) -> Markup:
    link = tag("a", section.title, href=f"#{section.id}")
    level = tag("span", _WORDS.get(section.level, "fine"), class_=f"level {section.level}")
    return tag("li", level, tag("span", link, ": ", coded(section.said)))


def _section(section: Section) -> Markup:
    heading = tag("h2", section.title, id=section.id)
    return tag("section", heading, tag("p", coded(section.said), class_="lead"), section.body)


def coded(said: str) -> Markup:
    """A sentence with what stands between backquotes as code."""
    parts = said.replace(" %", "\u00a0%").split("`")  # a number stays beside its sign
    return joined(tag("code", part) if i % 2 else text(part) for i, part in enumerate(parts))


def _subtitle(facts: Inspection) -> Markup:
    key = ", ".join(("item_id", *facts.info.dimensions))
    horizon = count(facts.config.horizon, "step")
    said = f"; a period is {facts.grid.name}; {horizon} are to be forecast."
    return tag("p", "A series is one ", name(key), said, class_="quiet")


def _tiles(facts: Inspection) -> Markup:
    sums, extent = facts.totals, facts.extent
    ended = facts.lifecycle.get("ended", 0)
    rows, refused = sum(r.rows for r in facts.sources), sum(r.rows for r in facts.refused)
    span = f"{_day(sums.first)} to {_day(sums.last)}" if sums.first is not None else "no history"
    tiles = [
        (f"{extent.n_series:,}", "series"),
        (f"{sums.n_obs:,}", "observations"),
        (f"{max(extent.end - extent.start + 1, 0):,}", f"periods, {span}"),
        (share(ended, extent.n_series), "of the series have ended"),
        (share(sums.n_missing, sums.n_obs + sums.n_missing), "of the periods have no value"),
        (share(sums.n_zero, sums.n_obs), "of the observations are zero"),
    ]
    if rows:
        tiles.append((share(refused, rows), f"of {count(rows, 'row')} were refused"))
    return tag(
        "div", *(tag("div", tag("b", n), tag("span", what), class_="tile") for n, what in tiles), class_="tiles"
    )


def _day(label: datetime | None) -> str:
    return "" if label is None else label.isoformat(" ", "minutes").removesuffix(" 00:00")
