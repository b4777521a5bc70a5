"""Runs: made, found for resume, finished, and one published at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from udfs import runs
from udfs.config import load_config
from udfs.errors import InputError
from udfs.lake import Lake
from udfs.work import RunPlan, StagePlan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MakeConfig = Callable[..., dict[str, Any]]
PLAN = RunPlan("D", 0, 9, 4, False, 3, 10.0, stages={"backtest": StagePlan((0, 5, 8), (1, 2), (0.5, 0.5))})


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import datetime

    class Clock(datetime):
        second_now = 0

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            cls.second_now += 1
            return datetime(2024, 12, 31, 23, 59, cls.second_now, tzinfo=tz)

    monkeypatch.setattr(runs, "datetime", Clock)
    ids = [runs.new_run_id() for _ in range(20)]
    assert ids == sorted(ids)
    assert ids[0].startswith("20241231T235901Z-")


@pytest.mark.spark
def test_a_runs_life(spark: SparkSession, make_config: MakeConfig) -> None:
    config = load_config(make_config())
    lake = Lake.of(spark, config)
    assert runs.newest(lake) == []
    assert runs.unfinished(lake, config, None, None) is None
    first = runs.new_run(config, PLAN, {"series": 3}, "first")
    second = replace(
        runs.new_run(config, replace(PLAN, where="item_id > 'a'", items=("b",)), {"series": 4}), run_id="b"
    )
    other = runs.new_run(load_config(make_config(seed=1)), PLAN, {"series": 4}, "other")
    for run in (first, second, other):
        runs.create(lake, run)
    assert runs.get(lake, "first") == first
    assert first.series_version == 3
    assert runs.unfinished(lake, config, None, None) == first
    assert runs.unfinished(lake, config, "item_id > 'a'", ["b", "b"]) == second
    assert runs.unfinished(lake, config, "item_id > 'b'", ["b"]) is None
    assert runs.unfinished(lake, load_config(make_config(cost={"core_hour": 9.0})), None, None) == first  # price alone
    done = runs.finish(lake, replace(first, counts={"series": 3}, core_seconds=1.5))
    assert runs.get(lake, "first") == done
    assert done.finished_at is not None
    assert runs.unfinished(lake, config, None, None) is None
    runs.publish(lake, "first")
    version = lake.version("runs")
    runs.publish(lake, "b")
    assert lake.version("runs") == version + 1  # one commit: no reader sees none or two
    assert {r["run_id"]: r["published"] for r in lake.read("runs").collect()} == {
        "first": False, "b": True, "other": False
    }  # fmt: skip
    runs.publish(lake, "first")
    assert runs.get(lake, "first") == replace(done, published=True)
    assert len(runs.newest(lake)) == 3
    with pytest.raises(InputError, match="no run 'nobody'"):
        runs.publish(lake, "nobody")
    with pytest.raises(InputError, match="no run 'nobody'"):
        runs.get(lake, "nobody")
