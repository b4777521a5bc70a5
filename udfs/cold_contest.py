"""Who forecasts items with hardly any history: cold start, or the global model where its backtests were better.

Both are judged on the same series and windows, those that saw too little for the other models, and by segment; a
segment's standing leans on all segments' as in the contest of the other models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.evaluation.selection import selection_loss
from udfs.cold import COLD_START
from udfs.config import Config
from udfs.config.cold_start import active_cold_start
from udfs.contest import Contest, Field, standings
from udfs.derive_sums import of_series, sums_of
from udfs.results import BACKTEST, DEEPAR, DEEPAR_COLD, has_deepar, results_of
from udfs.row_numbers import HEAD, n_numbers
from udfs.runs import find
from udfs.segments import with_segment
from udfs.series_rows import series_rows

if TYPE_CHECKING:
    from udfs.lake import Lake

_MODELS = (COLD_START, DEEPAR, DEEPAR_COLD)


def cold_deepar_segments(lake: Lake, run_id: str, config: Config) -> tuple[str, ...]:
    """The segments whose series with hardly any history the global model takes from cold start, in order of name: its
    loss was the smaller one in the run's backtests. Empty where they were never seen side by side."""
    from pyspark.sql import functions as F

    if active_cold_start(config) is None or config.backtest.windows == 0 or not has_deepar(lake, run_id):
        return ()
    rows = results_of(lake, run_id, BACKTEST).where((F.col("status") != "skipped") & F.col("model").isin(*_MODELS))
    cold = rows.where(F.col("model") == COLD_START).select(*lake.layout.key).distinct()
    rows = rows.join(cold, list(lake.layout.key), "left_semi")
    sums = of_series(sums_of(lake, rows, config.quantiles, config.evaluation.error_cost, steps=False))
    run = find(lake, run_id)
    series = with_segment(lake, sums, config, run.series_version if run else None)
    contest = Contest((COLD_START, DEEPAR), config.selection.metric, config.quantiles, config.selection.crowd)
    (found,) = standings(series, contest, lambda batch, contest, _: [paired_field(batch, contest)])
    ours, other = (found.crowd.scores[:, contest.models.index(name)] for name in (DEEPAR, COLD_START))
    return tuple(name for name, better in zip(found.segments, (ours < other).tolist(), strict=True) if better)


def paired_field(batch: pa.RecordBatch, contest: Contest) -> Field:
    """The losses of cold start and the global model, [S, 2], over the windows of each series that both forecast."""
    width = n_numbers(contest.levels)
    rows = series_rows(batch, width, _MODELS)
    single = ~rows.over_windows
    windows, window = np.unique(rows.window[single], return_inverse=True)
    table = np.full((len(batch), len(windows), 2, width), np.nan)
    table[rows.series[single], window.reshape(-1), np.minimum(rows.model[single], 1)] = rows.numbers[single]
    both = ~np.isnan(table[..., 0]).any(axis=2)
    sums = np.where(both[..., None, None], table, 0.0).sum(axis=1)
    some = both.any(axis=1)
    sums[~some] = np.nan
    loss = selection_loss(sums[..., len(HEAD) :], contest.levels, contest.metric)
    helped = np.zeros(loss.shape, dtype=np.int64)
    return Field(loss, helped, np.repeat(some[:, None], 2, axis=1), both.sum(axis=1).astype(np.float64))
