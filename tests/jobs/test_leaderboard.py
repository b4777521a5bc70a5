"""The leaderboard beside plain loops over the tables that it is made of."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
import result_table as made
from rich.console import Console

from jobs.leaderboard import Leaderboard, leaderboard, render
from jobs.picture import draw_front
from udfs.board import COST, Board, board_query
from udfs.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from udfs.config import Config
    from udfs.lake import Lake

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Lake]:
    return made.derived_lake(spark, tmp_path_factory)


def printed(board: Leaderboard, form: Any) -> str:
    out = io.StringIO()
    render(board, form, Console(file=out, width=200))
    return out.getvalue()


def rows_of(lake: Lake, table: str, condition: str) -> list[Any]:
    return lake.read(table).where(condition).collect()


def shares_of_best(rows: list[Any], metric: str, items: set[str]) -> dict[str, float]:
    """Series by the model with their smallest metric, ties shared, over all that have one; plain loops."""
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["item_id"] in items and row["model"] != "selected" and row[metric] is not None:
            scores[row["item_id"]][row["model"]] = row[metric]
    out: dict[str, float] = defaultdict(float)
    for of_item in scores.values():
        winners = [model for model, score in of_item.items() if score == min(of_item.values())]
        for model in winners:
            out[model] += 1 / len(winners) / len(scores)
    return out


def weight_of(row: Any, model: str) -> float:
    """What the model has in a row of `selection`."""
    alone = 1.0 if row["model"] == model else 0.0
    return alone if row["weights"] is None else row["weights"].get(model, 0.0)


@pytest.mark.spark
@pytest.mark.parametrize("metric", ["mean_wQL", "MASE"])
def test_all_series_together(spark: SparkSession, built: tuple[Config, Lake], metric: str) -> None:
    config, lake = built
    board = leaderboard(config, spark, metric=metric)
    assert (board.run_id, board.segment) == (made.RUN, None)
    totals = {r["model"]: r for r in rows_of(lake, "metrics", "scope = 'total' AND window = -1")}
    assert {r["model"] for r in board.rows} == set(totals) == {"naive", "seasonal_naive", "selected"}
    assert [r["rank"] for r in board.rows] == sorted(
        1 + sum(other[metric] < row[metric] for other in totals.values()) for row in totals.values()
    )
    best = shares_of_best(rows_of(lake, "metrics", "scope = 'item' AND window = -1"), metric, set(made.KINDS))
    chosen = rows_of(lake, "selection", "true")
    for row in board.rows:
        total = totals[row["model"]]
        assert all(row[name] == total[name] for name in ("mean_wQL", "MASE", "WAPE", "RMSE", "coverage"))
        if row["model"] == "selected":
            assert (row["best_share"], row["chosen_share"]) == (None, None)
            assert row[COST] == pytest.approx(1000 * 20 * 0.25 / 5)
        else:
            assert row["best_share"] == pytest.approx(best[row["model"]])
            assert row["chosen_share"] == pytest.approx(sum(weight_of(c, row["model"]) for c in chosen) / 5)
            assert row[COST] == pytest.approx(1000 * 10 * 0.25 / 5)


@pytest.mark.spark
def test_a_board_for_each_value_of_a_segment(spark: SparkSession, built: tuple[Config, Lake]) -> None:
    config, lake = built
    board = leaderboard(config, spark, segment="kind")
    segments: dict[str | None, set[str]] = defaultdict(set)
    for item, kind in made.KINDS.items():
        segments[kind].add(item)
    assert {r["value"] for r in board.rows} == set(segments)
    items = rows_of(lake, "metrics", "scope = 'item' AND window = -1")
    chosen = {row["item_id"]: row for row in rows_of(lake, "selection", "true")}
    for kind, members in segments.items():
        best = shares_of_best(items, "mean_wQL", members)
        for row in (r for r in board.rows if r["value"] == kind):
            assert row["n_series"] == len(members)
            if row["model"] != "selected":
                assert row["best_share"] == pytest.approx(best[row["model"]])
                share = sum(weight_of(chosen[item], row["model"]) for item in members) / len(members)
                assert row["chosen_share"] == pytest.approx(share)
    assert "kind" in printed(board, "table")


HAND = [
    ("cheap", 0.50, 10.0), ("worse", 0.60, 20.0), ("middle", 0.40, 40.0), ("same", 0.40, 80.0), ("dear", 0.30, 400.0),
    ("unscored", None, 1.0), ("selected", 0.25, 0.0), ("ensemble calibrated", 0.28, 0.0),
]  # fmt: skip


@pytest.mark.spark
def test_the_front_and_the_weights_of_ensembles(spark: SparkSession) -> None:
    """On the front: no other is as cheap and better, or as good and cheaper. Blends cost what all models cost."""
    metrics = [
        ("r", m, w, "total", None, None, 100 * (2 if w < 0 else 1), 0, s, q, None, None, None, None)
        for m, q, s in HAND
        for w in (-1, 1, 2)
    ]
    columns = "run_id string, model string, window int, scope string, attribute string, value string, "
    columns += "n_series bigint, n_fallback bigint, seconds double, mean_wQL double, WAPE double, RMSE double, "
    columns += "MASE double, coverage map<string, double>"
    spark.createDataFrame(metrics, columns).createOrReplaceTempView("hand_metrics")
    choices = [
        ("r", "a", "ensemble", {"cheap": 0.25, "dear": 0.75}), ("r", "b", "dear", {"dear": 1.0}),
        ("r", "c", "cheap", None), ("r", "d", "cheap", {"cheap": 1.0}), ("other", "a", "worse", {"worse": 1.0}),
    ]  # fmt: skip
    kind = "run_id string, item_id string, model string, weights map<string, double>"
    spark.createDataFrame(choices, kind).createOrReplaceTempView("hand_selection")
    sql = board_query(Board(("item_id",), weighted=True), lambda table: f"hand_{table}", ("metrics", "selection"))
    board = {row["model"]: row for row in spark.sql(sql).collect()}
    costs = {model: 10 * seconds for model, _, seconds in HAND}
    costs["selected"] = costs["ensemble calibrated"] = 10 * sum(seconds for *_, seconds in HAND)
    scores = {model: score for model, score, _ in HAND if score is not None}
    for model, row in board.items():
        assert row[COST] == pytest.approx(costs[model])
        mine = (scores.get(model), costs[model])
        others = [(scores[other], costs[other]) for other in scores]
        dominated = mine[0] is None or any(s <= mine[0] and c <= mine[1] and (s, c) != mine for s, c in others)
        assert row["pareto"] is not dominated
    assert {m for m, row in board.items() if row["pareto"]} == {"cheap", "middle", "dear", "selected"}
    assert [board[m]["chosen_share"] for m in ("cheap", "dear", "middle")] == pytest.approx([2.25 / 4, 1.75 / 4, 0.0])
    assert board["selected"]["rank"] == 1
    assert board["unscored"]["rank"] == len(HAND)


@pytest.mark.spark
def test_formats_and_the_picture(spark: SparkSession, built: tuple[Config, Lake], tmp_path: Path) -> None:
    config, _ = built
    picture = tmp_path / "new" / "front.png"
    board = leaderboard(config, spark, plot=picture, run_id=made.RUN)
    image = matplotlib.image.imread(picture)
    assert image.shape[:2] == (720, 1650)
    assert len(np.unique(image[..., :3])) > 50
    lines = list(csv.DictReader(io.StringIO(printed(board, "csv"))))
    assert [line["model"] for line in lines] == [row["model"] for row in board.rows]
    assert [float(line["mean_wQL"]) for line in lines] == [row["mean_wQL"] for row in board.rows]
    assert json.loads(lines[0]["coverage"]) == board.rows[0]["coverage"]
    assert [json.loads(line) for line in printed(board, "json").splitlines()] == list(board.rows)
    text = printed(board, "table")
    assert text.count("*") >= 2
    assert "seasonal_naive" in text


@pytest.mark.spark
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "bias"}, "can be ranked by mean_wQL, WAPE"),
        ({"segment": "colour"}, "metadata columns of the data are: kind"),
        ({"segment": "kind", "plot": "x.png"}, "leave out the segment or the picture"),
        ({"run_id": "nothing"}, "nothing"),
    ],
)
def test_mistakes_are_told(
    spark: SparkSession, built: tuple[Config, Lake], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        leaderboard(built[0], spark, **options)


@pytest.mark.spark
def test_a_lake_without_metrics_says_what_to_run(spark: SparkSession, tmp_path: Path) -> None:
    config, _ = made.new_lake(spark, tmp_path)
    with pytest.raises(InputError, match="almanac select"):
        leaderboard(config, spark)


def test_there_is_nothing_to_draw_without_costs(tmp_path: Path) -> None:
    rows = [{"model": "naive", "WAPE": 0.2, COST: 0.0, "pareto": True}]
    with pytest.raises(InputError, match="nothing to draw"):
        draw_front(rows, "WAPE", COST, "run r", tmp_path / "x.png")


def test_it_runs_as_a_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "leaderboard.py"), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--metric" in done.stdout
