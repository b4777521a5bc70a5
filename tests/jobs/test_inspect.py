"""The verb `inspect`: the page's facts against a plain loop over generated data, and the page itself."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from series_table import record, write_series

from jobs.charts import columns, line
from jobs.charts import short as short_number
from jobs.forecast import forecast
from jobs.ingest import ingest
from jobs.inspect import InspectionPage, inspect, render
from jobs.inspect_words import share, step_words
from jobs.markup import Markup, tag, text
from udfs.config import load_config
from udfs.errors import InputError
from udfs.inspection.coverage import reach
from udfs.inspection.overview import MEASURES
from udfs.inspection.worst import POINTS, stretches
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

H = 7
END = date(2024, 6, 30)
EVIL = "<script>alert('x')</script> & \"quotes\" 😀\u202e"
NAN = float("nan")


class Reader(HTMLParser):
    """The page as a browser sees it: tags in order, text, attributes; what is opened must be closed."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def day(back: int) -> str:
    return str(END - timedelta(days=back))


def story() -> dict[tuple[str, str], dict[int, float]]:
    """Series -> days before the end -> value."""
    rng = np.random.default_rng(11)
    made: dict[tuple[str, str], dict[int, float]] = {}
    for i in range(12):
        season = 10 * np.sin(np.arange(120) * 2 * np.pi / 7)
        made[f"item{i:02d}", "north"] = dict(enumerate(np.round(40 + season + rng.normal(0, 2, 120), 2)))
    made["gone", "north"] = {b: 5.0 for b in range(60, 120)}
    made["fresh", "south"] = {0: 3.0, 1: 4.0}
    made["rare", "south"] = {b: (200.0 if b % 12 else 5.0) if b % 6 == 0 else 0.0 for b in range(100)}
    made["holey", "south"] = {b: 7.0 for b in range(0, 90, 3)} | {89: 8.0}
    made[EVIL, "south"] = {b: 1.0 + b % 7 for b in range(40)}
    return made


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Lake]:
    """A lake of the story with prices, promotions, metadata and refused rows."""
    folder = tmp_path_factory.mktemp("inspect")
    series = story()
    key = ["item_id", "store"]
    rows = [(*k, day(b), str(v)) for k, values in series.items() for b, v in values.items()]
    rows += [(EVIL, "south", day(1), "many"), ("x" * 500, "south", "yesterday", "1"), ("a", "north", day(2), "!")]
    rows += [("a", "north", day(3), "?"), ("a", "north", day(4), "<b>")]
    target = spark.createDataFrame(rows, "item_id string, store string, timestamp string, target string")
    prices = []
    for i, (item, store) in enumerate(series):
        reaches = H if i % 3 == 0 else H - 2 if i % 3 == 1 else 0  # days of the future
        prices += [(item, store, day(b), 2.0 + b % 3) for b in range(-reaches, 100) if i != 4]
    price = spark.createDataFrame(prices, "item_id string, store string, timestamp string, price double")
    promos = [("north", day(b), 1.0) for b in range(0, 50)]
    promo = spark.createDataFrame(promos, "store string, timestamp string, promo double")
    items = spark.createDataFrame(
        [(item, "tools" if i % 2 else None) for i, (item, _) in enumerate(series)], "item_id string, category string"
    )
    config: dict[str, Any] = {
        "dataset_group": "story", "frequency": "D", "horizon": H, "dimensions": ["store"],
        "data": {
            "target": {"path": str(folder / "none.csv")},
            "related": [
                {"series": {"price": {"known_in_future": True}}},
                {"key": ["store"], "series": {"promo": {}}},
            ],
            "items": [{"key": ["item_id"], "attributes": ["category"]}],
        },
        "models": {"naive": {}},
        "ingest": {"max_rejected_share": 0.5},
        "fill": {"target": {"middle": "zero"}},
        "lake": {"path": str(folder / "lake"), "buckets": 4},
    }  # fmt: skip
    assert key == ["item_id", *config["dimensions"]]
    ingest(config, spark, target=target, related=[price, promo], items=[items])
    return config, Lake.of(spark, load_config(config, frames=True))


@pytest.fixture(scope="module")
def page(
    spark: SparkSession, made: tuple[dict[str, Any], Lake], tmp_path_factory: pytest.TempPathFactory
) -> InspectionPage:
    return inspect(load_config(made[0], frames=True), spark, out=tmp_path_factory.mktemp("page") / "new" / "page.html")


# --- facts ---


@pytest.mark.spark
def test_counts_are_those_of_a_plain_loop(page: InspectionPage) -> None:
    facts, series = page.facts, story()
    ends = {k: min(v) for k, v in series.items()}
    lengths = {k: max(v) - min(v) + 1 for k, v in series.items()}
    assert facts.extent.n_series == len(series)
    assert facts.extent.end - facts.extent.start + 1 == max(max(v) for v in series.values()) + 1
    assert facts.totals.n_obs == sum(map(len, series.values()))
    assert facts.totals.n_missing == sum(lengths[k] - len(v) for k, v in series.items())
    assert facts.totals.n_zero == sum(x == 0 for v in series.values() for x in v.values())
    assert facts.totals.n_under_season == facts.totals.n_under_horizon == sum(len(v) < 7 for v in series.values())
    assert facts.totals.n_empty == 0
    assert facts.lifecycle == {"active": len(series) - 2, "new": 1, "ended": 1}
    assert sum(facts.classes.values()) == len(series)
    assert facts.classes["lumpy"] >= 1
    assert {s: sum(c.values()) for s, c in facts.classes_by_state.items()} == facts.lifecycle
    assert facts.state_examples["ended"] == (("gone/north", "silent 60 periods, longest gap 1"),)
    assert facts.state_examples["new"] == (("fresh/south", "2 observations, fewer than 7"),)
    assert ends["gone", "north"] == 60
    told = [v for v in series.values() if len(v) >= 4]
    assert facts.steps is not None
    assert (facts.steps.rows, facts.steps.points) == (facts.totals.n_obs, facts.totals.n_obs)
    assert facts.steps.series == {"D": len(told)}


@pytest.mark.spark
def test_histograms_and_quantiles(page: InspectionPage) -> None:
    found = {h.measure: h for h in page.facts.histograms}
    expected = {
        "n_obs": [len(v) for v in story().values()],
        "missing_share": [1 - len(v) / (max(v) - min(v) + 1) for v in story().values()],
        "zero_share": [sum(x == 0 for x in v.values()) / len(v) for v in story().values()],
    }
    for measure, values in expected.items():
        h = found[measure]
        bins = Counter(next((i for i, u in enumerate(h.uppers) if v <= u), len(h.uppers)) for v in values)
        assert h.counts == tuple(bins.get(i, 0) for i in range(len(h.uppers) + 1)), measure
        rounded = [float(f"{v:.3g}") for v in values]
        assert (h.low, h.median, h.high) == pytest.approx(np.quantile(rounded, [0.1, 0.5, 0.9]), rel=2e-3), measure
    assert set(found) == set(MEASURES)
    assert found["seasonal_strength"].n < len(story())  # the short ones have none
    assert next(iter(page.facts.cycles)) == 7


@pytest.mark.spark
def test_refused_rows_with_examples(page: InspectionPage) -> None:
    refused = {r.reason: r for r in page.facts.refused}
    assert {reason: r.rows for reason, r in refused.items()} == {"not_a_number": 4, "bad_timestamp": 1}
    assert [r.reason for r in page.facts.refused] == ["not_a_number", "bad_timestamp"]
    assert len(refused["not_a_number"].examples) == 3
    (long,) = refused["bad_timestamp"].examples
    assert long[2].endswith("…")
    assert len(long[2]) == 301
    assert {r.role: (r.rejected, r.sources) for r in page.facts.sources} == {
        "target": (5, 1), "related:0": (0, 1), "related:1": (0, 1), "items:0": (0, 1),
    }  # fmt: skip


@pytest.mark.spark
def test_reach_of_related_series_and_metadata(page: InspectionPage) -> None:
    price, promo = page.facts.reach
    keys = list(story())
    history = {k: max(v) + 1 for k, v in story().items()}
    reaches = {k: -1 if i == 4 else (H, H - 2, 0)[i % 3] for i, k in enumerate(keys)}
    assert (price.name, price.known_in_future, price.n_any) == ("price", True, len(keys) - 1)
    assert price.past == sum(history.values())
    assert price.past_known == sum(min(h, 100) for k, h in history.items() if reaches[k] >= 0)
    assert price.n_past_whole == sum(h <= 100 and reaches[k] >= 0 for k, h in history.items())
    assert (price.future, price.future_known) == (H * len(keys), sum(max(r, 0) for r in reaches.values()))
    assert price.n_future_whole == sum(r == H for r in reaches.values())
    assert price.n_early == sum(0 <= r < H for r in reaches.values())
    north = [k for k in keys if k[1] == "north"]
    assert (promo.known_in_future, promo.n_any, promo.future_known) == (False, len(north), 0)
    assert promo.past_known == sum(min(history[k], 50) for k in north)
    (category,) = page.facts.attributes
    assert (category.name, category.n, category.values) == ("category", len(keys) // 2, 1)
    said = dict(zip((s for s in page.conclusions), page.conclusions, strict=True))
    assert any("price is said to be known in the future" in s and level == "look" for level, s in said)


@pytest.mark.spark
def test_what_is_filled(page: InspectionPage) -> None:
    periods = page.facts.periods
    assert periods is not None
    behind = sum(min(v) for v in story().values())  # up to the common end; fill.target.back is nan
    assert periods.observed == page.facts.totals.n_obs
    assert periods.filled == page.facts.totals.n_missing > 0
    assert (periods.n_filled, periods.masked, periods.closed, periods.missing) == (1, 0, 0, behind)


@pytest.mark.spark
def test_masked_and_closed_periods(spark: SparkSession, make_config: Callable[..., dict[str, Any]]) -> None:
    rows = [("a", day(b), 5.0) for b in range(28)] + [("b", day(b), 6.0) for b in range(14)]
    stock = [("a", day(b), float(b > 3)) for b in range(28)]
    content = make_config(
        data={"target": {"path": "none.csv"}, "related": [{"series": {"in_stock": {}}}]},
        fill={"mask": {"in_stock": {"missing_where": 0}}},
        opening={"weekdays": ["MON", "TUE", "WED", "THU", "FRI", "SAT"]},
    )
    frames = [spark.createDataFrame(r, f"item_id string, timestamp string, {c} double") for r, c in
              ((rows, "target"), (stock, "in_stock"))]  # fmt: skip
    ingest(content, spark, target=frames[0], related=frames[1:])
    out = Path(content["lake"]["path"]).parent / "page.html"
    found = inspect(load_config(content, frames=True), spark, out=out).facts.periods
    assert found is not None
    sundays = sum((END - timedelta(days=b)).weekday() == 6 for b in range(28))
    fewer = sum((END - timedelta(days=b)).weekday() == 6 for b in range(14))
    hidden = sum((END - timedelta(days=b)).weekday() != 6 for b in range(4))
    assert (found.closed, found.n_closed, found.masked, found.n_masked) == (sundays + fewer, 2, hidden, 1)
    assert found.observed == 42 - sundays - fewer - hidden
    assert (found.filled, found.missing, found.closed_steps) == (0, 0, 2)


@pytest.mark.spark
def test_series_that_stick_out(page: InspectionPage) -> None:
    found: dict[str, list[Any]] = {}
    for one in page.facts.standouts:
        found.setdefault(one.kind, []).append(one)
    assert {k: len(v) for k, v in found.items()} == {
        "largest": 3, "missing": 1, "silent": 1, "zeros": 1, "erratic": 1, "shortest": 3,
    }  # fmt: skip
    sums = {"/".join(k): sum(v.values()) for k, v in story().items()}
    assert [o.name for o in found["largest"]] == sorted(sums, key=lambda k: -sums[k])[:3]
    assert (found["missing"][0].name, found["silent"][0].name, found["silent"][0].value) == (
        "holey/south", "gone/north", 60.0,
    )  # fmt: skip
    assert found["zeros"][0].name == found["erratic"][0].name == "rare/south"
    assert [o.name for o in found["shortest"]][:2] == ["fresh/south", "holey/south"]
    holey = story()["holey", "south"]
    values = [holey.get(b, NAN) for b in range(max(holey), -1, -1)]
    np.testing.assert_array_equal(found["missing"][0].picture.low, values)
    np.testing.assert_array_equal(found["missing"][0].picture.high, values)


# --- the page ---


@pytest.mark.spark
def test_the_page_is_whole_safe_and_alone(page: InspectionPage) -> None:
    raw = page.path.read_text(encoding="utf-8")
    read = Reader(raw)
    assert {"short", "data", "frequency", "life", "history", "demand", "shape", "gaps", "related", "metadata",
            "events", "standouts", "rules"} == set(read.ids)  # fmt: skip
    links = [value for _, name, value in read.attributes if name == "href"]
    assert links
    assert all(link[0] == "#" and link[1:] in read.ids for link in links)
    assert not {name for _, name, _ in read.attributes} & {"src", "srcset", "action", "data", "poster", "onclick"}
    assert not read.tags.keys() & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"https?:|//|url\(|@import", raw.replace("</", ""))
    assert EVIL in " ".join(read.words)  # as text, whole
    assert "<b>" in read.text
    assert "5.9 % of the series (1) have stopped selling; they are forecast as zero." in read.text
    assert read.tags["svg"] > 20
    assert len(raw.encode()) < 200_000
    assert raw.count("prefers-color-scheme: dark") == 1


@pytest.mark.spark
def test_the_same_lake_gives_the_same_bytes(
    spark: SparkSession, made: tuple[dict[str, Any], Lake], page: InspectionPage, tmp_path: Path
) -> None:
    before = {t: made[1].version(t) for t in made[1].schemas if made[1].exists(t)}
    spark.conf.set("spark.sql.shuffle.partitions", "5")
    try:
        again = inspect(load_config(made[0], frames=True), spark, out=tmp_path / "again.HTM")
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "2")
    assert again.path.read_bytes() == page.path.read_bytes()
    assert {t: made[1].version(t) for t in made[1].schemas if made[1].exists(t)} == before
    out = io.StringIO()
    render(again, Console(file=out, width=200))
    assert "have stopped selling" in out.getvalue()
    assert "again.HTM" in out.getvalue()


@pytest.mark.spark
def test_with_the_rules_of_validate(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    price = {"path": str(tmp_path / "price.csv"), "series": {"price": {}}}
    content = make_config(data={"target": {"path": str(tmp_path / "target.csv")}, "related": [price]})
    prices = [f"{item},{day(b)},{b % 2}" for item in "ab" for b in range(30)]
    (tmp_path / "price.csv").write_text("\n".join(["item_id,timestamp,price", *prices]))
    lines = [f"a,{day(b)},{b}" for b in range(30)] + [f"b,{day(b)},1" for b in range(3)]
    Path(content["data"]["target"]["path"]).write_text("\n".join(["item_id,timestamp,target", *lines]))
    ingest(content, spark)
    found = inspect(content, spark, out=tmp_path / "page.html", rules=True)
    read = Reader(found.path.read_text(encoding="utf-8"))
    assert "few_observations" in read.text
    assert ("note", "0 errors and ") in [(level, said[:13]) for level, said in found.conclusions]
    assert found.facts.periods is None
    assert "nothing in the config fills" not in read.text  # nothing is missing either


@pytest.mark.spark
def test_a_lake_in_pieces_and_without_history(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """The last piece of a series says what holds for all of it; its picture joins them."""
    config = load_config(make_config())
    one = record("a", [1.0, 2.0, 3.0])
    two = record("a", [9.0, NAN, 8.0], one["start"] + timedelta(days=3), segment=1)
    profile = {"n_obs": 5, "n_missing": 1, "n_zero": 0, "mean": 4.6, "last_observed": one["start"] + timedelta(days=5)}
    two = {**two, "lifecycle": "returning", "profile": {**two["profile"], **profile}}
    empty = record("b", [], one["start"] + timedelta(days=6))
    empty = {**empty, "lifecycle": "new", "profile": {**empty["profile"], "last_observed": None}}
    write_series(spark, config, [one, two, empty])
    facts = inspect(config, spark, out=tmp_path / "page.html").facts
    assert facts.lifecycle == {"new": 1, "returning": 1}
    assert (facts.totals.n_obs, facts.totals.n_empty, facts.extent.n_series) == (5, 1, 2)
    largest = next(s for s in facts.standouts if s.kind == "largest")
    np.testing.assert_array_equal(largest.picture.low, [1, 2, 3, 9, NAN, 8])
    assert facts.sources == facts.refused == ()
    Reader((tmp_path / "page.html").read_text(encoding="utf-8"))


@pytest.mark.spark
def test_events_of_the_newest_run(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    content = make_config(models={"naive": {}}, backtest={"windows": 1}, abrupt={"treatment": "report"})
    rng = np.random.default_rng(5)
    values = 50 + rng.normal(0, 1, 120)
    shifted, spiked = values + 30 * (np.arange(120) >= 60), values + 90 * (np.arange(120) == 40)
    lines = [
        f"{i},{day(119 - t)},{v:.3f}" for i, y in (("shift", shifted), ("spike", spiked)) for t, v in enumerate(y)
    ]
    Path(content["data"]["target"]["path"]).write_text("\n".join(["item_id,timestamp,target", *lines]))
    ingest(content, spark)
    before = inspect(content, spark, out=tmp_path / "before.html")
    assert before.facts.events is None
    assert any("next `almanac forecast`" in said for _, said in before.conclusions)
    done = forecast(content, spark, model="naive")
    found = inspect(content, spark, out=tmp_path / "page.html").facts
    assert found.events is not None
    assert found.events.run_id == done.run_id
    assert found.events.kinds["level_shift"][1] >= 1
    strongest = {s.kind: s for s in reversed(found.standouts)}
    shift, spike = strongest["level_shift"], strongest["outlier"]
    assert (shift.name, shift.mark, spike.name, spike.mark) == (
        "shift", found.extent.start + 60, "spike", found.extent.start + 40,
    )  # fmt: skip
    assert shift.size == pytest.approx(30, abs=2)
    assert "noise scales" in Reader((tmp_path / "page.html").read_text(encoding="utf-8")).text


# --- what goes wrong ---


@pytest.mark.spark
def test_an_empty_lake_is_an_error(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the lake is empty; run `almanac ingest`"):
        inspect(make_config(), spark, out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    config = load_config(make_config())
    lake = write_series(spark, config, [record("a", [1.0])])
    lake.replace("series", lake.rows("series", []), {})
    with pytest.raises(InputError, match="holds no series"):
        inspect(config, spark, out=tmp_path / "page.html")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("page.txt", r"page\.txt'; expected a file that ends in \.html or \.htm"),
        ("s3a://bucket/page.html", "expected a local file"),
        ("file/page.html", "cannot be written to"),
        ("folder.html", "cannot be written to .*directory"),
    ],
)
def test_a_page_that_cannot_be_written(
    make_config: Callable[..., dict[str, Any]], tmp_path: Path, out: str, message: str
) -> None:
    """Said before a session starts."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    where = out if "://" in out else str(tmp_path / out)
    with pytest.raises(InputError, match=message):
        inspect(make_config(), out=where)


# --- parts ---


numbers = st.floats(-1e6, 1e6) | st.just(NAN)


@given(st.lists(numbers, max_size=1000))
@settings(max_examples=60, deadline=None)
def test_stretches_hold_every_extreme(values: list[float]) -> None:
    low, high = stretches(np.array(values, dtype=np.float64))
    assert len(low) == len(high) <= POINTS
    each = max(1, math.ceil(len(values) / POINTS))
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        known = [v for v in values[i * each : (i + 1) * each] if not math.isnan(v)]
        assert (math.isnan(a) and math.isnan(b)) if not known else (a, b) == (min(known), max(known))


columns_of = st.lists(st.tuples(st.lists(numbers, max_size=12), st.integers(0, 12)), min_size=1, max_size=6)


@given(columns_of, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_reach_is_that_of_a_plain_loop(packed: list[tuple[list[float], int]], horizon: int) -> None:
    flat = np.array([v for values, _ in packed for v in values], dtype=np.float64)
    offsets = np.concatenate(([0], np.cumsum([len(values) for values, _ in packed]))).astype(np.int64)
    history = np.array([n for _, n in packed], dtype=np.int64)
    expected = Counter(dict.fromkeys(reach(flat, offsets, history, horizon), 0))
    for values, n in packed:
        padded = [*values, *[NAN] * (n + horizon)]
        past = [not math.isnan(v) for v in padded[:n]]
        future = [not math.isnan(v) for v in padded[n : n + horizon]]
        places = [i for i, v in enumerate(values) if not math.isnan(v)]
        expected["n_any"] += bool(places)
        expected["past"] += n
        expected["past_known"] += sum(past)
        expected["n_past_whole"] += n > 0 and all(past)
        expected["future"] += horizon
        expected["future_known"] += sum(future)
        expected["n_future_whole"] += all(future)
        expected["n_early"] += bool(places) and places[-1] < n + horizon - 1
    assert reach(flat, offsets, history, horizon) == dict(expected)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_only_text(value: str) -> None:
    made = tag("p", value, title=value)
    read = Reader(made)
    assert dict(read.tags) == {"p": 1}
    assert len(read.attributes) == 1
    for bad in "<>":
        assert "".join(read.words).count(bad) == value.count(bad)
    made.encode("utf-8")


def test_markup_is_escaped_once() -> None:
    assert text("<&\"'") == "&lt;&amp;&quot;&#x27;"
    assert text(text("<")) == "&lt;"
    assert tag("p", ["a", Markup("<br>"), None], class_="x", data_y=None) == '<p class="x">a<br></p>'
    assert text("\x00\x1f") == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 5, "0 %"), (1, 0, "0 %"), (5, 5, "100 %"), (1, 5000, "< 0.1 %"), (4999, 5000, "> 99.9 %"), (1, 3, "33 %"),
     (1, 30, "3.3 %"), (29, 30, "96.7 %")],
)  # fmt: skip
def test_shares(part: int, whole: int, said: str) -> None:
    assert share(part, whole) == said


def test_words_and_numbers() -> None:
    assert [step_words(s) for s in ("D", "15min", "4W", "MS", "2MS", "irregular", "6h")] == [
        "day", "15 minutes", "four weeks", "month, first day", "2 months", "no regular step", "6 hours",
    ]  # fmt: skip
    assert [short_number(v) for v in (0, 0.0123, -4560, 78_000, 1.2e6, 3.4e9, 5e15)] == [
        "0", "0.0123", "-4,560", "78k", "1.2M", "3.4G", "5e+15",
    ]  # fmt: skip


def test_charts_hold_what_they_are_given() -> None:
    drawn = line([1.0, NAN, 3.0, 2.0], [1.0, NAN, 3.0, 5.0], 4, 6, ("first", "last"), "a title", (1, 2))
    read = Reader(drawn)
    assert read.tags["rect"] == 2  # silence behind the end, and the event
    path, dots = (value for _, name, value in read.attributes if name == "d")
    assert (path.count("M"), path.count("L"), dots.count("M")) == (1, 1, 1)  # broken where nothing is known
    assert "nan" not in drawn
    assert {"first", "last", "5", "0"} <= set(read.words)
    assert "nan" not in line([], [], 0, 0, ("a", "a"), "nothing known")
    bars = Reader(columns([0, 3, 1], ["a", "b", "c"], ["x", "y", "z"], "t"))
    assert bars.tags["rect"] == 2
    heights = [float(v) for tag_, name, v in bars.attributes if (tag_, name) == ("rect", "height")]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)


@pytest.mark.spark
def test_a_name_cannot_break_out_of_any_section(page: InspectionPage, tmp_path: Path) -> None:
    """Every text of the facts is user's: a hostile one everywhere leaves the page's elements as they are."""
    from jobs.inspect_page import page as written
    from jobs.inspect_sections import sections_of

    def texts(facts: Any, evil: str) -> Any:
        return replace(
            facts,
            standouts=tuple(replace(s, name=evil) for s in facts.standouts),
            reach=tuple(replace(r, name=evil) for r in facts.reach),
            attributes=tuple(replace(a, name=evil) for a in facts.attributes),
            refused=tuple(replace(r, reason=evil, examples=((evil, evil, evil),) * 3) for r in facts.refused),
            state_examples={state: ((evil, evil),) for state in facts.state_examples},
            info=replace(facts.info, dataset_group=evil),
        )

    plain, hostile = (
        written(f, sections_of(f, None)) for f in (texts(page.facts, "x"), texts(page.facts, EVIL.replace("`", "")))
    )
    assert Reader(hostile).tags == Reader(plain).tags
    assert [a[:2] for a in Reader(hostile).attributes] == [a[:2] for a in Reader(plain).attributes]
