"""The section cold_start: when it is in force, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from udfs.config import ConfigError, load_config
from udfs.config.cold_start import ColdStart, active_cold_start, cold_below, known_features

MakeConfig = Callable[..., dict[str, Any]]
ITEMS = [{"path": "items.csv", "attributes": ["brand"]}]


def data(content: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return content | {"data": content["data"] | parts}


def test_on_where_there_is_metadata(make_config: MakeConfig) -> None:
    assert active_cold_start(load_config(make_config())) is None
    with_items = data(make_config(), items=ITEMS)
    assert active_cold_start(load_config(with_items)) == ColdStart()
    assert active_cold_start(load_config(with_items | {"cold_start": False})) is None
    assert active_cold_start(load_config(make_config(cold_start=True))) == ColdStart()
    given = load_config(with_items, overrides=["cold_start.below=5"])
    section = active_cold_start(given)
    assert section is not None
    assert cold_below(given, section) == 5
    default = load_config(with_items)
    assert cold_below(default, ColdStart()) == default.horizon


def test_key_columns_compare_items_where_there_are_several(make_config: MakeConfig) -> None:
    content = data(make_config(), items=ITEMS)
    assert known_features(load_config(content)) == ("brand",)
    assert known_features(load_config(content | {"dimensions": ["store_id"]})) == ("brand", "item_id", "store_id")


def test_mistakes_are_named(make_config: MakeConfig) -> None:
    wrong = {"features": ["brand", "colour"], "price": "cost", "donors": 0}
    with pytest.raises(ConfigError) as caught:
        load_config(data(make_config(cold_start=wrong), items=ITEMS))
    assert "donors" in str(caught.value)
    del wrong["donors"]
    with pytest.raises(ConfigError) as caught:
        load_config(data(make_config(cold_start=wrong), items=ITEMS))
    text = str(caught.value)
    assert "cold_start.features: no metadata column 'colour'; there are brand" in text
    assert "cold_start.price: no related series 'cost'; there are none" in text
