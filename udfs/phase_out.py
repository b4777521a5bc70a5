"""The curves of decline of a run, from the packed series of items that have ended: one aggregation, a small table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.frequency import Frequency
from forecasting.phase_out import Curves, end_ratios, shrunk_curve
from udfs.arrow import label_microseconds, list_buffers
from udfs.life_dates import date_ordinal
from udfs.pieces import joined_pieces, latest
from udfs.segments import segment_name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from udfs.lake import Lake
    from udfs.stage import StageInput
    from udfs.work import RunPlan

MOST_SEGMENTS = 10_000
"""More segments than this have no curve of their own."""


def learnt_curves(source: StageInput, plan: RunPlan) -> Curves | None:
    """What ended items say of the time before an end; None where nothing is to be learnt, or nothing can be.

    Only items whose end date lies within the data count: what ended by silence has no date to count back from.
    """
    from pyspark.sql import functions as F

    config, life = source.config, source.config.lifecycle
    if life.phase_out is None or life.end_date is None or life.zero_after == "never":
        return None
    frequency, key = Frequency.parse(plan.frequency), list(source.lake.layout.key)
    series = source.lake.read("series", source.version)
    end = date_ordinal(F.col("metadata")[life.end_date], frequency, config.time_zone)
    ended = latest(series, key).withColumns({"name": segment_name(config), "end": end})
    ended = ended.where(F.col("end") <= plan.end).select(*key, "name", "end", "start", "target")
    if plan.pieces:  # the whole histories in place of the first pieces
        names = ended.drop("start", "target")
        pieces = series.join(names, key, "left_semi")
        ended = joined_pieces(pieces, key, []).join(names, key)
    return _curves(ended.select(F.col("name").alias("segment"), "start", "target", "end"), source, frequency)


def _curves(rows: DataFrame, source: StageInput, frequency: Frequency) -> Curves | None:
    from pyspark.sql import functions as F

    config = source.config
    section = config.lifecycle.phase_out
    assert section is not None
    periods = section.periods or config.horizon
    zero = "zero" in (config.fill.target.middle, config.fill.target.back)
    step = _ratio_step(frequency, periods, max(periods, frequency.season_length), zero=zero)
    ratios = rows.mapInArrow(step, "segment string, left int, ratio double")
    value = (F.median("ratio").alias("median"), F.count("ratio").alias("n"))
    over_all = ratios.groupBy("left").agg(*value).withColumn("segment", F.lit(None).cast("string"))
    rows_found = over_all.collect()
    if config.segments or config.selection.segment_by:
        by_segment = ratios.groupBy("segment", "left").agg(*value).orderBy("segment", "left")
        rows_found += by_segment.limit(MOST_SEGMENTS * (periods + 1)).collect()
    found: dict[str | None, tuple[FloatArray, FloatArray]] = {}
    for row in rows_found:
        median, n = found.setdefault(row["segment"], (np.full(periods + 1, np.nan), np.zeros(periods + 1)))
        median[row["left"]], n[row["left"]] = row["median"], row["n"]
    if None not in found:
        return None
    of_all = found.pop(None)
    everyone = shrunk_curve(*of_all, np.ones(periods), section.strength)
    names = sorted(name for name in found if name is not None)
    own = [shrunk_curve(*found[name], everyone, section.strength) for name in names]
    items = [n[:-1] for _, n in [*(found[name] for name in names), of_all]]
    return Curves(tuple(names), np.stack([*own, everyone]), np.stack(items))


def keep_curves(lake: Lake, run_id: str, curves: Curves | None) -> None:
    """Write a run's curves to `phase_out`, in one commit that can be repeated."""
    if curves is None:
        return
    names = [*curves.segments, ""]
    rows = [
        {"run_id": run_id, "segment": name, "periods_to_end": left, "factor": float(factor), "n_items": int(n)}
        for name, factors, items in zip(names, curves.factors, curves.items, strict=True)
        for left, (factor, n) in enumerate(zip(factors, items, strict=True))
    ]
    lake.ensure("phase_out")
    lake.replace("phase_out", lake.rows("phase_out", rows), {"run_id": run_id})


def _ratio_step(frequency: Frequency, periods: int, before: int, *, zero: bool) -> Any:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            values, offsets = list_buffers(batch.column("target"))
            start = frequency.ordinals(label_microseconds(batch.column("start")))
            end = batch.column("end").to_numpy(zero_copy_only=False).astype(np.int64)
            ratios = end_ratios(values, offsets, start, end, periods, before, zero=zero)
            item, left = np.nonzero(np.isfinite(ratios))
            yield pa.RecordBatch.from_pydict(
                {
                    "segment": batch.column("segment").take(pa.array(item)),
                    "left": pa.array(left.astype(np.int32)),
                    "ratio": pa.array(ratios[item, left]),
                }
            )

    return run
