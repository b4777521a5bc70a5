"""The service's defaults, domains and schemas in the config: what is set, what wins, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forecasting.frequency import Frequency
from udfs.config import ConfigError, load_config, resolved_json
from udfs.config.compat import service_season
from udfs.config.domains import DOMAINS
from udfs.roles import roles_of

MakeConfig = Callable[..., dict[str, Any]]
AMAZON = {"compat": "amazon_forecast"}


def schema_of(**types: str) -> dict[str, Any]:
    return {"Attributes": [{"AttributeName": n, "AttributeType": t} for n, t in types.items()]}


def test_the_services_defaults_fill_what_is_not_given(make_config: MakeConfig) -> None:
    content = make_config(**AMAZON, frequency="W")
    del content["models"], content["backtest"]
    content["data"]["related"] = [{"path": "r.csv", "series": {"price": None, "promo": {"aggregation": "max"}}}]
    config = load_config(content)
    assert config.fill.target.model_dump() == {"front": "nan", "middle": "zero", "back": "zero"}
    assert config.fill.related == {}
    assert (config.quantiles, config.mean, config.forecast_start) == ((0.1, 0.5, 0.9), False, "global")
    assert (config.backtest.windows, config.offset) == (1, config.horizon)
    assert (config.selection.mode, config.selection.metric) == ("best_overall", "mean_wQL")
    assert config.calibration.method == "none"
    assert config.frequency == "W-MON"
    assert config.data.target.aggregation == "sum"
    assert {n: c.aggregation for n, c in config.data.related_columns.items()} == {"price": "none", "promo": "max"}
    # Weeks have 52 periods a year in the service's table; R's ets takes no season above 24.
    assert config.models == {"arima": {}, "ets": {"season_length": 1}, "npts": {"use_seasonal_model": True},
                             "prophet": {}}  # fmt: skip


def test_given_keys_win(make_config: MakeConfig) -> None:
    content = make_config(
        **AMAZON,
        frequency="15min",
        fill={"target": {"back": "nan"}},
        quantiles=[0.3],
        mean=True,
        models={"ets": {"season_length": 96}, "arima": None, "npts": {"use_seasonal_model": "auto"}, "naive": {}},
        segments=[{"name": "s", "where": {"item_id": "a"}, "models": ["ets", "ets+damped"]}],
        selection={"mode": "ensemble"},
        backtest={"windows": 3},
    )
    config = load_config(content)
    assert config.fill.target.model_dump() == {"front": "nan", "middle": "zero", "back": "nan"}
    assert (config.quantiles, config.mean, config.backtest.windows) == ((0.3,), True, 3)
    assert (config.selection.mode, config.selection.metric) == ("ensemble", "mean_wQL")
    assert config.models == {"ets": {"season_length": 96}, "arima": {"season_length": 4},
                             "npts": {"use_seasonal_model": "auto"}, "naive": {}}  # fmt: skip
    assert config.segments[0].models == {"ets": {"season_length": 4}, "ets+damped": {"season_length": 4}}
    assert load_config(json.loads(resolved_json(config))) == config


def test_without_compat_nothing_changes(make_config: MakeConfig) -> None:
    config = load_config(make_config())
    assert (config.compat, config.domain) == (None, None)
    assert config.fill.target.model_dump() == {"front": "nan", "middle": "nan", "back": "nan"}
    # An override of a Config that was read still finds the keys that nobody gave.
    assert load_config(config, ["compat=amazon_forecast"]).fill.target.back == "zero"
    assert load_config(load_config(make_config(fill={"target": {"back": "max"}})), ["compat=amazon_forecast"]) == (
        load_config(make_config(**AMAZON, fill={"target": {"back": "max"}}))
    )


@pytest.mark.parametrize(
    ("frequency", "season"),
    [("Y", 1), ("M", 12), ("W", 52), ("D", 7), ("H", 24), ("30min", 2), ("15min", 4), ("10min", 6), ("5min", 12),
     ("1min", 60), ("3M", 1), ("2W", 1), ("2D", 1), ("6H", 1), ("20min", 1), ("PT15M", 4)],
)  # fmt: skip
def test_the_season_map(frequency: str, season: int) -> None:
    assert service_season(Frequency.parse(frequency)) == season


def test_an_unknown_compat_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="compat: got 'prophet'; input should be 'amazon_forecast'"):
        load_config(make_config(compat="prophet"))


@pytest.mark.parametrize("name", DOMAINS)
def test_a_domain_names_the_columns(make_config: MakeConfig, name: str) -> None:
    domain = DOMAINS[name]
    config = load_config(
        make_config(
            domain=name,
            data={
                "target": {"path": "t.csv"},
                "related": [{"path": "r.csv", "series": ["price"]}],
                "items": [{"path": "i.csv", "attributes": ["category"]}],
            },
        )
    )
    target, related, items = roles_of(config)
    assert target.columns == {"item_id": domain.item_id, "timestamp": "timestamp", "target": domain.target}
    assert related.columns == {"item_id": domain.item_id, "timestamp": "timestamp", "price": "price"}
    assert items.columns == {"item_id": domain.item_id, "category": "category"}


def test_columns_win_over_the_domain_and_unknown_domains_are_named(make_config: MakeConfig) -> None:
    content = make_config(domain="EC2_CAPACITY", data={"target": {"path": "t.csv", "columns": {"target": "hosts"}}})
    assert roles_of(load_config(content))[0].columns == {
        "item_id": "instance_type", "timestamp": "timestamp", "target": "hosts"
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"domain: got 'SHOP'; input should be 'CUSTOM', 'RETAIL'.* or 'METRICS'"):
        load_config(make_config(domain="SHOP"))


def test_a_schema_declares_series_attributes_and_types(make_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(schema_of(timestamp="timestamp", item_id="string", location="string",
                     demand="float")).encode())  # fmt: skip
    related = schema_of(item_id="string", timestamp="timestamp", price="float", promotion_applied="integer")
    items = schema_of(item_id="string", brand="string", lead_time="integer", note="string")
    content = make_config(
        domain="RETAIL",
        dimensions=["location"],
        data={
            "target": {"path": "t.csv", "schema": str(path)},
            "related": [{"path": "r.csv", "schema": related}],
            "items": [{"path": "i.csv", "schema": items, "types": {"note": "number"}}],
        },
    )
    data = load_config(content).data
    assert [a.name for a in data.target.schema_ or ()] == ["timestamp", "item_id", "location", "demand"]
    assert data.related[0].key == ("item_id",)
    assert list(data.related[0].series) == ["price", "promotion_applied"]
    assert data.items[0].attributes == {"brand": "brand", "lead_time": "lead_time", "note": "note"}
    assert data.numeric_attributes == ("lead_time", "note")
    # What is stored with a run holds the schema itself, and reads back the same when the file is gone.
    stored = resolved_json(load_config(content))
    path.unlink()
    assert load_config(json.loads(stored)).data == data


METRICS = schema_of(metric_name="string", timestamp="timestamp", metric_value="float")


def test_without_a_domain_the_schema_names_item_and_target(make_config: MakeConfig) -> None:
    role = roles_of(load_config(make_config(data={"target": {"path": "t.csv", "schema": METRICS}})))[0]
    assert role.columns == {"item_id": "metric_name", "timestamp": "timestamp", "target": "metric_value"}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"schema": "nowhere.json"}, "data.target.schema: the file nowhere.json does not exist"),
        ({"schema": {"attributes": 3}}, r"data.target.schema: a schema looks like .*; got 3"),
        ({"schema": {"Columns": []}}, "data.target.schema: a schema looks like .*; got the keys Columns"),
        ({"schema": []}, "data.target.schema: a schema looks like"),
        ({"schema": schema_of(a="strang")}, "AttributeType: got 'strang'; input should be 'string', 'integer'"),
        ({"schema": [*METRICS["Attributes"], METRICS["Attributes"][0]]}, "metric_name stand there twice"),
        ({"schema": METRICS, "columns": {"item_id": "metric_name"}}, "schema and columns are both given"),
        ({"schema": METRICS, "format": "parquet"}, "schema is for CSV files, and this source is format parquet"),
        ({"schema": schema_of(x="string")}, r"data.target.schema has no attribute item_id, timestamp, target, which"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','; they must differ"),
    ],
)
def test_wrong_schemas_say_what_to_do(make_config: MakeConfig, target: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config(make_config(data={"target": {"path": "t.csv", **target}}))


def test_a_schema_lacks_what_the_domain_requires(make_config: MakeConfig) -> None:
    content = make_config(domain="WORK_FORCE", horizon=0, data={"target": {"path": "t.csv", "schema": METRICS}})
    with pytest.raises(ConfigError) as caught:
        load_config(content)
    assert len(caught.value.problems) == 2  # with the horizon's
    assert "no attribute workforce_type (for item_id), workforce_demand (for target), which domain WORK_FORCE" in str(
        caught.value
    )


def test_types_of_what_is_no_attribute(make_config: MakeConfig) -> None:
    items = [{"path": "i.csv", "attributes": ["brand"], "types": {"weight": "number"}}]
    content = make_config(data={"target": {"path": "t.csv"}, "items": items})
    with pytest.raises(ConfigError, match=r"types names \['weight'\], which are no attributes; there are brand"):
        load_config(content)
