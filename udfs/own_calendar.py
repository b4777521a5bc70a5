"""A user's own calendar: rows of name, date and perhaps region, read from any source."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from udfs.config.holidays import CalendarSource
from udfs.errors import InputError
from udfs.roles import Role
from udfs.sources import locate, read
from udfs.unreadable import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PLACE = "holidays.calendar"
_MOST = 1_000_000
_SHOWN = 3

OwnDates = dict[tuple[str | None, str], tuple[str, set[date]]]
"""(region or None, holiday) -> where it was read, dates."""


def own_dates(spark: SparkSession, source: CalendarSource | None, frame: DataFrame | None) -> OwnDates | None:
    """The dates of a calendar; {} where there is none, None for one that came as a DataFrame and is not given now.

    Raises InputError for a source that cannot be read, columns that are not there, and rows without a name or date.
    """
    if source is None and frame is None:
        return {}
    source = source or CalendarSource.model_construct()
    if frame is None and not (source.path or source.table or source.sql):
        return None
    role = _role(source)
    located = locate(spark, [role], {} if frame is None else {role.name: frame})[0]
    with explained(PLACE, {PLACE: located.where}):
        rows = _rows(read(spark, located, located.parts), role, located.where, source.timestamp_format).collect()
    if len(rows) > _MOST:
        raise InputError(f"{PLACE}: {located.where} has more than {_MOST:,} rows; a calendar is read as a whole")
    bad = [row for row in rows if not row["name"] or row["day"] is None]
    if bad or not rows:
        shown = "".join(f"\n  name {row['name']!r}, date {row['text']!r}" for row in bad[:_SHOWN])
        raise InputError(
            f"{PLACE}: {located.where} has {len(bad):,} of {len(rows):,} rows without a name or a date that can be "
            f"read; write dates like 2024-12-25, or give timestamp_format{shown}"
        )
    found: OwnDates = {}
    for row in rows:
        region = (row["region"] or "").strip() or None
        found.setdefault((region, row["name"]), (located.where, set()))[1].add(row["day"])
    return found


def _role(source: CalendarSource) -> Role:
    names = ("name", "date")
    columns = {name: source.columns.get(name, name) for name in names}
    unknown = sorted(set(source.columns) - {*names, "region"})
    if unknown:
        raise InputError(f"{PLACE}.columns names {unknown[0]!r}; it uses name, date and region")
    if "region" in source.columns:
        columns["region"] = source.columns["region"]
    return Role("calendar", PLACE, "items", source, (), tuple(columns), {}, columns, "")


def _rows(raw: DataFrame, role: Role, where: str, pattern: str | None) -> DataFrame:
    """name, day, region, text (the date as it was)."""
    from pyspark.sql import functions as F

    columns = role.resolve([c for c in raw.columns if not c.startswith("#")], where)
    if "region" not in columns:
        same = [c for c in raw.columns if c.lower() == "region"]
        columns |= {"region": same[0]} if same else {}
    at = {ours: raw["`" + theirs.replace("`", "``") + "`"] for ours, theirs in columns.items()}
    text = at["date"].cast("string")
    day = F.try_to_timestamp(text, F.lit(pattern)).cast("date") if pattern else text.try_cast("date")
    region = at["region"].cast("string") if "region" in at else F.lit(None).cast("string")
    name = F.trim(at["name"].cast("string"))
    return raw.select(name.alias("name"), day.alias("day"), region.alias("region"), text.alias("text")).limit(
        _MOST + 1
    )
