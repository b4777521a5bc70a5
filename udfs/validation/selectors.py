"""What the config and the command line name, held against the keys and metadata that are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from udfs import public_holidays as public
from udfs.config import Config
from udfs.config.segments import KINDS
from udfs.config.sources import Matching
from udfs.errors import InputError
from udfs.lake import quoted
from udfs.limits import check_limits
from udfs.own_calendar import own_dates
from udfs.roles import Role
from udfs.validation.facts import label
from udfs.validation.flags import fact
from udfs.validation.rules import EXAMPLES, Finding, finding

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_VALUE, _GROUP = "#value", "#group"
_SUMMARY = "array<struct<label: string, amount: bigint>>"


def _groups(config: Config) -> list[tuple[str, Matching]]:
    """Every `where` of the config, with its place."""
    found: list[tuple[str, Matching]] = [(f"segments[{i}]", s) for i, s in enumerate(config.segments)]
    costs = config.evaluation.error_cost
    found += [(f"evaluation.error_cost.groups[{i}]", g) for i, g in enumerate(costs.groups if costs else ())]
    return found


def _columns(config: Config, roles: Mapping[str, Role], *, own: Role | None = None) -> dict[str, Column]:
    """Key and metadata column -> where it stands: in rows of series, or in the facts of one role alone."""
    from pyspark.sql import functions as F

    if own is not None:
        return {name: F.col(quoted(name)) for name in (*own.key, *own.values)}
    found = {name: F.col(quoted(name)) for name in config.key}
    for name, role in roles.items():
        if role.kind == "items":
            found |= {a: fact(name, a) for a in role.values}
    return found


def evidence(
    config: Config, series: DataFrame, roles: Mapping[str, Role], facts: Mapping[str, DataFrame]
) -> list[DataFrame]:
    """Rows, as `summary` makes them, that say which values and which conditions of every `where` meet a series.

    New items have metadata only, so metadata rows count as series too.
    """
    frames: list[tuple[DataFrame, dict[str, Column]]] = [(series, _columns(config, roles))]
    frames += [(facts[n], _columns(config, roles, own=r)) for n, r in roles.items() if r.kind == "items"]
    wanted: dict[str, set[str]] = {}
    for _, group in _groups(config):
        for column, values in group.conditions.items():
            if column not in KINDS:
                wanted.setdefault(column, set()).update(values)
    rows = []
    for frame, columns in frames:
        for name, listed in sorted(wanted.items()):
            if name in columns:
                rows.append(_found(frame.where(columns[name].isin(sorted(listed))), _VALUE, name, columns[name]))
        for i, (_, group) in enumerate(_groups(config)):
            if group.conditions and set(group.conditions) <= set(columns):
                conditions = [columns[c].isin(list(v)) for c, v in group.conditions.items()]
                meets = reduce(lambda a, b: a & b, conditions)
                rows.append(_found(frame.where(meets), _GROUP, str(i), None))
    return rows


def _found(rows: DataFrame, rule: str, column: str, value: Column | None) -> DataFrame:
    from pyspark.sql import functions as F

    counted = rows.groupBy((F.lit("") if value is None else value).alias("value")).agg(F.count(F.lit(1)).alias("n"))
    example = F.array(F.struct(F.col("value").alias("label"), F.lit(None).cast("bigint").alias("amount")))
    return counted.select(
        F.lit("").alias("place"), F.lit(rule).alias("rule"), F.lit(column).alias("column"), "n",
        F.lit(None).cast("bigint").alias("amount"), example.cast(_SUMMARY).alias("examples"),
    )  # fmt: skip


def selector_findings(config: Config, rows: Iterable[Any], roles: Mapping[str, Role]) -> Iterator[Finding]:
    """Values and groups that the evidence does not have."""
    there: dict[str, set[str]] = {}
    met: set[str] = set()
    for row in rows:
        if row["rule"] == _VALUE:
            there.setdefault(row["column"], set()).add(row["examples"][0]["label"])
        elif row["rule"] == _GROUP:
            met.add(row["column"])
    read = set(_columns(config, roles))
    for i, (place, group) in enumerate(_groups(config)):
        lone = False
        for column, values in group.conditions.items():
            if column in KINDS or column not in read:
                continue
            unknown = sorted(set(values) - there.get(column, set()))
            lone = lone or len(unknown) == len(set(values))
            if unknown:
                shown = tuple((value, None) for value in unknown[:EXAMPLES])
                total = len(set(values))
                yield finding(
                    config, "unknown_segment_value", place, column, series=len(unknown), total=total, examples=shown
                )
        if group.conditions and set(group.conditions) <= read and str(i) not in met and not lone:
            yield finding(config, "segment_matches_nothing", place)


def limit_findings(
    config: Config, series: DataFrame, more: Sequence[DataFrame], items: Sequence[str], where: str | None
) -> Iterator[Finding]:
    """--item and --where that name nothing. more: other frames with the whole key, of items without history."""
    keys = reduce(lambda a, b: a.unionByName(b), (frame.select(*config.key) for frame in (series, *more)))
    if items:
        names = label(config.key)
        there = {row[0] for row in keys.select(names).where(names.isin(list(items))).distinct().collect()}
        unknown = sorted(set(items) - there)
        if unknown:
            shown = tuple((name, None) for name in unknown[:EXAMPLES])
            n, total = len(unknown), len(set(items))
            yield finding(config, "unknown_item_selected", "--item", series=n, total=total, examples=shown)
    if where is not None:
        try:
            check_limits(keys, config.key, where, None)
        except InputError as error:
            yield finding(config, "where_matches_nothing", "--where", detail=str(error))


def holiday_condition(config: Config, series: DataFrame, roles: Mapping[str, Role]) -> tuple[Column, Column] | None:
    """Each series' country or region, and whether it is neither; None where the config has no such column.

    Raises InputError for a calendar that cannot be read.
    """
    from pyspark.sql import functions as F

    section = config.holidays
    if section is None:
        return None
    own = own_dates(series.sparkSession, section.calendar, None) or {}
    columns = _columns(config, roles)
    if section.country_column is None or section.country_column not in columns:
        return None
    regions = sorted({region for region, _ in own if region is not None})
    value = F.trim(columns[section.country_column])
    known = F.upper(value).isin(list(public.known_places())) | value.isin(regions)
    return value, F.coalesce((value != "") & ~known, F.lit(False))
