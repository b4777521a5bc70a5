"""Key columns as categories of the global model: those that are named, and those that many series share."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deepar_lake import SETTINGS, truth, written

pytest.importorskip("deltalake")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from jobs.model_folder import load_model  # noqa: E402
from jobs.predict_deepar import predict  # noqa: E402
from jobs.train_deepar import shared_keys, train, training_set  # noqa: E402
from udfs.deep_source import open_source  # noqa: E402
from udfs.series_chunks import Survey  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def test_what_ten_series_share_is_a_category() -> None:
    items, stores = [f"i{k // 8}" for k in range(40)], [f"s{k % 4}" for k in range(40)]
    values = {"item_id": pa.array(sorted(set(items))), "store": pa.array(sorted(set(stores)))}
    survey = Survey(len(items), 1, 0, 0, values)  # 8 and 10 series a value
    assert shared_keys(survey, ["item_id", "store"]) == ["store"]
    assert shared_keys(survey, ["item_id"]) == []  # a key of one column has a value a series


def test_a_named_key_column_is_read(tmp_path: Path) -> None:
    config = written(tmp_path, deepar={**SETTINGS, "metadata": ["item_id", "area"]})
    _, metadata, _ = training_set(open_source(config), False)
    assert set(metadata.categories) == {"item_id"}
    assert sorted(metadata.categories["item_id"]) == sorted([*truth(), "young", "never"])
    trained = train(config)
    (category,) = load_model(trained.folder)[0].facts.categories
    assert (category.name, category.values) == ("item_id", tuple(sorted([*truth(), "young", "never"])))
    done = predict(config, model=trained.model_id)
    assert done.rows["forecast", "ok"] == len(truth()) + 2
