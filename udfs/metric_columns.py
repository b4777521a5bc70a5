"""Sums as columns of `metrics`: counts, ratios and maps of ratios."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.evaluation.metrics import Layout, owa, ratios
from forecasting.levels import quantile_column
from udfs.arrow import repeated
from udfs.row_numbers import HEAD

RATIOS = (
    *("mean_wQL", "WAPE", "WAPE_mean", "RMSE", "MAPE", "MASE", "sMAPE", "RMSSE", "CRPS", "log_loss", "bias"),
    *("cost_under", "cost_over", "cost"),
)
"""Metrics that are one number."""
MODEL, QUANTILES, MIXED = "model", "quantiles", "mixed"
"""Whose density log loss takes: the model's own at all points, that of its quantiles, or now one and now the other."""


def metric_columns(numbers: FloatArray, reference: FloatArray, levels: Sequence[float]) -> dict[str, pa.Array]:
    """The columns of `metrics` that hold what was measured.

    numbers: [R, K], HEAD and statistics. reference: [R, K], those of the forecast that OWA is relative to, NaN where
    there is none.
    """
    layout = Layout.of(levels)
    statistics = numbers[:, len(HEAD) :]
    metrics = ratios(statistics, levels)
    columns = {
        "n_series": _whole(numbers[:, 0]),
        "n_fallback": _whole(numbers[:, 1]),
        "seconds": pa.array(numbers[:, 2], from_pandas=True),
        "n_points": _whole(layout.part(statistics, "n_points")),
        "n_missing": _whole(layout.part(statistics, "n_missing")),
        "sums": _maps(layout.names, statistics),
        "point_forecast": repeated(layout.point_forecast, pa.string(), len(numbers)),
        "OWA": _nullable(owa(statistics, reference[:, len(HEAD) :], levels)),
        "log_loss_source": _log_loss_source(layout, statistics),
    }
    quantiles = [quantile_column(q) for q in levels]
    for metric in ("wQL", "coverage", "pinball"):
        columns[metric] = _maps(quantiles, _table(metrics, metric, quantiles))
    for column, metric in (("MSIS", "MSIS"), ("interval_coverage", "coverage"), ("interval_width", "width")):
        columns[column] = _maps(layout.interval_names, _table(metrics, metric, layout.interval_names))
    return columns | {name: _nullable(metrics[name]) for name in RATIOS}


def _log_loss_source(layout: Layout, statistics: FloatArray) -> pa.Array:
    points, own = (layout.part(statistics, name) for name in ("n_log_loss", "n_log_loss_model"))
    code = np.where(points == 0, 3, np.where(own == 0, 1, np.where(own == points, 0, 2)))
    return pa.array([MODEL, QUANTILES, MIXED, None], pa.string()).take(pa.array(code))


def _table(metrics: dict[str, FloatArray], metric: str, names: Sequence[str]) -> FloatArray:
    rows = len(metrics["RMSE"])
    return np.stack([metrics[f"{metric}_{name}"] for name in names], axis=1) if names else np.empty((rows, 0))


def _whole(values: FloatArray) -> pa.Array:
    return pa.array(values.astype(np.int64))


def _nullable(values: npt.NDArray[np.float64]) -> pa.Array:
    """NaN, an undefined ratio, as NULL."""
    return pa.array(np.ascontiguousarray(values), from_pandas=True)


def _maps(names: Sequence[str], table: FloatArray) -> pa.Array:
    """[R, K] as R maps from a name to a number; NaN as NULL."""
    rows, width = table.shape
    keys = pa.array(list(names)).take(pa.array(np.tile(np.arange(width), rows)))
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.MapArray.from_arrays(pa.array(offsets), keys, _nullable(table.reshape(-1)))
