"""Which series a task forecasts by cold start, and from what: on plain record batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forecasting.batch import FloatArray, offsets_of
from forecasting.cold_start import ColdTargets, DonorPool, FeatureSpace, fit_cold
from forecasting.filling import FillRules, TargetFill
from forecasting.frequency import Frequency
from forecasting.postprocess import Bounds
from forecasting.seeds import key_hashes
from udfs.arrow import timestamps
from udfs.spec import ColdStartSpec, ModelSpec, TaskSpec
from udfs.task import process

MONTHS = Frequency.parse("MS")
FIRST, END, H, BELOW = 480, 527, 4, 5
COLUMNS = (
    "item_id", "unit", "bucket", "model", "window", "forecast_start", "mean", "quantiles", "actuals", "status",
    "reason", "seconds", "n_obs", "n_filled", "n_clipped", "evaluations", "parameters", "states", "log_density",
    "fitted_start", "season_length", "hyperparameters", "refit", "mase_scale", "rmsse_scale",
)  # fmt: skip
KINDS = {"long": "a", "short": "a", "none": "b", "gone": "a", "sparse": "b", "late": "a"}
STARTS = {"long": 480, "short": 525, "none": 528, "gone": 485, "sparse": 500, "late": 519}
LENGTHS = {"long": 48, "short": 3, "none": 0, "gone": 2, "sparse": 28, "late": 9}


def target(item: str) -> FloatArray:
    line = np.random.default_rng(len(item)).gamma(5, 10, LENGTHS[item])
    if item == "sparse":
        line[1:-1] = np.nan
    return line


def price(item: str) -> list[float]:
    """Known through the horizon."""
    n = max(END + 1 + H - STARTS[item], 0)
    return [float(len(item) + t) for t in range(n)]


def batch(items: list[str]) -> pa.RecordBatch:
    zeros = pa.array([0] * len(items), pa.int32())
    starts = MONTHS.labels(np.array([STARTS[i] for i in items], dtype=np.int64))
    return pa.RecordBatch.from_pydict(
        {"item_id": items, "bucket": zeros, "choice": zeros, "place": zeros, "start": timestamps(starts),
         "target": pa.array([target(i).tolist() for i in items], pa.list_(pa.float64())),
         "related:price": pa.array([price(i) for i in items], pa.list_(pa.float64())),
         "cold:kind": [KINDS[i] for i in items]}
    )  # fmt: skip


def pool() -> tuple[DonorPool, FeatureSpace]:
    rng = np.random.default_rng(0)
    n, kinds = 30, ["a", "b"] * 15
    prices = np.exp(rng.normal(2, 0.5, n))
    level = np.array([100.0 if k == "a" else 1000.0 for k in kinds]) / prices
    values = level[:, None] * rng.gamma(10, 0.1, (n, 48))
    space = FeatureSpace.of({"kind": kinds}, {"price": prices})
    features = space.encode({"kind": kinds}, {"price": prices}, n)
    return DonorPool(
        values.ravel(), offsets_of([48] * n), np.full(n, FIRST), np.zeros(n, dtype=np.int64), features,
        [f"donor {i}" for i in range(n)],
    ), space  # fmt: skip


def spec(stage: Any, *, middle: Any = "nan", bounds: Bounds | None = None, below: int = BELOW) -> TaskSpec:
    donors, space = pool()
    cuts = [None] if stage == "forecast" else [np.full(30, 48 - H * (k + 1)) for k in range(2)]
    models = tuple(fit_cold(donors, MONTHS, cut, enough=8) for cut in cuts)
    return TaskSpec(
        stage=stage, key=("item_id",), frequency="MS", horizon=H, quantiles=(0.1, 0.5, 0.9), windows=2, offset=H,
        forecast_start="global", global_start=FIRST, global_end=END, choices=((ModelSpec("naive", {}),),),
        columns=COLUMNS, min_history=BELOW, related={"price": True}, bounds=bounds or Bounds(),
        fill=FillRules(TargetFill(middle=middle)),
        cold=ColdStartSpec(below, models, space, {"kind": "cold:kind"}, "price", 6),
    )  # fmt: skip


def rows(of: TaskSpec, *batches: pa.RecordBatch) -> dict[tuple[str, str, int], dict[str, Any]]:
    made = pa.Table.from_batches(process(of, (3,), iter(batches or [batch(list(KINDS))]))).to_pylist()
    out = {(r["item_id"], r["model"], r["window"]): r for r in made}
    assert len(out) == len(made)
    return out


def test_series_with_few_points_are_forecast_by_cold_start() -> None:
    """Filled periods after the first observation count; a series silent for two seasons has ended."""
    made = rows(spec("forecast"))
    reasons = {item: r["reason"] for (item, model, _), r in made.items() if model == "cold_start"}
    assert reasons == {
        "short": "cold_start: 3 observations", "none": "cold_start: 0 observations",
        "sparse": "cold_start: 2 observations",
    }  # fmt: skip
    assert {item for item, model, _ in made if model == "naive"} == {"long", "gone", "late"}
    filled = rows(spec("forecast", middle="zero"))
    assert {item for item, model, _ in filled if model == "cold_start"} == {"short", "none"}
    assert {item for item, model, _ in rows(spec("forecast", below=1)) if model == "cold_start"} == {"none"}
    for row in (r for r in made.values() if r["model"] == "cold_start"):
        assert (row["status"], row["unit"], row["n_filled"]) == ("ok", 3, 0)
        assert row["n_obs"] == int(row["reason"].split()[1])
        assert row["hyperparameters"] is None
        assert len(row["parameters"]) == 3 + 6
        assert sum(row["parameters"][3:]) == pytest.approx(1.0)
        assert len(set(row["states"])) == 6


def test_a_row_is_what_the_library_says() -> None:
    of = spec("forecast")
    made = rows(of)
    assert of.cold is not None
    for item in ("short", "none", "sparse"):
        own = target(item)
        known = price(item)[max(len(own) - 12, 0) :]
        asked = ColdTargets(
            values=own, begin=np.array([0]), end=np.array([len(own)]), start=np.array([STARTS[item]]),
            first_step=np.array([END + 1]), key_hash=key_hashes([item]),
            features=of.cold.space.encode({"kind": [KINDS[item]]}, {"price": np.array([np.mean(known)])}, 1),
        )  # fmt: skip
        local = of.cold.models[0].forecast(asked, H, of.quantiles, 6)
        row = made[item, "cold_start", 0]
        np.testing.assert_array_equal(row["mean"], local.mean[0])
        np.testing.assert_array_equal(row["quantiles"], local.quantiles[0].ravel())
        np.testing.assert_array_equal(row["states"], local.neighbours[0])
        np.testing.assert_array_equal(row["parameters"][:3], [local.level[0], local.error[0], local.own[0]])


def test_batches_and_order_do_not_matter() -> None:
    whole = rows(spec("forecast"))
    apart = rows(spec("forecast"), *(batch([item]) for item in reversed(KINDS)))
    assert whole.keys() == apart.keys()
    for key, row in whole.items():
        assert repr(row | {"seconds": 0}) == repr(apart[key] | {"seconds": 0})  # bit for bit, NaN included


def test_bounds_and_whole_units_hold() -> None:
    made = rows(spec("forecast", bounds=Bounds(20.0, 30.0, whole_units=True)))
    row = made["none", "cold_start", 0]
    assert set(row["quantiles"]) <= set(range(20, 31))
    assert row["n_clipped"] > 0


def test_short_windows_of_a_backtest() -> None:
    """Of the series that began nine months ago window 1 sees five months and window 2 one."""
    made = rows(spec("backtest"))
    cold = {(item, window): r for (item, model, window), r in made.items() if model == "cold_start"}
    late = target("late")
    assert cold["late", 2]["reason"] == "cold_start: 1 observation"
    assert ("late", 1) not in cold
    np.testing.assert_array_equal(cold["late", 2]["actuals"], late[1:5])
    assert made["late", "naive", 2]["status"] == "skipped"
    assert made["late", "naive", 1]["status"] == "ok"
    assert {key for key in cold if key[0] == "short"} == {("short", 1)}  # window 2 ends before it began
    assert cold["short", 1]["reason"] == "cold_start: 0 observations"
    assert not {key for key in cold if key[0] in ("long", "gone")}
    without = rows(replace(spec("backtest"), cold=None))
    for key, row in without.items():
        assert repr(row | {"seconds": 0}) == repr(made[key] | {"seconds": 0})  # bit for bit, NaN included


def test_no_donors() -> None:
    of = spec("forecast")
    assert of.cold is not None
    nobody = fit_cold(of.cold.models[0].pool, MONTHS, np.zeros(30, dtype=np.int64), enough=8)
    made = rows(replace(of, cold=replace(of.cold, models=(nobody,))))
    for item in ("short", "none", "sparse"):
        row = made[item, "cold_start", 0]
        assert (row["status"], row["reason"]) == ("fallback", "no_donors")
        assert np.isfinite(row["mean"]).all()
