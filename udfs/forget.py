"""Everything of an item out of every table, and kept out.

What is remembered of it is a hash (`forgotten`), by which the next ingests leave its rows out of what they read.
Totals and segments that it was a part of (in `metrics`, `calibration`, learnt weights) stay as they were computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING

from forecasting.seeds import KEY_SEPARATOR
from udfs import runs
from udfs.config import Config
from udfs.errors import InputError
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.limits import ITEM_SEPARATOR
from udfs.roles import Role, roles_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

FORGOTTEN = "forgotten"


def parts_of(item: str, key: Sequence[str]) -> tuple[str, ...]:
    """The leading parts of a key that an item names: all of them, or item_id alone for all its series.

    Raises InputError for more parts than the key has, and for a blank one.
    """
    parts = tuple(item.split(ITEM_SEPARATOR)) if len(key) > 1 else (item,)
    if len(parts) > len(key) or not all(part.strip() for part in parts):
        raise InputError(
            f"item {item!r} has {len(parts)} parts; the key is {', '.join(key)}: give them joined by "
            f"{ITEM_SEPARATOR!r}, or the first of them for all series that begin so"
        )
    return parts


def counted(lake: Lake, config: Config, parts: Sequence[str]) -> dict[str, int]:
    """Rows of an item by table, of the tables that are there and can hold some."""
    return {name: lake.read(name).where(where).count() for name, where in _conditions(lake, config, parts).items()}


def forget(lake: Lake, config: Config, parts: Sequence[str], *, again: bool) -> dict[str, int]:
    """Delete an item's rows from every table; returns how many there were by table.

    again: sources may bring it back; else it is remembered first, so that an interrupted call is ended by the next.
    """
    lake.ensure(FORGOTTEN)
    mark = {"key_hash": digest(parts), "parts": len(parts)}
    record = [] if again else [{**mark, "forgotten_at": datetime.now(timezone.utc)}]
    lake.replace(FORGOTTEN, lake.rows(FORGOTTEN, record), mark)
    found = counted(lake, config, parts)
    conditions = _conditions(lake, config, parts)
    if found.get("results"):
        _count_anew(lake, conditions["results"])
    for name, where in conditions.items():
        if found[name]:
            lake.delete(name, where)
    return found


def _count_anew(lake: Lake, where: Column) -> None:
    """Mark the runs that have rows of the item: their tasks' sums by step (see `udfs.row_numbers`) hold its share."""
    for row in lake.read("results").where(where).select("run_id").distinct().collect():
        run = runs.find(lake, row["run_id"])
        if run is not None and run.plan.statistics:
            runs.replaced(lake, run, plan=replace(run.plan, statistics=""))


def digest(parts: Sequence[str]) -> str:
    """What is kept of a forgotten item."""
    return hashlib.sha256(KEY_SEPARATOR.join(parts).encode()).hexdigest()


def _conditions(lake: Lake, config: Config, parts: Sequence[str]) -> dict[str, Column]:
    from pyspark.sql import functions as F

    names = lake.layout.key[: len(parts)]
    own = reduce(and_, (F.col(name) == part for name, part in zip(names, parts, strict=True)))
    tables = [name for name, schema in lake.schemas.items() if set(names) <= set(schema.names) and lake.exists(name)]
    conditions = dict.fromkeys(tables, own)
    if lake.exists("rejects"):
        conditions["rejects"] = _named_in_rejects(roles_of(config), names, parts)
    return conditions


def _named_in_rejects(roles: Sequence[Role], names: Sequence[str], parts: Sequence[str]) -> Column:
    """Whether a refused row names the item: in the columns of its source, or anywhere in a line that was not read."""
    from pyspark.sql import functions as F

    row = F.from_json("row", "map<string,string>")
    line = row["line"]
    torn = [reduce(and_, (F.coalesce(line.contains(part), F.lit(False)) for part in parts))]
    for role in roles:
        if set(names) <= set(role.key):
            fields = [_field(row, role.columns[name]) == part for name, part in zip(names, parts, strict=True)]
            torn.append((F.col("role") == role.name) & F.coalesce(reduce(and_, fields), F.lit(False)))
    return reduce(or_, torn)


def _field(row: Column, name: str) -> Column:
    """A field of a row, by its name in any case."""
    from pyspark.sql import functions as F

    same = F.map_filter(row, lambda field, _: F.lower(field) == F.lit(name.lower()))
    return F.get(F.map_values(same), F.lit(0))


# --- what ingest leaves out ---


def forgotten(lake: Lake) -> Mapping[int, DataFrame]:
    """What is remembered, by number of parts."""
    from pyspark.sql import functions as F

    if not lake.exists(FORGOTTEN):
        return {}
    rows = lake.read(FORGOTTEN)
    depths = [row["parts"] for row in rows.select("parts").distinct().collect()]
    return {depth: rows.where(F.col("parts") == depth).select("key_hash") for depth in sorted(depths)}


def without_forgotten(raw: DataFrame, role: Role, key: Sequence[str], known: Mapping[int, DataFrame]) -> DataFrame:
    """Raw rows of a role but those of forgotten items. Rows that hold only a part of the named key stay."""
    from pyspark.sql import functions as F

    for depth, hashes in known.items():
        names = key[:depth]
        if not set(names) <= set(role.key):
            continue
        found = role.resolve([c for c in raw.columns if not c.startswith("#")], role.place)
        values = [F.col(quoted(found[name])).cast("string") for name in names]
        mark = F.sha2(F.concat_ws(KEY_SEPARATOR, *values), 256)
        raw = raw.join(F.broadcast(hashes), mark == F.col("key_hash"), "left_anti")
    return raw
