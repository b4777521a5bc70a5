"""What a picture of one item's forecast needs: its history, its forecast, and what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.frequency import Frequency, to_microseconds
from udfs.errors import InputError
from udfs.lake import Lake
from udfs.limits import ITEM_SEPARATOR
from udfs.runs import Run

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Fan:
    """One item's forecast. times, values: [T], the history that the forecast saw, NaN is missing. steps: [H], labels.
    mean: [H]. quantiles: [H, Q] at `levels`. actuals: [H], NaN where none is known."""

    item: str
    model: str
    run_id: str
    frequency: Frequency
    times: Times
    values: FloatArray
    steps: Times
    mean: FloatArray
    levels: tuple[float, ...]
    quantiles: FloatArray
    actuals: FloatArray


def read_fan(lake: Lake, run: Run, item: str) -> Fan:
    """The fan of an item, its key parts joined by "/".

    Raises InputError for an unknown item, with the nearest ones, and for an item without a forecast in this run.
    """
    from pyspark.sql import functions as F

    info = lake.identity()
    frequency = Frequency.parse(info.frequency)
    pieces = _rows(lake, "series", item).orderBy("segment").collect()
    if not pieces:
        raise InputError(_unknown(lake, item))
    rows = _rows(lake, "results", item).where((F.col("run_id") == run.run_id) & (F.col("stage") == "forecast"))
    final = F.col("mean").isNotNull().desc()  # the members of an ensemble have rows too, without numbers of their own
    found = rows.select("model", "forecast_start", "mean", "quantiles", "status", "reason").orderBy(final).first()
    if found is None or found["mean"] is None:
        why = f": {found['status']}, {found['reason']}" if found is not None else ""
        raise InputError(f"item {item!r} has no forecast in run {run.run_id}{why}; the view `ledger` says more")
    return _fan(item, run, frequency, pieces, found)


def _fan(item: str, run: Run, frequency: Frequency, pieces: list[Row], found: Row) -> Fan:
    values = np.array([v for piece in pieces for v in piece["target"]], dtype=np.float64)
    begun = next((piece for piece in pieces if piece["n"]), pieces[0])
    begin = int(frequency.ordinals(to_microseconds([begun["start"]]))[0])
    first = int(frequency.ordinals(to_microseconds([found["forecast_start"]]))[0])
    seen = max(0, min(first - begin, len(values)))
    mean = np.array(found["mean"], dtype=np.float64)
    after = values[max(first - begin, 0) :][: len(mean)]
    actuals = np.full(len(mean), np.nan)
    lead = max(begin - first, 0)  # an item that was new then may have begun within the horizon
    actuals[lead : lead + len(after)] = after[: len(mean) - lead]
    return Fan(
        item=item,
        model=found["model"],
        run_id=run.run_id,
        frequency=frequency,
        times=_times(frequency, begin, seen),
        values=values[:seen],
        steps=_times(frequency, first, len(mean)),
        mean=mean,
        levels=run.quantiles,
        quantiles=np.array(found["quantiles"], dtype=np.float64).reshape(len(mean), len(run.quantiles)),
        actuals=actuals,
    )


def _times(frequency: Frequency, first: int, n: int) -> Times:
    return frequency.labels(np.arange(first, first + n)).astype("M8[us]")


def _rows(lake: Lake, table: str, item: str) -> DataFrame:
    from pyspark.sql import functions as F

    key = lake.layout.key
    rows = lake.read(table)
    parts = item.split(ITEM_SEPARATOR) if len(key) > 1 else [item]
    if len(parts) != len(key):  # a part holds the separator itself
        return rows.where(F.concat_ws(ITEM_SEPARATOR, *key) == item)
    for column, value in zip(key, parts, strict=True):
        rows = rows.where(F.col(column) == value)
    return rows


def _unknown(lake: Lake, item: str) -> str:
    from pyspark.sql import functions as F

    key = lake.layout.key
    name = F.concat_ws(ITEM_SEPARATOR, *key)
    known = lake.read("series").where(F.col("segment") == 0).select(name.alias("item"))
    distance = F.levenshtein(F.lower("item"), F.lower(F.lit(item)))
    near = [row["item"] for row in known.orderBy(distance, "item").limit(3).collect()]
    shape = f" An item is its key ({', '.join(key)}) joined by {ITEM_SEPARATOR!r}." if len(key) > 1 else ""
    return f"item {item!r} is not in the lake.{shape} The nearest: {', '.join(near) or 'none, it holds no series'}"
