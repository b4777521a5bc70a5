"""Series in chunks of buckets: read, trained on and forecast as all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deepar_lake import DAYS, changed, rows_of, truth, values, with_run, written
from nearly import nearly

pytest.importorskip("deltalake")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from jobs.model_folder import load_model  # noqa: E402
from jobs.predict_deepar import predict  # noqa: E402
from jobs.train_deepar import Trained, train, training_set  # noqa: E402
from udfs.config import Config  # noqa: E402
from udfs.deep_source import find_run, open_source  # noqa: E402
from udfs.errors import InputError  # noqa: E402
from udfs.series_chunks import SeriesChunks, Survey, grouped  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")
EVERYONE = sorted([*truth(), "young", "never"])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return written(tmp_path_factory.mktemp("chunked"))


@pytest.fixture(scope="module")
def whole(config: Config) -> Trained:
    return train(config, before_backtests=True)


def test_buckets_are_put_together() -> None:
    rows = {3: 4, 0: 5, 1: 5, 2: 20}
    assert grouped(rows, 10) == [(0, 1), (2,), (3,)]
    assert grouped(rows, 1) == [(0,), (1,), (2,), (3,)]
    assert grouped(rows, 1000) == [(0, 1, 2, 3)]


def test_chunks_hold_every_series_once(config: Config) -> None:
    source, all_of_them = open_source(changed(config, series_at_once=1)), open_source(config)
    assert (len(source.chunks), len(all_of_them.chunks)) == (2, 1)
    names = [name for chunk in source.chunks for name in chunk.facts["item_id"].to_pylist()]
    assert sorted(names) == EVERYONE
    assert all(0 < len(chunk) < len(EVERYONE) for chunk in source.chunks)
    for chunk in source.chunks:
        for item in chunk.facts["item_id"].to_pylist():
            for name in ("target", "price"):
                np.testing.assert_array_equal(values(chunk, name, item), values(all_of_them.series, name, item))
    assert source.series.facts["item_id"].to_pylist() == EVERYONE
    assert (source.start, source.end, source.n_series) == (all_of_them.start, all_of_them.end, len(EVERYONE))
    one, other = source.chunks.survey, all_of_them.chunks.survey
    assert (one.n_series, one.longest, one.first, one.last) == (other.n_series, DAYS, other.first, other.last)
    assert sorted(one.values["item_id"].to_pylist()) == sorted(other.values["item_id"].to_pylist()) == EVERYONE


def test_an_empty_survey_says_so(config: Config) -> None:
    source = open_source(config)
    nothing = source.series.only(np.zeros(len(EVERYONE), dtype=bool))
    found = SeriesChunks.whole(nothing, source.frequency, ["item_id"]).survey
    assert (found.n_series, found.longest, found.first, found.last) == (0, 0, None, None)
    assert found.values["item_id"] == pa.array([], pa.string())
    assert Survey.of([], source.frequency, ["item_id"]).values == found.values


def test_a_model_is_trained_on_chunks(config: Config, whole: Trained, tmp_path: Path) -> None:
    apart = changed(config, series_at_once=1, models=str(tmp_path / "models"), num_networks=2)
    trained = train(apart, before_backtests=True)
    assert trained.row["n_series"] == whole.row["n_series"] == 14
    facts = [load_model(t.folder)[0].facts.model_dump() for t in (whole, trained)]
    assert facts[1] == nearly(facts[0])


def test_killed_and_resumed_it_is_the_uninterrupted_training(config: Config, tmp_path: Path) -> None:
    apart = changed(config, series_at_once=1, models=str(tmp_path / "models"), epochs=5)
    straight = train(apart)

    def stop(progress: Any, epochs: int) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(apart, on_epoch=stop)
    resumed = train(apart, resume=True)
    assert resumed.resumed == 2
    weights = [(t.folder / "weights.safetensors").read_bytes() for t in (straight, resumed)]
    assert weights[0] == weights[1]


def test_forecasts_are_those_of_all_at_once(config: Config, whole: Trained) -> None:
    """But for rounding, which depends on how many series are computed together."""
    with_run(config, "second")
    predict(config, model=whole.model_id, run_id="first", backtest=True)
    done = predict(changed(config, series_at_once=1), model=whole.model_id, run_id="second", backtest=True)
    assert done.rows["forecast", "ok"] == len(EVERYONE)
    assert rows(config, "first") == nearly(rows(config, "second"), rel=1e-5)


def rows(config: Config, run_id: str) -> dict[tuple[str, str, int, str], dict[str, Any]]:
    """The rows of a run, but for its name and the time they took."""
    mine = [row for row in rows_of(config, "results_deepar") if row["run_id"] == run_id]
    made = {(r["stage"], r["item_id"], r["window"], r["model"]): r | {"seconds": 0, "run_id": ""} for r in mine}
    assert len(made) == len(mine) > 0
    return made


def test_items_of_a_run_are_those_of_its_chunks(config: Config) -> None:
    with_run(config, "some", items=("i03", "i04", "young"))
    source = open_source(changed(config, series_at_once=1), run=find_run(config, "some"))
    assert source.n_series == 3
    assert sorted(n for chunk in source.chunks for n in chunk.facts["item_id"].to_pylist()) == ["i03", "i04", "young"]
    batches = [training_set(source, False, chunk=k)[0] for k in range(len(source.chunks))]
    assert sorted(key for batch in batches for key in batch.keys) == ["i03", "i04", "young"]


def test_a_number_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"deepar\.series_at_once"):
        written(tmp_path, deepar={"series_at_once": 0})
