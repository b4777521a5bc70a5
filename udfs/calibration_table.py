"""The table `calibration`: what a run's intervals are adjusted by, and how they held before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecasting.evaluation.calibration import FACTORS, Intervals, coverage
from forecasting.evaluation.layout import Layout
from udfs.blend import Calibration
from udfs.lake import Lake


def write_calibration(lake: Lake, run_id: str, found: Calibration) -> None:
    """Replace a run's rows of `calibration`; none where nothing is calibrated."""
    intervals = found.intervals
    names = Layout.of(intervals.levels).interval_names
    nominal = int(np.abs(np.log(FACTORS)).argmin())
    records = []
    if len(found.segments):
        zero = np.zeros(found.counts.shape[:-1])
        others = np.stack([table[..., nominal] for table in found.without], axis=1)
        before, after = coverage(found.counts, zero), coverage(found.counts, others)
        points = found.counts.sum(axis=(1, -1))
        for g, segment in enumerate(found.segments):
            for b in range(intervals.blocks):
                steps = np.flatnonzero(intervals.block == b) + 1
                for i, name in enumerate(names):
                    records.append(
                        {
                            "run_id": run_id,
                            "segment": segment,
                            "interval": name,
                            "first_step": int(steps[0]),
                            "last_step": int(steps[-1]),
                            "adjustment": float(found.whole[g, b, i, nominal]),
                            "adjustments": found.whole[g, b, i].tolist(),
                            "n_points": int(points[g, b, i]),
                            "coverage_before": _known(before[g, b, i]),
                            "coverage_after": _known(after[g, b, i]),
                        }
                    )
    lake.replace("calibration", lake.rows("calibration", records), {"run_id": run_id})


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True)
class StoredCalibration:
    """The adjustments of a run: segments, and their table [G, B, I, C]; empty where nothing is calibrated."""

    segments: tuple[str, ...]
    table: np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def stored_calibration(lake: Lake, run_id: str, intervals: Intervals) -> StoredCalibration:
    """What `write_calibration` has stored of a run."""
    from pyspark.sql import functions as F

    empty = StoredCalibration((), np.zeros((0, intervals.blocks, len(intervals.pairs), len(FACTORS))))
    if not lake.exists("calibration"):
        return empty
    rows = lake.read("calibration").where(F.col("run_id") == run_id)
    lines = rows.select("segment", "interval", "first_step", "adjustments").collect()
    if not lines:
        return empty
    segments = tuple(sorted({line["segment"] for line in lines}))
    names = Layout.of(intervals.levels).interval_names
    table = np.zeros((len(segments), *empty.table.shape[1:]))
    for line in lines:
        block = int(intervals.block[line["first_step"] - 1])
        table[segments.index(line["segment"]), block, names.index(line["interval"])] = line["adjustments"]
    return StoredCalibration(segments, table)
