"""train-deepar under torchrun: two processes make one model, the one that a single process makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deepar_lake import SETTINGS, written

deltalake = pytest.importorskip("deltalake")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from jobs.model_folder import load_model  # noqa: E402
from jobs.processes import together  # noqa: E402
from jobs.train_deepar import train  # noqa: E402
from udfs.config import Config  # noqa: E402
from udfs.delta_files import open_table, read_rows  # noqa: E402
from udfs.errors import InputError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SECTION = {**SETTINGS, "dropout": 0.0, "num_networks": 2, "max_learning_rate_decays": 1, "early_stopping_patience": 1}
pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
]


def started(config: Config, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    file = folder / "config.json"  # which is YAML too
    file.write_text(json.dumps(config.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "jobs/train_deepar.py", "--config", str(file), *more],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def models(config: Config) -> list[dict[str, Any]]:
    table = open_table(str(config.lake.path), "models")
    assert table is not None
    return read_rows(table, ["model_id", "folder", "n_series", "device"])


def test_two_processes_make_the_model_of_one(tmp_path: Path) -> None:
    config = written(tmp_path, deepar=SECTION)
    alone = train(config)
    done = started(config, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Next: almanac predict-deepar") == 1
    rows = models(config)
    assert len(rows) == 2
    (shared,) = (row for row in rows if row["model_id"] != alone.model_id)
    assert not (Path(shared["folder"]).parent / "training.checkpoint").exists()
    first, second = (load_model(Path(row))[0] for row in (str(alone.folder), shared["folder"]))
    assert len(second.networks) == 2
    for name, w in first.weights().items():
        torch.testing.assert_close(second.weights()[name], w, rtol=1e-3, atol=1e-4)


def test_a_batch_that_cannot_be_shared_is_said(tmp_path: Path) -> None:
    config = written(tmp_path, deepar={**SECTION, "batch_size": 7})
    done = started(config, tmp_path)
    assert done.returncode != 0
    assert "batch_size is 7" in done.stdout + done.stderr


def test_processes_that_torchrun_did_not_start_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InputError, match=r"RANK.*torchrun"), together("cpu"):
        pass
