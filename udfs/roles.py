"""Which columns each source of the config must have, under which names, and how they are used."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from udfs.config import Config
from udfs.config.domains import names_of
from udfs.config.sources import Aggregation, ItemsSource, Source
from udfs.errors import InputError
from udfs.lake import as_json

Kind = Literal["target", "related", "items"]
_SHOWN = 30


@dataclass(frozen=True)
class Role:
    """One source of the config as ingest sees it.

    name: as in the tables (`target`, `related:0`, `items:1`). place: as in the config (`data.related[0]`). key: the
    key columns it has. values: the value columns by our name; their aggregations (none for metadata). columns: our
    name -> the source's, of key, timestamp and values. mapping: a digest of all that decides how it is read. dates:
    metadata columns that must hold dates. domain: the config's, which names columns.
    """

    name: str
    place: str
    kind: Kind
    source: Source
    key: tuple[str, ...]
    values: tuple[str, ...]
    aggregations: Mapping[str, Aggregation]
    columns: Mapping[str, str]
    mapping: str
    dates: tuple[str, ...] = ()
    domain: str | None = None

    @property
    def timed(self) -> bool:
        """Whether its rows have a time (metadata has none)."""
        return self.kind != "items"

    def resolve(self, available: Sequence[str], where: str) -> dict[str, str]:
        """Our name -> the source's exact one, which may differ in case. Raises InputError listing what is missing."""
        found: dict[str, str] = {}
        missing = []
        for ours, theirs in self.columns.items():
            same = [c for c in available if c == theirs] or [c for c in available if c.lower() == theirs.lower()]
            if len(same) == 1:
                found[ours] = same[0]
            else:
                missing.append(self._missing(ours, theirs, available, len(same)))
        if missing:
            columns = ", ".join(_short(c) for c in available[:_SHOWN]) or "none"
            more = f" and {len(available) - _SHOWN} more" if len(available) > _SHOWN else ""
            raise InputError(f"{self.place}: {where} {' and '.join(missing)}; its columns are: {columns}{more}")
        return found

    def _missing(self, ours: str, theirs: str, available: Sequence[str], times: int) -> str:
        by = "in columns" if ours in self.source.columns or not self.domain else f"by domain {self.domain}"
        role = "" if ours == theirs and not self.domain else f" (named {by} for {ours})"
        if times > 1:
            return f"has the column {theirs!r}{role} {times} times"
        near = difflib.get_close_matches(theirs.lower(), [c.lower() for c in available], n=1, cutoff=0.5)
        hint = ""
        if near:
            hint = next(f", did you mean {_short(c)}?" for c in available if c.lower() == near[0])
        return f"has no column {theirs!r}{role}{hint}"


def _short(name: str) -> str:
    return repr(name) if len(name) <= 40 else repr(name[:40] + "…")


def roles_of(config: Config) -> tuple[Role, ...]:
    """All roles of a config, the target first. Raises InputError for names in `columns` that mean nothing."""
    data = config.data
    target: dict[str, Aggregation] = {"target": data.target.aggregation}
    found = [_role(config, "target", "target", "data.target", data.target, config.key, {"target": None}, target)]
    for i, related in enumerate(data.related):
        columns = {name: column.column for name, column in related.series.items()}
        how = {name: column.aggregation for name, column in related.series.items()}
        key = related.key or config.key
        found.append(_role(config, "related", f"related:{i}", f"data.related[{i}]", related, key, columns, how))
    for i, items in enumerate(data.items):
        names = {ours: None if ours == theirs else theirs for ours, theirs in items.attributes.items()}
        found.append(_role(config, "items", f"items:{i}", f"data.items[{i}]", items, items.key, names, {}))
    return tuple(found)


def _role(
    config: Config,
    kind: Kind,
    name: str,
    place: str,
    source: Source,
    key: Sequence[str],
    values: Mapping[str, str | None],
    aggregations: Mapping[str, Aggregation],
) -> Role:
    known = (*config.key, *config.data.attributes) if kind == "related" else config.key
    key = tuple(k for k in known if k in key)
    ours = (*key, *(() if kind == "items" else ("timestamp",)), *values)
    unknown = [c for c in source.columns if c not in ours]
    if unknown:
        near = difflib.get_close_matches(unknown[0], ours, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        used = ", ".join(ours)
        raise InputError(f"{place}.columns names {unknown[0]!r}, which it does not use; {hint}it uses: {used}")
    named = names_of(config, source)
    columns = {c: values.get(c) or source.columns.get(c) or named.get(c, c) for c in ours}
    decisive = {
        "columns": columns,
        "aggregations": dict(aggregations),
        "format": source.format,
        "options": source.options,
        "timestamp_format": source.timestamp_format,
        "time_zone": config.time_zone,
        "forecast_start": config.forecast_start,  # decides the lifecycle
    }
    if kind == "target" and config.ingest.partial_periods.drops:
        decisive["partial_periods"] = config.ingest.partial_periods.model_dump()  # raw times are known while reading
    if kind == "target" and (config.opening is not None or config.fill.mask):  # they decide the profile
        opening = None if config.opening is None else config.opening.model_dump()
        decisive["opening"] = [opening, {name: rule.model_dump() for name, rule in config.fill.mask.items()}]
    if config.lifecycle.of_series:  # so does this; lakes from before it was there stay as they are
        decisive["lifecycle"] = config.lifecycle.of_series
    decisive |= _reading(source)
    digest = hashlib.sha256(as_json(decisive).encode()).hexdigest()[:16]
    dates = tuple(v for v in values if v in config.lifecycle.dates) if kind == "items" else ()
    return Role(name, place, kind, source, key, tuple(values), aggregations, columns, digest, dates, config.domain)


def _reading(source: Source) -> dict[str, object]:
    """How text is read, where the config says."""
    found: dict[str, object] = {}
    if source.schema_ is not None:
        found["schema"] = [[a.name, a.type] for a in source.schema_]
    if source.decimal != "." or source.thousands is not None:
        found["numbers"] = [source.decimal, source.thousands]
    if isinstance(source, ItemsSource) and source.numbers:
        found["types"] = list(source.numbers)
    return found
