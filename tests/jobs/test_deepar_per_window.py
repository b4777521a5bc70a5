"""A model for every backtest window: what each has seen, and which rows it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepar_lake import DAYS, SETTINGS, H, rows_of, truth, written

pytest.importorskip("deltalake")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from jobs.predict_deepar import predict  # noqa: E402
from jobs.train_deepar import CHECKPOINT, train  # noqa: E402
from udfs.config import Config  # noqa: E402
from udfs.errors import InputError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")
SECTION = {**SETTINGS, "per_window": True}
FIRST = np.datetime64("2024-01-01")
ROW = ["item_id", "stage", "window", "model_id", "quantiles"]


def trained(config: Config) -> list[dict[str, Any]]:
    """The models, in the order in which they were trained."""
    names = ["trained_at", "model_id", "folder", "left_out", "trained_to"]
    return sorted(rows_of(config, "models", names), key=lambda row: row["trained_at"])


def weights(row: dict[str, Any]) -> bytes:
    return (Path(row["folder"]) / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = written(tmp_path_factory.mktemp("windows"), deepar=SECTION)
    train(made, before_backtests=True)
    return made


def test_each_has_seen_what_its_window_sees(config: Config) -> None:
    earlier, later = trained(config)
    assert (earlier["left_out"], later["left_out"]) == (2 * H, H)
    ends = [np.datetime64(row["trained_to"]) for row in (earlier, later)]
    assert ends == [FIRST + DAYS - 1 - 2 * H, FIRST + DAYS - 1 - H]
    assert weights(earlier) != weights(later)


def test_each_forecasts_its_window(config: Config) -> None:
    earlier, later = trained(config)
    done = predict(config, backtest=True)
    rows = rows_of(config, "results_deepar", ROW)
    made_by = {(row["window"], row["model_id"]) for row in rows if row["stage"] == "backtest"}
    assert made_by == {(1, later["model_id"]), (2, earlier["model_id"])}
    assert {row["model_id"] for row in rows if row["stage"] == "forecast"} == {later["model_id"]}
    both = {(row["item_id"], row["window"]): row["quantiles"] for row in rows if row["stage"] == "backtest"}
    assert np.isfinite(done.metrics["mean_wQL"])
    predict(config, backtest=True, model=earlier["model_id"])
    alone = {
        (row["item_id"], row["window"]): row["quantiles"]
        for row in rows_of(config, "results_deepar", ROW)
        if row["stage"] == "backtest"
    }
    assert both.keys() == alone.keys()
    asked = [(item, window) for item in truth() for window in (1, 2)]  # others are too short for some window
    for key in asked:
        assert (both[key] == pytest.approx(alone[key], rel=1e-4, abs=1e-4)) == (key[1] == 2), key


def test_what_comes_after_a_cutoff_changes_no_weight(config: Config, tmp_path: Path) -> None:
    items = {}
    for item, (target, price) in truth().items():
        changed = target.copy()
        changed[DAYS - H :] *= 1000.0
        items[item] = changed, price
    other = written(tmp_path, items, deepar=SECTION)
    train(other, before_backtests=True)
    assert [weights(row) for row in trained(other)] == [weights(row) for row in trained(config)]


def test_an_interrupted_training_goes_on_with_its_window(config: Config, tmp_path: Path) -> None:
    other = written(tmp_path, deepar=SECTION)
    epochs = 0

    def stop(progress: Any, all_epochs: int) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == 3:
            raise KeyboardInterrupt  # in the second window

    with pytest.raises(KeyboardInterrupt):
        train(other, before_backtests=True, on_epoch=stop)
    assert [row["left_out"] for row in trained(other)] == [2 * H]
    resumed = train(other, before_backtests=True, resume=True)
    assert resumed.resumed == 1
    assert not (resumed.folder.parent / CHECKPOINT).exists()
    assert [weights(row) for row in trained(other)] == [weights(row) for row in trained(config)]


def test_a_window_without_a_model_is_said(tmp_path: Path) -> None:
    once = written(tmp_path, deepar={**SETTINGS})
    train(once, before_backtests=True)  # for the earliest window
    each = once.model_copy(update={"deepar": once.deepar.model_copy(update={"per_window": True})})
    with pytest.raises(InputError, match=r"backtest window 1 has no model.*--before-backtests"):
        predict(each, backtest=True)
