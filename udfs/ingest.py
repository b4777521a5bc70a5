"""Sources to the tables `target`, `related`, `items`, `rejects`, `series` and `sources`.

Everything is read and checked before the first commit. The commits come in an order that makes an interrupted ingest
harmless: in a lake that holds something the touched sources are marked in `sources` first, then the tables change,
then `series`, and `sources` last. Until that last commit the next ingest reads those sources again and packs all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

from forecasting.frequency import Frequency
from udfs.appending import News, bring_forward
from udfs.changes import (
    By,
    Changes,
    Known,
    find_changes,
    known_sources,
    sequences,
    when_done,
    while_working,
    with_unknown_items,
)
from udfs.check import Checked, Counts, InputRows, check, choose_frequency, require_columns
from udfs.cleaning import partials
from udfs.config import Config
from udfs.delta_source import grown, superseded
from udfs.forget import forgotten, without_forgotten
from udfs.lake import Lake, LakeInfo
from udfs.packing import Packing, packed_series
from udfs.periods import Kept, dropped_notes, keep_times, kept_periods
from udfs.roles import Role, roles_of
from udfs.sources import Located, encodings, locate, read
from udfs.successors import Links, has_links, is_linked, read_links, write_successors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

TABLES = ("sources", "target", "related", "items", "rejects", "series")


@dataclass(frozen=True)
class IngestReport:
    """What an ingest found and did.

    changed: whether anything was written. frequency: the lake's grid. rows, accepted: rows read this time, by the
    role they were read for (`target`, `related:0`). rejected: refused rows by reason code. sources: how many are new,
    changed, unchanged, removed. lifecycle: series of the whole lake by lifecycle. notes: what the user should know.
    """

    changed: bool
    frequency: str
    rows: Mapping[str, int] = field(default_factory=dict)
    accepted: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    lifecycle: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows read."""
        return sum(self.rows.values())

    @property
    def n_rejected(self) -> int:
        """Rows refused."""
        return sum(self.rejected.values())

    @property
    def n_series(self) -> int:
        """Series in the lake."""
        return sum(self.lifecycle.values())


def ingest_sources(lake: Lake, config: Config, frames: Mapping[str, DataFrame] | None = None) -> IngestReport:
    """Bring the lake up to date with the sources of the config.

    frames: role name (`target`, `related:0`, `items:1`) -> DataFrame in place of that source. Raises InputError, with
    the lake as it was, for sources that cannot be read, columns that are not there, another dataset group's lake, and
    input of which no row, or less than ingest.max_rejected_share allows, can be used.
    """
    info = lake.check_identity(config)
    roles = roles_of(config)
    located = locate(lake.spark, roles, frames or {})
    known = known_sources(lake) if info else ()
    located, notes = grown(lake.spark, located, known)
    changes = find_changes(located, known, config.ingest.mode, superseded(located, known))
    changes = replace(changes, notes=notes)
    if known:
        changes = with_unknown_items(changes, located, lake)
    links = read_links(lake, config, info)
    if info and links and changes.nothing and not is_linked(lake, links):
        report = _report(lake, info, changes, Counts(), located_sources=sum(len(e.parts) for e in located))
        return _linked(lake, config, report, links)
    if info and changes.nothing:
        return _report(lake, info, changes, Counts(), located_sources=sum(len(e.parts) for e in located))
    with encodings(lake.spark, located):
        report = _update(lake, config, info, located, changes)
    return report if links is None else _linked(lake, config, report, links)


def _linked(lake: Lake, config: Config, report: IngestReport, links: Links) -> IngestReport:
    """The report with what the links between products added to it."""
    rejected, some = dict(report.rejected), has_links(lake)
    for reason, n in write_successors(lake, config, lake.identity(), links).items():
        rejected[reason] = rejected.get(reason, 0) + n
    return replace(report, changed=report.changed or some or has_links(lake), rejected=rejected)


def _update(
    lake: Lake, config: Config, info: LakeInfo | None, located: Sequence[Located], changes: Changes
) -> IngestReport:
    kept_out = forgotten(lake)
    raw = []
    for each in located:
        sources = changes.read.get(each.role.name)
        if sources is not None:
            rows = without_forgotten(read(lake.spark, each, sources), each.role, config.key, kept_out)
            raw.append(InputRows(each, sources, rows, bool(kept_out)))
    require_columns(raw)
    planned = info or LakeInfo.planned(config, choose_frequency(config, raw).name)
    checked = check(lake, config, planned, raw, changes.replaced, fresh=changes.fresh, keep=True)
    try:
        return _write(lake, config, info or lake.identify(config, planned.frequency), located, changes, checked)
    finally:
        checked.release()


def _write(
    lake: Lake, config: Config, info: LakeInfo, located: Sequence[Located], changes: Changes, checked: Checked
) -> IngestReport:
    frequency = Frequency.parse(info.frequency)
    ends = {source: _label(frequency, end) for source, end in checked.counts.ends.items()}
    done = when_done(changes, located, checked.counts.of_sources(), ends)
    kept = _commit(_Commit(lake, config, info, changes, done), checked)
    dropped = dropped_notes(lake, frequency, kept)
    counts = replace(checked.counts, notes=(*checked.counts.notes, *dropped))
    return _report(lake, info, changes, counts, located_sources=sum(len(e.parts) for e in located))


@dataclass(frozen=True)
class _Commit:
    """One ingest's writes. done: `sources` as it will be."""

    lake: Lake
    config: Config
    info: LakeInfo
    changes: Changes
    done: Sequence[Known]


def _commit(work: _Commit, checked: Checked) -> Kept:
    """Write the tables; the periods that series have."""
    lake, changes = work.lake, work.changes
    leftovers = lake.exists("rejects")
    _at_once([partial(lake.ensure, table) for table in TABLES])
    if not changes.fresh:
        lake.replace("sources", _sources(lake, while_working(changes)), {})
    grid = Frequency.parse(work.info.frequency)
    before = _touched(work)
    whole_before = None if before is None else kept_periods(lake, work.config, grid)
    tables = ("target", "related", "items")
    writes: list[Callable[[], None]] = [partial(_write_rows, work, table, checked.rows) for table in tables]
    rejects = checked.rejects()
    if leftovers or rejects is not None:
        writes.append(partial(_write_rejects, work, rejects))
    _at_once(writes)
    keep_times(lake, work.config, checked.counts, changes.replaced.get("target", ()), fresh=changes.fresh)
    whole = kept_periods(lake, work.config, grid)
    packing = Packing(lake, work.config, work.info, sequences(work.done), common_end(lake, work.done), whole)
    after = None if before is None or whole != whole_before else _touched(work)
    if before is None or after is None:
        ready = checked.rows["target"][1] if changes.fresh and "target" in checked.rows else None
        lake.replace("series", packed_series(packing, None, ready=ready), {})
    else:
        bring_forward(packing, _news(work, checked, before | after | _due(work)))
    lake.replace("sources", _sources(lake, work.done), {})
    return whole


def _at_once(actions: Sequence[Callable[[], None]]) -> None:
    """Commits to different tables at the same time: most of a small commit is waiting. Raises the first error."""
    with ThreadPoolExecutor(max_workers=len(TABLES)) as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result()


def _sources(lake: Lake, rows: Iterable[Known]) -> DataFrame:
    return lake.rows("sources", [vars(row) for row in rows])


# --- the tables of rows ---


def _write_rows(work: _Commit, table: str, rows: Mapping[str, tuple[Role, DataFrame]]) -> None:
    """Replace the parts of the sources that were read or removed."""
    lake, changes = work.lake, work.changes
    frequency = Frequency.parse(work.info.frequency)
    layout = lake.layout
    columns = {"target": (), "related": layout.related, "items": layout.attributes}[table]
    made = {}
    for name, (role, groups) in rows.items():
        if role.kind == table:
            key = layout.related_key if table == "related" else layout.key
            made[name] = partials(groups, role, frequency, key, columns)
    if table == "target":
        made = {name: _by_bucket(work, part) for name, part in made.items()}
    if changes.fresh:
        if made:
            lake.replace(table, reduce(lambda a, b: a.unionByName(b), made.values()), {})
        return
    for name, sources in changes.replaced.items():
        if name.split(":")[0] == table and sources == changes.added(name):
            lake.append(table, made[name])
        elif name.split(":")[0] == table:
            where: dict[str, Any] = {"source": sorted(sources)} | ({} if table == "target" else {"role": name})
            lake.replace(table, made.get(name, lake.rows(table, [])), where)


def _by_bucket(work: _Commit, rows: DataFrame) -> DataFrame:
    return rows.withColumn("bucket", work.lake.bucket(work.info.buckets))


def _write_rejects(work: _Commit, rejects: DataFrame | None) -> None:
    lake, changes = work.lake, work.changes
    if changes.fresh:
        lake.replace("rejects", lake.rows("rejects", []) if rejects is None else rejects, {})
        return
    had = {(k.role, k.source) for k in changes.known if k.n_rejected or not k.fingerprint}
    has = {(k.role, k.source) for k in work.done if k.n_rejected}
    for name, sources in changes.replaced.items():
        if any((name, source) in had | has for source in sources):
            new = lake.rows("rejects", []) if rejects is None else rejects.where(rejects["role"] == name)
            lake.replace("rejects", new, {"role": name, "source": sorted(sources)})


# --- what is packed again ---


def _touched(work: _Commit) -> set[int] | None:
    """Buckets with rows, now, of sources that are replaced or dropped; None: all, where the rows are of a part of the
    key. Sources that only add rows, and metadata, are no reason to pack a bucket again."""
    from pyspark.sql import functions as F

    lake, changes = work.lake, work.changes
    if changes.fresh or changes.interrupted:
        return None
    buckets: set[int] = set()
    keys = {role.name: role.key for role in roles_of(work.config)}
    for name, sources in changes.replaced.items():
        kind, old = name.split(":")[0], sources - changes.added(name)
        if kind == "items" and name not in keys:
            return None
        if kind == "items" or not old:
            continue
        if kind == "related" and keys.get(name) != lake.layout.key:
            return None
        if kind == "target":
            rows = lake.read("target").where(F.col("source").isin(sorted(old)))
            buckets |= {row[0] for row in rows.select("bucket").distinct().collect()}
        else:
            buckets |= _buckets_of(work, name, old)
    return buckets


def common_end(lake: Lake, known: Iterable[Known]) -> int:
    """Ordinal of the last period of the target; the sources know it, but for those that earlier versions read."""
    from pyspark.sql import functions as F

    frequency = Frequency.parse(lake.identity().frequency)
    read = [source for source in known if source.role == "target" and source.n_rows > source.n_rejected]
    labels = [source.last_period for source in read]
    if None in labels:
        row = lake.read("target").agg(F.max("timestamp")).first()
        labels = [row[0] if row is not None else None]
    found = [int(frequency.ordinals([_microseconds(label)])[0]) for label in labels if label is not None]
    return max(found, default=0)


def joins_metadata(config: Config) -> bool:
    """Whether a related series is joined by a metadata column: each series' own decides which values are its."""
    return any(not set(source.key or ()) <= set(config.key) for source in config.data.related)


def _news(work: _Commit, checked: Checked, packed: set[int]) -> News:
    changes = work.changes
    rows = {name: groups for name, (_, groups) in checked.rows.items()}
    added = {name: changes.added(name) for name in changes.read if not name.startswith("items:")}
    numbers = [k.sequence for k in work.done if k.source in added.get(k.role, ())]
    metadata = any(name.startswith("items:") for name in changes.replaced) or joins_metadata(work.config)
    return News(added, rows, checked.counts.first, metadata, min(numbers, default=0), packed)


def _due(work: _Commit) -> set[int]:
    """The buckets whose series lie in too many pieces, the fullest; few at a time, so that no day pays for all."""
    from pyspark.sql import functions as F

    most = work.config.ingest.compact_after
    series = work.lake.read("series").groupBy("bucket").agg(F.max("segment").alias("last"))
    full = series.where(F.col("last") + 1 >= most).orderBy(F.desc("last"), "bucket")
    return {row["bucket"] for row in full.limit(-(-work.info.buckets // most)).collect()}


def _buckets_of(work: _Commit, name: str, sources: Iterable[str]) -> set[int]:
    from pyspark.sql import functions as F

    table = work.lake.read(name.split(":")[0])
    rows = table.where((F.col("role") == name) & F.col("source").isin(sorted(sources)))
    return {row[0] for row in rows.select(work.lake.bucket(work.info.buckets)).distinct().collect()}


def _label(frequency: Frequency, ordinal: int) -> datetime:
    label: datetime = frequency.labels([ordinal]).view("M8[us]")[0].item()
    return label


def _microseconds(label: Any) -> int:
    import numpy as np

    return int(np.datetime64(label, "us").astype(np.int64))


# --- the report ---


def _report(lake: Lake, info: LakeInfo, changes: Changes, counts: Counts, located_sources: int) -> IngestReport:
    from pyspark.sql import functions as F

    grouped = lake.read("series").where(F.col("segment") == 0).groupBy("lifecycle").count().collect()
    notes = [*changes.notes, *counts.notes]
    if changes.stale:
        notes.append(
            f"{len(changes.stale)} sources that are not named any more stay as an older config read them, such as "
            f"{changes.stale[0]}; name them too, or set ingest.mode to full"
        )
    read_now = _size(changes.read)
    new = changes.new_sources()
    return IngestReport(
        changed=not changes.nothing,
        frequency=info.frequency,
        rows=counts.rows(),
        accepted=counts.accepted(),
        rejected=counts.rejected(),
        sources={
            "new": new,
            "changed": read_now - new,
            "unchanged": located_sources - read_now,
            "removed": _size(changes.removed),
        },
        lifecycle={row["lifecycle"]: row["count"] for row in sorted(grouped)},
        notes=tuple(notes),
    )


def _size(by: By) -> int:
    return sum(len(sources) for sources in by.values())
