"""The life of items from rows to forecasts, on generated series whose story is known."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from jobs.describe import describe, render
from jobs.evaluate import evaluate
from jobs.ingest import ingest
from jobs.run import run
from udfs.config import load_config
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
H = 7
END = date(2024, 7, 18)
DAYS = 200


def day(back: int) -> str:
    """The date `back` days before the last of the data."""
    return str(END - timedelta(days=back))


def weekly(item: str, backs: Any, level: float = 20.0) -> list[str]:
    """A row for each of the days before the end, with a weekly season."""
    return [
        f"{item},{day(back)},{level + 5 * np.sin(back * 2 * np.pi / 7):.3f}" for back in sorted(backs, reverse=True)
    ]


STORY: dict[str, tuple[list[str], tuple[str, str], str, str | None]] = {
    # item: its rows, start and end date, lifecycle, how its reason begins
    "steady": (weekly("steady", range(DAYS)), ("", "9999-12-31"), "active", None),
    "fresh": (weekly("fresh", range(4)), ("", ""), "new", "4 observations, fewer than 7"),
    "listed": ([], ("", ""), "new", "no observations"),
    "gone": (weekly("gone", range(40, DAYS)), ("", ""), "ended", "silent 40 periods, longest gap 1"),
    "quiet": (weekly("quiet", range(10, DAYS)), ("", ""), "dormant", "silent 10 periods, longest gap 1"),
    "back": (
        weekly("back", [*range(3), *range(63, DAYS)]), ("", ""),
        "returning", "sold again 2 periods ago after 61 silent",
    ),
    "dated": (weekly("dated", range(DAYS)), ("", day(5)), "ended", f"end date {day(5)}"),
    "ends": (weekly("ends", range(DAYS)), ("", day(-3)), "active", None),
    "starts": (weekly("starts", range(50, DAYS)), (day(-3), ""), "ended", "silent 50 periods"),
    "summer": (
        weekly("summer", [back + 365 * year for year in range(3) for back in range(120, 210)]), ("", ""),
        "active", None,
    ),
    "spare": (weekly("spare", range(150, 600, 60)), ("", ""), "dormant", "silent 150 periods, longest gap 60"),
}  # fmt: skip


def written(content: dict[str, Any], rows: list[str], folder: Path) -> None:
    Path(content["data"]["target"]["path"]).write_text("\n".join(["item_id,timestamp,target", *rows]))
    lines = [f"{item},{start},{end}" for item, (_, (start, end), _, _) in STORY.items()]
    (folder / "items.csv").write_text("\n".join(["item_id,launch,last_day", *lines, "wrong,,soon"]))


@pytest.fixture(scope="module")
def told(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Lake, Any]:
    folder = tmp_path_factory.mktemp("life")
    content: dict[str, Any] = {
        "dataset_group": "life",
        "frequency": "D",
        "horizon": H,
        "data": {
            "target": {"path": str(folder / "target.csv")},
            "items": [{"path": str(folder / "items.csv"), "attributes": ["launch", "last_day"]}],
        },
        "models": {"naive": {}, "seasonal_naive": {}, "mean": {}},
        "backtest": {"windows": 3},
        "lake": {"path": str(folder / "lake"), "buckets": 4},
        "lifecycle": {"start_date": "launch", "end_date": "last_day", "phase_out": None},
        "selection": {"mode": "mean"},
        "cold_start": False,
        "limits": {"max_failed_share": 0.5},  # "listed" has no forecast of its own
    }
    written(content, [row for rows, *_ in STORY.values() for row in rows], folder)
    config = load_config(content)
    report = run(config, spark)
    return config, Lake.of(spark, config), report


def test_states_and_reasons(told: Any) -> None:
    _, lake, _ = told
    found = {r["item_id"]: (r["lifecycle"], r["profile"]["lifecycle_reason"]) for r in lake.read("series").collect()}
    for item, (_, _, state, reason) in STORY.items():
        assert found[item][0] == state, item
        assert (found[item][1] is None) == (reason is None), item
        assert reason is None or found[item][1].startswith(reason), found[item]
    assert found.keys() == STORY.keys()
    rejects = [(r["role"], r["reason"], r["row"]) for r in lake.read("rejects").collect()]
    assert [r[:2] for r in rejects] == [("items:0", "bad_date")]
    assert "soon" in rejects[0][2]


def test_forecasts_are_zero_after_the_end_and_only_there(told: Any) -> None:
    _, lake, report = told
    rows = lake.read("forecasts").where(f"run_id = '{report.run.run_id}'").orderBy("item_id", "step").collect()
    zero: dict[str, list[int]] = {}
    flag: dict[str, list[str | None]] = {}
    for row in rows:
        nothing = (row["mean"], row["p10"], row["p50"], row["p90"]) == (0.0, 0.0, 0.0, 0.0)
        zero.setdefault(row["item_id"], []).extend([row["step"]] * nothing)
        flag.setdefault(row["item_id"], []).append(row["lifecycle"])
    every = list(range(1, H + 1))
    expected = {item: [] for item in STORY} | {
        "gone": every, "dated": every, "ends": [4, 5, 6, 7], "starts": [1, 2], "listed": every,
    }  # fmt: skip
    assert zero == expected
    flags = {item: [None] * H for item in STORY} | {
        "gone": ["ended"] * H, "dated": ["ended"] * H, "ends": [None] * 3 + ["ended"] * 4,
        "starts": ["not_started"] * 2 + [None] * 5,
    }  # fmt: skip
    assert flag == flags
    ends = {r["step"]: r["mean"] for r in rows if r["item_id"] == "ends"}
    steady = {r["step"]: r["mean"] for r in rows if r["item_id"] == "steady"}
    assert [ends[step] for step in (1, 2, 3)] == pytest.approx([steady[step] for step in (1, 2, 3)])


def test_the_ledger_says_why_and_no_model_is_paid_for(told: Any) -> None:
    _, lake, report = told
    rows = lake.read("results").where(f"run_id = '{report.run.run_id}'").collect()
    final = {r["item_id"]: r for r in rows if r["stage"] == "forecast" and r["mean"] is not None}
    told_of = [item for item in STORY if item not in ("listed", "fresh")]
    assert {item: final[item]["reason"] for item in told_of} == dict.fromkeys(told_of, "") | {
        "gone": "ended",
        "dated": "ended",
        "ends": "ended_after_step_3",
        "starts": "not_started_to_step_2",
    }
    assert {final[item]["status"] for item in ("gone", "dated", "ends", "starts")} == {"ok"}
    of_gone = [r for r in rows if r["item_id"] == "gone" and r["stage"] == "forecast"]
    assert all(r["parameters"] is None and r["evaluations"] == 0 for r in of_gone)
    # 'gone' was silent for 33, 26 and 19 days at the cutoffs: it had ended at each of them.
    windows = {(r["item_id"], r["window"]): r for r in rows if r["stage"] == "backtest" and r["model"] == "mean"}
    assert [windows["gone", w]["reason"] for w in (1, 2, 3)] == ["ended"] * 3
    assert [windows["gone", w]["mean"] for w in (1, 2, 3)] == [[0.0] * H] * 3
    # 'quiet' was silent for 3 days at the latest cutoff and sold until then at the others.
    assert [windows["quiet", w]["reason"] for w in (1, 2, 3)] == [""] * 3
    # 'dated' ends after the second of the seven days that the latest window scores.
    assert windows["dated", 1]["reason"] == "ended_after_step_2"
    assert windows["dated", 1]["mean"][2:] == [0.0] * 5
    assert windows["dated", 1]["mean"][1] > 1.0
    assert np.isfinite(windows["dated", 1]["actuals"]).all()  # scored, unless told otherwise
    # 'back' was away for 61 days: ended at the latest cutoff, which is scored with what happened then.
    assert windows["back", 1]["reason"] == "ended"
    assert np.isfinite(windows["back", 1]["actuals"]).sum() == 3


def test_describe_shows_the_states(told: Any, spark: SparkSession) -> None:
    config, _, report = told
    found = describe(config, spark)
    assert found.series is not None
    assert dict(found.series.lifecycle) == {"active": 3, "dormant": 2, "ended": 3, "new": 2, "returning": 1}
    out = io.StringIO()
    render(found, Console(file=out, width=200))
    assert "3 active, 2 dormant, 3 ended, 2 new, 1 returning" in out.getvalue()
    assert report.run.published


@pytest.mark.parametrize("zero_is_silence", [True, False])
def test_zeros_at_the_end(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path, zero_is_silence: bool
) -> None:
    content = make_config(
        lifecycle={"zero_is_silence": zero_is_silence, "score_ended": False},
        models={"mean": {}},
        backtest={"windows": 1},
    )
    rows = weekly("sold", range(DAYS))
    rows += [f"faded,{day(back)},{0 if back < 60 else 5}" for back in range(DAYS)]
    rows += [f"rare,{day(back)},{5 if back % 30 == 20 else 0}" for back in range(DAYS)]
    Path(content["data"]["target"]["path"]).write_text("\n".join(["item_id,timestamp,target", *rows]))
    config = load_config(content)
    lake = Lake.of(spark, config)
    report = run(config, spark)
    states = {r["item_id"]: r["lifecycle"] for r in lake.read("series").collect()}
    assert states == {"sold": "active", "faded": "ended" if zero_is_silence else "active", "rare": "active"}
    rows = (
        lake.read("results").where(f"run_id = '{report.run.run_id}' AND stage IN ('forecast', 'backtest')").collect()
    )
    faded = {r["stage"]: r for r in rows if r["item_id"] == "faded"}
    assert (faded["forecast"]["mean"] == [0.0] * H) == zero_is_silence
    assert (faded["forecast"]["reason"] == "ended") == zero_is_silence
    assert np.isnan(faded["backtest"]["actuals"]).all() == zero_is_silence  # not scored after the end
    if zero_is_silence:  # what arrives after the end is not scored either; 'faded' is sold again
        more = [f"{item},{day(-ahead)},5" for item in ("sold", "faded", "rare") for ahead in (1, 2, 3)]
        with Path(content["data"]["target"]["path"]).open("a") as file:
            file.write("\n" + "\n".join(more))
        ingest(config, spark)
        arrival = evaluate(config, spark).arrival
        assert arrival is not None
        assert (arrival.n_series, arrival.n_points) == (2, 6)
        assert {r["item_id"]: r["lifecycle"] for r in lake.read("series").collect()}["faded"] == "returning"
        # A change of the section packs the same sources again
        again = load_config(content, ["lifecycle.returning_within=2"])
        assert ingest(again, spark).changed
        assert {r["item_id"]: r["lifecycle"] for r in lake.read("series").collect()}["faded"] == "active"
        assert not ingest(again, spark).changed
