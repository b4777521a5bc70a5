"""The column `log_density` of `results`, out of a task without Spark, beside scipy's normal law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import norm
from series_table import START

from udfs.schemas import Layout, table_schemas
from udfs.spec import ModelSpec, TaskSpec
from udfs.task import process

H, LENGTH, W = 4, 50, 2
NAMES = tuple(c for c in table_schemas(Layout())["results"].names if c not in ("run_id", "stage"))

Y = np.random.default_rng(2).normal(20.0, 4.0, LENGTH).tolist()


def rows_of(stage: Any, models: tuple[str, ...], values: list[list[float]]) -> list[dict[str, Any]]:
    spec = TaskSpec(
        stage=stage, key=("item_id",), frequency="D", horizon=H, quantiles=(0.1, 0.5, 0.9), windows=W, offset=H,
        forecast_start="per_series", global_start=0, global_end=0, choices=(tuple(map(ModelSpec, models)),),
        columns=NAMES,
    )  # fmt: skip
    n = len(values)
    batch = pa.RecordBatch.from_pydict(
        {
            "item_id": [f"i{k}" for k in range(n)],
            "bucket": pa.array([0] * n, pa.int32()),
            "start": pa.array([START] * n, pa.timestamp("us")),
            "target": values,
            "choice": pa.array([0] * n, pa.int32()),
            "place": pa.array([0] * n, pa.int32()),
        }
    )
    return pa.Table.from_batches(process(spec, (0,), iter([batch]))).to_pylist()


def test_backtests_hold_a_value_a_step_and_none_for_families_without() -> None:
    holes = [v if t != LENGTH - 2 else float("nan") for t, v in enumerate(Y)]
    rows = rows_of("backtest", ("naive", "npts"), [Y, holes])
    assert [row["log_density"] for row in rows if row["model"] == "npts"] == [None] * 2 * W
    naive = {(row["item_id"], row["window"]): row for row in rows if row["model"] == "naive"}
    assert len(naive) == 2 * W
    for window in (1, 2):
        seen = np.array(Y[: LENGTH - window * H])
        actual = np.array(Y[LENGTH - window * H :][:H])
        spread = np.sqrt(np.mean(np.diff(seen) ** 2)) * np.sqrt(np.arange(1, H + 1))
        expected = norm.logpdf(actual, seen[-1], spread)
        assert naive["i0", window]["log_density"] == pytest.approx(expected.tolist(), rel=1e-9)
    assert np.isnan(naive["i1", 1]["log_density"]).tolist() == [False, False, True, False]


def test_forecasts_hold_none() -> None:
    assert [row["log_density"] for row in rows_of("forecast", ("naive",), [Y])] == [None]
