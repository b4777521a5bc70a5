"""`predict-deepar --scenarios` and `--impacts`: a price effect that is known, single replacements, what is refused,
and Spark and SQL on the tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from deepar_lake import DAYS, SETTINGS, H, rows_of, with_run, written

deltalake = pytest.importorskip("deltalake")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import pyarrow.csv  # noqa: E402
import pyarrow.parquet  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from forecasting.deepar import impacts  # noqa: E402
from jobs.cli import app  # noqa: E402
from jobs.deepar_impacts import explain  # noqa: E402
from jobs.deepar_lake import open_model  # noqa: E402
from jobs.deepar_scenarios import imagine  # noqa: E402
from jobs.predict_deepar import predict  # noqa: E402
from jobs.train_deepar import train, training_set  # noqa: E402
from udfs.config import Config  # noqa: E402
from udfs.deep_source import open_source  # noqa: E402
from udfs.errors import InputError  # noqa: E402
from udfs.lake import Lake  # noqa: E402

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("one_torch_thread")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "deepar.md"
PRICE_EFFECT, USUAL = -1.0, 2.5
N = 24
TRAINED = SETTINGS | {"epochs": 30, "batches_per_epoch": 25, "batch_size": 32, "num_cells": 16, "learning_rate": 1e-2}


def market() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """item -> history and price: a price that is higher by its usual value divides the target by e."""
    rng = np.random.default_rng(5)
    out = {}
    for i in range(N):
        price = USUAL * (1 + rng.uniform(-0.35, 0.35, DAYS + H))
        price[DAYS:] = USUAL
        season = 1 + 0.3 * np.sin(2 * np.pi * np.arange(DAYS + H) / 7)
        effect = np.exp(PRICE_EFFECT * (price / USUAL - 1))
        value = (20 + 2.5 * i) * season * effect * np.exp(rng.normal(0, 0.03, DAYS + H))
        out[f"i{i:02}"] = value[:DAYS], price
    return out


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = written(tmp_path_factory.mktemp("what_if"), market(), deepar=TRAINED)
    train(made)
    return made


def forecasts(config: Config) -> dict[tuple[str, str, int], tuple[float, ...]]:
    """(scenario, item, step) -> mean and quantiles."""
    rows = rows_of(config, "scenarios")
    found = {
        (r["scenario"], r["item_id"], r["step"]): (r["mean"], r["p10"], r["p50"], r["p90"])
        for r in rows
        if r["run_id"] == "first"
    }
    return found


def asked(config: Config, folder: Path, text: str, **more: Any) -> dict[tuple[str, str, int], tuple[float, ...]]:
    file = folder / "scenarios.yaml"
    file.write_text(text, encoding="utf-8")
    imagine(config, file, **more)
    return forecasts(config)


def moments(days: list[np.datetime64]) -> pa.Array:
    return pa.array(np.array(days, dtype="M8[us]"))


def items_of(found: dict[tuple[str, str, int], Any], scenario: str) -> dict[tuple[str, int], Any]:
    return {key[1:]: value for key, value in found.items() if key[0] == scenario}


def test_a_discount_raises_the_forecast_by_what_is_known(config: Config, tmp_path: Path) -> None:
    found = asked(
        config,
        tmp_path,
        """
        discount:
          changes: price * 0.8
        northern:
          changes:
            - {change: price * 0.8, where: [region = north, timestamp >= 2024-02-27]}
        """,
    )
    base, cheap, north = (items_of(found, name) for name in ("baseline", "discount", "northern"))
    assert len(base) == len(cheap) == len(north) == (N + 2) * H
    real = [key for key in base if key[0] in market()]
    effect = np.log([cheap[key][0] / base[key][0] for key in real])
    assert effect.mean() == pytest.approx(0.2, abs=0.05)
    assert (effect > 0.08).all()
    start = np.datetime64("2024-01-01") + DAYS
    for item, step in real:
        changed = int(item[1:]) % 2 == 1 and start + step - 1 >= np.datetime64("2024-02-27")
        if changed:
            assert north[item, step][0] > 1.05 * base[item, step][0]
        elif int(item[1:]) % 2 == 0:
            assert north[item, step] == base[item, step], "the south pays as before"
    assert start + 1 == np.datetime64("2024-02-27")
    assert all(north[item, 1] == base[item, 1] for item, _ in real), "nothing that comes later is seen before"


def test_the_baseline_is_the_runs_forecast_which_stays(config: Config, tmp_path: Path) -> None:
    predict(config, run_id="first")
    before = rows_of(config, "results_deepar")
    base = items_of(asked(config, tmp_path, "dear: {changes: [price * 1.1]}", run_id="first"), "baseline")
    assert repr(rows_of(config, "results_deepar")) == repr(before)
    for row in before:
        for step in range(1, H + 1):
            wanted = (row["mean"][step - 1], *row["quantiles"][3 * (step - 1) : 3 * step])
            assert base[row["item_id"], step] == pytest.approx(wanted, rel=1e-6)
    days = {(r["step"], r["timestamp"]) for r in rows_of(config, "scenarios")}
    assert {(s, np.datetime64(t)) for s, t in days} == {
        (s, np.datetime64("2024-01-01") + DAYS + s - 1) for s in range(1, H + 1)
    }
    version = len(rows_of(config, "scenarios"))
    asked(config, tmp_path, "dear: {changes: [price * 1.1]}", run_id="first")
    assert len(rows_of(config, "scenarios")) == version, "a second time adds no row"
    with_run(config, "second")
    asked(config, tmp_path, "cheap: {changes: [price * 0.9]}", run_id="second")
    assert {(r["run_id"], r["scenario"]) for r in rows_of(config, "scenarios")} == {
        ("first", "baseline"), ("first", "dear"), ("second", "baseline"), ("second", "cheap"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["parquet", "csv", "delta"])
def test_replaced_prices_are_those_of_a_change(config: Config, tmp_path: Path, kind: str) -> None:
    """An item's two days by replacement and by conditions give the same; no other item moves."""
    days = [np.datetime64("2024-01-01") + DAYS + h for h in (1, 2, 3)]
    labels = [str(day) for day in days] if kind == "csv" else moments(days)
    table = pa.table({"item_id": ["i03"] * 3, "timestamp": labels, "price": [2.0, 2.0, None]})
    place = tmp_path / ("prices" if kind == "delta" else f"prices.{kind}")
    if kind == "parquet":
        pyarrow.parquet.write_table(table, place)
    elif kind == "csv":
        pyarrow.csv.write_csv(table, place)
    else:
        deltalake.write_deltalake(str(place), table)
    text = f"""
    table: {{replacements: {place.name}}}
    rule:
      changes:
        - {{change: price = 2, where: [item_id = i03, timestamp > {days[0] - 1}, timestamp <= {days[1]}]}}
    """
    found = asked(config, tmp_path, text, run_id="first")
    base, by_table, by_rule = (items_of(found, name) for name in ("baseline", "table", "rule"))
    assert by_table == by_rule
    moved = {key for key in base if by_table[key] != base[key]}
    assert moved == {("i03", 2), ("i03", 3), ("i03", 4)}, "the last day's price is as before, its lags are not"
    assert by_table["i03", 2][0] > 1.1 * base["i03", 2][0]


def test_features_are_made_of_the_changed_prices(config: Config, tmp_path: Path) -> None:
    """The series that are forecast are those that a task would get with these prices in its rows."""
    from dataclasses import replace

    from forecasting.scenarios import Change, Scenario
    from udfs.parts import prepare

    source = open_source(config)
    spec = source.spec("forecast")
    made = source.batch(source.series, 0, len(source.series))
    plain = prepare(made, spec).series
    changed = prepare(made, replace(spec, scenario=Scenario("s", (Change("price", "*", 0.5),)))).series
    for i, key in enumerate(plain.keys):
        n = int(plain.lengths[i])
        a, b = (s.related["price"] for s in (plain, changed))
        old, new = (c.values[c.offsets[i] : c.offsets[i + 1]] for c in (a, b))
        np.testing.assert_array_equal(new[: min(n, len(old))], old[:n], err_msg=key)
        np.testing.assert_array_equal(new[n : len(old)], 0.5 * old[n:], err_msg=key)
    assert prepare(made, replace(source.spec("backtest"), scenario=Scenario("s"))).series.related["price"] is not None


def test_every_mistake_of_a_file_is_named(config: Config, tmp_path: Path) -> None:
    pyarrow.csv.write_csv(pa.table({"item_id": ["i00"], "price": [1.0]}), tmp_path / "short.csv")
    pyarrow.csv.write_csv(
        pa.table({"item_id": ["i00"], "timestamp": ["soon"], "price": ["cheap"]}), tmp_path / "odd.csv"
    )
    days = moments([np.datetime64("2024-01-01") + DAYS + h for h in (-1, H, 0, 0)])
    late = pa.table({"item_id": ["i00", "i00", "i01", "other"], "timestamp": days, "price": [1.0] * 4})
    pyarrow.parquet.write_table(late, tmp_path / "late.parquet")
    text = """
    baseline: {changes: price * 2}
    one: {changes: [prize * 2, price times 2, {change: price * 2, where: colour = red, then: 3}]}
    late: {changes: [prize * 3], replacements: late.parquet}
    two: {changes: [{change: price * 2, where: [region < north]}, price / 0]}
    three: {replacements: none.parquet}
    four: {replacements: short.csv}
    five: {replacements: odd.csv}
    six: {change: price * 2}
    seven: {}
    """
    with pytest.raises(InputError) as caught:
        asked(config, tmp_path, text)
    message = str(caught.value)
    for part in (
        "the name baseline is that of the forecast without",
        "one: no related series 'prize'; there are: price",
        "one: no column 'colour' to compare; there are: item_id, region, area, timestamp",
        "late: no related series 'prize'",
        "late: 1 item (other) are replaced and not in the run",
        "late: 2 rows lie outside the 4 periods of the forecast, of 1 item (i00)",
        "one: a change has then",
        "one: 'price times 2' is no change",
        "two: region < 'north' compares numbers",
        "two: price / 0 divides by zero",
        "none.parquet do not exist",
        "short.csv lack the columns timestamp",
        "timestamp of",
        "price of",
        "six: expected changes and replacements, got ['change']",
        "seven: it changes nothing",
    ):
        assert part in message, part
    for content in ("", "[1, 2]", "a: [b"):
        with pytest.raises(InputError, match="scenario file"):
            asked(config, tmp_path, content)
    with pytest.raises(InputError, match="does not exist"):
        imagine(config, tmp_path / "nowhere.yaml")


def test_impacts_are_those_of_the_library(config: Config) -> None:
    done = explain(config, run_id="first")
    rows = [row for row in rows_of(config, "impacts") if row["run_id"] == "first"]
    model, _ = open_model(config, None, "cpu")
    batch, metadata, _ = training_set(open_source(config), False)
    wanted = impacts(model, batch, H, metadata, seed=config.seed)
    items = {(r["item_id"], r["feature"], r["kind"]): r for r in rows if r["scope"] == "item"}
    assert len(items) == (N + 2) * len(wanted.names) == done.n_series * len(wanted.names)
    for j, name in enumerate(wanted.names):
        for i, key in enumerate(batch.keys):
            row = items[key, name, wanted.kinds[j]]
            assert row["effect"] == pytest.approx(wanted.mean[i, j], rel=1e-4, abs=1e-5)
            assert row["size"] == pytest.approx(wanted.size[i, j], rel=1e-4, abs=1e-6)
    totals = {(r["feature"], r["kind"]): r for r in rows if r["scope"] == "total"}
    assert len(totals) == len(wanted.names)
    for j, name in enumerate(wanted.names):
        row = totals[name, wanted.kinds[j]]
        assert row["item_id"] is None
        assert row["size"] == pytest.approx(wanted.total[j], rel=1e-4, abs=1e-7)
        assert row["effect"] == pytest.approx(wanted.mean[:, j].mean(), rel=1e-4, abs=1e-5)
    kinds = {(r["feature"], r["kind"]) for r in totals.values()}
    assert {("price", "related"), ("region", "metadata"), ("area", "metadata"), ("day_of_week", "calendar")} <= kinds
    assert {kind for _, kind in kinds} == {"related", "metadata", "holiday", "calendar"}
    before = len(rows_of(config, "impacts"))
    explain(config, run_id="first")
    assert len(rows_of(config, "impacts")) == before, "a second time adds no row"


def test_the_command_line_asks_one_question_at_a_time(config: Config, tmp_path: Path) -> None:
    import yaml

    from udfs.config.load import resolved_json

    file, what_if = tmp_path / "c.yaml", tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(resolved_json(config))), encoding="utf-8")
    what_if.write_text("dear: {changes: price * 1.2}", encoding="utf-8")
    both = CliRunner().invoke(app, ["predict-deepar", "-c", str(file), "--impacts", "--scenarios", str(what_if)])
    assert both.exit_code == 2
    for options, word in ((["--impacts"], "day_of_week"), (["--scenarios", str(what_if)], "dear")):
        found = CliRunner().invoke(app, ["predict-deepar", "-c", str(file), "--run-id", "first", *options])
        assert found.exit_code == 0, found.output
        assert word in found.output


@pytest.mark.spark
def test_spark_reads_the_tables_and_the_docs_queries_run(config: Config, tmp_path: Path, spark: SparkSession) -> None:
    explain(config, run_id="first")
    asked(config, tmp_path, "discount: {changes: price * 0.8}", run_id="first")
    lake = Lake.of(spark, config)
    for table in ("impacts", "scenarios"):
        kinds = {f.name: f.dataType.simpleString() for f in lake.read(table).schema}
        assert kinds == {c.name: c.type for c in lake.schemas[table].columns}
        assert lake.read(table).count() == len(rows_of(config, table))
        lake.read(table).where("run_id = 'first'").createOrReplaceTempView(table)
    queries = re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    found = [spark.sql(query.strip().rstrip(";")).collect() for query in queries]
    assert len(found) >= 2
    assert all(rows for rows in found)
