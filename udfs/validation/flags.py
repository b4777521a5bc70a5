"""The rules over series, as conditions over one wide row of facts a series, and those over the keys of other roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from udfs.config import Config
from udfs.layout import quoted
from udfs.roles import Role
from udfs.validation.facts import SERIES, Flag
from udfs.validation.rules import FEW

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

HERE = "#here"
"""Of a role: whether a series has a row of its facts."""


def fact(role: str, name: str) -> Column:
    """A fact of another role in the wide row."""
    from pyspark.sql import functions as F

    return F.col(quoted(f"{role}:{name}"))


def series_rows(target: DataFrame, others: Mapping[str, Role], facts: Mapping[str, DataFrame]) -> DataFrame:
    """One row a series of the target, with the facts of the other roles beside it as `ROLE:FACT`."""
    from pyspark.sql import functions as F

    rows = target
    for name, role in others.items():
        part = facts[name]
        renamed = [F.col(quoted(c)).alias(f"{name}:{c}") for c in part.columns if c not in role.key]
        beside = part.select(*role.key, F.lit(True).alias(f"{name}:{HERE}"), *renamed)
        rows = rows.join(beside, list(role.key), "left")
    return rows


def target_flags(config: Config, frequency: Frequency, end: int, start: int | None) -> list[Flag]:
    """Rules over the target. end: the ordinal of the common end. start: the first period of all."""
    from pyspark.sql import functions as F

    n, first, last, low, high = (F.col(c) for c in ("n", "first", "last", "low", "high"))
    some, horizon, season = n > 0, config.horizon, frequency.season_length
    common = F.lit(end) if config.forecast_start == "global" else last
    history = common - first + 1
    gaps = last - first + 1 - n
    constant = some & (n > 1) & (low == high)
    rules: list[tuple[str, str, Column, Column]] = [
        (SERIES, "", F.lit(True), n),
        ("all_missing", "target", n == 0, F.col("rows")),
        ("few_observations", "target", some & (n < FEW), n),
        ("shorter_than_horizon", "target", some & (n < horizon), n),
        ("shorter_than_season", "target", some & (n < season), n),
        ("horizon_too_long", "target", some & (F.lit(3 * horizon) > history), history),
        ("all_zero", "target", some & (low == 0) & (high == 0), n),
        ("constant", "target", constant & (low != 0), n),
        ("below_lower_bound", "target", F.col("below") > 0, F.col("below")),
        ("above_upper_bound", "target", F.col("above") > 0, F.col("above")),
        ("ends_early", "target", some & (last < end), F.lit(end) - last),
        ("gaps", "target", some & (gaps > 0), gaps),
        ("duplicate_rows", "target", F.col("extra") > 0, F.col("extra")),
    ]
    if start is not None and config.fill.target.front != "nan":
        rules.append(("starts_late", "target", some & (first > start), first - start))
    return [Flag("data.target", *rule) for rule in rules]


def related_flags(config: Config, role: Role, end: int) -> list[Flag]:
    """Rules over the columns of a related role, for each series of the target."""
    from pyspark.sql import functions as F

    common = F.lit(end) if config.forecast_start == "global" else F.col("last")
    begun = F.col("n") > 0
    columns = config.data.related_columns
    rules: list[tuple[str, str, Column, Column | None]] = []
    for c in role.values:
        n, first, last = (fact(role.name, f"{c}#{part}") for part in ("n", "first", "last"))
        some = F.coalesce(n > 0, F.lit(False))
        short = common + config.horizon - F.greatest(last, common)
        gaps = last - first + 1 - n
        rules += [
            ("related_missing", c, ~some, None),
            ("related_starts_late", c, some & begun & (first > F.col("first")), first - F.col("first")),
            ("related_ends_early", c, some & (last < common), common - last),
            ("related_gaps", c, some & (gaps > 0), gaps),
        ]
        if columns[c].known_in_future:
            rules.append(("related_ends_before_horizon", c, some & (short > 0), short))
        else:
            future = fact(role.name, f"{c}#future")
            rules.append(("related_future_unused", c, some & (future > 0), future))
    return [Flag(role.place, *rule) for rule in rules]


def item_flags(role: Role) -> list[Flag]:
    """Rules over metadata, for each series of the target."""
    from pyspark.sql import functions as F

    here = F.coalesce(fact(role.name, HERE), F.lit(False))
    flags = [Flag(role.place, "items_missing", "", ~here)]
    return flags + [Flag(role.place, "attribute_missing", a, here & fact(role.name, a).isNull()) for a in role.values]


def key_flags(role: Role, known: Column) -> list[Flag]:
    """Rules over the keys of another role, in rows of its own facts. known: whether the target has the key (for
    related series: or metadata)."""
    from pyspark.sql import functions as F

    rule = "related_unknown_key" if role.kind == "related" else "items_unknown"
    extra = F.col("extra")
    return [
        Flag(role.place, rule, "", ~known, F.col("rows")),
        Flag(role.place, "duplicate_rows", "", extra > 0, extra),
    ]
