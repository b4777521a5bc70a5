"""Raw rows to valid rows and rejects.

A valid row has every key column, a time that can be read, and for each value a finite number or none: NULL, NaN and
the usual words for a missing value are explicit missing values, not rejects. Every other row gets one reason code, the
first that applies of `REASONS`, and goes to `rejects` as it was read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forecasting.frequency import Frequency
from udfs.clock import Clock
from udfs.errors import InputError
from udfs.grid import label, ordinal
from udfs.layout import quoted
from udfs.life_dates import unreadable_date
from udfs.numerals import as_text, numbers_of, plain
from udfs.roles import Role
from udfs.sources import CORRUPT, NANOSECONDS, SOURCE

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

TIME, ORDINAL, REASON, ROW = "#time", "#ordinal", "#reason", "#row"
"""Internal columns of clean rows: microseconds, period, reason code (NULL: valid), the raw row as JSON."""
_SKIPPED = "#skipped"

REASONS = {
    "corrupt_row": "a line with more or fewer fields than the header, or broken JSON",
    "null_item_id": "item_id is missing or blank",
    "null_dimension": "a forecast dimension is missing or blank",
    "missing_timestamp": "the timestamp is missing or blank",
    "bad_timestamp": "the timestamp cannot be read, or lies outside 1678 to 2261",
    "nonexistent_time": "the clocks of the time zone skip this time",
    "not_a_number": "a value is not a number",
    "infinite": "a value is infinite, or so large (1e100) that its square is",
    "bad_date": "a start or end date in the metadata that cannot be read",
    "bad_scale": "a scale between predecessor and successor that is not a number above 0",
    "unknown_item": "a related row whose item is neither in the target nor in the metadata; or a link of such an item",
    "duplicate": "several rows of a series and period that the aggregation does not resolve",
}
_MISSING = ("", "nan", "na", "n/a", "#n/a", "null", "none")
_LARGEST = 1e100
_RESOLVED_BY_ORDER = ("first", "last")


def clean(raw: DataFrame, role: Role, frequency: Frequency, zone: str | None, *, with_row: bool = False) -> DataFrame:
    """One row a raw row: `source`, the key columns, `#time` and `#ordinal` (not for items), the values, `#reason`.

    Values are double (items: text, NULL for missing). with_row: also `#row`. Raises InputError when columns are
    missing or have a type that cannot hold what they are for.
    """
    from pyspark.sql import functions as F

    own = [c for c in raw.columns if not c.startswith("#")]
    found = role.resolve(own, _origin(role))
    kinds = {field.name: field.dataType for field in raw.schema.fields}
    key = {k: _column(found[k]).cast("string") for k in role.key}
    checks: list[tuple[str, Column]] = []
    if CORRUPT in raw.columns:
        checks.append(("corrupt_row", F.col(CORRUPT).isNotNull()))
    for name, column in key.items():
        code = "null_item_id" if name == "item_id" else "null_dimension"
        checks.append((code, column.isNull() | (F.trim(column) == "")))
    timed: list[Column] = []
    if role.timed:
        time, skipped = _time(role, found["timestamp"], kinds, Clock(frequency, zone, role.source.timestamp_format))
        written = _column(found["timestamp"])
        blank = F.trim(written) == "" if kinds[found["timestamp"]].typeName() == "string" else F.lit(False)
        checks.append(("missing_timestamp", written.isNull() | blank))
        checks += [("bad_timestamp", F.col(TIME).isNull()), ("nonexistent_time", F.col(_SKIPPED))]
        timed = [F.col(TIME), ordinal(frequency, F.col(TIME)).alias(ORDINAL)]
        values, more = _numbers(role, found, kinds)
        checks += more
    else:
        checks += [("bad_date", unreadable_date(_text(_column(found[v])), frequency, zone)) for v in role.dates]
        values, more = _attributes(role, found, kinds)
        checks += more
    reason = F.lit(None).cast("string")
    for code, failed in reversed(checks):
        reason = F.when(failed, F.lit(code)).otherwise(reason)
    row = [_raw_row(raw, own).alias(ROW)] if with_row else []
    keys = [column.alias(name) for name, column in key.items()]
    if role.timed:  # in a projection of its own: the time is read once and not wherever it is looked at
        raw = raw.withColumns({TIME: time, _SKIPPED: skipped})
    return raw.select(F.col(SOURCE).alias("source"), *keys, *timed, *values, reason.alias(REASON), *row)


def _origin(role: Role) -> str:
    source = role.source
    path = source.path if isinstance(source.path, str) else ", ".join(source.path or ())
    return path or source.table or ("the result of its sql" if source.sql else "the DataFrame")


def _column(name: str) -> Column:
    from pyspark.sql import functions as F

    return F.col(quoted(name))


def _time(role: Role, name: str, kinds: dict[str, Any], clock: Clock) -> tuple[Column, Column]:
    try:
        return clock.read(_column(name), kinds[name], nanoseconds=NANOSECONDS + name in kinds and not clock.pattern)
    except InputError as error:
        raise InputError(f"{role.place}: column {name!r} of {_origin(role)} (for timestamp) {error}") from None


def _numbers(
    role: Role, found: dict[str, str], kinds: dict[str, Any]
) -> tuple[list[Column], list[tuple[str, Column]]]:
    """The values as double, NULL for missing, and what makes them unusable."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    values, wrong, infinite = [], F.lit(False), F.lit(False)
    for name in role.values:
        column, kind = _column(found[name]), kinds[found[name]]
        if isinstance(kind, T.StringType):
            column = plain(column, role.source)
            text = F.lower(F.trim(column))
            number = column.try_cast("double")
            missing = text.isNull() | text.isin(*_MISSING)
            # Java reads "1d" and "2f" as numbers; people do not.
            suffixed = text.rlike(r"[0-9.][df]$")
            wrong = wrong | (~missing & (number.isNull() | suffixed))
            number = F.when(~missing, number)
        elif isinstance(kind, T.NumericType | T.BooleanType):
            number = column.cast("double")
        else:
            raise InputError(
                f"{role.place}: column {found[name]!r} of {_origin(role)} (for {name}) holds {kind.simpleString()}; "
                "expected numbers"
            )
        number = F.when(~F.isnan(number), number)
        infinite = infinite | F.coalesce(F.abs(number) >= _LARGEST, F.lit(False))
        values.append(number.alias(name))
    return values, [("not_a_number", wrong), ("infinite", infinite)]


def wrong_numbers(raw: DataFrame, role: Role) -> dict[str, Column]:
    """Value column -> whether a row holds something else than a number in it, over raw rows."""
    from pyspark.sql import functions as F

    found = role.resolve([c for c in raw.columns if not c.startswith("#")], _origin(role))
    kinds = {field.name: field.dataType for field in raw.schema.fields}
    wanted = role.values if role.timed else numbers_of(role.source)
    wrong = {}
    for name in wanted:
        _, checks = _numbers(replace(role, values=(name,)), found, kinds)
        wrong[name] = F.coalesce(dict(checks)["not_a_number"], F.lit(False))
    return wrong


def _attributes(
    role: Role, found: dict[str, str], kinds: dict[str, Any]
) -> tuple[list[Column], list[tuple[str, Column]]]:
    """Metadata as text, NULL for missing, and what makes those that must be numbers unusable."""
    typed = numbers_of(role.source)
    numbers, checks = _numbers(replace(role, values=typed), found, kinds) if typed else ([], [])
    texts = {name: as_text(number).alias(name) for name, number in zip(typed, numbers, strict=True)}
    return [texts[v] if v in texts else _text(_column(found[v])).alias(v) for v in role.values], checks


def _text(column: Column) -> Column:
    from pyspark.sql import functions as F

    text = column.cast("string")
    return F.when(F.trim(text) != "", text)


def _raw_row(raw: DataFrame, own: list[str]) -> Column:
    from pyspark.sql import functions as F

    whole = F.to_json(F.struct(*(_column(c) for c in own)), {"ignoreNullFields": "false"})
    if CORRUPT not in raw.columns:
        return whole
    broken = F.to_json(F.struct(F.col(CORRUPT).alias("line")))
    return F.when(F.col(CORRUPT).isNotNull(), broken).otherwise(whole)


# --- from rows to periods ---


def group_columns(role: Role) -> list[str]:
    """What makes rows of one source belong together: the key, and the period where there is one."""
    return ["source", *role.key, *([ORDINAL] if role.timed else [])]


def has_ambiguity(role: Role) -> bool:
    """Whether rows of this role can contradict each other in a way that its aggregation does not resolve."""
    return not role.timed or any(how in ("none", *_RESOLVED_BY_ORDER) for how in role.aggregations.values())


def grouped(rows: DataFrame, role: Role, *more: str) -> DataFrame:
    """Valid rows aggregated per source, key and period (and `more`), with `#rows` and `#ambiguous`.

    Each value v becomes `v` and `v#n`, the rows with a value behind it. Ambiguous are: more than one row where the
    aggregation is `none`; `first` and `last` where the deciding time has several values; metadata rows that differ.
    All rows of an ambiguous group are refused.
    """
    from pyspark.sql import functions as F

    n_rows = F.count(F.lit(1)).alias("#rows")
    together = rows.groupBy(*group_columns(role), *more)
    if not role.timed:
        whole = F.struct(*(F.col(v) for v in role.values))
        one = F.min(whole)
        texts = [one[v].alias(v) for v in role.values]
        differ = ~one.eqNullSafe(F.max(whole))
        return together.agg(*texts, n_rows, differ.alias("#ambiguous"))
    columns, ambiguous = [], F.lit(False)
    for name in role.values:
        value, torn = _aggregated(F.col(name), role.aggregations[name])
        columns += [value.alias(name), F.count(F.col(name)).alias(f"{name}#n")]
        ambiguous = ambiguous | torn
    return together.agg(*columns, n_rows, ambiguous.alias("#ambiguous"))


def _aggregated(value: Column, how: str) -> tuple[Column, Column]:
    """The value of a period, and whether it is ambiguous."""
    from pyspark.sql import functions as F

    clear = F.lit(False)
    simple = {"sum": F.sum, "mean": F.avg, "min": F.min, "max": F.max, "none": F.max}
    if how in simple:
        return simple[how](value), F.count(F.lit(1)) > 1 if how == "none" else clear
    end = F.min if how == "first" else F.max
    chosen = end(F.when(value.isNotNull(), F.struct(F.col(TIME).alias("t"), value.alias("v"))))
    other = end(F.when(value.isNotNull(), F.struct(F.col(TIME).alias("t"), (-value).alias("v"))))
    return chosen["v"], F.coalesce(chosen["v"] != -other["v"], clear)


def partials(
    groups: DataFrame, role: Role, frequency: Frequency, key: Collection[str], columns: Collection[str]
) -> DataFrame:
    """Unambiguous groups as rows of `target`, `related` or `items`, still without the bucket.

    key, columns: all key and value columns of that table; the role may have some of them.
    """
    from pyspark.sql import functions as F

    clear = groups.where(~F.col("#ambiguous"))
    if role.kind == "target":
        n = F.col("target#n").alias("n_rows")
        return clear.select(*role.key, label(frequency, F.col(ORDINAL)).alias("timestamp"), "target", n, "source")
    keys = [F.col(k) if k in role.key else F.lit(None).cast("string").alias(k) for k in key]
    name = F.lit(role.name).alias("role")
    if role.kind == "items":
        others = [F.lit(None).cast("string").alias(a) for a in columns if a not in role.values]
        return clear.select(*keys, *role.values, *others, name, "source")
    kind = "struct<value: double, n: bigint>"
    values = [
        F.struct(F.col(c).alias("value"), F.col(f"{c}#n").alias("n")).alias(c)
        if c in role.values
        else F.lit(None).cast(kind).alias(c)
        for c in columns
    ]
    return clear.select(*keys, label(frequency, F.col(ORDINAL)).alias("timestamp"), *values, name, "source")
