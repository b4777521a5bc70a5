"""What-if scenarios against a plain loop over series and periods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting import SeriesBatch
from forecasting.scenarios import Change, Condition, Replacements, Scenario

H = 3
FIRST = np.datetime64("2024-01-01", "D")
REGIONS = ["north", "south", None, "7", "12.5"]
RELATED, ATTRIBUTES = {"price": True, "promo": True, "traffic": False}, ("item_id", "region")


def batch_of(lengths: Sequence[int], known: Sequence[int], starts: Sequence[int], seed: int = 0) -> SeriesBatch:
    """Series with prices known for some periods behind (or before) their ends."""
    rng = np.random.default_rng(seed)
    prices = [rng.uniform(1, 9, max(n + k, 0)) for n, k in zip(lengths, known, strict=True)]
    for price in prices:
        price[rng.random(len(price)) < 0.2] = np.nan
    return SeriesBatch.from_arrays(
        [rng.uniform(1, 9, n) for n in lengths],
        [FIRST + s for s in starts],
        "D",
        keys=[f"i{i}" for i in range(len(lengths))],
        related={"price": prices, "promo": prices[::-1], "traffic": prices},
        known_in_future=["price", "promo"],
    )


def value_at(batch: SeriesBatch, name: str, i: int, t: int) -> float:
    held = batch.related[name]
    begin, end = held.offsets[i], held.offsets[i + 1]
    return float(held.values[begin + t]) if begin + t < end else float("nan")


def expected(
    batch: SeriesBatch, scenario: Scenario, regions: Sequence[str | None], name: str, i: int, t: int
) -> float:
    """The rules, one period at a time."""
    n = int(batch.lengths[i])
    x = value_at(batch, name, i, t)
    if not n <= t < n + H:
        return x
    day = FIRST + int(batch.start[i] - int(FIRST.astype(int))) + t
    given = scenario.replacements
    if given is not None and name in given.values:
        for key, ordinal, value in zip(given.keys, given.ordinals, given.values[name], strict=True):
            if key == batch.keys[i] and ordinal == batch.start[i] + t and not np.isnan(value):
                x = float(value)
    for change in scenario.changes:
        if change.column != name:
            continue
        if all(_meets(c, batch.keys[i], regions[i], day) for c in change.where):
            x = {"*": x * change.value, "+": x + change.value, "-": x - change.value, "=": change.value}.get(
                change.operation, x / change.value if change.value else 0.0
            )
    return x


def _meets(condition: Condition, key: str, region: str | None, day: np.datetime64) -> bool:
    if condition.column == "timestamp":
        left: object = day.astype("M8[us]")
        right: object = np.datetime64(condition.value, "us")
    else:
        left, right = (key if condition.column == "item_id" else region), condition.value
        if condition.comparison not in ("=", "!="):
            try:
                left, right = float(str(left)), float(condition.value)
            except ValueError:
                return False
    return bool(
        {
            "=": lambda: left == right,
            "!=": lambda: left != right,
            "<": lambda: left < right,  # type: ignore[operator]
            "<=": lambda: left <= right,  # type: ignore[operator]
            ">": lambda: left > right,  # type: ignore[operator]
            ">=": lambda: left >= right,  # type: ignore[operator]
        }[condition.comparison]()
    )


CONDITIONS = st.one_of(
    st.builds(Condition, st.just("region"), st.sampled_from(["=", "!="]), st.sampled_from(["north", "7", "none"])),
    st.builds(
        Condition, st.just("region"), st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from(["7", "12", "1e1"])
    ),
    st.builds(Condition, st.just("item_id"), st.sampled_from(["=", "!="]), st.sampled_from(["i0", "i1"])),
    st.builds(
        Condition,
        st.just("timestamp"),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(["2024-01-05", "2024-01-07T00:00", "2024-01-06T12:00"]),
    ),
)
CHANGES = st.builds(
    Change,
    st.sampled_from(["price", "promo"]),
    st.sampled_from(["*", "/", "+", "-", "="]),
    st.sampled_from([0.8, 2.0, -1.5, 1e-3]),
    st.lists(CONDITIONS, max_size=2).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_as_a_plain_loop_says(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))
    sizes = st.lists(st.integers(0, 6), min_size=n, max_size=n)
    known = data.draw(st.lists(st.integers(-2, 5), min_size=n, max_size=n))
    batch = batch_of(data.draw(sizes), known, data.draw(sizes), seed=data.draw(st.integers(0, 9)))
    regions = REGIONS[:n]
    rows = data.draw(st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 12)), max_size=6, unique=True))
    ordinals = np.array([int(FIRST.astype(int)) + t for _, t in rows], dtype=np.int64)
    values = np.array([np.nan if k % 3 == 2 else 10.0 + k for k in range(len(rows))])
    scenario = Scenario(
        "s",
        tuple(data.draw(st.lists(CHANGES, max_size=3))),
        Replacements([f"i{i}" for i, _ in rows], ordinals, {"price": values}) if data.draw(st.booleans()) else None,
    )
    assert [p for p in scenario.problems(RELATED, ATTRIBUTES) if "changes nothing" not in p] == []
    before = {name: column.values.copy() for name, column in batch.related.items()}
    found = scenario.applied(batch, H, {"region": regions, "item_id": list(batch.keys)})
    for name in batch.related:
        for i in range(n):
            for t in range(int(batch.lengths[i]) + H + 3):
                want = expected(batch, scenario, regions, name, i, t)
                np.testing.assert_allclose(value_at(found, name, i, t), want, rtol=1e-15, err_msg=f"{name} {i} {t}")
        np.testing.assert_array_equal(batch.related[name].values, before[name])
        assert found.related[name].known_in_future == batch.related[name].known_in_future
    assert found.related["traffic"] is batch.related["traffic"]
    np.testing.assert_array_equal(found.values, batch.values)


def test_a_scenario_that_changes_nothing_gives_the_same_values() -> None:
    batch = batch_of([4, 0, 2], [H, H, H], [0, 3, 1])
    found = Scenario("s", (Change("price", "*", 1.0),)).applied(batch, H)
    np.testing.assert_array_equal(found.related["price"].values, batch.related["price"].values)
    np.testing.assert_array_equal(found.related["price"].offsets, batch.related["price"].offsets)


def test_texts_are_read() -> None:
    assert Change.parse("price * 0.9") == Change("price", "*", 0.9)
    assert Change.parse(" net-price-1.5") == Change("net-price", "-", 1.5)
    assert Change.parse("price=.5e1", ["region != north", "timestamp >= 2024-01-05"]) == Change(
        "price", "=", 5.0, (Condition("region", "!=", "north"), Condition("timestamp", ">=", "2024-01-05"))
    )
    assert Condition.parse("region=a = b") == Condition("region", "=", "a = b")
    assert Condition.parse("size<=3") == Condition("size", "<=", "3")
    for text in ("price", "price *", "price * cheap", "* 3", ""):
        with pytest.raises(ValueError, match="is no change; write"):
            Change.parse(text)
    with pytest.raises(ValueError, match="is no condition; write"):
        Change.parse("price * 2", ["north"])


def test_every_mistake_is_named() -> None:
    rows = Replacements(["a"], np.array([3]), {"traffic": np.array([1.0]), "price": np.array([np.inf])})
    changes = (
        Change("prize", "*", 2.0),
        Change("traffic", "*", 2.0),
        Change("price", "/", 0.0, (Condition("colour", "=", "red"), Condition("timestamp", "<", "soon"))),
        Change("price", "*", np.inf, (Condition("region", "<", "north"),)),
    )
    found = Scenario("s", changes, rows).problems(RELATED, ATTRIBUTES)
    wanted = [
        "no related series 'prize'; there are: price, promo, traffic",
        "traffic is not known in the future",
        "price / 0 divides by zero",
        "no column 'colour' to compare; there are: item_id, region, timestamp",
        "'soon' is no timestamp",
        "price * inf is not finite",
        "region < 'north' compares numbers",
        "1 replacements of price are infinite",
    ]
    assert all(text.startswith("scenario s: ") for text in found)
    assert len(found) == len(wanted)
    for part in wanted:
        assert sum(part in text for text in found) == 1, part
    assert "changes nothing" in Scenario("s").problems(RELATED, ATTRIBUTES)[0]
    assert Scenario("s", replacements=Replacements([], np.empty(0, np.int64), {})).problems(RELATED, ATTRIBUTES)


def test_rows_outside_are_named() -> None:
    keys, ordinals = ["a", "a", "b", "c\x1fx", "a", "a", "b"], np.array([10, 9, 22, 10, 13, 10, 20])
    rows = Replacements(keys, ordinals, {"price": np.ones(7)})
    found = rows.misplaced(["a", "b"], [10, 20], H)
    assert found == [
        "1 item (c/x) are replaced and not in the run",
        "2 rows lie outside the 3 periods of the forecast, of 1 item (a)",
        "1 rows repeat an item and period; give each once",
    ]
    assert Replacements(["a", "b"], np.array([12, 20]), {}).misplaced(["a", "b"], [10, 20], H) == []
