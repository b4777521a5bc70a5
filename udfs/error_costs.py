"""What a unit of error costs each series, as columns, and the value to plan with, as SQL.

With costs of under- and over-forecasting the cheapest forecast is the quantile under / (under + over) (the newsvendor;
Arrow, Harris and Marschak 1951, "Optimal inventory policy"): the planning quantile.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from udfs.config.evaluation import ErrorCost
from udfs.lake import Lake, literal
from udfs.layout import quoted
from udfs.segments import first_match
from udfs.steps import finite

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

UNDER, OVER = "cost:under", "cost:over"
"""Columns with a series' unit costs."""
_GROUP = "cost:group"


def with_unit_costs(lake: Lake, rows: DataFrame, costs: ErrorCost | None) -> DataFrame:
    """Rows that have the key columns, with UNDER and OVER; unchanged without costs.

    Groups by key columns are expressions of the row. A group by metadata joins the keys that meet it to the rows.
    """
    from pyspark.sql import functions as F

    if costs is None:
        return rows
    attributes = lake.layout.attributes
    by_metadata = any(column in attributes for group in costs.groups for column in group.where)
    if not by_metadata:
        return _priced(rows, costs, first_match(costs.groups, attributes))
    series = lake.read("series").groupBy(*lake.layout.key).agg(F.max_by("metadata", "segment").alias("metadata"))
    found = series.select(*lake.layout.key, first_match(costs.groups, attributes).alias(_GROUP))
    joined = rows.join(found.where(F.col(_GROUP) < len(costs.groups)), list(lake.layout.key), "left")
    return _priced(joined, costs, F.coalesce(F.col(_GROUP), F.lit(len(costs.groups)))).drop(_GROUP)


def _priced(rows: DataFrame, costs: ErrorCost, position: Column) -> DataFrame:
    from pyspark.sql import functions as F

    prices = [*costs.groups, costs]
    under, over = (F.array(*(F.lit(float(getattr(p, side))) for p in prices)) for side in ("under", "over"))
    return rows.withColumns({UNDER: F.get(under, position), OVER: F.get(over, position)})


def planning_level() -> str:
    """SQL of the planning quantile of a row with UNDER and OVER."""
    under, over = quoted(UNDER), quoted(OVER)
    return f"{under} / ({under} + {over})"


def planned_value(levels: Sequence[float], position: str) -> str:
    """SQL of the forecast at the planning quantile, of a row that has UNDER, OVER and the packed `quantiles`: linear
    between neighbouring levels, the outermost quantile beyond them. position: the step from 0."""
    tau, n = f"({planning_level()})", len(levels)
    values = [finite(f"get(quantiles, ({position}) * {n} + {i})") for i in range(n)]
    cases = [f"WHEN {tau} <= {literal(levels[0])}D THEN {values[0]}"]
    for (low, below), (high, above) in itertools.pairwise(zip(levels, values, strict=True)):
        share = f"({tau} - {literal(low)}D) / ({literal(high)}D - {literal(low)}D)"
        cases.append(f"WHEN {tau} <= {literal(high)}D THEN {below} + {share} * ({above} - {below})")
    return f"CASE {' '.join(cases)} ELSE {values[-1]} END"
