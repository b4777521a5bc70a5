"""The verbs `forget` and `optimize`: what is gone, what stays, and what a lake looks like afterwards."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F
from rich.console import Console

from jobs import forget as forget_verb
from jobs import optimize as optimize_verb
from jobs.backtest import backtest
from jobs.forecast import forecast
from jobs.forget import forget
from jobs.ingest import ingest
from jobs.optimize import optimize
from jobs.select import select
from udfs import runs
from udfs.config import load_config
from udfs.errors import InputError
from udfs.forget import parts_of
from udfs.lake import Lake
from udfs.pieces import joined

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.timeout(1200)]
MakeConfig = Callable[..., dict[str, Any]]
HEAD = "item_id,store,timestamp,target\n"


def holding(lake: Lake, item: str) -> dict[str, int]:
    """Tables that have the text somewhere in a row, looked for without knowing their columns."""
    found = {}
    for name in lake.schemas:
        if lake.exists(name):
            rows = lake.read(name)
            n = rows.where(F.to_json(F.struct(*rows.columns)).contains(item)).count()
            found |= {name: n} if n else {}
    return found


def metrics_points(lake: Lake, scope: str) -> dict[tuple[str, int], int]:
    """Scored points by model and window."""
    rows = lake.read("metrics").where(F.col("scope") == scope).groupBy("model", "window").agg(F.sum("n_points"))
    return {(model, window): points for model, window, points in rows.collect()}


def test_an_item_is_forgotten_everywhere(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    days = range(1, 25)
    good = [f"{i},{s},2024-01-{d:02},{d}" for i in ("secret", "other") for s in ("s1", "s2") for d in days]
    bad = ["secret,s1,2024-02-30,1", "secret,s2,2024-01-01,1,torn", "other,s1,never,1"]
    (tmp_path / "t.csv").write_text(HEAD + "\n".join(good + bad) + "\n")
    (tmp_path / "i.csv").write_text("item_id,colour\nsecret,red\nother,blue\n")
    config = make_config(
        dimensions=["store"],
        data={
            "target": {"path": str(tmp_path / "t.csv")},
            "items": [{"path": str(tmp_path / "i.csv"), "attributes": ["colour"]}],
        },
        components=False,
    )
    lake = Lake.of(spark, load_config(config))
    ingest(config, spark)
    backtest(config, spark)
    select(config, spark)
    forecast(config, spark)
    before = holding(lake, "secret")
    assert {"target", "series", "items", "rejects", "results", "selection", "forecasts", "metrics"} <= before.keys()

    counted = forget(config, "secret", spark, dry_run=True)
    assert holding(lake, "secret") == before
    one = forget(config, "secret/s2", spark)
    assert one.rows["series"] == 1
    assert lake.read("series").where("item_id = 'secret' AND store = 's1'").count() == 1
    select(config, spark)
    assert metrics_points(lake, "step") == metrics_points(lake, "total"), "its share of the tasks' sums is not counted"
    gone = forget(config, "secret", spark)
    assert holding(lake, "secret") == {}
    for name in ("target", "series", "results", "forecasts"):
        assert one.rows[name] + gone.rows[name] == counted.rows[name] > 0
    assert lake.read("rejects").count() == 1
    assert lake.read("series").where("item_id = 'other'").count() == 2
    assert sum(forget(config, "secret", spark).rows.values()) == 0
    output = io.StringIO()
    forget_verb.render(gone, Console(file=output, width=150))
    assert "older versions of the tables still hold the rows" in output.getvalue()

    # The source comes again with its rows, and they are left out; allowed again, they are back with the next change.
    (tmp_path / "t.csv").write_text(HEAD + "\n".join(good) + "\n")
    ingest(config, spark)
    assert holding(lake, "secret") == {}
    forget(config, "secret", spark, allow_again=True)
    (tmp_path / "t.csv").write_text(HEAD + "\n".join([*good, "other,s1,2024-01-25,1"]) + "\n")
    ingest(config, spark)
    stores = lake.read("series").where("item_id = 'secret'").select("store").collect()
    assert [row["store"] for row in stores] == ["s1"]  # secret/s2 was named by itself, and still is

    lake.read("runs").count()
    newest = runs.newest(lake)[0]
    runs.update(lake, replace(newest, state=runs.RUNNING, finished_at=None))
    with pytest.raises(InputError, match="unfinished"):
        forget(config, "secret", spark, erase=True)
    runs.update(lake, newest)
    forget(config, "secret", spark, erase=True)
    texts = [path.read_bytes() for path in (tmp_path / "lake" / "series").rglob("*.parquet")]
    assert texts
    assert not any(b"secret" in text for text in texts)


def test_the_parts_of_an_item() -> None:
    assert parts_of("a/b", ("item_id",)) == ("a/b",)
    assert parts_of("a/b", ("item_id", "store")) == ("a", "b")
    assert parts_of("a", ("item_id", "store")) == ("a",)
    for wrong in ("a/b/c", "", "a/"):
        with pytest.raises(InputError, match="the key is item_id, store"):
            parts_of(wrong, ("item_id", "store"))


def test_optimize_packs_pieces_and_small_files(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    config = make_config(data={"target": {"path": str(source)}}, lake={"path": str(tmp_path / "lake"), "buckets": 2})
    for day in range(1, 4):
        rows = [f"{i},2024-01-{day:02},{day}" for i in "abcdef"]
        (source / f"{day}.csv").write_text("item_id,timestamp,target\n" + "\n".join(rows) + "\n")
        ingest(config, spark)
    lake = Lake.of(spark, load_config(config))
    before = {row["item_id"]: row["target"] for row in joined(lake.read("series"), ["item_id"], []).collect()}
    assert lake.read("series").count() == 18
    with pytest.raises(InputError, match="--retain-hours is 2"):
        optimize(config, spark, retain_hours=2)
    assert lake.read("series").count() == 18
    found = optimize(config, spark)
    assert found.buckets == 2
    assert (found.files["target"][0].files, found.files["target"][1].files) == (6, 2)
    assert found.files["series"][1].files == 2
    rows = lake.read("series").collect()
    assert {row["item_id"]: row["target"] for row in rows} == before
    assert {row["profile"]["n_obs"] for row in rows} == {3}
    assert len(list((tmp_path / "lake" / "target").rglob("*.parquet"))) > 2  # older versions can still be read
    optimize(config, spark, retain_hours=0, force=True)
    assert len([p for p in (tmp_path / "lake" / "target").rglob("*.parquet") if "_delta_log" not in str(p)]) == 2
    output = io.StringIO()
    optimize_verb.render(found, Console(file=output, width=120))
    assert "2 buckets of `series` packed again" in output.getvalue()
