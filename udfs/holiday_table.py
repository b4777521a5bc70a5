"""The table `holidays`: dates frozen once for a lake, and from there the calendar of a run.

A run pins the version of the table in its plan, so that its backtests, forecasts and components see the same dates.
Dates of the `holidays` package that are in the table stay; only years and countries that lack are added. A calendar
of one's own is a source like others: it is read whenever a run begins, and replaced when it has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.closures import Closures
from forecasting.frequency import DAY_US, Frequency, Int64Array
from forecasting.holidays import HolidayCalendar, holiday_calendar
from udfs import public_holidays as public
from udfs.config import Config
from udfs.config.holidays import HolidaysConfig
from udfs.errors import InputError
from udfs.own_calendar import own_dates

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from udfs.lake import Lake

TABLE = "holidays"
PACKAGE, FEASTS = "holidays", "feasts"
ALL = ""
"""The group of the series that no column says anything of."""
REGION = "holidays:region"
"""The column of a task's batch with each series' country or region."""


@dataclass(frozen=True, order=True)
class Holiday:
    """A row of the table."""

    source: str
    country: str | None
    subdivision: str | None
    region: str | None
    date: date
    name: str
    version: str | None

    @property
    def place(self) -> str:
        """Country and subdivision as a config names them."""
        return public.place_name(self.country or "", self.subdivision)


def freeze(lake: Lake, config: Config, frequency: str, start: int, end: int) -> int | None:
    """Bring the table to what a run needs whose data span the ordinals `start` to `end`; the version to read, None for
    a config without holidays.

    Raises InputError for countries in the data, or holidays by name, that are not known, and for a calendar that is
    not there.
    """
    section = config.holidays
    if section is None:
        return None
    stored = _stored(lake)
    own = own_dates(lake.spark, section.calendar, None)
    mine = _own_rows(own) if own is not None else [h for h in stored if h.source not in (PACKAGE, FEASTS)]
    if own is None and not mine:
        raise InputError("holidays.calendar has no path, table or sql, and ingest was given no DataFrame for it")
    places = _places(lake, section, {h.region for h in mine if h.region is not None})
    frozen = [h for h in stored if h.source in (PACKAGE, FEASTS)]
    frozen += missing_dates(frozen, places, section.all_feasts, _years(config, frequency, start, end))
    rows = frozen + mine
    _check_names(section, places, mine)
    _write(lake, rows, stored)
    return lake.version(TABLE)


def keep_calendar(lake: Lake, config: Config, frame: DataFrame) -> None:
    """Put a DataFrame's dates into the table as the calendar of the config, which must have one without a location."""
    section = config.holidays
    if section is None or section.calendar is None:
        raise InputError("a DataFrame was given for holidays.calendar, which the config does not have; add it")
    stored = _stored(lake)
    own = _own_rows(own_dates(lake.spark, section.calendar, frame) or {})
    _write(lake, [h for h in stored if h.source in (PACKAGE, FEASTS)] + own, stored)


def _write(lake: Lake, rows: list[Holiday], stored: list[Holiday]) -> None:
    if set(rows) != set(stored) or not lake.exists(TABLE):
        lake.ensure(TABLE)
        lake.replace(TABLE, lake.rows(TABLE, [vars(h) for h in sorted(rows, key=_order)]), {})


def frozen_calendar(
    lake: Lake, config: Config, frequency: str, start: int, end: int, version: int | None
) -> HolidayCalendar | None:
    """The calendar of a run that pinned this version, through the horizon."""
    if config.holidays is None or version is None:
        return None
    return calendar_of(_stored(lake, version), config, frequency, start, end)


def planned_calendar(lake: Lake, config: Config, frequency: str, start: int, end: int) -> HolidayCalendar | None:
    """The calendar that a run would have for series without a country of their own; nothing is written."""
    section = config.holidays
    if section is None:
        return None
    mine = _own_rows(own_dates(lake.spark, section.calendar, None) or {})
    places = [public.parse_place(text) for text in section.countries]
    rows = missing_dates([], places, section.all_feasts, _years(config, frequency, start, end)) + mine
    return calendar_of(rows, config, frequency, start, end)


def calendar_at_hand(
    stored: list[Holiday], config: Config, frequency: str, start: int, end: int, values: Iterable[str | None]
) -> HolidayCalendar | None:
    """The calendar by the rows of the table and, for what it lacks, by the package; nothing is written.

    values: what the series have in `country_column`. Raises InputError as `freeze`, and for a calendar of one's own
    that is not in the table yet.
    """
    section = config.holidays
    if section is None:
        return None
    mine = [h for h in stored if h.source not in (PACKAGE, FEASTS)]
    if section.calendar is not None and not mine:
        raise InputError("holidays.calendar is not in the lake yet; run `almanac backtest`, which freezes it, first")
    frozen = [h for h in stored if h.source in (PACKAGE, FEASTS)]
    places = _named_places(section, values, {h.region for h in mine if h.region is not None})
    frozen += missing_dates(frozen, places, section.all_feasts, _years(config, frequency, start, end))
    return calendar_of(frozen + mine, config, frequency, start, end)


def calendar_of(rows: Iterable[Holiday], config: Config, frequency: str, start: int, end: int) -> HolidayCalendar:
    """The calendar of every group of series: first those without a country of their own, then by place or region."""
    section = config.holidays
    assert section is not None
    listed = sorted(rows, key=_order)
    kept = [h for h in listed if section.only is None or h.name in section.only]
    kept = [h for h in kept if h.source != FEASTS or h.name in section.all_feasts]
    default = {public.place_name(*public.parse_place(text)) for text in section.countries}
    groups = {ALL: default}
    if section.country_column is not None:
        named = {h.place for h in listed if h.source == PACKAGE} | {h.region for h in listed if h.region}
        groups |= {label: {label} for label in sorted(named)}
    grid = Frequency.parse(frequency)
    fine = 0 < grid.step_us < DAY_US
    return holiday_calendar(
        {label: _dates(kept, places) for label, places in groups.items()},
        grid,
        start,
        end + config.horizon,
        windows=section.windows,
        default_window=section.default_window,
        zone=config.time_zone if fine else None,
    )


def group_positions(calendar: HolidayCalendar | Closures, region: pa.Array | None, n: int) -> Int64Array:
    """The group of each of n series from its country or region; the first one where it has none."""
    if region is None:
        return np.zeros(n, dtype=np.int64)
    coded = region.dictionary_encode()
    known = {label: position for position, label in enumerate(calendar.groups)}
    of_value = np.array([known.get(_label(v, known), 0) for v in coded.dictionary.to_pylist()] + [0], dtype=np.int64)
    codes = coded.indices.fill_null(len(of_value) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(of_value[codes], dtype=np.int64)


def missing_dates(
    frozen: Iterable[Holiday],
    places: Iterable[tuple[str, str | None]],
    feasts: Iterable[str],
    years: range,
) -> list[Holiday]:
    """What the package adds to the frozen dates so that every place and feast has all years."""
    seen: dict[object, set[int]] = {}
    for h in frozen:
        seen.setdefault(h.name if h.source == FEASTS else (h.country, h.subdivision), set()).add(h.date.year)
    version = public.package_version()
    added: list[Holiday] = []
    for country, part in sorted(set(places), key=lambda p: (p[0], p[1] or "")):
        dates = public.public_holidays(country, part, _lacking(seen.get((country, part)), years))
        added += [Holiday(PACKAGE, country, part, None, day, name, version) for day, name in dates]
    for feast in feasts:
        for day in public.feast_dates(feast, _lacking(seen.get(feast), years)):
            added.append(Holiday(FEASTS, None, None, None, day, feast, version))
    return added


def described(lake: Lake) -> str:
    """What is frozen, in a line: dates by place, feasts and calendar, with years and version of the package."""
    parts: dict[str, list[Holiday]] = {}
    for h in sorted(_stored(lake), key=_order):
        parts.setdefault(h.place if h.source == PACKAGE else h.source, []).append(h)
    lines = []
    for name, rows in parts.items():
        years = sorted({h.date.year for h in rows})
        versions = ", ".join(sorted({h.version for h in rows if h.version}))
        made = f" (holidays {versions})" if versions else ""
        lines.append(f"{name}: {len(rows)} dates, {years[0]} to {years[-1]}{made}")
    return "; ".join(lines) or "none"


def _lacking(seen: Collection[int] | None, years: range) -> list[int]:
    """The years to add so that those of the table are without a gap."""
    if not seen:
        return list(years)
    low, high = min(seen), max(seen)
    return [*range(years.start, low), *range(high + 1, years.stop)]


def _years(config: Config, frequency: str, start: int, end: int) -> range:
    """The calendar years of data and horizon, and one on either side for windows and for the next runs."""
    labels = Frequency.parse(frequency).labels([start, end + config.horizon])
    first, last = (int(str(label.astype("M8[us]").astype("M8[Y]"))) for label in labels)
    return range(first - 1, last + 2)


def _places(lake: Lake, section: HolidaysConfig, regions: Collection[str]) -> list[tuple[str, str | None]]:
    """The places whose dates are needed: those of the config, and those that the series name."""
    from pyspark.sql import functions as F

    name = section.country_column
    if name is None:
        return _named_places(section, (), regions)
    column = F.col(name) if name in lake.layout.key else F.col("metadata")[name]
    rows = lake.read("series").select(column.alias("value")).distinct().collect()
    return _named_places(section, [row["value"] for row in rows], regions)


def _named_places(
    section: HolidaysConfig, values: Iterable[str | None], regions: Collection[str]
) -> list[tuple[str, str | None]]:
    places = [public.parse_place(text) for text in section.countries]
    problems = []
    for given in sorted(value or "" for value in values):
        value = given.strip()
        if not value:
            continue
        try:
            places.append(public.parse_place(value))
        except ValueError as error:
            if value not in regions:
                problems.append(str(error))
    if problems:
        shown = "\n".join(f"  {p}" for p in problems[:20])
        raise InputError(
            f"holidays.country_column: {len(problems)} values of {section.country_column!r} are neither countries "
            f"nor regions of a calendar:\n{shown}"
        )
    return places


def _check_names(section: HolidaysConfig, places: Iterable[tuple[str, str | None]], own: Iterable[Holiday]) -> None:
    known = {h.name for h in own}
    for place in set(places):
        known |= public.known_names(*place)
    problems = [p for name in section.named if (p := public.unknown_name(name, known)) is not None]
    if problems:
        raise InputError("\n".join(f"holidays: {problem}" for problem in problems))


def _own_rows(own: Mapping[tuple[str | None, str], tuple[str, set[date]]]) -> list[Holiday]:
    return [
        Holiday(source, None, None, region, day, name, None)
        for (region, name), (source, days) in own.items()
        for day in days
    ]


def _dates(rows: Iterable[Holiday], places: Collection[str]) -> dict[str, list[date]]:
    """Name -> dates of what holds in any of the places: theirs, and what holds everywhere."""
    wide = {*places, *(place.partition("-")[0] for place in places)}
    found: dict[str, list[date]] = {}
    for h in rows:
        own = h.country is None and (h.region is None or h.region in wide)
        if own or (h.source == PACKAGE and h.place in places):
            found.setdefault(h.name, []).append(h.date)
    return found


def _label(value: str | None, known: Collection[str]) -> str:
    text = (value or "").strip()
    if not text or text in known:
        return text
    try:
        return public.place_name(*public.parse_place(text))
    except ValueError:
        return ALL


def _stored(lake: Lake, version: int | None = None) -> list[Holiday]:
    if not lake.exists(TABLE):
        return []
    return [Holiday(**row.asDict()) for row in lake.read(TABLE, version).collect()]


def _order(h: Holiday) -> tuple[str, ...]:
    return (h.source, h.country or "", h.subdivision or "", h.region or "", h.date.isoformat(), h.name)
