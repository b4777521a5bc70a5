"""Rules that need no rows: what the config says, held against the columns that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from udfs.config import Config
from udfs.config.domains import DOMAINS
from udfs.roles import Role, roles_of
from udfs.validation.rules import Finding, finding


def config_findings(config: Config) -> Iterator[Finding]:
    """Related sources without a series, and related series that are the target."""
    target, *others = roles_of(config)
    theirs = target.columns["target"].lower()
    for role in others:
        if role.kind != "related":
            continue
        if not role.values:
            yield finding(config, "no_series", role.place)
        own = _location(role) is not None and _location(role) == _location(target)
        domain = config.domain is not None or role.source.schema_ is not None
        for name in role.values:
            if role.columns[name].lower() == theirs and (own or domain):
                yield finding(config, "related_is_target", role.place, name)


def _location(role: Role) -> object:
    source = role.source
    return source.path or source.table or source.sql


def unused_columns(config: Config, role: Role, available: Sequence[str]) -> Iterator[Finding]:
    """Columns that the domain or the source's schema knows and the config does not use."""
    known: set[str] = set()
    if config.domain is not None:
        domain = DOMAINS[config.domain]
        suggested = {"target": (), "related": domain.related, "items": domain.items}[role.kind]
        known = {*suggested, *(domain.dimensions if role.kind != "items" else ())}
    if role.source.schema_ is not None:
        known |= {attribute.name for attribute in role.source.schema_}
    used = {theirs.lower() for theirs in role.columns.values()}
    unused = sorted(c for c in available if c in known and c.lower() not in used)
    if unused:
        yield finding(config, "unused_columns", role.place, detail=f"not used: {', '.join(unused)}")
