"""What a backtest window knows of ends, starts and predecessors does not depend on anything after its cutoff."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from test_leakage import check, disturbed

from forecasting.inheritance import link_scales
from forecasting.lifecycle import SilenceRule
from udfs.arrow import timestamps
from udfs.inheritance import INHERITED
from udfs.living import END, LifeSpec
from udfs.spec import ModelSpec, TaskSpec
from udfs.task import process

DAY, FIRST, LENGTH, H = 86_400_000_000, 19_000, 90, 5
QUICK = SilenceRule(ended_seasons=2, ended_gaps=3, dormant_seasons=1, dormant_gaps=2)
PIECE = pa.struct(
    {"position": pa.int32(), "scale": pa.float64(), "scale_periods": pa.int32(), "until": pa.int64(),
     "start": pa.timestamp("us"), "target": pa.list_(pa.float64())}
)  # fmt: skip
COLUMNS = ("item_id", "window", "mean", "quantiles", "status", "reason", "n_obs", "n_filled", "mase_scale")


@pytest.mark.parametrize("model", ["user", "seasonal_naive"])
@pytest.mark.parametrize("settings", [{}, {"history": 25}, {"backtest_refit": "first"}])
def test_silence_is_judged_by_what_a_cutoff_sees(model: str, settings: dict[str, Any]) -> None:
    check(model, "global", lifecycle=LifeSpec(QUICK, 1, by_silence=True), **settings)


def rows_of(own: Any, old: Any, older: Any, end: int | None = None) -> dict[int, dict[str, Any]]:
    """The windows of a series that begins on day 60, with the last two of three cutoffs at day 82, 72 and 62."""
    spec = TaskSpec(
        stage="backtest", key=("item_id",), frequency="D", horizon=H, quantiles=(0.1, 0.5, 0.9), windows=3, offset=7,
        stride=10, forecast_start="global", global_start=FIRST, global_end=FIRST + LENGTH - 1,
        choices=((ModelSpec("test_leakage:all_that_is_seen"),),), columns=COLUMNS, min_history=2,
        lifecycle=LifeSpec(SilenceRule(), 7, by_silence=True),
    )  # fmt: skip
    start = timestamps((FIRST + np.array([60], dtype=np.int64)) * DAY)
    pieces = [
        {"position": p, "scale": s, "scale_periods": 5, "start": (FIRST + b) * DAY, "target": v}
        for p, s, b, v in ((1, 2.0, 20, list(old)), (2, 6.0, 0, list(older)))
    ]  # fmt: skip
    zeros = pa.array([0], pa.int32())
    batch = pa.RecordBatch.from_pydict(
        {"item_id": ["new"], "bucket": zeros, "choice": zeros, "place": zeros, "start": start,
         "target": pa.array([list(own)], pa.list_(pa.float64())), INHERITED: pa.array([pieces], pa.list_(PIECE)),
         END: pa.array([None if end is None else FIRST + end], pa.int64())}
    )  # fmt: skip
    return {row["window"]: row for row in pa.Table.from_batches(process(spec, (0,), iter([batch]))).to_pylist()}


def test_a_window_knows_its_successor_as_far_as_it_sees() -> None:
    rng = np.random.default_rng(3)
    own, old, older = (rng.uniform(5, 9, n) for n in (30, 55, 25))  # from day 60, 20 and 0; the old one goes on to 75
    base = rows_of(own, old, older)
    # Day 62 has seen three periods of the successor, fewer than its scale was learnt from.
    assert [(base[w]["status"], base[w]["reason"]) for w in (1, 2, 3)] == [
        ("ok", ""), ("ok", ""), ("skipped", "short_history"),
    ]  # fmt: skip
    assert [(base[w]["n_obs"], base[w]["n_filled"]) for w in (1, 2)] == [(23, 60), (13, 60)]
    history = np.r_[6.0 * older[:20], 2.0 * old[:40], own[:13]]
    assert base[2]["mean"][0] == pytest.approx(np.nansum(history * (1 + np.arange(len(history)) % 13)) / 1e4)
    for window, seen in ((1, 23), (2, 13)):
        other = rows_of(disturbed(own, seen), disturbed(old, 40), older)  # what the old one sold beside it is not used
        assert other[window] == base[window]
    assert rows_of(own, disturbed(old, 39), older)[2]["mean"] != base[2]["mean"]
    ends = rows_of(own, old, older, end=84)
    assert ends[1]["mean"] == [*base[1]["mean"][:2], 0.0, 0.0, 0.0]
    assert ends[1]["reason"] == "ended_after_step_2"
    assert ends[2] == base[2]


def test_a_scale_is_of_the_first_periods_alone() -> None:
    rng = np.random.default_rng(4)
    new, old = rng.uniform(5, 9, 30), rng.uniform(5, 9, 55)

    def scale(a: Any, b: Any) -> float:
        sides = [(v, np.array([0, len(v)]), np.array([begin])) for v, begin in ((a, 60), (b, 20))]
        return float(link_scales(sides[0], sides[1], 5, 7, (1e-3, 1e3))[0][0])

    assert scale(disturbed(new, 5), disturbed(old, 45)) == scale(new, old)
    assert scale(disturbed(new, 4), old) != scale(new, old)
