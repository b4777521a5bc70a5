"""Every verb as a file of its own, the way spark-submit runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERBS = [
    "run", "validate", "ingest", "tune", "backtest", "select", "forecast", "leaderboard", "evaluate", "export",
    "query", "plot", "describe", "register", "inspect", "tune_deepar", "train_deepar", "predict_deepar",
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_runs_as_a_file_from_anywhere(verb: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{verb}.py"), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    name = verb.replace("_", "-")
    assert f"{verb}.py {name}" in done.stdout or f"{name} [OPTIONS]" in done.stdout


@pytest.mark.spark
def test_spark_submit_runs_a_verb(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"{{dataset_group: g, frequency: D, horizon: 3, models: {{naive: {{}}}}, lake: {{path: {tmp_path}/lake}}, "
        f"data: {{target: {{path: {tmp_path}/target.csv}}}}}}"
    )
    (tmp_path / "target.csv").write_text(
        "item_id,timestamp,target\n" + "".join(f"a,2024-01-{d:02d},{d % 5}\n" for d in range(1, 29))
    )
    import pyspark

    home = Path(pyspark.__file__).parent
    settings = {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [str(home / "bin" / "spark-submit"), "--master", "local[2]", "--conf", "spark.ui.enabled=false",
         "--conf", "spark.sql.shuffle.partitions=4", "--conf", "spark.databricks.delta.snapshotPartitions=2",
         "--driver-memory", "1g", str(ROOT / "jobs" / "run.py"), "--config", str(config)],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | settings, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Tables of run" in done.stdout
