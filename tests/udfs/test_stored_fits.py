"""Going on from stored numbers, in a task without Spark: the same as `update` and `refit` on the fit itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from series_table import START, history

from forecasting import SeriesBatch, fit
from forecasting.api import FittedBatch
from udfs.schemas import Layout, table_schemas
from udfs.spec import ModelSpec, TaskSpec
from udfs.stored import COLUMNS, FITS
from udfs.task import process

H, BEFORE, NOW, N = 7, 60, 75, 6
NAMES = tuple(c for c in table_schemas(Layout())["results"].names if c not in ("run_id", "stage"))
ETS = {"form": "AAdA"}


def spec(model: str, options: dict[str, Any], refit: str = "full") -> TaskSpec:
    return TaskSpec(
        stage="forecast", key=("item_id",), frequency="D", horizon=H, quantiles=(0.1, 0.5, 0.9), windows=0, offset=H,
        forecast_start="per_series", global_start=0, global_end=0, choices=((ModelSpec(model, options),),),
        columns=NAMES, seed=3, refit=refit,
    )  # fmt: skip


def series(length: int) -> list[list[float]]:
    """Rows of `length` periods; the longer ones go on where the shorter ones end."""
    return [history(k, NOW)[:length] for k in range(N)]


def source(length: int, stored: pa.Table | None = None, values: list[list[float]] | None = None) -> pa.RecordBatch:
    rows = {
        "item_id": [f"i{k}" for k in range(N)], "bucket": pa.array([0] * N, pa.int32()),
        "start": pa.array([START] * N, pa.timestamp("us")), "target": values or series(length),
        "choice": pa.array([0] * N, pa.int32()), "place": pa.array([0] * N, pa.int32()),
    }  # fmt: skip
    beside = {} if stored is None else {FITS: one_a_series(stored)}
    return pa.RecordBatch.from_pydict(rows | beside)


def one_a_series(stored: pa.Table) -> pa.Array:
    """Each row as a list of one struct, behind another model's that is not to be taken."""
    columns = [stored.column(name).combine_chunks() for name in COLUMNS]
    mine = pa.StructArray.from_arrays(columns, names=list(COLUMNS))
    other = pa.StructArray.from_arrays([pa.nulls(N, c.type) for c in columns], names=list(COLUMNS))
    both = pa.concat_arrays([other, mine]).take(pa.array(np.arange(2 * N).reshape(2, N).T.reshape(-1)))
    return pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * N + 1, 2, dtype=np.int32)), both)


def results(made: TaskSpec, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    table = pa.Table.from_batches(process(made, (0,), iter([batch])))
    return sorted(table.to_pylist(), key=lambda row: row["item_id"])


def stored_from(model: str, options: dict[str, Any]) -> pa.Table:
    """What `derive_parameters` makes of an earlier run's results, which ended BEFORE periods after the start."""
    rows = results(spec(model, options), source(BEFORE))
    end = START + (rows[0]["forecast_start"] - START) * (BEFORE - 1) / BEFORE
    kept = [row | {"fitted_end": end} for row in rows]
    kinds = {"season_length": pa.int32(), "fitted_start": pa.timestamp("us"), "fitted_end": pa.timestamp("us")}
    lists = dict.fromkeys(("parameters", "states"), pa.list_(pa.float64()))
    columns = {name: pa.array([row[name] for row in kept], (kinds | lists).get(name)) for name in COLUMNS}
    return pa.table(columns)


def local(length: int) -> SeriesBatch:
    return SeriesBatch.from_arrays(series(length), START.isoformat(), "D", keys=[f"i{k}" for k in range(N)])


def assert_predicts(rows: list[dict[str, Any]], fitted: FittedBatch) -> None:
    expected = fitted.predict(H)
    numbers = fitted.numbers
    for i, row in enumerate(rows):
        assert row["mean"] == expected.mean[i].tolist()
        assert row["quantiles"] == expected.quantiles[i].ravel().tolist()
        np.testing.assert_array_equal(row["parameters"], numbers.parameters[i])
        np.testing.assert_array_equal(
            row["states"], numbers.states[numbers.state_offsets[i] : numbers.state_offsets[i + 1]]
        )
        assert row["reason"] == expected.reason[i]


@pytest.mark.parametrize(("model", "options"), [("ets", {}), ("ets", ETS), ("seasonal_naive", {"season_length": 3})])
def test_never_is_update_and_warm_is_refit_bit_for_bit(model: str, options: dict[str, Any]) -> None:
    before = fit(local(BEFORE), model, seed=3, **options)
    stored = stored_from(model, options)
    for refit, expected in (("never", before.update(local(NOW))), ("warm", before.refit(local(NOW)))):
        rows = results(spec(model, options, refit), source(NOW, stored))
        assert {row["refit"] for row in rows} == {refit}
        assert_predicts(rows, expected)
    never = results(spec(model, options, "never"), source(NOW, stored))
    assert {row["evaluations"] for row in never} == {0}


def test_nothing_new_keeps_everything() -> None:
    rows = results(spec("ets", {}, "never"), source(BEFORE, stored_from("ets", {})))
    assert_predicts(rows, fit(local(BEFORE), "ets", seed=3))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"model": "naive"}, "no_stored_parameters"),
        ({"model": None}, "no_stored_parameters"),
        ({"hyperparameters": "another"}, "other_hyperparameters"),
        ({"season_length": 12}, "other_season_length"),
        ({"parameters": [1.0, 2.0]}, "other_hyperparameters"),
        ({"n_obs": 3}, "other_history"),
        ({"fitted_start": START.replace(day=2)}, "other_history"),
        ({"fitted_end": START.replace(year=2030)}, "other_history"),
    ],
)
def test_what_does_not_fit_is_fitted_anew_alone_and_says_why(changed: dict[str, Any], why: str) -> None:
    stored = stored_from("ets", {})
    odd = stored.slice(2, 1).to_pydict() | {name: [value] for name, value in changed.items()}
    mixed = pa.concat_tables([stored.slice(0, 2), pa.table(odd, stored.schema), stored.slice(3)])
    rows = results(spec("ets", {}, "never"), source(NOW, mixed))
    assert [row["refit"] for row in rows] == ["never", "never", f"full: {why}", "never", "never", "never"]
    anew = fit(local(NOW), "ets", seed=3)
    assert rows[2]["mean"] == anew.predict(H).mean[2].tolist()
    assert rows[2]["evaluations"] == anew.numbers.evaluations[2] > 0


def test_changed_hyperparameters_are_another_form() -> None:
    rows = results(spec("ets", ETS, "warm"), source(NOW, stored_from("ets", {})))
    assert {row["refit"] for row in rows} == {"full: other_hyperparameters"}
    assert_predicts(rows, fit(local(NOW), "ets", seed=3, **ETS))


def test_a_family_that_keeps_no_numbers_reads_the_history_again() -> None:
    stored = stored_from("npts", {})
    rows = results(spec("npts", {}, "never"), source(NOW, stored))
    assert {row["refit"] for row in rows} == {"full"}
    expected = fit(local(NOW), "npts", seed=3).predict(H)
    assert [row["mean"] for row in rows] == expected.mean.tolist()
