"""The section `tuning`: what cannot be tuned is said in a sentence, and what a tuning makes of a config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from udfs.config import ConfigError, load_config
from udfs.config.load import config_hash
from udfs.errors import InputError
from udfs.tuned import studies, tuned_name, tuning_digest, with_winners

MakeConfig = Callable[..., dict[str, Any]]
SEGMENT = {"name": "north", "where": {"store": "n"}, "models": {"mean": {}, "naive": {}}}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"tuning": {"models": ["etss"]}}, "tuning.models: 'etss' is no model of this config; there are ets, naive"),
        ({"tuning": {"models": ["naive"]}}, "tuning.models: 'naive' has no ranges to search"),
        ({"models": {"naive": {}}, "tuning": {}}, "tuning: no model to tune"),
        ({"tuning": {"models": []}}, "tuning: no model to tune"),
        ({"models": {"ets": {}}, "backtest": {"windows": 0}, "tuning": {}}, "tuning: backtest.windows is 0"),
        ({"tuning": {"sampler": "grid"}}, "tuning.sampler: got 'grid'"),
        ({"tuning": {"max_evaluations": 0}}, "tuning.max_evaluations: got 0"),
        (
            {"dimensions": ["store"], "segments": [SEGMENT, SEGMENT], "tuning": {}},
            "tuning: two segments are called 'north'",
        ),
    ],
)
def test_what_cannot_be_tuned_is_said(make_config: MakeConfig, sections: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(make_config(**{"models": {"ets": {}, "naive": {}}, **sections}))
    (problem,) = caught.value.problems
    assert problem.startswith(expected)


def test_what_there_is_to_tune(make_config: MakeConfig) -> None:
    content = make_config(
        models={"ets": {}, "ets+damped": {"damped": True}, "naive": {}}, dimensions=["store"], segments=[SEGMENT]
    )
    assert studies(load_config(content)) == ()
    all_of_them = studies(load_config(content | {"tuning": {}}))
    assert [(s.position, *s.key) for s in all_of_them] == [(0, "north", "mean"), (1, "", "ets"), (1, "", "ets+damped")]
    assert all_of_them[2].hyperparameters == {"damped": True}
    some = studies(load_config(content | {"tuning": {"models": ["mean"]}}))
    assert [s.key for s in some] == [("north", "mean")]


def test_winners_are_further_models_of_their_segment(make_config: MakeConfig) -> None:
    content = make_config(
        models={"ets": {}, "ets+damped": {"damped": True}}, dimensions=["store"], segments=[SEGMENT], tuning={}
    )
    config = load_config(content)
    found = {("", "ets+damped"): {"damped": False}, ("north", "mean"): {"window_length": 9}, ("", "mean"): {}}
    more = with_winners(config, found)
    assert list(more.models.items()) == [
        ("ets", {}), ("ets+damped", {"damped": True}), ("ets+damped-tuned", {"damped": False})
    ]  # fmt: skip
    assert list(more.segments[0].models) == ["mean", "naive", "mean+tuned"]
    assert more.segments[0].models["mean+tuned"] == {"window_length": 9}
    assert list(config.segments[0].models) == ["mean", "naive"]
    assert load_config(more.model_dump(by_alias=True, mode="json")) == more
    named = load_config(content | {"models": {"ets": {}, "ets+tuned": {}}})
    with pytest.raises(InputError, match=r"has a model 'ets\+tuned'"):
        with_winners(named, {("", "ets"): {}})
    assert tuned_name("ets") == "ets+tuned"


def test_a_tuning_is_usable_while_what_it_was_judged_by_is_the_same(make_config: MakeConfig) -> None:
    content = make_config(models={"ets": {}}, tuning={})
    digest = tuning_digest(load_config(content))
    same: list[dict[str, Any]] = [
        {"tuning": {"trials": 3}}, {"tuning": None}, {"cost": {"core_hour": 1.0}}, {"selection": {"metric": "WAPE"}},
        {"data": {"target": {"path": "elsewhere.csv"}}}, {"limits": {"unit_seconds": 1.0}},
    ]  # fmt: skip
    other: list[dict[str, Any]] = [
        {"horizon": 8}, {"quantiles": [0.5]}, {"models": {"ets": {"damped": True}}}, {"backtest": {"windows": 3}},
        {"seed": 1}, {"limits": {"max_evaluations": 9}}, {"evaluation": {"score_filled": True}}, {"frequency": "W"},
        {"fill": {"target": {"middle": "zero"}}}, {"bounds": {"lower": 0}},
    ]  # fmt: skip
    assert all(tuning_digest(load_config(content | change)) == digest for change in same)
    assert all(tuning_digest(load_config(content | change)) != digest for change in other)
    assert config_hash(load_config(content)) != config_hash(load_config(content | {"tuning": {"trials": 3}}))
