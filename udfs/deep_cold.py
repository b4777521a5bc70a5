"""Backtest windows that saw hardly anything of a series, made ready for the global model.

Other models leave them out and cold start forecasts them; so does the global model, under the name `deepar+cold`, so
that the two can be compared (see `udfs.cold_contest`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from forecasting.batch import FloatArray, RelatedSeries, SeriesBatch, offsets_of
from forecasting.frequency import Int64Array
from udfs.cold import few_points
from udfs.config import Config
from udfs.config.cold_start import active_cold_start, cold_below
from udfs.parts import Part
from udfs.spec import TaskSpec


def cold_windows(part: Part, config: Config, spec: TaskSpec) -> Iterator[Part]:
    """Of a part that is too short for its windows, the series and windows that cold start forecasts, a window each."""
    section = active_cold_start(config)
    if section is None or not part.short or part.ended or part.ends is None:
        return
    few, _, _ = few_points(part, cold_below(config, section), spec)
    for window in range(few.shape[1]):
        index = np.flatnonzero(few[:, window])
        if len(index):
            rows = replace(part.take(index).between(window, window + 1), short=False)
            yield replace(rows, series=begun_by(rows.series, rows.cutoffs[:, 0] + 1))


def begun_by(batch: SeriesBatch, first: Int64Array) -> SeriesBatch:
    """The batch with missing values in front of series that begin after the period `first`, ordinals [N]: a series
    that has not begun is forecast from there."""
    lead = np.maximum(batch.start - first, 0)
    if not lead.any():
        return batch
    values, offsets = _with_lead(batch.values, batch.offsets, lead)
    filled = None
    if batch.filled is not None:
        flags, _ = _with_lead(batch.filled.astype(np.float64), batch.offsets, lead)
        filled = np.nan_to_num(flags).astype(np.uint8)
    related = {
        name: RelatedSeries(*_with_lead(column.values, column.offsets, lead), column.known_in_future)
        for name, column in batch.related.items()
    }
    return replace(batch, values=values, offsets=offsets, start=batch.start - lead, filled=filled, related=related)


def _with_lead(values: FloatArray, offsets: Int64Array, lead: Int64Array) -> tuple[FloatArray, Int64Array]:
    """Flat series with `lead` [N] missing values in front of each."""
    lengths = np.diff(offsets)
    longer = offsets_of(lengths + lead)
    out = np.full(int(longer[-1]), np.nan)
    shift = np.repeat(longer[:-1] + lead - offsets[:-1], lengths)
    out[np.arange(int(offsets[0]), int(offsets[-1])) + shift] = values[int(offsets[0]) : int(offsets[-1])]
    return out, longer
