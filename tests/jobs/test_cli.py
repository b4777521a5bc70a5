"""The command line: exit codes, one clear sentence for each mistake, and a lake that stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from jobs.cli import app
from udfs.config import load_config
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]


def almanac(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def config_file(tmp_path: Path, make_config: MakeConfig) -> Path:
    """A config and a target of three short daily series."""
    days = pd.date_range("2024-01-01", periods=40)
    rng = np.random.default_rng(1)
    parts = [pd.DataFrame({"item_id": n, "timestamp": days, "target": rng.poisson(5, 40)}) for n in ("a", "b", "c")]
    pd.concat(parts).to_csv(tmp_path / "target.csv", index=False)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(make_config()))
    return path


def versions(spark: SparkSession, path: Path) -> dict[str, int]:
    lake = Lake.of(spark, load_config(path))
    return {name: lake.version(name) for name in lake.schemas if lake.exists(name)}


def test_the_verbs_one_after_the_other_do_what_run_does(
    spark: SparkSession, config_file: Path, tmp_path: Path
) -> None:
    for verb in ("ingest", "backtest", "select", "forecast"):
        done = almanac(verb, "--config", config_file)
        assert done.exit_code == 0, done.output
    answer = almanac("query", "SELECT count(*) AS n FROM forecasts_latest", "--config", config_file, "--format", "csv")
    assert answer.output.splitlines() == ["n", "21"]
    assert "no actual" in almanac("evaluate", "--config", config_file).output.lower()
    described = almanac("describe", "--config", config_file).output
    assert "test_group" in described
    assert "3 " in described
    out = tmp_path / "export.csv"
    assert almanac("export", "--config", config_file, "--out", out, "--single").exit_code == 0
    assert out.read_text().splitlines()[0] == "item_id,date,p10,p50,p90,mean"
    assert "CREATE" in almanac("register", "--config", config_file).output
    kept = almanac("forecast", "--config", config_file, "--refit", "never")
    sql = "SELECT count(DISTINCT item_id) AS items, count(*) AS n FROM results WHERE refit = 'never'"
    answer = almanac("query", sql, "--config", config_file, "--format", "csv").output.splitlines()[1].split(",")
    assert answer[0] == "3"
    assert f"refit never: {answer[1]} models of series" in kept.output, kept.output


def test_a_dry_run_writes_nothing(spark: SparkSession, config_file: Path, tmp_path: Path) -> None:
    done = almanac("run", "--config", config_file, "--dry-run")
    assert done.exit_code == 0, done.output
    for expected in ("core-hours", "3 series", "Amazon Forecast would have charged", "forecasts", "training"):
        assert expected in done.output
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: ["--set", f"data.target.path={folder}/none.csv"], "none.csv"),
        (lambda _: ["--set", "horison=3"], "did you mean 'horizon'?"),
        (lambda _: ["--refit", "sometimes"], "refit: got 'sometimes'"),
        (lambda _: ["--set", "data.target.columns={target: quantity}"], "quantity"),
        (lambda folder: (folder / "target.csv").write_text("") and [], "target.csv"),
        (lambda folder: (folder / "target.csv").write_bytes(b"\x00\xff\xfe") and [], "target.csv"),
        (lambda _: ["--set", "dataset_group=other"], "another dataset group"),
    ],
    ids=["wrong path", "misspelled key", "unknown refit", "no such column", "empty file", "garbage", "another group"],
)
def test_each_mistake_is_a_sentence_and_leaves_the_lake(
    spark: SparkSession, config_file: Path, tmp_path: Path, damage: Callable[[Path], Any], sentence: str
) -> None:
    assert almanac("ingest", "--config", config_file).exit_code == 0
    before = versions(spark, config_file)
    extra = damage(tmp_path) or []
    done = almanac("run", "--config", config_file, *(extra if isinstance(extra, list) else []))
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert "Traceback" not in done.output
    assert versions(spark, config_file) == before


def test_a_threshold_passed_is_exit_code_3(spark: SparkSession, config_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.csv"
    target.write_text(target.read_text() + "d,2024-01-10,\nd,2024-02-09,\n")
    done = almanac("run", "--config", config_file, "--set", "limits.max_failed_share=0.2")
    assert done.exit_code == 3, done.output
    assert "limits.max_failed_share" in done.stderr
    assert "Leaderboard" in done.output, "the work is done and shown all the same"


def test_usage_errors_are_exit_code_2(config_file: Path) -> None:
    assert almanac("run").exit_code == 2
    assert almanac("fly", "--config", config_file).exit_code == 2
    unknown = almanac("backtest", "--config", config_file, "--item", "zzz")
    assert unknown.exit_code == 2


def test_an_unexpected_error_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, config_file: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is full\nand a long trace")

    monkeypatch.setattr("jobs.describe.describe", broken)
    done = almanac("describe", "--config", config_file)
    assert done.exit_code == 1
    assert "RuntimeError: the disk is full" in done.stderr
    assert "long trace" not in done.stderr
