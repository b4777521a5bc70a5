"""The statistics that a task writes beside its rows, beside those of the rows' arrays; on plain record batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forecasting.evaluation.layout import SCALARS
from udfs.arrow import timestamps
from udfs.packed_numbers import packed, unpacked
from udfs.row_numbers import HEAD, n_numbers, row_numbers, statistics_form, statistics_step, stored_step
from udfs.spec import ModelSpec, TaskSpec
from udfs.task import process

DAY, H, END = 86_400_000_000, 4, 49
LEVELS = (0.1, 0.5, 0.9)
COLUMNS = ("item_id", "bucket", "model", "window", "mean", "quantiles", "actuals", "mase_scale", "rmsse_scale",
           "status", "seconds", "log_density", "statistics", "step_statistics")  # fmt: skip
LENGTHS = (50, 14, 9, 3, 0)
IDENTITY = ("item_id", "bucket", "model", "window")
WIDTH = n_numbers(LEVELS)
TIME = HEAD.index("seconds")
DENSITY = len(HEAD) + SCALARS.index("log_loss_sum")


def rows_of(**settings: Any) -> list[pa.RecordBatch]:
    n = len(LENGTHS)
    spec = TaskSpec(
        **{"stage": "backtest", "key": ("item_id",), "frequency": "D", "horizon": H, "quantiles": LEVELS, "windows": 3,
           "offset": 4, "stride": 2, "forecast_start": "global", "global_start": 0, "global_end": END,
           "choices": ((ModelSpec("naive"), ModelSpec("ets", {"form": "ANN"})),), "columns": COLUMNS, **settings}
    )  # fmt: skip
    zeros = pa.array([0] * n, pa.int32())
    start = np.array([END + 1 - length for length in LENGTHS], dtype=np.int64)
    target = [np.random.default_rng(i).normal(50, 5, length).tolist() for i, length in enumerate(LENGTHS)]
    batch = pa.RecordBatch.from_pydict(
        {"item_id": [f"i{k}" for k in range(n)], "bucket": zeros, "choice": zeros, "place": zeros,
         "start": timestamps(start * DAY), "target": pa.array(target, pa.list_(pa.float64()))}
    )  # fmt: skip
    return list(process(spec, (0,), iter([batch])))


def by_step(rows: list[pa.RecordBatch]) -> dict[tuple[str, int, int], np.ndarray]:
    """The rounded sums of each model, window and step."""
    out = {}
    for batch in rows:
        for row in batch.filter(batch.column("step").is_valid()).to_pylist():
            assert row["item_id"] is None
            assert row["bucket"] < 0
            numbers = np.frombuffer(row["numbers"])
            assert len(numbers) == 2 * WIDTH
            out[row["model"], row["window"], row["step"]] = numbers[:WIDTH] + numbers[WIDTH:]
    return out


@pytest.mark.parametrize("min_history", [0, 6, 1000])
def test_a_backtests_statistics_are_those_of_its_arrays(min_history: int) -> None:
    made = rows_of(min_history=min_history)
    skipped = 0
    for batch in made:
        assert batch.schema.names == list(COLUMNS)
        mine = batch.column("status").to_numpy(zero_copy_only=False) != "skipped"
        skipped += int((~mine).sum())
        assert (batch.column("statistics").is_valid().to_numpy(zero_copy_only=False) == mine).all()
        scored = batch.filter(pa.array(mine))
        if len(scored):
            stored = unpacked(scored.column("statistics"), WIDTH)
            expected = row_numbers(scored, LEVELS)
            assert (expected[:, TIME] > 0).any()
            expected[:, TIME] = 0.0
            np.testing.assert_array_equal(stored, expected)
    assert (skipped > 0) == (min_history > 0)
    sums = [blob for batch in made for blob in batch.column("step_statistics").drop_null()]
    assert len(sums) == (0 if min_history == 1000 else 1), "one row of a task"

    arrays = [b.filter(pa.array(b.column("status").to_numpy(zero_copy_only=False) != "skipped")) for b in made]
    expected = list(statistics_step(IDENTITY, LEVELS, ("item_id",))(b for b in arrays if len(b)))
    found = list(stored_step(IDENTITY, LEVELS, ("item_id",))(iter(made)))
    for name in ("item_id", "bucket", "model", "window", "step", "numbers"):
        for of_steps in (False, True):
            one, other = (
                [v for b in batches for v in b.filter(of_kind(b, of_steps)).column(name).to_pylist()]
                for batches in (expected, found)
            )
            assert one == other
    assert by_step(found).keys() == by_step(expected).keys()
    assert all(b.column("step").null_count == len(b) for b in stored_step(IDENTITY, LEVELS)(iter(made)))


def of_kind(batch: pa.RecordBatch, of_steps: bool) -> pa.Array:
    return batch.column("step").is_valid() if of_steps else batch.column("step").is_null()


def test_sums_by_step_are_those_of_a_plain_loop() -> None:
    made = rows_of()
    found = by_step(list(stored_step(IDENTITY, LEVELS, ("item_id",))(iter(made))))
    names = {(model, window) for model in ("naive", "ets") for window in (1, 2, 3)}
    assert found.keys() == {(*name, step) for name in names for step in range(1, H + 1)}
    rows = [row for batch in made for row in batch.to_pylist()]
    for (model, window, step), numbers in found.items():
        mine = [r for r in rows if (r["model"], r["window"]) == (model, window)]
        one_step = [pa.RecordBatch.from_pylist([cut(r, step - 1)], made[0].schema) for r in mine]
        plain = np.sum([row_numbers(b, LEVELS)[0] for b in one_step], axis=0)
        plain[TIME] = 0.0  # the seconds belong to no step
        row = numbers.copy()
        row[DENSITY] = plain[DENSITY]  # whose finest grain is that of the whole row's values
        np.testing.assert_allclose(row, plain, rtol=1e-12, atol=1e-12)


def cut(row: dict[str, Any], step: int) -> dict[str, Any]:
    """A row as if the horizon were this step alone."""
    width = len(LEVELS)
    density = row["log_density"]
    return row | {
        "mean": [row["mean"][step]],
        "quantiles": row["quantiles"][step * width : (step + 1) * width],
        "actuals": [row["actuals"][step]],
        "log_density": None if density is None else [density[step]],
    }


def test_the_form_names_what_the_numbers_are() -> None:
    assert statistics_form(LEVELS) == statistics_form([0.1, 0.5, 0.9])
    assert statistics_form(LEVELS) != statistics_form((0.1, 0.5, 0.95))
    assert statistics_form(LEVELS) != statistics_form((0.1, 0.5))


def test_forecasts_have_none() -> None:
    for batch in rows_of(stage="forecast", windows=0):
        assert batch.schema.names == list(COLUMNS)
        assert batch.column("statistics").null_count == batch.column("step_statistics").null_count == len(batch)


def test_what_is_packed_comes_back_from_a_slice() -> None:
    table = np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_array_equal(unpacked(packed(table).slice(2, 4), 3), table[2:6])
