"""From rows of the table `holidays` to what a task's series see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from forecasting.frequency import Frequency, to_microseconds
from udfs.config import load_config
from udfs.holiday_table import Holiday, calendar_of, group_positions, missing_dates

MakeConfig = Callable[..., dict[str, Any]]


def days_of(calendar: Any, group: str, column: str) -> list[str]:
    values = calendar.values[calendar.groups.index(group), :, calendar.names.index(column)]
    labels = Frequency.parse("D").labels(calendar.first + np.flatnonzero(values)).astype("M8[us]").astype("M8[D]")
    return [str(label) for label in labels]


def test_each_group_keeps_its_country_its_region_and_what_holds_for_all(make_config: MakeConfig) -> None:
    items = [{"path": "i.csv", "attributes": ["land"]}]
    section = {"countries": ["US"], "country_column": "land", "feasts": ["Easter"], "calendar": "c.csv"}
    config = load_config(
        make_config(
            data={"target": {"path": "t.csv"}, "items": items}, holidays=section | {"windows": {"Sale": [0, 1]}}
        )
    )
    rows = missing_dates([], [("US", None), ("GB", None), ("DE", "BY")], ["Easter"], range(2024, 2025))
    rows += [
        Holiday("c.csv", None, None, region, day, "Sale", None)
        for region, day in ((None, date(2024, 3, 1)), ("GB", date(2024, 4, 1)), ("shop 7", date(2024, 5, 1)))
    ]
    start, end = (int(Frequency.parse("D").ordinals(to_microseconds(d))) for d in ("2024-01-01", "2024-12-20"))
    calendar = calendar_of(rows, config, "D", start, end)
    assert calendar.groups == ("", "DE-BY", "GB", "US", "shop 7")
    assert calendar.periods == end - start + 1 + config.horizon
    for group in calendar.groups:
        assert days_of(calendar, group, "Easter")[:1] == ["2024-03-31"]
    assert days_of(calendar, "", "Thanksgiving Day") == ["2024-11-28"]
    assert days_of(calendar, "GB", "Thanksgiving Day") == []
    assert days_of(calendar, "GB", "Boxing Day") == ["2024-12-26"]  # in the horizon
    assert days_of(calendar, "DE-BY", "Corpus Christi") == ["2024-05-30"]
    assert days_of(calendar, "GB", "Sale") == ["2024-03-01", "2024-04-01"]
    assert days_of(calendar, "shop 7", "Sale_+1") == ["2024-03-02", "2024-05-02"]
    assert days_of(calendar, "US", "Sale") == ["2024-03-01"]
    region = pa.array(["uk", None, "shop 7", "DE-by", "", "US", "uk"])
    assert group_positions(calendar, region, 7).tolist() == [2, 0, 4, 1, 0, 3, 2]
    assert group_positions(calendar, None, 3).tolist() == [0, 0, 0]


def test_frozen_years_stay_and_gaps_are_closed() -> None:
    old = Holiday("holidays", "US", None, None, date(2020, 1, 2), "A day of an older version", "0.1")
    added = missing_dates([old], [("US", None), ("US", None)], ["Diwali"], range(2022, 2024))
    us = {h.date.year for h in added if h.country == "US"}
    assert us == {2021, 2022, 2023}
    assert {h.date.year for h in added if h.source == "feasts"} == {2022, 2023}
    assert missing_dates([old, *added], [("US", None)], ["Diwali"], range(2022, 2024)) == []
    assert len(set(added)) == len(added)
