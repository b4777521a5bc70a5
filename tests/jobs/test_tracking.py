"""Trainings in MLflow: what is sent, to a client that writes it down, and to MLflow itself where it is installed."""

from __future__ import annotations

import sys
from collections import defaultdict
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from deepar_lake import SETTINGS, written

pytest.importorskip("deltalake")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from jobs.train_deepar import render, train  # noqa: E402
from udfs.errors import InputError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


class Client:
    """MLflow's client as far as it is used, with a memory of its own."""

    experiments: ClassVar[list[str]] = []
    runs: ClassVar[list[dict[str, Any]]] = []
    silent_from = 10**9

    def __init__(self, tracking_uri: str | None = None) -> None:
        if tracking_uri == "http://nowhere":
            raise ConnectionError("no answer")

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=self.experiments.index(name)) if name in self.experiments else None

    def create_experiment(self, name: str) -> int:
        self.experiments.append(name)
        return len(self.experiments) - 1

    def create_run(self, experiment: int, run_name: str, tags: dict[str, str]) -> Any:
        run = {"experiment": self.experiments[experiment], "name": run_name, "tags": dict(tags), "params": {}}
        self.runs.append(run | {"metrics": defaultdict(list), "status": "RUNNING"})
        return SimpleNamespace(info=SimpleNamespace(run_id=str(len(self.runs) - 1)))

    def log_param(self, run_id: str, name: str, value: Any) -> None:
        self.runs[int(run_id)]["params"][name] = value

    def log_metric(self, run_id: str, name: str, value: float, timestamp: int | None, step: int) -> None:
        if step >= self.silent_from:
            raise ConnectionError("gone")
        self.runs[int(run_id)]["metrics"][name].append((step, value))

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        self.runs[int(run_id)]["tags"][name] = value

    def set_terminated(self, run_id: str) -> None:
        self.runs[int(run_id)]["status"] = "FINISHED"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    fresh = type("Fresh", (Client,), {"experiments": [], "runs": []})
    for name in ("mlflow", "mlflow.tracking"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["mlflow.tracking"].MlflowClient = fresh  # type: ignore[attr-defined]
    return fresh


def section(**more: Any) -> dict[str, Any]:
    return {**SETTINGS, "epochs": 3, "mlflow": {"tracking_uri": "file:x", **more}}


def test_a_training_is_a_run(client: type[Client], tmp_path: Path) -> None:
    losses = []
    done = train(
        written(tmp_path, deepar=section(experiment="demand")),
        on_epoch=lambda progress, epochs: losses.append((progress.epoch, progress.loss)),
    )
    (run,) = client.runs
    assert (run["experiment"], run["name"], run["status"]) == ("demand", done.model_id, "FINISHED")
    assert run["params"]["num_cells"] == 6
    assert run["metrics"]["loss"][:3] == losses
    assert run["metrics"]["epochs"] == [(3, 3.0)]
    assert run["tags"]["digest"] == done.row["digest"]
    assert done.failures == ()


def test_a_resumed_training_goes_on_in_its_run(client: type[Client], tmp_path: Path) -> None:
    config = written(tmp_path, deepar=section())

    def stop(progress: Any, epochs: int) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, on_epoch=stop)
    assert client.runs[0]["status"] == "RUNNING"
    train(config, resume=True)
    (run,) = client.runs
    assert [step for step, _ in run["metrics"]["learning_rate"]] == [1, 2, 3]
    assert run["status"] == "FINISHED"


def test_a_server_that_falls_silent_stops_nothing(
    client: type[Client], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.silent_from = 2
    done = train(written(tmp_path, deepar=section()))
    assert dict(done.row["metrics"])["epochs"] == 3
    assert [step for step, _ in client.runs[0]["metrics"]["loss"]] == [1]
    render(done)
    assert "warning: MLflow took no more values: gone" in capsys.readouterr().out


def test_what_cannot_begin_is_said(client: type[Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"http://nowhere.* does not take a run: no answer"):
        train(written(tmp_path, deepar=section(tracking_uri="http://nowhere")))
    monkeypatch.setattr("jobs.tracking.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install mlflow-skinny"):
        train(written(tmp_path / "other", deepar=section()))


def test_mlflow_itself(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/runs.db"
    done = train(written(tmp_path, deepar=section(tracking_uri=uri)))
    client = mlflow.tracking.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("almanac").experiment_id])
    assert run.info.run_name == done.model_id
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 4
