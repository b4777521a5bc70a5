"""Every rule over all series, before any fit; nothing is written.

The sources that the config names are read as ingest reads them (the same cleaning, the same reasons); rows of other
sources that the lake holds and an incremental ingest would keep are taken from its tables, so that a series is judged
by all its history. The lake's tables alone would not do: in them duplicates are summed and refused rows gone.
The rows are read twice: to count what is refused and find the common end, and to make a row of facts a series. Where
rows are refused they are read once more to say whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from forecasting.frequency import Frequency
from udfs.check import Cleaner, Counts, InputRows, choose_frequency, counts_of
from udfs.cleaning import REASON, wrong_numbers
from udfs.config import Config
from udfs.errors import InputError
from udfs.grid import period_ordinal
from udfs.lake import Lake, LakeInfo
from udfs.layout import quoted
from udfs.roles import Role, roles_of
from udfs.sources import Located, encodings, locate, read
from udfs.unreadable import explained
from udfs.validation.facts import label, refused, summary
from udfs.validation.rules import Finding, finding, findings_of, in_order
from udfs.validation.series import SeriesPass
from udfs.validation.settings import config_findings, unused_columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class ValidationReport:
    """What is wrong with the data of a config.

    findings: errors first. frequency: the grid that they were checked on. rows: by role, rows read. n_series: series
    of the target. first, last: labels of its first observation and its common end, as text.
    """

    findings: tuple[Finding, ...]
    frequency: str
    rows: Mapping[str, int]
    n_series: int = 0
    first: str | None = None
    last: str | None = None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended."""
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What one should know."""
        return tuple(f for f in self.findings if f.severity == "warning")


@dataclass(frozen=True)
class _Asked:
    """What is checked, and the selectors to look up."""

    lake: Lake
    config: Config
    info: LakeInfo | None
    items: tuple[str, ...]
    where: str | None


def validate_sources(
    lake: Lake,
    config: Config,
    frames: Mapping[str, DataFrame] | None = None,
    *,
    items: Sequence[str] | None = None,
    where: str | None = None,
) -> ValidationReport:
    """Check the sources of the config against every rule. frames: as for ingest. items, where: selectors to look up.

    Raises InputError for a lake of another dataset group; whatever is wrong with the sources is in the report.
    """
    asked = _Asked(lake, config, lake.check_identity(config), tuple(items or ()), where)
    found = list(config_findings(config))
    located = _located(asked, frames or {}, found)
    with encodings(lake.spark, located):
        try:
            return _checked(asked, located, found)
        except InputError as error:  # broken bytes inside a file show when the rows are used
            found.append(finding(config, "cannot_be_read", "data", detail=str(error)))
    grid = asked.info.frequency if asked.info else config.grid.name
    return ValidationReport(in_order(found), grid, {})


def _located(asked: _Asked, frames: Mapping[str, DataFrame], found: list[Finding]) -> list[Located]:
    """Sources that are there; the others become findings."""
    spark, roles = asked.lake.spark, roles_of(asked.config)
    try:
        return locate(spark, roles, frames)
    except InputError:
        pass  # one by one then, to say which
    located = []
    for role in roles:
        try:
            located += locate(spark, [role], frames)
        except InputError as error:
            found.append(finding(asked.config, "cannot_be_read", role.place, detail=str(error)))
    return located


def _opened(asked: _Asked, located: Sequence[Located], found: list[Finding]) -> list[InputRows]:
    """Sources that have their columns, of types that can be used; the others become findings."""
    config, opened = asked.config, []
    for each in located:
        role = each.role
        try:
            raw = read(asked.lake.spark, each, list(each.parts))
            own = [c for c in raw.columns if not c.startswith("#")]
            role.resolve(own, each.where)
            rows = InputRows(each, list(each.parts), raw)
            Cleaner(rows, config.grid, config.time_zone, 1, config.key).marked()  # raises for types
        except InputError as error:
            found.append(finding(config, "cannot_be_read", role.place, detail=str(error)))
            continue
        found += unused_columns(config, role, own)
        opened.append(rows)
    return opened


def _checked(asked: _Asked, located: Sequence[Located], found: list[Finding]) -> ValidationReport:
    config = asked.config
    inputs = _opened(asked, located, found)
    if asked.info is not None:
        frequency = Frequency.parse(asked.info.frequency)
    else:
        here = any(rows.role.kind == "target" for rows in inputs)
        frequency = choose_frequency(config, inputs) if here else config.grid
    buckets = asked.info.buckets if asked.info else config.lake.buckets
    cleaners = [Cleaner(rows, frequency, config.time_zone, buckets, config.key) for rows in inputs]
    counts = _counts(cleaners)
    found += _count_findings(config, cleaners, counts)
    refusals = _refusals(cleaners, counts)
    usable = [each for each in cleaners if counts.accepted().get(each.role.name)]

    def kept(role: Role) -> DataFrame | None:
        return _kept(asked, located, role)

    n_series, first, end = 0, None, None
    if any(each.role.kind == "target" for each in usable):
        before = _end(kept(roles_of(config)[0]), frequency)
        end = max([*counts.ends.values(), *([] if before is None else [before])])
        work = SeriesPass(config, frequency, end, usable, counts, kept, asked.items, asked.where)
        more, n_series, first = work.run(refusals)
        found += more
    elif refusals:
        found += findings_of(config, summary(refusals).collect(), None)
    return ValidationReport(
        in_order(found), frequency.name, counts.rows(), n_series, _text(frequency, first), _text(frequency, end)
    )


def _text(frequency: Frequency, ordinal: int | None) -> str | None:
    if ordinal is None:
        return None
    minute = np.int64(frequency.labels([ordinal])[0]).astype("M8[us]").astype("M8[m]")
    return str(minute).replace("T", " ").removesuffix(" 00:00")


# --- the first pass ---


def _counts(cleaners: Sequence[Cleaner]) -> Counts:
    """Rows by role, source and reason, and the last period of the target."""
    if not cleaners:
        return Counts()
    places = {each.role.place: each.rows.located.where for each in cleaners}
    with explained("the input", places):
        rows = reduce(lambda a, b: a.unionByName(b), (each.counted() for each in cleaners)).collect()
    return counts_of(rows)


def _count_findings(config: Config, cleaners: Sequence[Cleaner], counts: Counts) -> Iterator[Finding]:
    """Sources that ingest would refuse as a whole."""
    limit = config.ingest.max_rejected_share
    for each in cleaners:
        name, place = each.role.name, each.role.place
        total, refused_rows = counts.rows().get(name, 0), sum(counts.rejected(name).values())
        if not total:
            yield finding(config, "no_rows", place, detail=each.rows.located.where)
        elif not counts.accepted().get(name):
            yield finding(config, "no_usable_rows", place, count=refused_rows)
        elif refused_rows > limit * total:
            share = f"{refused_rows:,} of {total:,} rows: {refused_rows / total:.1%}, and {limit:.1%} are allowed"
            yield finding(config, "too_many_refused", place, count=refused_rows, detail=share)


def _refusals(cleaners: Sequence[Cleaner], counts: Counts) -> list[DataFrame]:
    """Flags of refused rows, only of roles that have some."""
    from pyspark.sql import functions as F

    flags = []
    for each in cleaners:
        role, reasons = each.role, counts.rejected(each.role.name)
        if set(reasons) - {"duplicate", "not_a_number"}:
            flags.append(refused(each.marked().where(F.col(REASON) != "not_a_number"), role.place, role))
        if "not_a_number" in reasons:
            flags.append(_texts(each))
        if "duplicate" in reasons:
            torn = each.groups().where("`#ambiguous`").withColumn(REASON, F.lit("duplicate"))
            flags.append(refused(torn, role.place, role, F.sum("#rows")))
    return flags


def _texts(each: Cleaner) -> DataFrame:
    """Flags of text in numeric columns, by column and key."""
    from pyspark.sql import functions as F

    raw, role = each.rows.raw, each.role
    found = role.resolve([c for c in raw.columns if not c.startswith("#")], each.rows.located.where)
    wrong = [F.when(holds, F.lit(name)) for name, holds in wrong_numbers(raw, role).items()]
    keys = [F.col(quoted(found[k])).cast("string").alias(k) for k in role.key]
    rows = raw.select(*keys, F.explode(F.array_compact(F.array(*wrong))).alias("column"))
    rows = rows.groupBy("column", *role.key).agg(F.count(F.lit(1)).alias("amount"))
    place, rule = F.lit(role.place).alias("place"), F.lit("not_a_number").alias("rule")
    return rows.select(place, rule, "column", label(role.key).alias("label"), "amount")


# --- rows of the lake that an incremental ingest keeps ---


def _kept(asked: _Asked, located: Sequence[Located], role: Role) -> DataFrame | None:
    from pyspark.sql import functions as F

    if asked.info is None or asked.config.ingest.mode == "full" or not asked.lake.exists(role.kind):
        return None
    named = sorted(s for each in located if each.role.name == role.name for s in each.parts)
    table = asked.lake.read(role.kind).where(~F.col("source").isin(named))
    return table if role.kind == "target" else table.where(F.col("role") == role.name)


def _end(kept: DataFrame | None, frequency: Frequency) -> int | None:
    from pyspark.sql import functions as F

    row = None if kept is None else kept.agg(F.max(period_ordinal(frequency, F.col("timestamp"))).alias("end")).first()
    return None if row is None or row["end"] is None else int(row["end"])
