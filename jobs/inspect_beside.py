"""The sections of the page of `inspect` about what stands beside the target, and about single findings."""

from __future__ import annotations

from jobs.inspect_words import EVENTS, FINE, LOOK, NOTE, Section, count, counted, digits, level_of, share
from jobs.markup import joined, name, table, tag
from udfs.config.abrupt import treatments
from udfs.inspection import Inspection
from udfs.inspection.coverage import Reach
from udfs.validation import ValidationReport


def related(facts: Inspection) -> Section | None:
    """How far related series reach; None where the config has none."""
    if not facts.reach:
        return None
    total, horizon = facts.extent.n_series, facts.config.horizon
    fills = facts.config.fill.related
    short = [r for r in facts.reach if r.known_in_future and r.n_early]
    thin = [r for r in facts.reach if r.past and r.past_known < 0.9 * r.past]
    level = FINE
    if short:
        worst = max(short, key=lambda r: (r.n_early, r.name))
        rule = fills[worst.name].future if worst.name in fills else "nan"
        said = (
            f"{worst.name} is said to be known in the future and ends before the last of the {horizon} steps in "
            f"{share(worst.n_early, total)} of the series; "
        )
        where = f"fill.related.{worst.name}.future"
        said += f"`{where}` fills the rest: {rule}." if rule != "nan" else f"bring its values, or set `{where}`."
        level = NOTE if rule != "nan" else LOOK
    elif thin:
        worst = min(thin, key=lambda r: (r.past_known / r.past, r.name))
        said = (
            f"{worst.name} has a value in only {share(worst.past_known, worst.past)} of the periods of the histories."
        )
        level = NOTE
    else:
        said = (
            "All cover at least 90 % of the histories, and what is known in the future reaches the end of the horizon."
        )
    rows = [_reach_row(r, total) for r in facts.reach]
    headings = (
        "related series", "known in future", ">series with values", ">of past periods", ">whole past",
        ">of the horizon", ">whole horizon", ">end before it",
    )  # fmt: skip
    return Section("related", "How far related series reach", level, said, table(headings, rows))


def _reach_row(r: Reach, total: int) -> tuple[object, ...]:
    future: tuple[object, ...] = ("–", "–", "–")
    if r.known_in_future:
        future = (share(r.future_known, r.future), share(r.n_future_whole, total), share(r.n_early, total))
    past = (share(r.n_any, total), share(r.past_known, r.past), share(r.n_past_whole, total))
    return (name(r.name), "yes" if r.known_in_future else "no", *past, *future)


def metadata(facts: Inspection) -> Section | None:
    """How complete metadata is; None without."""
    if not facts.attributes:
        return None
    total = facts.extent.n_series
    thin = [a for a in facts.attributes if a.n < total]
    said = "Every series has all of its metadata."
    if thin:
        worst = min(thin, key=lambda a: (a.n, a.name))
        said = f"{worst.name} is missing in {share(total - worst.n, total)} of the series: no segment, no cold start."
    level = level_of(max((1 - a.n / total for a in thin), default=0.0), 0, 0.2)
    rows = [(name(a.name), *counted(a.n, total), f"{a.values:,}") for a in facts.attributes]
    headings = ("column", "", ">series", ">share", ">different values, about")
    return Section("metadata", "What is known of the items", level, said, table(headings, rows))


def successors(facts: Inspection) -> Section | None:
    """What goes on from what; None where nothing is linked."""
    found = facts.inherited
    if found is None:
        if facts.config.lifecycle.successors is None:
            return None
        return Section(
            "successors",
            "What replaced what",
            NOTE,
            "No series has a predecessor, although the config names a table of links.",
            joined([]),
        )
    n = sum(found.scales.values())
    said = f"{count(n, 'series', 'series')} {'goes' if n == 1 else 'go'} on from a predecessor's history"
    said += f", the longest chain over {count(found.longest, 'predecessor')}." if found.longest > 1 else "."
    words = {
        "given": "given in the table",
        "overlap": "sold at the same time",
        "season": "the same place of the last season",
        "level": "the levels",
        "none": "too few values: 1",
    }
    rows = [(words.get(how, how), *counted(k, n)) for how, k in found.scales.items()]
    some = [(name(a), name(b), digits(c)) for a, b, c in found.examples]
    body = joined(
        [table(("scale made of", "", ">series", ">share"), rows), table(("series", "predecessor", ">scale"), some)]
    )
    return Section("successors", "What replaced what", FINE, said, body)  # fmt: skip


def events(facts: Inspection) -> Section:
    """Abrupt changes that a run found."""
    title = "Level shifts, surges and outliers"
    if facts.events is None:
        looks = any(treatments(facts.config))
        said = (
            "The next `almanac forecast` looks for them."
            if looks
            else "Nobody has looked for them yet: with `abrupt: {treatment: report}` the next forecast lists them."
        )
        return Section("events", title, FINE, said, joined([]))
    total = facts.extent.n_series
    if not facts.events.kinds:
        return Section("events", title, FINE, "None was found.", joined([]))
    parts = [
        f"{count(n, EVENTS[kind])} in {share(s, total)} of the series" for kind, (n, s) in facts.events.kinds.items()
    ]
    said = f"Found: {'; '.join(parts)}."
    kinds = {abrupt.kind for abrupt in treatments(facts.config) if abrupt is not None}
    if kinds <= {"report"}:
        said += " They are listed and not treated; the strongest are drawn below."
    rows = [(EVENTS[kind], f"{n:,}", *counted(s, total)) for kind, (n, s) in facts.events.kinds.items()]
    body = joined(
        [
            table(("kind", ">events", "", ">series with any", ">share"), rows),
            tag("p", f"From run {facts.events.run_id}.", class_="quiet"),
        ]
    )
    return Section("events", title, NOTE, said, body)


def rules(report: ValidationReport | None) -> Section:
    """The findings of `validate`, or where to get them."""
    title = "What the rules of validate say"
    if report is None:
        said = (
            "Not asked here: `almanac validate` reads the sources again and checks every rule, and "
            "`almanac inspect --validate` puts its findings on this page."
        )
        return Section("rules", title, FINE, said, joined([]))
    if not report.findings:
        return Section("rules", title, FINE, "No rule found anything.", joined([]))
    said = f"{count(len(report.errors), 'error')} and {count(len(report.warnings), 'warning')}."
    rows = [
        (
            f.severity, f.place, f.column or "", f.rule, "" if f.series is None else f"{f.series:,}",
            "" if f.count is None else f"{f.count:,} {f.unit}", f.detail,
            joined([name(k), " "] for k, _ in f.examples[:3]),
        )
        for f in report.findings
    ]  # fmt: skip
    level = LOOK if report.errors else NOTE
    headings = ("", "where", "column", "rule", ">series", ">count", "meaning", "first by key")
    return Section("rules", title, level, said, table(headings, rows))
