"""Settings, lags, calendar, scalers and vocabulary: all that needs no torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from forecasting import Frequency, SeriesBatch
from forecasting.deepar import Facts, ItemMetadata, Settings
from forecasting.deepar.time_features import calendar, calendar_names, lags_of, past_lags_of

FREQUENCIES = {"YS": "YE", "QS": "QE", "MS": "ME", "W": "W", "2W": "2W", "D": "D", "3D": "3D", "h": "h", "6h": "6h"}
FREQUENCIES |= {"15min": "15min", "30min": "30min", "1min": "1min", "2MS": "2ME"}


@pytest.mark.judge
@pytest.mark.parametrize(("ours", "theirs"), FREQUENCIES.items(), ids=list(FREQUENCIES))
def test_lags_are_those_of_gluonts(ours: str, theirs: str) -> None:
    judge = pytest.importorskip("gluonts.time_feature")
    assert list(lags_of(Frequency.parse(ours))) == judge.get_lags_for_frequency(theirs)


@pytest.mark.judge
@pytest.mark.parametrize("frequency", ["MS", "W-MON", "D", "h", "15min"])
def test_calendar_columns_are_those_of_gluonts(frequency: str) -> None:
    judge = pytest.importorskip("gluonts.time_feature")
    grid = Frequency.parse(frequency)
    first = int(grid.ordinals(np.datetime64("2019-12-28", "us").astype(np.int64)))
    found = calendar(grid, first, 900)[:, ::3]
    labels = pd.DatetimeIndex(grid.labels(np.arange(first, first + 900)).astype("M8[us]"))
    period = {"MS": "M", "W-MON": "W-SUN"}.get(frequency, frequency)
    features = judge.time_features_from_frequency_str({"MS": "ME", "W-MON": "W"}.get(frequency, frequency))
    assert [f.__name__ for f in features] == list(calendar_names(grid))
    for column, feature in zip(found.T, features, strict=True):
        if feature.__name__ == "week_of_year":
            continue  # theirs is ISO's, which jumps at New Year
        if feature.__name__ == "day_of_month" and frequency == "W-MON":
            labels = labels.to_period(period).start_time
        np.testing.assert_allclose(column, feature(labels), atol=1e-6)


def test_past_lags_reach_behind_the_horizon() -> None:
    assert past_lags_of(Frequency.parse("D"), 10) == (10, 14)
    assert past_lags_of(Frequency.parse("D"), 14) == (14,)


def test_settings_report_every_mistake() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(learning_rate=3.0, num_cells=0, num_cels=4)  # type: ignore[call-arg]
    assert {str(e["loc"][0]) for e in caught.value.errors()} == {"learning_rate", "num_cells", "num_cels"}


def test_defaults_are_the_services() -> None:
    settings = Settings()
    assert settings.context(20) == 40
    names = ("epochs", "learning_rate", "learning_rate_decay", "max_learning_rate_decays", "num_averaged_models")
    assert [getattr(settings, n) for n in names] == [500, 1e-3, 0.5, 0, 1]
    assert (settings.num_cells, settings.num_layers) == (40, 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 0.0, 12.0], "negative-binomial"),
        ([0.2, 0.0, 1.0], "beta"),
        ([0.2, 1.5], "student-T"),
        ([-1.0, 2.0], "student-T"),
        ([1200.0, 900.0, 4000.0], "student-T"),
    ],
)
def test_the_likelihood_follows_from_the_data(values: list[float], expected: str) -> None:
    batch = SeriesBatch.from_arrays([values, [np.nan]], "2020-01-01", "D")
    assert Facts.learn(batch).likelihood == expected
    assert Facts.learn(batch, settings=Settings(likelihood="poisson")).likelihood == "poisson"


def test_facts_of_related_series_and_metadata() -> None:
    target = [[1.0, 1.0], [10.0, 10.0, np.nan], [100.0], []]
    price = [[1.0, 3.0, 99.0], [4.0, 6.0, 5.0, 99.0], [np.nan, 7.0], [5.0]]
    batch = SeriesBatch.from_arrays(target, "2020-01-01", "D", related={"price": price}, known_in_future=["price"])
    metadata = ItemMetadata({"kind": ["a", "b", None, "a"]}, {"area": [1.0, 3.0, np.nan, 5.0]})
    facts = Facts.learn(batch, metadata, horizon=1)
    seen = np.array([1.0, 3.0, 4.0, 6.0, 5.0])  # what comes after the histories is not learned from
    (related,) = facts.related
    assert (related.mean, related.deviation) == pytest.approx((seen.mean(), seen.std()))
    assert related.spread == pytest.approx(np.sqrt((2.0 + 2.0) / 3))
    (kind,) = facts.categories
    assert kind.values == ("a", "b")
    assert list(kind.codes(["b", "new", None, "a"])) == [2, 0, 0, 1]
    assert facts.numbers[0].mean == pytest.approx(3.0)
    assert facts.log_level == pytest.approx(np.log([1, 10, 100]).mean())
    assert Facts.model_validate_json(facts.model_dump_json()) == facts


def test_levels_of_categories_are_found_and_shrunk() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(["a", "b", "c"], 200)
    level = np.exp(np.array([{"a": 0.0, "b": 2.0, "c": 4.0}[k] for k in kinds]) + rng.normal(0, 0.2, 600))
    batch = SeriesBatch.from_arrays([[y] for y in level] + [[np.exp(9.0)]], "2020-01-01", "D")
    facts = Facts.learn(batch, ItemMetadata({"kind": [*kinds, "lone"]}))
    found = np.array(facts.categories[0].effects) + facts.log_level
    np.testing.assert_allclose(found[:3], [0, 2, 4], atol=0.05)
    assert found[3] == pytest.approx((9.0 + facts.log_level) / 2, abs=0.02)


def test_later_values_change_no_fact() -> None:
    rng = np.random.default_rng(1)
    targets, prices = rng.uniform(1, 9, (5, 30)), rng.uniform(1, 9, (5, 30))
    ends = np.array([20, 0, 12, 25, 29])
    batch = SeriesBatch.from_arrays(list(targets), "2020-01-01", "D", related={"p": list(prices)})
    before = Facts.learn(batch, horizon=3, ends=ends)
    for i, end in enumerate(ends):
        targets[i, end:], prices[i, end:] = 1e6, -1e6
    changed = SeriesBatch.from_arrays(list(targets), "2020-01-01", "D", related={"p": list(prices)})
    assert Facts.learn(changed, horizon=3, ends=ends) == before


def test_what_is_missing_is_named() -> None:
    batch = SeriesBatch.from_arrays([[1.0, 2.5]], "2020-01-01", "D", related={"p": [[1.0, 2.0, 3.0]]})
    facts = Facts.learn(batch, ItemMetadata({"kind": ["a"]}, {"area": [1.0]}))
    other = SeriesBatch.from_arrays([[1.0, 2.5]], "2020-01-06", "W")
    found = facts.problems(other, ItemMetadata({"kind": ["a", "b"]}))
    assert len(found) == 4
    assert [word in text for word, text in zip(["frequency", "'p'", "'kind'", "'area'"], found, strict=True)] == [
        True
    ] * 4


def test_the_package_needs_torch_only_when_it_is_used() -> None:
    code = "import sys, forecasting.deepar, forecasting; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
