"""What an ingest has to do: which sources are new, changed, gone, or were left half done by an interrupted ingest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Literal

from udfs.lake import Lake
from udfs.sources import Located

PENDING = ""
"""Fingerprint of a source whose rows are being replaced: what is packed may not be what is in the tables."""
UNKNOWN = "unknown"
"""Fingerprint of a source that was left pending and is not named any more: read again once it is."""

_NEVER = datetime(1970, 1, 1, tzinfo=timezone.utc)

By = dict[str, frozenset[str]]
"""Role name -> sources."""


@dataclass(frozen=True)
class Known:
    """A row of `sources`."""

    role: str
    source: str
    sequence: int
    fingerprint: str
    mapping: str
    n_rows: int = 0
    n_rejected: int = 0
    ingested_at: datetime = _NEVER
    last_period: datetime | None = None


@dataclass(frozen=True)
class Changes:
    """The work of an ingest.

    known: what the lake holds. read: sources to read, by role. removed: sources to drop. interrupted: an earlier
    ingest did not end, so everything is packed again. stale: sources that stay although their mapping changed.
    """

    known: tuple[Known, ...]
    read: By
    removed: By
    interrupted: bool
    stale: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the user should know of the sources."""

    @property
    def nothing(self) -> bool:
        """Whether the lake is as the sources are."""
        return not self.read and not self.removed and not self.interrupted

    @property
    def fresh(self) -> bool:
        """Whether the lake holds nothing that a finished ingest wrote."""
        return not self.known

    @property
    def replaced(self) -> By:
        """By role, the sources whose rows in the tables are replaced or dropped."""
        names = {*self.read, *self.removed}
        return {n: self.read.get(n, frozenset()) | self.removed.get(n, frozenset()) for n in sorted(names)}

    def new_sources(self) -> int:
        """How many of the sources to read are not known yet."""
        return sum(len(self.added(role)) for role in self.read)

    def added(self, role: str) -> frozenset[str]:
        """The sources to read for a role that are not known yet: no table holds a row of theirs."""
        return self.read.get(role, frozenset()) - {k.source for k in self.known if k.role == role}


def known_sources(lake: Lake) -> tuple[Known, ...]:
    """The rows of `sources`; none for a new lake."""
    if not lake.exists("sources"):
        return ()
    return tuple(Known(**row.asDict()) for row in lake.read("sources").collect())


def find_changes(
    located: Sequence[Located],
    known: Iterable[Known],
    mode: Literal["incremental", "full"],
    superseded: Mapping[str, frozenset[str]] | None = None,
) -> Changes:
    """Compare what is there with what the lake holds. superseded: role -> sources to drop in any mode."""
    held = {(k.role, k.source): k for k in known}
    read: By = {}
    named = set()
    for each in located:
        role = each.role
        named |= {(role.name, source) for source in each.parts}
        due = frozenset(
            source
            for source, fingerprint in each.parts.items()
            if not _same(held.get((role.name, source)), fingerprint, role.mapping)
        )
        if due:
            read[role.name] = due
    removed: By = dict(superseded or {})
    for name, source in held.keys() - named if mode == "full" else ():
        removed[name] = removed.get(name, frozenset()) | {source}
    mappings = {each.role.name: each.role.mapping for each in located}
    stale = sorted(
        k.source for k in held.values()
        if (k.role, k.source) not in named and k.source not in removed.get(k.role, ())
        and k.mapping != mappings.get(k.role, k.mapping)
    )  # fmt: skip
    interrupted = any(k.fingerprint == PENDING for k in held.values())
    return Changes(tuple(held.values()), read, removed, interrupted, tuple(stale))


def _same(known: Known | None, fingerprint: str, mapping: str) -> bool:
    return known is not None and known.fingerprint == fingerprint and known.mapping == mapping


def with_unknown_items(changes: Changes, located: Sequence[Located], lake: Lake) -> Changes:
    """Related sources are read again when rows of theirs had no item, and targets or items have changed since."""
    from pyspark.sql import functions as F

    if not any(name == "target" or name.startswith("items:") for name in changes.replaced):
        return changes
    candidates = {(k.role, k.source) for k in changes.known if k.role.startswith("related:") and k.n_rejected}
    candidates -= {(name, s) for name, sources in changes.replaced.items() for s in sources}
    candidates &= {(each.role.name, s) for each in located for s in each.parts}
    if not candidates:
        return changes
    rows = lake.read("rejects").where(F.col("reason") == "unknown_item").select("role", "source").distinct()
    read = dict(changes.read)
    for row in rows.collect():
        if (row["role"], row["source"]) in candidates:
            read[row["role"]] = read.get(row["role"], frozenset()) | {row["source"]}
    return replace(changes, read=read)


def while_working(changes: Changes) -> list[Known]:
    """`sources` while the tables change: whatever is touched is pending."""
    touched = {(name, s) for name, sources in changes.replaced.items() for s in sources}
    rows = [replace(k, fingerprint=PENDING) if (k.role, k.source) in touched else k for k in changes.known]
    new = touched - {(k.role, k.source) for k in changes.known}
    first = _next_sequence(changes.known)
    return rows + [Known(role, s, first + i, PENDING, "") for i, (role, s) in enumerate(sorted(new))]


def when_done(
    changes: Changes,
    located: Sequence[Located],
    counts: Mapping[tuple[str, str], tuple[int, int]],
    last_periods: Mapping[str, datetime] | None = None,
) -> list[Known]:
    """`sources` after the ingest. counts: (role, source) -> rows read and rows refused. last_periods: of the target's
    sources that were read."""
    now = datetime.now(timezone.utc)
    parts = {(e.role.name, s): (f, e.role.mapping) for e in located for s, f in e.parts.items()}
    gone = {(name, s) for name, sources in changes.removed.items() for s in sources}
    rows = []
    for known in while_working(changes):
        place = (known.role, known.source)
        if place in gone:
            continue
        if known.source in changes.read.get(known.role, ()):
            fingerprint, mapping = parts[place]
            n_rows, n_rejected = counts.get(place, (0, 0))
            last = (last_periods or {}).get(known.source) if known.role == "target" else None
            known = Known(*place, known.sequence, fingerprint, mapping, n_rows, n_rejected, now, last)
        elif known.fingerprint == PENDING:
            known = replace(known, fingerprint=UNKNOWN)
        rows.append(known)
    return rows


def _next_sequence(known: Iterable[Known]) -> int:
    return max((k.sequence for k in known), default=-1) + 1


def sequences(rows: Iterable[Known]) -> dict[str, dict[str, int]]:
    """role -> source -> sequence."""
    found: dict[str, dict[str, int]] = {}
    for known in rows:
        found.setdefault(known.role, {})[known.source] = known.sequence
    return found
