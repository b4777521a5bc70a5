"""The configuration: everything wrong is said at once, and nothing unknown passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from udfs.config import Config, ConfigError, load_config, resolved_json
from udfs.config.load import config_hash
from udfs.config.reference import reference
from udfs.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
MakeConfig = Callable[..., dict[str, Any]]


def problems_of(config: dict[str, Any], *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(config, overrides)
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.mark.parametrize("name", ["demo", "local", "cluster", "databricks"])
def test_shipped_configs_are_valid(name: str) -> None:
    assert load_config(ROOT / "conf" / f"{name}.yaml").horizon > 0


def test_every_mistake_is_listed_at_once(make_config: MakeConfig) -> None:
    bad = make_config(
        horison=3,
        frequency="fortnight",
        quantiles=[0.1, 2],
        models={"etss": {}, "naive": {"seasonlength": 3}},
        fill={"target": {"midle": "zero"}},
        backtest={"windows": -1},
        segments=[{"name": "s", "where": {"colour": "red"}, "models": {"naive": {}}}],
    )
    text = "\n".join(problems_of(bad, "a.b"))
    for expected in (
        "horison: unknown key; did you mean 'horizon'?",
        "frequency: frequency 'fortnight' is not known",
        "quantiles: got [0.1, 2.0]",
        "model 'etss' is not known; did you mean 'ets'?",
        "naive.seasonlength",
        "fill.target.midle: unknown key; did you mean 'middle'?",
        "backtest.windows: got -1",
        "--set a.b: write it as section.key=value",
        "segment 's': no key or metadata column ['colour']",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_group": "2 fast"}, "dataset_group"),
        ({"time_zone": "Mars/Olympus"}, "time zone 'Mars/Olympus' is not known"),
        (
            {"segments": [{"name": "s", "where": {"demand_class": ["bumpy"]}, "models": {"naive": {}}}]},
            "segment 's': demand_class is never ['bumpy']; expected one of smooth, intermittent, erratic, lumpy",
        ),
        ({"dimensions": ["demand_class"]}, "'demand_class' cannot name a column"),
        ({"models": {}}, "name at least one model"),
        ({"models": {"deepar": {}}}, "deepar is not named among models: train it by `almanac train-deepar`"),
        ({"bounds": {"lower": 2, "upper": 1}}, "lower must not exceed upper"),
        ({"lake": {}}, "give either path, or schema"),
        ({"lake": {"path": "x", "schema": "y"}}, "give either path, or schema"),
        ({"backtest": {"windows": 1, "offset": 3}}, "offset must be at least the horizon"),
        ({"backtest": {"windows": 0}}, "no model can be chosen"),
        ({"fill": {"target": {"back": "zeros"}}}, "expected one of zero, nan, mean"),
        ({"fill": {"related": {"price": {"back": "zero"}}}}, "fill.related.price: no such related series"),
        ({"data": {"target": {}}}, "give exactly one of path, table, sql (got none)"),
        ({"data": {"target": {"path": "a", "sql": "b"}}}, "got path, sql"),
        ({"dimensions": ["target"]}, "'target' cannot name a column"),
        ({"dimensions": ["store", "store"]}, "'store' is named twice"),
        ({"data": {"target": {"path": "a"}, "items": [{"path": "b", "key": ["shop"], "attributes": ["c"]}]}}, "shop"),
    ],
)
def test_single_mistakes(make_config: MakeConfig, change: dict[str, Any], message: str) -> None:
    assert message in "\n".join(problems_of(make_config(**change)))


def test_overrides_reach_nested_keys_and_lists(make_config: MakeConfig) -> None:
    config = load_config(
        make_config(data={"target": {"path": "a"}, "items": [{"path": "b", "attributes": ["c"]}]}),
        ["backtest.windows=5", "bounds.lower=0", "models.naive={}", "data.items.0.path=z.csv", "quantiles=[0.9, 0.2]"],
    )
    assert (config.backtest.windows, config.bounds.lower, config.data.items[0].path) == (5, 0.0, "z.csv")
    assert config.quantiles == (0.2, 0.9)


def test_frames_stand_in_for_locations(make_config: MakeConfig) -> None:
    config = make_config(data={"target": {}})
    assert load_config(config, frames=True).data.target.path is None


def test_resolved_config_reads_back_equal(make_config: MakeConfig) -> None:
    config = load_config(make_config(frequency="W-THU", dimensions=["store"]))
    assert Config.model_validate(json.loads(resolved_json(config))) == config


def test_models_stay_in_their_order(make_config: MakeConfig) -> None:
    models: dict[str, Any] = {"theta": {}, "naive": {}, "ets": {}}
    segment = {"name": "a", "where": {"item_id": "x"}, "models": {"mean": {}, "empirical": {}}}
    stored = json.loads(resolved_json(load_config(make_config(models=models, segments=[segment]))))
    assert list(Config.model_validate(stored).models) == list(models)
    assert list(Config.model_validate(stored).segments[0].models) == ["mean", "empirical"]


def test_hash_follows_results_only(make_config: MakeConfig) -> None:
    config = make_config()
    base = config_hash(load_config(config))
    assert config_hash(load_config(config, ["cost.core_hour=1", "spark.master=local[1]"])) == base
    assert config_hash(load_config(config, ["seed=1"])) != base


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\x00"])
def test_unreadable_files_are_input_errors(tmp_path: Path, content: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"c\.yaml"):
        load_config(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_config(tmp_path / "none.yaml")


def test_reference_page_is_current() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference()


def test_yaml_and_mapping_give_the_same(tmp_path: Path, make_config: MakeConfig) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(make_config()))
    assert load_config(path) == load_config(make_config())
