"""The verb `describe`."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import result_table as made
from rich.console import Console

from jobs.describe import Description, describe, render

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def printed(description: Description) -> str:
    out = io.StringIO()
    render(description, Console(file=out, width=200))
    return out.getvalue()


def test_what_is_in_the_lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> None:
    config, lake = made.derived_lake(spark, tmp_path_factory)
    found = describe(config, spark)
    assert found.info == lake.info()
    rows = {t.name: t.rows for t in found.tables}
    assert rows == {
        "lake": 1, "series": 5, "results": 25 + 10, "selection": 5, "forecasts": 11,
        "metrics": 45 + 27 + 9 + 27, "runs": 1, "parameters": 0, "components": 0, "calibration": 0,
    }  # fmt: skip
    assert {t.name: t.version for t in found.tables}["series"] == lake.version("series")
    assert found.series is not None
    assert (found.series.lifecycle, found.series.first) == ({"active": 5}, datetime(2024, 1, 1))
    (run,) = found.runs
    assert (run.run_id, run.state, run.published, run.series) == (made.RUN, "finished", True, 5)
    assert next(iter(run.mean_wqls)) == "selected"
    assert set(run.mean_wqls) == {"selected", "naive", "seasonal_naive"}
    text = printed(found)
    for expected in ("hand_made", "item_id, store", "5 (5 active)", "2024-01-01", "none", made.RUN, "selected 0."):
        assert expected in text


def test_an_empty_lake_is_said_to_be_empty(spark: SparkSession, tmp_path: Path) -> None:
    found = describe(made.config_for(tmp_path), spark)
    assert found.info is None
    assert "almanac ingest" in printed(found)
