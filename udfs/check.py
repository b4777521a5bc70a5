"""What ingest looks at before it writes anything: how many rows can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING

from forecasting.frequency import DAY_US, WEEK_US, Frequency
from udfs.changes import By
from udfs.cleaning import ORDINAL, REASON, REASONS, ROW, TIME, clean, group_columns, grouped, has_ambiguity
from udfs.config import Config
from udfs.errors import InputError
from udfs.grid import floor_div, months_of
from udfs.lake import Lake, LakeInfo
from udfs.placement import placed
from udfs.resolution import asked_steps, frequency_notes, sample_for, times_and_steps
from udfs.roles import Role
from udfs.session_settings import settings
from udfs.source_codes import coded, decoded
from udfs.sources import Located
from udfs.unreadable import explained

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

_EXAMPLES = 3
_FEW_PARTITIONS = 64  # as many tasks are cheap, whatever the session is set to
_PLAIN = {"spark.sql.inMemoryColumnarStorage.compressed": "false"}  # numbers on disk are short enough


@dataclass(frozen=True)
class InputRows:
    """The raw rows of a role's sources that are read this time."""

    located: Located
    sources: Collection[str]
    raw: DataFrame
    some_left_out: bool = False
    """Whether rows of forgotten items are not among them."""

    @property
    def role(self) -> Role:
        """The role they are read for."""
        return self.located.role


@dataclass(frozen=True)
class Counts:
    """(role, source, reason) -> rows; the reason of accepted rows is empty."""

    cells: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    times: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Source of the target -> its first and last time, microseconds."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Step of the timestamps -> series of the target that have it (see `udfs.resolution`)."""
    notes: tuple[str, ...] = ()
    """What the user should know of the timestamps."""
    ends: Mapping[str, int] = field(default_factory=dict)
    """Of each source of the target, the last period (ordinal) of its accepted rows."""
    first: int | None = None
    """The first period of the target's accepted rows."""

    def rows(self, role: str | None = None) -> dict[str, int]:
        """Rows read by role."""
        return self._by(0, lambda r, _: role in (None, r))

    def accepted(self) -> dict[str, int]:
        """Rows that can be used, by role."""
        return self._by(0, lambda _, reason: not reason)

    def rejected(self, role: str | None = None) -> dict[str, int]:
        """Rows that cannot be used, by reason, the most frequent first."""
        found = self._by(2, lambda r, reason: bool(reason) and role in (None, r))
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def _by(self, part: int, wanted: object) -> dict[str, int]:
        found: dict[str, int] = {}
        for cell, n in self.cells.items():
            if n and wanted(cell[0], cell[2]):  # type: ignore[operator]
                found[cell[part]] = found.get(cell[part], 0) + n
        return found

    def of_sources(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(role, source) -> rows read, rows refused."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for (role, source, reason), n in self.cells.items():
            read, refused = found.get((role, source), (0, 0))
            found[role, source] = (read + n, refused + (n if reason else 0))
        return found


@dataclass(frozen=True)
class Checked:
    """Input that may be written. rows: role name -> role and its rows, grouped by source, key and period."""

    counts: Counts
    rows: Mapping[str, tuple[Role, DataFrame]]
    inputs: Sequence[Cleaner]

    def release(self) -> None:
        """Let go of the rows that were kept."""
        for each in self.inputs:
            if each.kept is not None:
                each.kept.unpersist()

    def rejects(self) -> DataFrame | None:
        """Rows of the table `rejects`; None when there are none."""
        parts = [each.rejects() for each in self.inputs if self.counts.rejected(each.role.name)]
        return reduce(lambda a, b: a.unionByName(b), parts) if parts else None


@dataclass(frozen=True)
class Cleaner:
    """A role's rows, cleaned. buckets: of the lake. known: the key parts that targets and metadata have, for a related
    role. tells: whether the step of the target's timestamps is asked for."""

    rows: InputRows
    frequency: Frequency
    zone: str | None
    buckets: int
    key: tuple[str, ...]
    known: DataFrame | None = None
    tells: bool = True
    kept: DataFrame | None = None
    """All rows, grouped and kept on disk: read and brought together once for counting, writing and packing."""

    @property
    def role(self) -> Role:
        return self.rows.role

    def marked(self, *, with_row: bool = False) -> DataFrame:
        """All rows, with the reason that each is refused for."""
        from pyspark.sql import functions as F

        rows = clean(self.rows.raw, self.role, self.frequency, self.zone, with_row=with_row)
        if self.known is None:
            return rows
        known = self.known.withColumn("#known", F.lit(True))
        unknown = F.when(F.col("#known").isNull(), F.lit("unknown_item"))
        return rows.join(known, list(self.role.key), "left").withColumn(REASON, F.coalesce(REASON, unknown))

    def groups(self) -> DataFrame:
        """Valid rows by source, key and period."""
        from pyspark.sql import functions as F

        if self.kept is not None:
            return decoded(self.kept.where(F.col(REASON).isNull()), self.rows.sources).drop(REASON)
        return self._grouped(self.marked().where(F.col(REASON).isNull()))

    def keeping(self) -> Cleaner:
        """With the rows kept; without where the session keeps nothing."""
        from pyspark import StorageLevel

        rows = self._grouped(coded(self.marked(), self.rows.sources), REASON)
        try:
            with settings(rows.sparkSession, _PLAIN):
                return replace(self, kept=rows.persist(StorageLevel.DISK_ONLY))
        except Exception:  # serverless sessions
            return self

    def _grouped(self, rows: DataFrame, *more: str) -> DataFrame:
        """Grouped where the rows of a bucket are: most periods have one row, so that aggregating before the shuffle
        only fills memory, and the target is written by bucket anyway."""
        from pyspark.sql import functions as F

        if not self.role.timed or self.role.key != self.key:
            return grouped(rows, self.role, *more)
        shuffle = int(str(rows.sparkSession.conf.get("spark.sql.shuffle.partitions", "200")))
        partitions = min(self.buckets, max(shuffle, _FEW_PARTITIONS))
        bucket = F.pmod(F.xxhash64(*self.key), F.lit(self.buckets))
        place = F.pmod(bucket, F.lit(partitions)).cast("int")
        return grouped(placed(rows.withColumn("place", place), partitions), self.role, "place", *more)

    def counted(self) -> DataFrame:
        """role, source, reason ('' for accepted), n, begin and end (the first and the last period)."""
        from pyspark.sql import functions as F

        reason, n = F.col(REASON), F.count(F.lit(1))
        rows = self.marked() if self.kept is None else self.kept
        if self.kept is not None or has_ambiguity(self.role):
            rows = self._grouped(rows, REASON) if self.kept is None else rows
            reason = F.coalesce(reason, F.when(F.col("#ambiguous"), F.lit("duplicate")))
            n = F.sum("#rows")
        ends = [f(ORDINAL) if self.role.timed else F.lit(None).cast("bigint") for f in (F.min, F.max)]
        group = ("source", F.coalesce(reason, F.lit("")).alias("reason"))
        counts = rows.groupBy(*group).agg(n.alias("n"), ends[0].alias("begin"), ends[1].alias("end"))
        if self.kept is not None:
            counts = decoded(counts, self.rows.sources)
        return counts.select(F.lit(self.role.name).alias("role"), "source", "reason", "n", "begin", "end")

    @cached_property
    def sample(self) -> int:
        """One in how many series is asked for the step of its timestamps."""
        return sample_for(self.rows.raw, len(self.rows.sources))

    def steps(self, sample: int) -> list[Row]:
        """What the target's timestamps tell, from the valid rows of one in `sample` series: see `asked_steps`."""
        return asked_steps(self.marked(), self.role.key, len(self.rows.sources), sample)[0]

    def rejects(self) -> DataFrame:
        from pyspark.sql import functions as F

        rows = self.marked(with_row=True)
        refused = rows.where(F.col(REASON).isNotNull())
        if has_ambiguity(self.role):
            torn = self.groups().where("`#ambiguous`").select(*group_columns(self.role))
            valid = rows.where(F.col(REASON).isNull())
            duplicates = valid.join(torn, group_columns(self.role), "left_semi").withColumn(REASON, F.lit("duplicate"))
            refused = refused.unionByName(duplicates)
        return refused.select(
            F.lit(self.role.name).alias("role"),
            "source",
            F.col(REASON).alias("reason"),
            F.coalesce(ROW, F.lit("{}")).alias("row"),
            F.current_timestamp().alias("rejected_at"),
        )


def require_columns(inputs: Sequence[InputRows]) -> None:
    """Raise one InputError that lists the columns that are missing in all sources."""
    problems = []
    for rows in inputs:
        try:
            rows.role.resolve([c for c in rows.raw.columns if not c.startswith("#")], rows.located.where)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))


def check(
    lake: Lake,
    config: Config,
    info: LakeInfo,
    inputs: Sequence[InputRows],
    replaced: By,
    *,
    fresh: bool,
    keep: bool = False,
) -> Checked:
    """Count what can be used, in one Spark job. Raises InputError when that is nothing, or too little.

    keep: the target's rows are kept on disk, until `Checked.release`.
    """
    frequency = Frequency.parse(info.frequency)
    cleaners = [Cleaner(rows, frequency, config.time_zone, info.buckets, config.key) for rows in inputs]
    if config.ingest.frequency_check.otherwise == "ignore" and not config.ingest.partial_periods.drops:
        cleaners = [replace(each, tells=False) for each in cleaners]
    if keep:
        cleaners = [each.keeping() if each.role.kind == "target" else each for each in cleaners]
    known = [_with_known(lake, config, each, cleaners, replaced, fresh=fresh) for each in cleaners]
    places = {each.role.place: each.rows.located.where for each in known}
    if not known:
        return Checked(Counts(), {}, ())
    try:
        with explained("the input", places):
            counted = reduce(lambda a, b: a.unionByName(b), (each.counted() for each in known)).collect()
            counts = _with_times(config, frequency, counts_of(counted), known)
        # Looking for unknown items is a join: left out where the count says that there are none.
        needed = [
            each if counts.rejected(each.role.name).get("unknown_item") else replace(each, known=None)
            for each in known
        ]
        for each in needed:
            _judge(config, each, counts)
    except BaseException:
        Checked(Counts(), {}, known).release()
        raise
    return Checked(counts, {each.role.name: (each.role, each.groups()) for each in needed}, needed)


def counts_of(rows: Sequence[Row]) -> Counts:
    """Collected rows of `Cleaner.counted` as counts."""
    target = [row for row in rows if row["role"] == "target" and not row["reason"]]
    cells = {(row["role"], row["source"], row["reason"]): int(row["n"]) for row in rows}
    first = min((row["begin"] for row in target), default=None)
    return Counts(cells, ends={row["source"]: row["end"] for row in target}, first=first)


def _with_times(config: Config, frequency: Frequency, counts: Counts, cleaners: Sequence[Cleaner]) -> Counts:
    """With what the target's timestamps tell. A sample of the series tells as much and costs less; all are asked where
    too few of it can tell, and where the raw times themselves are needed (`ingest.partial_periods`)."""
    target = next((each for each in cleaners if each.role.kind == "target"), None)
    if target is None or not target.tells:
        return counts
    times, steps = times_and_steps(target.steps(1 if config.ingest.partial_periods.drops else target.sample))
    how = config.data.target.aggregation
    notes = tuple(frequency_notes(config.ingest.frequency_check, frequency, how, steps))
    return replace(counts, times=times, steps=steps, notes=notes)


def _judge(config: Config, cleaner: Cleaner, counts: Counts) -> None:
    """Raise InputError for a role without usable rows, or with too many refused."""
    role, where = cleaner.role, cleaner.rows.located.where
    total = counts.rows().get(role.name, 0)
    if not total:
        if cleaner.rows.some_left_out:
            return
        raise InputError(f"{role.place}: {where} has no rows")
    refused = counts.rejected(role.name)
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in refused.items())
    if not counts.accepted().get(role.name):
        none = f"none of the {total:,} rows of {where} can be used"
        raise InputError(f"{role.place}: {none} ({reasons}){_shown(cleaner)}")
    # A related table may well hold more items than are forecast: those rows are no sign of bad input.
    bad = sum(n for reason, n in refused.items() if reason != "unknown_item")
    limit = config.ingest.max_rejected_share
    if bad > limit * total:
        raise InputError(
            f"{role.place}: {bad:,} of the {total:,} rows of {where} cannot be used ({reasons}), more than "
            f"ingest.max_rejected_share ({limit:g}) allows{_shown(cleaner)}"
        )


def _shown(cleaner: Cleaner) -> str:
    """The first refused rows, as lines of a message."""
    rows = cleaner.rejects().select("reason", "row").limit(_EXAMPLES).collect()
    return "".join(f"\n  {row['reason']} ({REASONS[row['reason']]}): {row['row'][:300]}" for row in rows)


def _with_known(
    lake: Lake, config: Config, each: Cleaner, cleaners: Sequence[Cleaner], replaced: By, *, fresh: bool
) -> Cleaner:
    """For a related role, the parts of keys that exist: in the target, or in metadata that holds that part."""
    from pyspark.sql import functions as F

    role = each.role
    if role.kind != "related":
        return each
    parts = []
    for other in cleaners:
        theirs = {*other.role.key, *(other.role.values if other.role.kind == "items" else ())}
        if other.role.kind != "related" and set(role.key) <= theirs:
            rows = other.marked() if other.kept is None else other.kept
            parts.append(rows.where(F.col(REASON).isNull()).select(*role.key))
    if not fresh:
        old = lake.read("target").where(~F.col("source").isin(sorted(replaced.get("target", ()))))
        parts += [old.select(*role.key)] if set(role.key) <= set(config.key) else []
        for i, items in enumerate(config.data.items):
            if set(role.key) <= {*items.key, *items.attributes}:
                name = f"items:{i}"
                gone = F.col("source").isin(sorted(replaced.get(name, ())))
                parts.append(lake.read("items").where((F.col("role") == name) & ~gone).select(*role.key))
    if not parts:  # the key and metadata together are in no one source: rows that fit nothing join nothing
        return each
    return replace(each, known=reduce(lambda a, b: a.unionByName(b), parts).distinct())


# --- the frequency ---


def choose_frequency(config: Config, inputs: Sequence[InputRows]) -> Frequency:
    """The grid of a new lake: where the config leaves its phase open ("W", "2D", "Q"), it comes from the target.

    If all times lie on one phase (such as one weekday) that is the anchor; else weeks begin on Monday and other
    multiples where the epoch puts them.
    """
    from pyspark.sql import functions as F

    frequency = config.grid
    if frequency.anchored:
        return frequency
    target = next(rows for rows in inputs if rows.role.kind == "target")
    rows = clean(target.raw, target.role, frequency, config.time_zone).where(F.col(REASON).isNull())
    day = floor_div(F.col(TIME), DAY_US) * DAY_US
    phases = [_phase(frequency, day), F.pmod(day, F.lit(WEEK_US))]
    low = [F.min(phase).alias(f"low{i}") for i, phase in enumerate(phases)]
    high = [F.max(phase).alias(f"high{i}") for i, phase in enumerate(phases)]
    with explained(target.role.place, {target.role.place: target.located.where}):
        found = rows.agg(F.min(day).alias("first"), *low, *high).first()
    assert found is not None
    whole_weeks = frequency.step_us > 0 and frequency.step_us % WEEK_US == 0
    one_phase = found["low0"] == found["high0"] or (whole_weeks and found["low1"] == found["high1"])
    if found["first"] is not None and one_phase:
        return frequency.aligned_to(found["first"])
    return replace(frequency, anchored=True)


def _phase(frequency: Frequency, day: Column) -> Column:
    from pyspark.sql import functions as F

    if frequency.months:
        month = months_of(day - (frequency.day - 1) * DAY_US)
        return F.pmod(month + int(frequency.month_end), F.lit(frequency.months))
    return F.pmod(day, F.lit(frequency.step_us))
