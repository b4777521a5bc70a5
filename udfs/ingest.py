"""Sources to the tables `target`, `related`, `items`, `rejects`, `series` and `sources`.

Everything is read and checked before the first commit. The commits come in an order that makes an interrupted ingest
harmless: in a lake that holds something the touched sources are marked in `sources` first, then the tables change,
then `series`, and `sources` last. Until that last commit the next ingest reads those sources again and packs all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

from forecasting.frequency import Frequency
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
from udfs.lake import Lake, LakeInfo
from udfs.packing import Packing, packed_series
from udfs.periods import dropped_notes, keep_times, kept_periods
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
    changes = find_changes(located, known, config.ingest.mode)
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
    raw = [
        InputRows(each, changes.read[each.role.name], read(lake.spark, each, changes.read[each.role.name]))
        for each in located
        if each.role.name in changes.read
    ]
    require_columns(raw)
    planned = info or LakeInfo.planned(config, choose_frequency(config, raw).name)
    checked = check(lake, config, planned, raw, changes.replaced, fresh=changes.fresh)
    info = info or lake.identify(config, planned.frequency)
    done = when_done(changes, located, checked.counts.of_sources())
    _commit(_Commit(lake, config, info, changes, done), checked)
    grid = Frequency.parse(info.frequency)
    dropped = dropped_notes(lake, grid, kept_periods(lake, config, grid))
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


def _commit(work: _Commit, checked: Checked) -> None:
    lake, changes = work.lake, work.changes
    leftovers = lake.exists("rejects")
    _at_once([partial(lake.ensure, table) for table in TABLES])
    everything = changes.fresh or changes.interrupted
    if not changes.fresh:
        lake.replace("sources", _sources(lake, while_working(changes)), {})
    before = None if everything else _touched(work)
    whole_before = None if everything else kept_periods(lake, work.config, Frequency.parse(work.info.frequency))
    tables = ("target", "related", "items")
    writes: list[Callable[[], None]] = [partial(_write_rows, work, table, checked.rows) for table in tables]
    rejects = checked.rejects()
    if leftovers or rejects is not None:
        writes.append(partial(_write_rejects, work, rejects))
    _at_once(writes)
    keep_times(lake, work.config, checked.counts, changes.replaced.get("target", ()), fresh=changes.fresh)
    whole = kept_periods(lake, work.config, Frequency.parse(work.info.frequency))
    known_end = checked.counts.last_ordinal if changes.fresh else None
    after = _touched(work) if known_end is None else _Touched(known_end, None)
    buckets: set[int] | None = None
    same_periods = whole == whole_before
    if (
        before is not None
        and same_periods
        and before.end == after.end
        and before.buckets is not None
        and after.buckets is not None
    ):
        buckets = before.buckets | after.buckets
    packing = Packing(lake, work.config, work.info, sequences(work.done), after.end, whole)
    if buckets is None or buckets:
        where = {} if buckets is None else {"bucket": sorted(buckets)}
        lake.replace("series", packed_series(packing, buckets), where)
    lake.replace("sources", _sources(lake, work.done), {})


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
        if name.split(":")[0] == table:
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


@dataclass(frozen=True)
class _Touched:
    """end: ordinal of the last period of the target. buckets: those with rows of the touched sources; None: all."""

    end: int
    buckets: set[int] | None


def _touched(work: _Commit) -> _Touched:
    """The end of the data and the buckets of the rows that the touched sources have in the tables now."""
    from pyspark.sql import functions as F

    lake, replaced = work.lake, work.changes.replaced
    here = F.col("source").isin(sorted(replaced.get("target", ())))
    row = (
        lake.read("target")
        .agg(F.max("timestamp").alias("end"), F.collect_set(F.when(here, F.col("bucket"))).alias("buckets"))
        .first()
    )
    assert row is not None
    frequency = Frequency.parse(work.info.frequency)
    end = int(frequency.ordinals([_microseconds(row["end"])])[0]) if row["end"] is not None else 0
    buckets: set[int] | None = set(row["buckets"])
    keys = {role.name: role.key for role in roles_of(work.config)}
    for name, sources in replaced.items():
        if name == "target" or buckets is None:
            continue
        buckets = buckets | _buckets_of(work, name, sources) if keys.get(name) == lake.layout.key else None
    return _Touched(end, buckets)


def _buckets_of(work: _Commit, name: str, sources: Iterable[str]) -> set[int]:
    from pyspark.sql import functions as F

    table = work.lake.read(name.split(":")[0])
    rows = table.where((F.col("role") == name) & F.col("source").isin(sorted(sources)))
    return {row[0] for row in rows.select(work.lake.bucket(work.info.buckets)).distinct().collect()}


def _microseconds(label: Any) -> int:
    import numpy as np

    return int(np.datetime64(label, "us").astype(np.int64))


# --- the report ---


def _report(lake: Lake, info: LakeInfo, changes: Changes, counts: Counts, located_sources: int) -> IngestReport:
    from pyspark.sql import functions as F

    grouped = lake.read("series").where(F.col("segment") == 0).groupBy("lifecycle").count().collect()
    notes = list(counts.notes)
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
