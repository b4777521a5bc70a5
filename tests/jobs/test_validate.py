"""The verb `validate`: every rule against pandas, the report as file and exit code, and data that is hardly data."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from jobs.cli import app
from jobs.ingest import ingest
from jobs.validate import render, validate
from udfs.config import load_config
from udfs.errors import InputError
from udfs.roles import roles_of
from udfs.validation import Finding, ValidationReport
from udfs.validation.facts import count_flags
from udfs.validation.rules import EXAMPLES, RULES, finding
from udfs.validation.settings import config_findings, unused_columns

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MakeConfig = Callable[..., dict[str, Any]]
DAYS = pd.date_range("2024-01-01", periods=70)
HORIZON, SEASON, END = 7, 7, 59
"""The target ends at day 59; days 60 to 66 are the horizon."""
KEY = ["item_id", "store"]


def by_rule(report: ValidationReport) -> dict[tuple[str, str, str], Finding]:
    found = {(f.place, f.column or "", f.rule): f for f in report.findings}
    assert len(found) == len(report.findings)
    return found


# --- generated data whose truth pandas knows ---


def generated(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Target, price (by item and store), weather (by store), metadata (by item), with every flaw in some series."""
    target, price = [], []
    for i in range(30):
        for store in ("s1", "s2", "s3"):
            first = int(rng.choice([0, 0, 20, 50, 57]))
            last = int(rng.choice([END, END, END, 40])) if first < 40 else END
            days = np.arange(first, last + 1)
            days = days[(rng.random(len(days)) < rng.choice([1.0, 1.0, 0.8])) | (days == last)]
            kind = rng.integers(6)
            values = rng.poisson(3, len(days)).astype(float) if kind else np.full(len(days), float(rng.choice([0, 4])))
            values[rng.random(len(days)) < (0.1 if kind == 1 else 0)] = -1.0
            values[rng.random(len(days)) < (0.2 if kind == 2 else 0)] = np.nan
            name = f"item{i:02d}"
            target.append(pd.DataFrame({"item_id": name, "store": store, "day": days, "target": values}))
            if kind == 3 and len(days) > 4:
                target.append(target[-1].head(3))
            if rng.random() < 0.8:
                known = np.arange(max(first + int(rng.choice([0, 0, 3])), 0), int(rng.choice([66, 66, 62, 50])) + 1)
                known = known[rng.random(len(known)) < rng.choice([1.0, 0.9])]
                price.append(pd.DataFrame({"item_id": name, "store": store, "day": known, "price": 2.0}))
    target.append(pd.DataFrame({"item_id": "item29", "store": "s0", "day": [58, 59], "target": np.nan}))
    price.append(pd.DataFrame({"item_id": "ghost", "store": "s1", "day": [1, 2], "price": 1.0}))
    weather = pd.concat(
        [pd.DataFrame({"store": "s1", "day": np.arange(0, 63), "temp": 1.0}),
         pd.DataFrame({"store": "s2", "day": np.arange(5, 55), "temp": 1.0})]
    )  # fmt: skip
    items = pd.DataFrame({"item_id": [f"item{i:02d}" for i in range(25)] + ["new"], "country": "DE"})
    items.loc[3:4, "country"] = None
    items.loc[5, "country"] = "Atlantis"
    return pd.concat(target), pd.concat(price), weather, items


def text(frame: pd.DataFrame) -> str:
    if "day" in frame:
        frame = frame.assign(timestamp=DAYS[frame["day"]]).drop(columns="day")
    return frame.to_csv(index=False)


def expected_of(
    target: pd.DataFrame, price: pd.DataFrame, weather: pd.DataFrame, items: pd.DataFrame
) -> dict[tuple[str, str, str], pd.Series]:
    """(place, column, rule) -> count by key, in keys' order."""
    periods = target.groupby([*KEY, "day"]).agg(target=("target", lambda v: v.sum(min_count=1)), rows=("day", "size"))
    periods = periods.reset_index()
    known = periods[periods["target"].notna()]
    facts = periods.groupby(KEY).agg(rows=("rows", "sum"))
    of = known.groupby(KEY)
    facts["n"] = of.size()
    facts["n"] = facts["n"].fillna(0).astype(int)
    facts["first"], facts["last"] = of["day"].min(), of["day"].max()
    facts["low"], facts["high"] = of["target"].min(), of["target"].max()
    facts["below"] = known[known["target"] < 0].groupby(KEY).size()
    facts["extra"] = periods.groupby(KEY)["rows"].sum() - periods.groupby(KEY).size()
    n, some = facts["n"], facts["n"] > 0
    history = END - facts["first"] + 1
    where, column = "data.target", "target"
    found = {
        (where, column, "all_missing"): facts["rows"][n == 0],
        (where, column, "few_observations"): n[some & (n < 5)],
        (where, column, "shorter_than_horizon"): n[some & (n < HORIZON)],
        (where, column, "shorter_than_season"): n[some & (n < SEASON)],
        (where, column, "horizon_too_long"): history[some & (3 * HORIZON > history)],
        (where, column, "all_zero"): n[some & (facts["low"] == 0) & (facts["high"] == 0)],
        (where, column, "constant"): n[(n > 1) & (facts["low"] == facts["high"]) & (facts["low"] != 0)],
        (where, column, "below_lower_bound"): facts["below"].dropna(),
        (where, column, "ends_early"): (END - facts["last"])[some & (facts["last"] < END)],
        (where, column, "gaps"): (facts["last"] - facts["first"] + 1 - n)[some].loc[lambda v: v > 0],
        (where, column, "duplicate_rows"): facts["extra"][facts["extra"] > 0],
    }
    for place, name, rows, key, future in (
        ("data.related[0]", "price", price, KEY, True), ("data.related[1]", "temp", weather, ["store"], False)
    ):  # fmt: skip
        span = rows.groupby(key)["day"].agg(n2="size", first2="min", last2="max")
        span["future"] = rows[rows["day"] > END].groupby(key).size()
        both = facts.join(span, on=key, how="left")
        late = (both["first2"] - both["first"]).dropna()
        gaps = both["last2"] - both["first2"] + 1 - both["n2"]
        found |= {
            (place, name, "related_missing"): both["n2"][both["n2"].isna()],
            (place, name, "related_starts_late"): late[late > 0],
            (place, name, "related_ends_early"): (END - both["last2"])[both["last2"] < END],
            (place, name, "related_gaps"): gaps[gaps > 0],
        }
        if future:
            short = END + HORIZON - both["last2"].clip(lower=END)
            found[place, name, "related_ends_before_horizon"] = short[both["last2"].notna() & (short > 0)]
        else:
            found[place, name, "related_future_unused"] = both["future"].dropna()
    lacks = facts.index.get_level_values("item_id").isin(items["item_id"])
    empty = items[items["country"].isna()]["item_id"]
    found["data.items[0]", "", "items_missing"] = n[~lacks]
    found["data.items[0]", "country", "attribute_missing"] = n[facts.index.get_level_values("item_id").isin(empty)]
    return {place: amounts for place, amounts in found.items() if len(amounts)}


@pytest.mark.spark
def test_every_rule_against_pandas(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    tables = generated(np.random.default_rng(11))
    for name, table in zip(("t", "p", "w", "i"), tables, strict=True):
        (tmp_path / f"{name}.csv").write_text(text(table))
    with (tmp_path / "t.csv").open("a") as file:  # item_id, store, target, timestamp
        file.write("item00,s1,many,2024-01-01\n,s1,1,2024-01-01\nitem01,s2,1,someday\nitem01,s1,few,2024-01-01\n")
    content = make_config(
        dimensions=["store"],
        data={
            "target": {"path": str(tmp_path / "t.csv")},
            "related": [
                {"path": str(tmp_path / "p.csv"), "series": {"price": {"known_in_future": True}}},
                {"path": str(tmp_path / "w.csv"), "key": ["store"], "series": ["temp"]},
            ],
            "items": [{"path": str(tmp_path / "i.csv"), "attributes": ["country"]}],
        },
        fill={"target": {"back": "zero"}},
        bounds={"lower": 0},
        holidays={"country_column": "country"},
        segments=[
            {"name": "a", "where": {"store": ["s1", "s9"], "country": "DE"}, "models": {"naive": {}}},
            {"name": "b", "where": {"item_id": "item05", "country": "DE"}, "models": {"naive": {}}},
            {"name": "c", "where": {"country": "Nowhere"}, "models": {"naive": {}}},
            {"name": "d", "where": {"item_id": "new"}, "models": {"naive": {}}},  # metadata only
            {"name": "e", "where": {"lifecycle": "ended"}, "models": {"naive": {}}},
        ],
    )
    report = validate(content, spark, only=["item00/s1", "item00/s7"], where="store = 's4'")
    found = by_rule(report)
    expected = expected_of(*tables)
    n_series = tables[0].groupby(KEY).ngroups
    assert (report.n_series, report.first, report.last) == (n_series, "2024-01-01", "2024-02-29")
    assert report.rows == {"target": len(tables[0]) + 4, "related:0": len(tables[1]), "related:1": len(tables[2]),
                           "items:0": len(tables[3])}  # fmt: skip
    assert len(expected) == 22
    for place, amounts in expected.items():
        row = found.pop(place)
        keys = ["/".join(key) for key in amounts.index]
        assert (row.series, row.total) == (len(amounts), n_series), place
        counted = bool(RULES[place[2]].unit)
        assert row.count == (int(amounts.sum()) if counted else None), place
        listed = [int(v) for v in amounts] if counted else [None] * len(keys)
        assert row.examples == tuple(sorted(zip(keys, listed, strict=True))[:EXAMPLES]), place
    ends = by_rule(report)["data.target", "target", "ends_early"]
    assert "fill.target.back fills them: zero" in ends.detail  # as many zeros as it counts
    # What pandas was not asked: selectors, keys, refused rows.
    assert {place: (f.series, f.count, [key for key, _ in f.examples]) for place, f in found.items()} == {
        ("--item", "", "unknown_item_selected"): (1, None, ["item00/s7"]),
        ("--where", "", "where_matches_nothing"): (None, None, []),
        ("holidays.country_column", "country", "unknown_holiday_region"): (
            3, None, ["item05/s1: Atlantis", "item05/s2: Atlantis", "item05/s3: Atlantis"]),
        ("data.related[0]", "", "related_unknown_key"): (1, 2, ["ghost/s1"]),
        ("data.items[0]", "", "items_unknown"): (1, None, ["new"]),
        ("data.target", "item_id", "null_item_id"): (1, 1, ["NULL/s1"]),
        ("data.target", "timestamp", "bad_timestamp"): (1, 1, ["item01/s2"]),
        ("data.target", "target", "not_a_number"): (2, 2, ["item00/s1", "item01/s1"]),
        ("segments[0]", "store", "unknown_segment_value"): (1, None, ["s9"]),
        ("segments[1]", "", "segment_matches_nothing"): (None, None, []),
        ("segments[2]", "country", "unknown_segment_value"): (1, None, ["Nowhere"]),
    }  # fmt: skip
    assert {f.rule for f in report.errors} == {
        "unknown_item_selected", "where_matches_nothing", "unknown_holiday_region", "related_ends_before_horizon"
    }  # fmt: skip
    assert [f.severity for f in report.findings] == sorted(f.severity for f in report.findings)
    assert not (tmp_path / "lake").exists()
    output = io.StringIO()
    render(report, Console(file=output, width=220))
    assert "item05/s1: Atlantis" in output.getvalue()
    assert f"{len(report.errors)} errors, {len(report.warnings)} warnings" in output.getvalue()


# --- the command line ---


def almanac(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["validate", *(str(a) for a in arguments)])


@pytest.mark.spark
def test_files_and_exit_codes(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    """Garbage, an empty file and a source that is not there in one report; then data with one row."""
    (tmp_path / "target.csv").write_bytes(b"\xff\x00\xfe")
    (tmp_path / "r.csv").write_bytes(b"")
    content = make_config()
    content["data"]["related"] = [{"path": str(tmp_path / "r.csv"), "series": ["x"]}]
    content["data"]["items"] = [{"path": str(tmp_path / "nowhere.csv"), "attributes": ["y"]}]
    path, out = tmp_path / "config.yaml", tmp_path / "report.json"
    path.write_text(yaml.safe_dump(content))
    done = almanac("--config", path, "--out", out)
    assert done.exit_code == 3, done.output
    written = json.loads(out.read_text())
    assert written["errors"] == 3
    assert [(f["place"], f["rule"], f["severity"]) for f in written["findings"]] == [
        (place, "cannot_be_read", "error") for place in ("data.target", "data.related[0]", "data.items[0]")
    ]
    details = [f["detail"] for f in written["findings"]]
    assert "has no column 'item_id'" in details[0]
    assert "is empty" in details[1]
    assert "nowhere.csv does not exist" in details[2]

    (tmp_path / "target.csv").write_text("item_id,timestamp,target\na,2024-01-01,5\n")
    path.write_text(yaml.safe_dump(make_config()))
    table = tmp_path / "report.csv"
    done = almanac("--config", path, "--out", table)
    assert done.exit_code == 0, done.output
    assert "0 errors, 4 warnings" in done.output
    rows = list(csv.DictReader(table.open(newline="")))
    assert [(r["severity"], r["rule"], r["series"], r["count"], r["examples"]) for r in rows] == [
        ("warning", rule, "1", "1", "a (1)")
        for rule in ("few_observations", "shorter_than_horizon", "shorter_than_season", "horizon_too_long")
    ]
    refused = almanac("--config", path, "--out", tmp_path / "report.txt")
    assert refused.exit_code == 2
    assert "ends in .json or .csv" in refused.output
    assert almanac("--config", path, "--set", "domain=SHOP").exit_code == 2
    assert not (tmp_path / "lake").exists()


@pytest.mark.spark
def test_history_that_the_lake_keeps_counts(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    """The config of an incremental ingest names the newest file only."""
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    head = "item_id,timestamp,target\n"
    old.write_text(head + "".join(f"{k},{d:%Y-%m-%d},{i % 5}\n" for k in "ab" for i, d in enumerate(DAYS[:60])))
    new.write_text(head + f"a,{DAYS[60]:%Y-%m-%d},3\na,{DAYS[60]:%Y-%m-%d},3\na,{DAYS[60]:%Y-%m-%d},x\n")
    content = make_config(data={"target": {"path": str(old)}}, ingest={"max_rejected_share": 0.5})
    ingest(content, spark)
    content["data"]["target"]["path"] = str(new)
    before = sorted(p.name for p in (tmp_path / "lake").rglob("*.json"))
    report = validate(content, spark)
    assert sorted(p.name for p in (tmp_path / "lake").rglob("*.json")) == before
    assert (report.n_series, report.last) == (2, "2024-03-01")
    assert {rule: f.examples for (_, _, rule), f in by_rule(report).items()} == {
        "not_a_number": (("a", 1),), "duplicate_rows": (("a", 1),), "ends_early": (("b", 1),),
    }  # fmt: skip
    alone = validate(content | {"ingest": {"mode": "full", "max_rejected_share": 0.1}}, spark)
    assert alone.n_series == 1
    assert {f.rule for f in alone.errors} == {"too_many_refused"}
    with pytest.raises(InputError, match="the lake holds another dataset group"):
        validate(content | {"dataset_group": "other"}, spark)


# --- without Spark ---


def test_severity_follows_the_config(make_config: MakeConfig) -> None:
    """Under compat what stopped the service's jobs is an error, unless a fill rule answers it."""
    related = [{"path": "r.csv", "series": {"price": {"known_in_future": True}}}]
    content = make_config(data={"target": {"path": "t.csv"}, "related": related})
    rules = ("related_gaps", "related_missing", "related_ends_before_horizon", "items_missing", "gaps")

    def severities(**more: Any) -> list[str]:
        config = load_config(content | more)
        return [finding(config, rule, "data.related[0]", "price").severity for rule in rules]

    assert severities() == ["warning", "warning", "error", "warning", "warning"]
    assert severities(compat="amazon_forecast") == ["error", "error", "error", "error", "warning"]
    filled = {"related": {"price": {"middle": "mean", "future": 0}}}
    assert severities(compat="amazon_forecast", fill=filled) == ["warning", "error", "warning", "error", "warning"]


def test_what_needs_no_rows(make_config: MakeConfig) -> None:
    related = [{"path": "r.csv", "series": {"x": {"column": "Demand"}, "price": {}}}, {"path": "q.csv", "series": {}}]
    config = load_config(make_config(domain="RETAIL", data={"target": {"path": "t.csv"}, "related": related}))
    assert [(f.place, f.column, f.rule, f.severity) for f in config_findings(config)] == [
        ("data.related[0]", "x", "related_is_target", "error"), ("data.related[1]", None, "no_series", "error")
    ]  # fmt: skip
    target, prices, _ = roles_of(config)
    (unused,) = unused_columns(config, target, ["item_id", "timestamp", "demand", "location", "note"])
    assert (unused.rule, unused.severity, unused.detail.endswith("not used: location")) == (
        "unused_columns", "warning", True
    )  # fmt: skip
    (promotion,) = unused_columns(config, prices, ["item_id", "timestamp", "Demand", "price", "promotion_applied"])
    assert promotion.detail.endswith("not used: promotion_applied")


def test_what_becomes_of_a_series_that_ends_early(make_config: MakeConfig) -> None:
    def said(**more: Any) -> str:
        config = load_config(make_config(**more))
        return finding(config, "ends_early", "data.target", "target", series=1, count=3, examples=(("a", 3),)).detail

    assert said().endswith("fill.target.back is nan, so they stay missing")
    assert said(compat="amazon_forecast").endswith("fill.target.back fills them: zero")
    assert said(forecast_start="per_series").endswith("so it is forecast from its own end")


FLAGS = st.lists(
    st.tuples(
        st.sampled_from(["p", "q"]), st.sampled_from(["r", "s"]), st.sampled_from(["", "c"]),
        st.text("abé☃", max_size=3), st.none() | st.integers(0, 9),
    ),
    max_size=60,
)  # fmt: skip


@settings(deadline=None)
@given(rows=FLAGS, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_flags_are_counted_and_the_first_kept_whatever_the_batches(rows: list[Any], cuts: list[int]) -> None:
    schema = pa.schema([(n, pa.string()) for n in ("place", "rule", "column", "label")] + [("amount", pa.int64())])
    bounds = [0, *sorted(cuts), len(rows)]
    parts = [rows[a:b] for a, b in itertools.pairwise(bounds)]
    batches = [
        pa.record_batch([list(c) for c in zip(*part, strict=True)] or [[]] * 5, schema=schema) for part in parts
    ]
    found = {(r["place"], r["rule"], r["column"]): r for b in count_flags(iter(batches)) for r in b.to_pylist()}
    expected: dict[tuple[str, str, str], list[tuple[str, int | None]]] = {}
    for *place, label, amount in rows:
        expected.setdefault(tuple(place), []).append((label, amount))
    assert found.keys() == expected.keys()
    for place, listed in expected.items():
        amounts = [n for _, n in listed if n is not None]
        assert (found[place]["n"], found[place]["amount"]) == (len(listed), sum(amounts) if amounts else None)
        labels = [e["label"] for e in found[place]["examples"]]
        assert labels == sorted(label for label, _ in listed)[:EXAMPLES]
        assert all((e["label"], e["amount"]) in listed for e in found[place]["examples"])
