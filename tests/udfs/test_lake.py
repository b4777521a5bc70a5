"""The lake: identity, tables as declared, and writes that can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from chispa import assert_df_equality

from forecasting.levels import quantile_column, quantile_level
from udfs.config import load_config
from udfs.errors import InputError
from udfs.lake import Lake, literal, predicate
from udfs.layout import quoted
from udfs.schemas import Layout, table_schemas

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]
NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)


def lake_of(spark: SparkSession, config: dict[str, Any]) -> Lake:
    return Lake.of(spark, load_config(config))


def source_rows(lake: Lake, *names: str, rows: int = 1) -> Any:
    record = {"role": "target", "sequence": 0, "fingerprint": "f", "mapping": "m", "n_rejected": 0, "ingested_at": NOW}
    return lake.rows("sources", [record | {"source": name, "n_rows": rows} for name in names])


def test_tables_are_made_as_declared(spark: SparkSession, make_config: MakeConfig) -> None:
    config = make_config(
        dimensions=["store"],
        data={
            "target": {"path": "a"},
            "related": [{"path": "b", "series": ["price"]}],
            "items": [{"path": "c", "attributes": ["colour"]}],
        },
    )
    lake = lake_of(spark, config)
    lake.ensure(*lake.schemas)
    for name, schema in lake.schemas.items():
        made = lake.read(name).schema
        assert tuple(made.names) == schema.names
        declared = {c.name: c.type.replace(" ", "").lower() for c in schema.columns}
        assert {f.name: f.dataType.simpleString() for f in made.fields} == declared
        partitions = spark.sql(f"DESCRIBE DETAIL {lake.identifier(name)}").first()
        assert tuple(partitions["partitionColumns"]) == schema.partition_by
        assert partitions["properties"]["delta.enableDeletionVectors"] == "false"


def test_checks_and_not_null_are_enforced(spark: SparkSession, make_config: MakeConfig) -> None:
    lake = lake_of(spark, make_config())
    lake.ensure("runs", "sources")
    run = {name: None for name in lake.schemas["runs"].names} | {
        "run_id": "r", "state": "lost", "published": False, "config": "{}", "config_hash": "h", "code_version": "0",
        "seed": 0, "horizon": 1, "quantiles": [0.5], "plan": "{}", "input_versions": {}, "started_at": NOW,
    }  # fmt: skip
    with pytest.raises(Exception, match="known_state"):
        lake.append_once("runs", lake.rows("runs", [run]), "t1")
    with pytest.raises(Exception, match=r"(?i)null"):
        lake.append_once("sources", source_rows(lake, None), "t2")  # type: ignore[arg-type]
    assert lake.read("runs").count() == 0


def test_append_once_is_done_once(spark: SparkSession, make_config: MakeConfig) -> None:
    lake = lake_of(spark, make_config())
    lake.ensure("sources")
    for _ in range(2):
        lake.append_once("sources", source_rows(lake, "a"), "run/wave-1")
    lake.append_once("sources", source_rows(lake, "b"), "run/wave-2")
    assert sorted(r.source for r in lake.read("sources").collect()) == ["a", "b"]


def test_replace_touches_what_the_predicate_meets(spark: SparkSession, make_config: MakeConfig) -> None:
    lake = lake_of(spark, make_config())
    lake.ensure("sources")
    odd = 'it\'s \\ "odd" 🙂'
    lake.replace("sources", source_rows(lake, "a", odd, "c"), {})
    lake.replace("sources", source_rows(lake, odd, rows=9), {"role": "target", "source": [odd, "c"]})
    assert_df_equality(
        lake.read("sources").select("source", "n_rows").orderBy("source"),
        source_rows(lake, "a").union(source_rows(lake, odd, rows=9)).select("source", "n_rows").orderBy("source"),
        ignore_nullable=True,
        ignore_metadata=True,
    )


def test_merge_updates_by_primary_key(spark: SparkSession, make_config: MakeConfig) -> None:
    lake = lake_of(spark, make_config())
    lake.ensure("sources")
    lake.merge("sources", source_rows(lake, "a", "b"))
    lake.merge("sources", source_rows(lake, "b", "c", rows=5))
    assert {r.source: r.n_rows for r in lake.read("sources").collect()} == {"a": 1, "b": 5, "c": 5}


def test_versions_travel_back(spark: SparkSession, make_config: MakeConfig) -> None:
    lake = lake_of(spark, make_config())
    lake.ensure("sources")
    lake.merge("sources", source_rows(lake, "a"))
    before = lake.version("sources")
    lake.merge("sources", source_rows(lake, "b"))
    assert lake.version("sources") == before + 1
    assert lake.read("sources", before).count() == 1


def test_another_group_is_refused(spark: SparkSession, make_config: MakeConfig) -> None:
    lake = lake_of(spark, make_config(frequency="W"))
    assert lake.info() is None
    lake.identify(load_config(make_config(frequency="W")), "W-SUN")
    for frequency in ("W", "W-SUN"):
        assert lake.check_identity(load_config(make_config(frequency=frequency))) is not None
    for change, named in (
        ({"dataset_group": "other", "frequency": "W"}, "dataset_group"),
        ({"frequency": "W-MON"}, "W-SUN"),
        ({"frequency": "D"}, "frequency"),
        ({"frequency": "W", "dimensions": ["store"]}, "dimensions"),
    ):
        with pytest.raises(InputError, match=named):
            lake.check_identity(load_config(make_config(**change)))


def test_another_schema_version_is_refused(spark: SparkSession, make_config: MakeConfig) -> None:
    lake = lake_of(spark, make_config())
    lake.identify(load_config(make_config()), "D")
    row = lake.read("lake").collect()[0].asDict()
    lake.replace("lake", lake.rows("lake", [row | {"schema_version": 2}]), {})
    with pytest.raises(InputError, match="schema version 2"):
        lake.info()


def test_a_catalog_schema_is_a_lake_too(spark: SparkSession, make_config: MakeConfig) -> None:
    lake = lake_of(spark, make_config(lake={"schema": "almanac_lake_test"}))
    try:
        assert not lake.exists("sources")
        lake.identify(load_config(make_config(lake={"schema": "almanac_lake_test"})), "D")
        lake.ensure("sources")
        lake.append_once("sources", source_rows(lake, "a"), "t")
        lake.replace("sources", source_rows(lake, "b"), {"source": ["a", "b"]})
        lake.merge("sources", source_rows(lake, "b", rows=3))
        assert [tuple(r) for r in lake.read("sources").select("source", "n_rows").collect()] == [("b", 3)]
        assert lake.info() is not None
    finally:
        spark.sql("DROP SCHEMA IF EXISTS almanac_lake_test CASCADE")


def test_reading_a_table_that_is_not_there_says_what_to_do(spark: SparkSession, make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match="almanac ingest"):
        lake_of(spark, make_config()).read("series")


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.025, 0.975, 0.001, 0.333])
def test_quantile_columns_round_trip(level: float) -> None:
    assert quantile_level(quantile_column(level)) == pytest.approx(level)


def test_quantile_column_names() -> None:
    assert [quantile_column(q) for q in (0.1, 0.025, 0.5)] == ["p10", "p2_5", "p50"]


def test_sql_text_is_quoted() -> None:
    assert quoted("a`b", "c") == "`a``b`.`c`"
    assert literal("o'k\\") == "'o\\'k\\\\'"
    assert predicate({"a": 1, "b": ["x", "y"]}) == "`a` = 1 AND `b` IN ('x', 'y')"


def test_primary_keys_are_columns() -> None:
    for schema in table_schemas(Layout(("store",), ("price",), ("colour",))).values():
        assert set(schema.primary_key) <= set(schema.names)
        assert set(schema.partition_by) <= set(schema.names)
