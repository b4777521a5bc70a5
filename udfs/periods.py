"""The first and the last period of the data, and whether they are whole: what `ingest.partial_periods` drops.

The raw times of a source are known only while it is read, and a later source can complete a period. So the table
`source_times` keeps them, and what is dropped is decided again whenever series are packed: the rows stay in `target`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from forecasting.frequency import Frequency
from forecasting.resolution import IRREGULAR, finer, is_partial
from udfs.grid import label
from udfs.resolution import usual_step

if TYPE_CHECKING:
    from udfs.check import Counts
    from udfs.config import Config
    from udfs.lake import Lake

TABLE = "source_times"


@dataclass(frozen=True)
class Kept:
    """The first and the last period that series have, ordinals; None: whichever there is."""

    first: int | None = None
    last: int | None = None


EVERY_PERIOD = Kept()
"""No period is dropped."""


def keep_times(lake: Lake, config: Config, counts: Counts, replaced: Collection[str], *, fresh: bool) -> None:
    """Write the times of the target's sources that were read; where no period is ever dropped, nothing is kept.

    replaced: sources of the target that were read or removed. fresh: no other source counts.
    """
    if not config.ingest.partial_periods.drops or not replaced:
        return
    step = usual_step(counts.steps) if counts.steps else None
    records = [
        {"source": source, "first_time": _datetime(first), "last_time": _datetime(last), "step": step}
        for source, (first, last) in sorted(counts.times.items())
    ]
    lake.ensure(TABLE)
    lake.replace(TABLE, lake.rows(TABLE, records), {} if fresh else {"source": sorted({*replaced, *counts.times})})


def kept_periods(lake: Lake, config: Config, frequency: Frequency) -> Kept:
    """What `ingest.partial_periods` leaves of the data that the lake holds."""
    from pyspark.sql import functions as F

    rule = config.ingest.partial_periods
    if not rule.drops or not lake.exists(TABLE):
        return EVERY_PERIOD
    rows = lake.read(TABLE)
    found = rows.agg(
        F.min("first_time").alias("first"), F.max("last_time").alias("last"),
        F.collect_list(F.struct("last_time", "step")).alias("steps"),
    ).first()  # fmt: skip
    if found is None or found["first"] is None:
        return EVERY_PERIOD
    # The newest source that could tell says how often rows come now.
    told = sorted((r["last_time"], r["step"]) for r in found["steps"] if r["step"] is not None)
    step = finer(told[-1][1] if told else IRREGULAR, frequency)
    times = [int(np.datetime64(found[name], "us").astype(np.int64)) for name in ("first", "last")]
    first, last = (int(o) for o in frequency.ordinals(times))
    drop_first = rule.first == "drop" and is_partial(frequency, step, times[0], last=False)
    drop_last = rule.last == "drop" and is_partial(frequency, step, times[1], last=True)
    return Kept(first + 1 if drop_first else None, last - 1 if drop_last else None)


def dropped_notes(lake: Lake, frequency: Frequency, kept: Kept) -> list[str]:
    """The points that were dropped, counted."""
    from pyspark.sql import functions as F

    edges = [("first", None if kept.first is None else kept.first - 1)]
    edges.append(("last", None if kept.last is None else kept.last + 1))
    notes = []
    for edge, period in edges:
        if period is None:
            continue
        rows = lake.read("target").where(F.col("timestamp") == label(frequency, F.lit(period).cast("bigint")))
        points = rows.where(F.col("target").isNotNull()).select(*lake.layout.key).distinct().count()
        begins = np.datetime64(int(frequency.labels([period])[0]), "us").astype("M8[m]")
        notes.append(
            f"the {edge} period of the data, {begins}, is not complete: its points of {points:,} series are dropped "
            f"(ingest.partial_periods.{edge})"
        )
    return notes


def _datetime(microseconds: int) -> object:
    return np.datetime64(microseconds, "us").item()


__all__ = ["EVERY_PERIOD", "TABLE", "Kept", "dropped_notes", "keep_times", "kept_periods"]
