"""Model folders and checkpoints: the same forecasts after loading; what is damaged, changed or newer is refused."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import safetensors.torch  # noqa: E402

from forecasting import SeriesBatch  # noqa: E402
from forecasting.deepar import DeepAR, Facts, ItemMetadata, SeriesSet, Settings, Trainer  # noqa: E402
from jobs.model_folder import (  # noqa: E402
    DOCUMENT,
    MANIFEST,
    WEIGHTS,
    ModelFolderError,
    load_checkpoint,
    load_model,
    save_checkpoint,
    save_model,
)

METADATA = ItemMetadata({"kind": ["a", "b", "a", None]}, {"size": [1.0, 2.0, np.nan, 3.0]})
SETTINGS = Settings(num_cells=8, epochs=4, batches_per_epoch=4, batch_size=8)


def batch() -> SeriesBatch:
    rng = np.random.default_rng(0)
    return SeriesBatch.from_arrays(list(rng.uniform(2, 9, (4, 40))), "2020-01-01", "D")


def trainer(settings: Settings = SETTINGS, seed: int = 1, shift: float = 0.0) -> Trainer:
    torch.set_num_threads(1)
    series = batch()
    if shift:
        series = SeriesBatch.from_arrays([series.series(i) + shift for i in range(4)], "2020-01-01", "D")
    facts = Facts.learn(series, METADATA, 3, settings)
    return Trainer(SeriesSet.of(series, facts, METADATA), facts, settings, seed=seed)


@pytest.fixture(scope="module")
def model() -> DeepAR:
    trained = trainer()
    list(trained.run())
    return trained.model()


@pytest.fixture
def folder(model: DeepAR, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "model", {"wql": 0.25, "data_version": 7})
    return tmp_path / "model"


def test_a_loaded_model_forecasts_the_same(model: DeepAR, folder: Path) -> None:
    loaded, about = load_model(folder)
    assert about == {"wql": 0.25, "data_version": 7}
    assert sorted(p.name for p in folder.iterdir()) == sorted([MANIFEST, DOCUMENT, WEIGHTS])
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
    first = model.predict(batch(), 3, (0.1, 0.9), METADATA)
    second = loaded.predict(batch(), 3, (0.1, 0.9), METADATA)
    np.testing.assert_array_equal(first.quantiles, second.quantiles)


def test_a_fresh_process_answers_for_one_series_without_spark(folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import numpy as np
from forecasting import SeriesBatch
from forecasting.deepar import ItemMetadata
from jobs.model_folder import load_model
model, _ = load_model(Path({str(folder)!r}))
one = SeriesBatch.from_arrays([np.arange(20.0)], "2021-01-01", "D")
result = model.predict(one, 3, (0.1, 0.5, 0.9), ItemMetadata({{"kind": ["a"]}}, {{"size": [1.0]}}))
assert np.isfinite(result.quantiles).all()
assert "pyspark" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_model_is_never_overwritten(model: DeepAR, folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="exists already"):
        save_model(model, folder)


def edit(file: Path, change: Callable[[dict], None]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def flip(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-7] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))


def other_scaler(folder: Path) -> None:
    text = (folder / DOCUMENT).read_text()
    place = text.index('"log_level": ') + len('"log_level": ')
    changed = text[:place] + ("2" if text[place] != "2" else "3") + text[place + 1 :]
    (folder / DOCUMENT).write_text(changed)


def newer(folder: Path) -> None:
    edit(folder / MANIFEST, lambda d: d.update(format=2))


def link(folder: Path) -> None:
    shutil.move(folder / WEIGHTS, folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")


def resign(folder: Path) -> None:
    """Make the manifest fit what the files are now."""
    from jobs.model_folder import _digest

    for name in (DOCUMENT, WEIGHTS):
        told = {"bytes": (folder / name).stat().st_size, "sha256": _digest(folder / name)}
        edit(folder / MANIFEST, lambda d, name=name, told=told: d["files"].update({name: told}))


def unknown_setting(folder: Path) -> None:
    edit(folder / DOCUMENT, lambda d: d["settings"].update(attention=True))
    resign(folder)


def other_network(folder: Path) -> None:
    edit(folder / DOCUMENT, lambda d: d["settings"].update(num_cells=9))
    resign(folder)


def pickled(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path(folder.parent / "trapped").touch, ())

    (folder / WEIGHTS).write_bytes(pickle.dumps(Trap()))
    resign(folder)


def not_finite(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / WEIGHTS)
    weights["head.bias"][0] = torch.nan
    safetensors.torch.save_file(weights, folder / WEIGHTS)
    resign(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "bytes instead of"),
        (flip, "was changed"),
        (other_scaler, "was changed"),
        (newer, "newer version"),
        (link, "not a plain file"),
        (lambda f: (f / WEIGHTS).unlink(), "missing"),
        (lambda f: (f / MANIFEST).unlink(), "not a model folder"),
        (lambda f: (f / MANIFEST).write_text("{"), "not JSON"),
        (lambda f: (f / MANIFEST).write_text("[1]"), "not a JSON object"),
        (lambda f: (f / MANIFEST).write_text('{"format": 1}'), "says nothing of"),
        (lambda f: (f / MANIFEST).write_text('{"format": true}'), "format True"),
        (unknown_setting, "attention"),
        (other_network, "not those of the network"),
        (pickled, "not a safetensors file"),
        (not_finite, "not finite"),
    ],
    ids=lambda x: getattr(x, "__name__", None) if callable(x) else "",
)
def test_a_damaged_folder_is_refused(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder)
    assert not (folder.parent / "trapped").exists()


def test_the_digest_finds_a_manifest_that_was_made_to_fit(model: DeepAR, tmp_path: Path) -> None:
    digest = save_model(model, tmp_path / "m")
    load_model(tmp_path / "m", digest=digest)
    other_scaler(tmp_path / "m")
    resign(tmp_path / "m")
    load_model(tmp_path / "m")
    with pytest.raises(ModelFolderError, match="not the one that was saved"):
        load_model(tmp_path / "m", digest=digest)


def test_a_checkpoint_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = trainer()
    expected = [(p.epoch, p.loss, p.held_out) for p in whole.run()]
    first = trainer()
    next(iter(first.run()))
    save_checkpoint(first, tmp_path / "c", {"note": 1})
    second = trainer()
    assert load_checkpoint(second, tmp_path / "c") == {"note": 1}
    next(iter(second.run()))
    save_checkpoint(second, tmp_path / "c")
    third = trainer()
    load_checkpoint(third, tmp_path / "c")
    assert [(p.epoch, p.loss, p.held_out) for p in third.run()] == expected[2:]
    found, wanted = third.model().network.state_dict(), whole.model().network.state_dict()
    assert all(torch.equal(found[name], w) for name, w in wanted.items())
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    first = trainer()
    save_checkpoint(first, tmp_path / "c")
    for other, message in (
        (trainer(seed=2), "seed 1"),
        (trainer(SETTINGS.model_copy(update={"learning_rate": 0.01})), "other settings"),
        (trainer(shift=1.0), "other data"),
    ):
        with pytest.raises(ModelFolderError, match=message):
            load_checkpoint(other, tmp_path / "c")
    load_checkpoint(trainer(SETTINGS.model_copy(update={"epochs": 9})), tmp_path / "c")
    content = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(content[:-50])
    with pytest.raises(ModelFolderError, match="not a whole checkpoint"):
        load_checkpoint(first, tmp_path / "c")
    (tmp_path / "c").write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
    with pytest.raises(ModelFolderError, match="was changed"):
        load_checkpoint(first, tmp_path / "c")
    with pytest.raises(ModelFolderError, match="not a whole checkpoint"):
        load_checkpoint(first, tmp_path / "none")
