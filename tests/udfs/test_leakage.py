"""What a backtest window forecasts does not depend on anything after its cutoff: every family, through a task.

Each test changes all that a window must not know and compares its rows of `results` bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forecasting.batch import FloatArray
from forecasting.filling import FillRules, RelatedFill, TargetFill
from forecasting.frequency import Frequency
from forecasting.holidays import holiday_calendar
from forecasting.models.registry import model_names
from udfs.arrow import timestamps
from udfs.spec import ModelSpec, TaskSpec
from udfs.task import process

DAY = 86_400_000_000
FIRST = 19_000
"""Day number of the data set's first period."""
LENGTH, H, OFFSET, STRIDE, WINDOWS = 90, 5, 7, 3, 3
STARTS = (0, 30, 0, 0, 78)
LENGTHS = (90, 60, 90, 70, 12)
"""A whole series, a late one, one with gaps at the cutoffs, one that ended, one that begins between two cutoffs."""
N = len(STARTS)
COLUMNS = ("item_id", "model", "window", "forecast_start", "mean", "quantiles", "status", "reason", "n_obs",
           "n_filled", "n_clipped", "evaluations", "parameters", "mase_scale")  # fmt: skip
FILL = FillRules(
    TargetFill(front="zero", middle="mean", back="median"),
    {
        "price": RelatedFill(middle="mean", back="mean", future="mean"),
        "traffic": RelatedFill(middle="median", back="max"),
        "stock": RelatedFill(middle="mean", back="min"),
    },
)
KNOWN = {"price": True, "ceiling": True, "traffic": False, "stock": False}


def all_that_is_seen(
    y: FloatArray, horizon: int, quantiles: FloatArray, season_length: int, related: dict[str, FloatArray]
) -> Any:
    """A user's model whose forecast depends on every value that it is given."""
    del season_length
    numbers = np.concatenate([y, *(column for _, column in sorted(related.items()))])
    total = np.nansum(numbers * (1 + np.arange(len(numbers)) % 13)) / 1e4
    return np.full(horizon, total), np.full((horizon, len(quantiles)), total)


LAGGED = {"regressors": ["price", "traffic", "stock"], "lags": {"traffic": H, "stock": 9}}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in model_names()},
    "arima, all": ("arima", LAGGED),
    "arima, unlagged price": ("arima", {"regressors": ["price"], "use_holidays": False}),
    "prophet, all": ("prophet", LAGGED),
    "prophet, logistic": ("prophet", {"growth": "logistic", "cap": "ceiling", "scaling": "minmax"}),
    "npts, all": (
        "npts",
        {"feature_weights": {"price": 1.0, "traffic": 0.5, "stock": 2.0}, "lags": {"traffic": H, "stock": 9}},
    ),
    "npts, gluonts": ("npts", {"distance": "gluonts", "use_seasonal_model": True}),
    "npts, counted": ("npts", {"season_length": 5, "use_seasonal_model": True}),
    "ets, chosen": ("ets", {"form": "ZZA"}),
    "mstl, two seasons": ("mstl", {"season_lengths": [7, 10]}),
    "user": ("test_leakage:all_that_is_seen", {}),
    "statsmodels": ("statsmodels:AutoReg", {"params": {"lags": 1}, **LAGGED}),
}
READS_PRICE = ("arima, all", "arima, unlagged price", "prophet, all", "npts, all", "user", "statsmodels", "arima",
               "prophet", "prophet, logistic")  # fmt: skip
every_model = pytest.mark.parametrize("model", MODELS)


@dataclass(frozen=True)
class Data:
    """target, related: one array a series, from its start. end: the last period of the data set, from FIRST."""

    target: tuple[FloatArray, ...]
    related: dict[str, tuple[FloatArray, ...]]
    end: int = LENGTH - 1
    windows: int = WINDOWS


@cache
def whole() -> Data:
    """With STRIDE periods more than the tests' data have: what is appended."""
    rng = np.random.default_rng(5)
    target, related = [], {name: [] for name in KNOWN}  # type: ignore[var-annotated]
    for i in range(N):
        days = STARTS[i] + np.arange(LENGTHS[i] + STRIDE)
        ahead = STARTS[i] + np.arange(LENGTH + STRIDE + H - STARTS[i])
        price = 10 + np.sin(ahead / 5.0) + rng.normal(0, 0.4, len(ahead))
        traffic = 30 + rng.normal(0, 5, len(days))
        stock = 5 + rng.normal(0, 1, len(days)).cumsum()
        y = 60 + 8 * np.sin(days * 2 * np.pi / 7) - 3 * price[: len(days)] + rng.normal(0, 1, len(days))
        if i == 2:
            y[rng.random(len(y)) < 0.15] = np.nan
            y[74:78] = y[79:84] = np.nan  # over the cutoffs 76, and 79 and 82
            traffic[72:81] = np.nan
            price[rng.random(len(price)) < 0.05] = np.nan
        if i == 1:
            stock[:50] = np.nan  # nothing known of it before the cutoffs 76 and 79
        target.append(y)
        for name, column in (("price", price), ("traffic", traffic), ("stock", stock)):
            related[name].append(column)
        related["ceiling"].append(200 + 0.1 * ahead)
    return Data(tuple(target), {k: tuple(v) for k, v in related.items()})


def cut(data: Data, targets: Any, known: Any) -> Data:
    """Each series' target and unknown related series at most targets[i] periods long, the others known[i]."""
    related = {
        name: tuple(c[: max(int(known[i] if KNOWN[name] else targets[i]), 0)] for i, c in enumerate(columns))
        for name, columns in data.related.items()
    }
    target = tuple(y[: max(int(targets[i]), 0)] for i, y in enumerate(data.target))
    return replace(data, target=target, related=related)


def original() -> Data:
    return cut(whole(), LENGTHS, LENGTH + H - np.array(STARTS))


def appended(mode: str) -> Data:
    """STRIDE periods more of every series, so that each window becomes the next; the ended series wakes up in them."""
    data = cut(whole(), np.array(LENGTHS) + STRIDE, LENGTH + STRIDE + H - np.array(STARTS))
    data = replace(data, end=LENGTH - 1 + STRIDE, windows=WINDOWS + 1)
    if mode == "per_series":
        return data
    late, silence = LENGTHS[3], np.full(LENGTH - LENGTHS[3], np.nan)

    def woken(columns: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        return tuple(np.r_[c[:late], silence, c[late:]] if i == 3 else c for i, c in enumerate(columns))

    related = {name: c if KNOWN[name] else woken(c) for name, c in data.related.items()}
    return replace(data, target=woken(data.target), related=related)


def seen_by(window: int, mode: str) -> Any:
    """Periods of each series up to the cutoff, [N]."""
    ends = np.array(LENGTHS) - 1 if mode == "per_series" else LENGTH - 1 - np.array(STARTS)
    return ends - (OFFSET + (window - 1) * STRIDE) + 1


def disturbed(values: FloatArray, begin: int) -> FloatArray:
    """Other values from `begin` on: gaps are closed, and every third value becomes one."""
    out = values.copy()
    after = out[max(begin, 0) :]
    gaps = np.isnan(after)
    after[:] = 500.0 - 3.0 * after
    after[::3] = np.nan
    after[gaps] = 1e4
    return out


def another_future(data: Data, seen: Any) -> Data:
    """All that a window may not know is different; known series are from the end of its horizon on."""
    related = {
        name: tuple(
            np.r_[c[: max(seen[i] + H, 0)], 40.0 + c[max(seen[i] + H, 0) :]] if KNOWN[name] else disturbed(c, seen[i])
            for i, c in enumerate(columns)
        )
        for name, columns in data.related.items()
    }
    return replace(data, target=tuple(disturbed(y, seen[i]) for i, y in enumerate(data.target)), related=related)


def dearer(data: Data, seen: Any) -> Data:
    """Another known price over the horizon, nothing else."""
    prices = tuple(p + 2.0 * ((k := np.arange(len(p))) >= s) * (k < s + H) for p, s in
                   zip(data.related["price"], seen, strict=True))  # fmt: skip
    return replace(data, related={**data.related, "price": prices})


def results(data: Data, model: str, mode: str, **settings: Any) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of `results` by series and day of the first step."""
    name, options = MODELS[model]
    on = [date(1970, 1, 1) + timedelta(days=FIRST + d) for d in (12, 40, 61, 75, 79, 84, 91)]
    calendar = holiday_calendar({"": {"Feast": on}}, Frequency.parse("D"), FIRST, FIRST + data.end + H)
    spec = TaskSpec(
        stage="backtest", key=("item_id",), frequency="D", horizon=H, quantiles=(0.1, 0.5, 0.9), windows=data.windows,
        offset=OFFSET, stride=STRIDE, forecast_start=mode, global_start=FIRST, global_end=FIRST + data.end,
        choices=((ModelSpec(name, options),),), columns=COLUMNS, seed=7, fill=FILL, related=KNOWN, calendar=calendar,
        max_evaluations=300, **{"min_history": 1, **settings},
    )  # fmt: skip
    zeros = pa.array([0] * N, pa.int32())
    lists = {"target": data.target, **{f"related:{k}": v for k, v in data.related.items()}}
    batch = pa.RecordBatch.from_pydict(
        {"item_id": [f"i{k}" for k in range(N)], "bucket": zeros, "choice": zeros, "place": zeros,
         "start": timestamps((FIRST + np.array(STARTS, dtype=np.int64)) * DAY)}
        | {k: pa.array([a.tolist() for a in v], pa.list_(pa.float64())) for k, v in lists.items()}
    )  # fmt: skip
    rows = pa.Table.from_batches(process(spec, (0,), iter([batch]))).to_pylist()
    out = {(row["item_id"], (row["forecast_start"].date() - date(1970, 1, 1)).days): row for row in rows}
    assert len(out) == N * data.windows
    assert not any("Error" in row["reason"] for row in rows), {row["reason"] for row in rows}
    return out


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name in set(COLUMNS) - {"window"}:
        if before[name] is None or isinstance(before[name], str):
            assert before[name] == after[name], name
        else:
            np.testing.assert_array_equal(before[name], after[name], err_msg=f"{name} {before['item_id']}")


def check(model: str, mode: str, **settings: Any) -> None:
    base = results(original(), model, mode, **settings)
    for window in range(1, WINDOWS + 1):
        seen = seen_by(window, mode)
        others = [another_future(original(), seen)]
        if mode == "global":  # else the end, and with it the cutoffs, would be another
            others.append(cut(original(), seen, seen + H))
        for other in others:
            mine = results(other, model, mode, **settings)
            same = [key for key, row in base.items() if row["window"] >= window]
            assert len(same) == N * (WINDOWS - window + 1)
            for key in same:
                assert_same(base[key], mine[key])
    longer = results(appended(mode), model, mode, **settings)
    for key, row in base.items():
        assert longer[key]["window"] == row["window"] + 1
        assert_same(row, longer[key])


@every_model
@pytest.mark.parametrize("mode", ["global", "per_series"])
def test_nothing_after_a_cutoff_changes_a_window(model: str, mode: str) -> None:
    check(model, mode)


MOVED = ("ets", "arima, all", "prophet, all", "npts, all", "theta", "mstl", "user", "seasonal_naive")


@pytest.mark.parametrize("model", MOVED)
@pytest.mark.parametrize("settings", [{"history": 25}, {"backtest_refit": "first"}, {"history": 25, "min_history": 8}])
def test_nothing_after_a_cutoff_changes_a_rolling_window_or_a_fit_that_moves_on(
    model: str, settings: dict[str, Any]
) -> None:
    check(model, "global", **settings)


@every_model
def test_what_is_known_of_the_horizon_may_matter(model: str) -> None:
    """And the tests above can see a change."""
    seen = seen_by(1, "global")
    base, other = (results(d, model, "global") for d in (original(), dearer(original(), seen)))
    changed = {k[0] for k, row in base.items() if row["window"] == 1 and row["mean"] != other[k]["mean"]}
    assert bool(changed) == (model in READS_PRICE), changed


def test_a_window_before_a_series_begins_is_left_out() -> None:
    rows = results(original(), "user", "global")
    late = {row["window"]: row for (item, _), row in rows.items() if item == "i4"}
    assert (late[3]["status"], late[3]["reason"], late[3]["mean"]) == ("skipped", "short_history", None)
    assert late[1]["status"] == "ok"
