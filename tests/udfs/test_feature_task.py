"""Derived features in a task: nothing after a cutoff matters, and stored fits know their definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import test_leakage as leak
import test_stored_fits as stored_fits
from test_treated import table_of

from forecasting.features import Derived, Features

FEATURES = Features(
    {
        "price_change": Derived("price", "relative_change"),
        "price_mean": Derived("price", "rolling_mean", 3),
        "traffic_before": Derived("traffic", "lag", leak.H),
        "stock_change": Derived("stock", "difference", 2),
    },
    calendar=("day_of_week",),
)
REGRESSING = {"regressors": ["price_change", "traffic_before", "day_of_week_sin"], "use_holidays": False}


@pytest.mark.parametrize(("model", "mode"), [("user", "global"), ("user", "per_series"), ("prophet", "global")])
def test_nothing_after_a_cutoff_changes_what_is_derived(
    monkeypatch: pytest.MonkeyPatch, model: str, mode: str
) -> None:
    monkeypatch.setitem(leak.MODELS, "prophet", ("prophet", REGRESSING))
    leak.check(model, mode, features=FEATURES)


def test_derived_features_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(leak.MODELS, "prophet", ("prophet", REGRESSING))
    seen = leak.seen_by(1, "global")
    base, other = (
        leak.results(data, "prophet", "global", features=FEATURES)
        for data in (leak.original(), leak.dearer(leak.original(), seen))
    )
    changed = {key[0] for key, row in base.items() if row["window"] == 1 and row["mean"] != other[key]["mean"]}
    assert {"i0", "i1"} <= changed


def test_a_stored_fit_is_refused_under_another_definition() -> None:
    def rows(features: Features, refit: str, length: int, stored: Any = None) -> list[dict[str, Any]]:
        made = stored_fits.spec("prophet", {"regressors": ["day_of_week_sin"]}, refit)
        return stored_fits.results(replace(made, features=features), stored_fits.source(length, stored))

    sunday = Features(calendar=("day_of_week",))
    kept = table_of(rows(sunday, "full", stored_fits.BEFORE))
    assert {row["refit"] for row in rows(sunday, "never", stored_fits.NOW, kept)} == {"never"}
    other = replace(sunday, calendar=("day_of_week", "month_of_year"))
    again = rows(other, "never", stored_fits.NOW, kept)
    assert {row["refit"] for row in again} == {"full: other_hyperparameters"}
    assert np.isfinite([row["mean"] for row in again]).all()
