"""What the config and the command line name, held against the keys and metadata that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from udfs import public_holidays as public
from udfs.config import Config
from udfs.config.sources import Matching
from udfs.errors import InputError
from udfs.layout import quoted
from udfs.limits import check_limits
from udfs.own_calendar import own_dates
from udfs.roles import Role
from udfs.validation.facts import Flag, label
from udfs.validation.flags import fact
from udfs.validation.rules import EXAMPLES, Finding, finding

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_VALUE, _GROUP, _ITEM = "#value", "#group", "#item"


def _groups(config: Config) -> list[tuple[str, Matching]]:
    """Every `where` of the config, with its place."""
    found: list[tuple[str, Matching]] = [(f"segments[{i}]", s) for i, s in enumerate(config.segments)]
    costs = config.evaluation.error_cost
    found += [(f"evaluation.error_cost.groups[{i}]", g) for i, g in enumerate(costs.groups if costs else ())]
    return found


def columns_of(role: Role) -> dict[str, Column]:
    """Key and metadata columns in the facts of a metadata role."""
    from pyspark.sql import functions as F

    return {name: F.col(quoted(name)) for name in (*role.key, *role.values)}


def series_columns(config: Config, roles: Mapping[str, Role]) -> dict[str, Column]:
    """Key and metadata columns in the wide rows of series."""
    from pyspark.sql import functions as F

    found = {name: F.col(quoted(name)) for name in config.key}
    for name, role in roles.items():
        if role.kind == "items":
            found |= {a: fact(name, a) for a in role.values}
    return found


def evidence(config: Config, columns: Mapping[str, Column], key: Sequence[str], items: Sequence[str]) -> list[Flag]:
    """Flags that say which values and which conditions of every `where`, and which selected items, a row meets.

    columns: what stands in the row. key: the row's own. New items have metadata only, so that their rows count too.
    """
    wanted: dict[str, set[str]] = {}
    flags = []
    for i, (_, group) in enumerate(_groups(config)):
        for column, values in group.conditions.items():
            if column in columns:
                wanted.setdefault(column, set()).update(values)
        if group.conditions and set(group.conditions) <= set(columns):
            conditions = [columns[c].isin(list(v)) for c, v in group.conditions.items()]
            flags.append(Flag("", _GROUP, str(i), reduce(lambda a, b: a & b, conditions)))
    flags += [Flag(c, _VALUE, columns[c], columns[c].isin(sorted(listed))) for c, listed in sorted(wanted.items())]
    if items and tuple(key) == config.key:
        flags.append(Flag("", _ITEM, label(key), label(key).isin(sorted(set(items)))))
    return flags


def selector_findings(config: Config, rows: Iterable[Any], read: Collection[str]) -> Iterator[Finding]:
    """Values and groups that the evidence does not have. read: the columns that were looked at."""
    there: dict[str, set[str]] = {}
    met: set[str] = set()
    for row in rows:
        if row["rule"] == _VALUE:
            there.setdefault(row["place"], set()).add(row["column"])
        elif row["rule"] == _GROUP:
            met.add(row["column"])
    for i, (place, group) in enumerate(_groups(config)):
        alone = False
        for column, values in group.conditions.items():
            if column not in read:
                continue
            unknown = sorted(set(values) - there.get(column, set()))
            alone = alone or len(unknown) == len(set(values))
            if unknown:
                yield _unknown(config, "unknown_segment_value", place, column, unknown, len(set(values)))
        if group.conditions and set(group.conditions) <= set(read) and str(i) not in met and not alone:
            yield finding(config, "segment_matches_nothing", place)


def item_findings(config: Config, rows: Iterable[Any], items: Sequence[str]) -> Iterator[Finding]:
    """--item that names what is not there."""
    unknown = sorted(set(items) - {row["column"] for row in rows if row["rule"] == _ITEM})
    if unknown:
        yield _unknown(config, "unknown_item_selected", "--item", None, unknown, len(set(items)))


def _unknown(config: Config, rule: str, place: str, column: str | None, names: Sequence[str], total: int) -> Finding:
    shown = tuple((name, None) for name in names[:EXAMPLES])
    return finding(config, rule, place, column, series=len(names), total=total, examples=shown)


def where_findings(config: Config, series: DataFrame, more: Sequence[DataFrame], where: str) -> Iterator[Finding]:
    """--where that no series meets. more: other frames with the whole key, of items without history."""
    keys = reduce(lambda a, b: a.unionByName(b), (frame.select(*config.key) for frame in (series, *more)))
    try:
        check_limits(keys, config.key, where, None)
    except InputError as error:
        yield finding(config, "where_matches_nothing", "--where", detail=str(error))


def holiday_flags(config: Config, spark: SparkSession, columns: Mapping[str, Column]) -> list[Flag]:
    """Flags of series whose country or region is neither a country nor a region of the calendar.

    Raises InputError for a calendar that cannot be read.
    """
    from pyspark.sql import functions as F

    section = config.holidays
    if section is None:
        return []
    own = own_dates(spark, section.calendar, None) or {}
    name = section.country_column
    if name is None or name not in columns:
        return []
    regions = sorted({region for region, _ in own if region is not None})
    value = F.trim(columns[name])
    known = F.upper(value).isin(list(public.known_places())) | value.isin(regions)
    unknown = F.coalesce((value != "") & ~known, F.lit(False))
    said = F.concat(label(config.key), F.lit(": "), value)
    return [Flag("holidays.country_column", "unknown_holiday_region", name, unknown, label=said)]
