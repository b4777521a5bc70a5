"""Treatments of abrupt changes in a task: nothing after a cutoff matters, actuals and scales stay, fits go on."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import test_leakage as leak
import test_stored_fits as stored_fits

from forecasting.treatment import Kind, Treatment
from udfs.derive_events import found_events

plain = leak.whole


@cache
def eventful() -> leak.Data:
    """The data of the tests of leakage with events within, around and after the cutoffs (days 76, 79 and 82)."""
    data = plain()
    target = [y.copy() for y in data.target]
    target[0][40] += 90
    target[0][50:57] += 60
    target[0][79:] += 70
    target[1][20:] += 50  # day 50
    target[1][44] -= 80
    target[2][30:] -= 40
    target[3][60:65] += 70
    target[3][78:82] += 70  # behind its end, and in what is appended
    return replace(data, target=tuple(target))


TREATMENTS: dict[str, Treatment] = {
    "dampen": Treatment("dampen"),
    "after_shift": Treatment("after_shift", min_history=9),
    "regressors": Treatment("regressors", max_steps=2),
}


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak, "whole", eventful)
    monkeypatch.setattr(leak, "COLUMNS", (*leak.COLUMNS, "treatment", "n_treated", "actuals", "rmsse_scale"))


def without_known(rows: Any) -> Any:
    """What is compared between windows whose later actuals were changed."""
    return {key: {name: v for name, v in row.items() if name != "actuals"} for key, row in rows.items()}


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize(("model", "kind", "mode", "more"), [
    ("ets", "dampen", "global", {}),
    ("user", "dampen", "global", {"history": 40}),
    ("user", "dampen", "per_series", {}),
    ("ets", "after_shift", "global", {}),
    ("user", "after_shift", "per_series", {"min_history": 8}),
    ("prophet, all", "after_shift", "global", {"history": 45}),
    ("prophet, all", "regressors", "global", {}),
    ("user", "regressors", "per_series", {}),
])  # fmt: skip
def test_nothing_after_a_cutoff_changes_what_is_treated(
    monkeypatch: pytest.MonkeyPatch, model: str, kind: str, mode: str, more: dict[str, Any]
) -> None:
    unchanged = leak.results
    monkeypatch.setattr(leak, "results", lambda *a, **k: without_known(unchanged(*a, **k)))
    monkeypatch.setattr(leak, "COLUMNS", tuple(c for c in leak.COLUMNS if c != "actuals"))
    leak.check(model, mode, treatments=(TREATMENTS[kind],), **more)


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("kind", TREATMENTS)
def test_what_is_treated_is_counted_and_what_is_scored_stays(kind: Kind) -> None:
    model = "prophet" if kind == "regressors" else "user"
    untreated = leak.results(leak.original(), model, "global")
    treated = leak.results(leak.original(), model, "global", treatments=(TREATMENTS[kind],))
    done = {(item, row["window"]): (row["treatment"], row["n_treated"]) for (item, _), row in treated.items()}
    expected: dict[str, dict[tuple[str, int], tuple[str, int]]] = {
        "dampen": {("i0", 3): ("dampened", 8), ("i1", 1): ("dampened", 1), ("i3", 2): ("dampened", 5)},
        "after_shift": {("i1", 2): ("cut", 62), ("i2", 1): ("cut", 31), ("i3", 3): ("untouched", 0)},
        "regressors": {("i2", 3): ("regressors", 1), ("i1", 3): ("regressors", 2), ("i3", 1): ("regressors", 1)},
    }
    for place, what in expected[kind].items():
        assert done[place] == what, place
    changed = set()
    for key, row in treated.items():
        for name in ("actuals", "mase_scale", "rmsse_scale", "forecast_start"):
            np.testing.assert_array_equal(row[name], untreated[key][name])
        assert untreated[key]["treatment"] is None
        if row["mean"] != untreated[key]["mean"]:
            changed.add((key[0], row["window"]))
    assert set(expected[kind]) - {p for p, w in expected[kind].items() if w[0] == "untouched"} <= changed
    assert all(done[place][1] for place in changed)
    only_told = leak.results(leak.original(), model, "global", treatments=(Treatment("report"),))
    for key, row in only_told.items():
        leak.assert_same(row, untreated[key])


@pytest.mark.parametrize("kind", ["dampen", "after_shift"])
def test_a_stored_fit_is_gone_on_from_only_under_the_same_treatment(kind: Kind) -> None:
    values = stored_fits.series(stored_fits.NOW)
    for y in values:
        y[15] = 950.0
        for t in range(len(y)):
            y[t] += 300.0 * (t >= 25)
    treatment = Treatment(kind, min_history=20)

    def spec(refit: str, how: Treatment | None) -> Any:
        made = stored_fits.spec("ets", stored_fits.ETS, refit)
        return replace(made, treatments=(how,))

    def rows(refit: str, how: Treatment | None, length: int, stored: pa.Table | None = None) -> list[dict[str, Any]]:
        batch = stored_fits.source(length, stored, [y[:length] for y in values])
        return stored_fits.results(spec(refit, how), batch)

    before = rows("full", treatment, stored_fits.BEFORE)
    assert {row["treatment"] for row in before} == {"dampened" if kind == "dampen" else "cut"}
    kept = table_of(before)
    on = rows("never", treatment, stored_fits.NOW, kept)
    assert {row["refit"] for row in on} == {"never"}
    for other in (None, replace(treatment, penalty=4.0), Treatment("report")):
        refused = rows("never", other, stored_fits.NOW, kept)
        reasons = {row["refit"] for row in refused}
        assert reasons <= {"full: other_hyperparameters", "full: other_history"}, reasons
    untreated = table_of(rows("full", None, stored_fits.BEFORE))
    assert {row["refit"] for row in rows("never", None, stored_fits.NOW, untreated)} == {"never"}
    refused = rows("never", treatment, stored_fits.NOW, untreated)
    assert not any(row["refit"] == "never" for row in refused)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """What `derive_parameters` makes of such rows."""
    day = (rows[0]["forecast_start"] - stored_fits.START) / stored_fits.BEFORE
    kept = [row | {"fitted_end": row["forecast_start"] - day} for row in rows]
    kinds = {"season_length": pa.int32(), "fitted_start": pa.timestamp("us"), "fitted_end": pa.timestamp("us")}
    lists = dict.fromkeys(("parameters", "states"), pa.list_(pa.float64()))
    columns = {name: pa.array([row[name] for row in kept], (kinds | lists).get(name)) for name in stored_fits.COLUMNS}
    return pa.table(columns)


def test_events_are_those_of_the_whole_history() -> None:
    values = stored_fits.series(stored_fits.NOW)
    values[1][30] += 400.0
    for t in range(40, 46):
        values[2][t] += 200.0
    for t in range(50, 75):
        values[3][t] -= 200.0
    names = ("item_id", "timestamp", "until", "kind", "size", "sign", "score", "bucket")
    batch = stored_fits.source(stored_fits.NOW, None, values)
    spec = replace(stored_fits.spec("naive", {}), treatments=(Treatment("report"),))
    rows = pa.Table.from_batches(found_events(batch, spec, names)).to_pylist()
    day = np.timedelta64(1, "D")
    start = np.datetime64(stored_fits.START)
    told = [(r["item_id"], r["kind"], (np.datetime64(r["timestamp"]) - start) // day, r["sign"]) for r in rows]
    assert sorted(told) == [
        ("i1", "outlier", 30, 1), ("i2", "surge", 40, 1), ("i3", "level_shift", 50, -1),
    ]  # fmt: skip
    by_kind = {r["kind"]: r for r in rows}
    assert (np.datetime64(by_kind["surge"]["until"]) - start) // day == 45
    assert by_kind["level_shift"]["until"] == by_kind["level_shift"]["timestamp"]
    assert abs(by_kind["surge"]["size"] - 200) < 15
    assert by_kind["outlier"]["score"] > 10
    assert list(found_events(batch, replace(spec, treatments=(None,)), names)) == []
