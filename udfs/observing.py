"""From the config to what says which periods are observations: opening calendar, masks and fill rules of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray, RelatedSeries, SeriesBatch
from forecasting.closures import Mask, Observing, OpeningHours, closures
from forecasting.filling import FillRules, RelatedFill, TargetFill
from forecasting.frequency import Frequency, Int64Array
from udfs.config import Config
from udfs.errors import InputError
from udfs.holiday_table import REGION, frozen_calendar, group_positions
from udfs.segments import first_match

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pyspark.sql import Column

    from forecasting.holidays import HolidayCalendar
    from udfs.lake import Lake

FILL_GROUP = "fill:group"
"""The column of a task's batch with the position of each series' fill rules, those of all others last."""


def masks_of(config: Config) -> tuple[Mask, ...]:
    """The masks of the config."""
    return tuple(rule.of(name) for name, rule in config.fill.mask.items())


def observing(
    lake: Lake, config: Config, frequency: str, start: int, end: int, holidays_version: int | None
) -> Observing:
    """For data that span the ordinals `start` to `end`, and the horizon after them. Raises InputError for holidays
    that are closed and that the calendar does not have."""
    opening = config.opening
    calendar = None
    if opening is not None and opening.by_calendar and opening.closed_on_holidays:
        calendar = frozen_calendar(lake, config, frequency, start, end, holidays_version)
    return observing_by(config, frequency, start, end, calendar)


def observing_by(config: Config, frequency: str, start: int, end: int, calendar: HolidayCalendar | None) -> Observing:
    """As `observing`, by a calendar that is at hand."""
    opening = config.opening
    if opening is None:
        return Observing(masks_of(config))
    closed = None
    if opening.by_calendar:
        grid = Frequency.parse(frequency)
        names = None
        if opening.closed_on_holidays:
            names = opening.closed_on_holidays if isinstance(opening.closed_on_holidays, tuple) else None
            known = set() if calendar is None else set(calendar.base)
            if names is not None and (unknown := sorted(set(names) - known)):
                raise InputError(
                    f"opening.closed_on_holidays: {unknown} are no holidays of the calendar: {sorted(known)}"
                )
        by_day = calendar if opening.closed_on_holidays else None
        closed = closures(grid, start, end + config.horizon, opening.week(config.time_zone), by_day, names)
    return Observing(masks_of(config), closed, opening.column)


def needs_region(config: Config) -> bool:
    """Whether closed periods depend on each series' own holidays."""
    closes = config.opening is not None and bool(config.opening.closed_on_holidays)
    return closes and config.holidays is not None and config.holidays.country_column is not None


def calendar_groups(rules: Observing, piece: pa.RecordBatch) -> Int64Array:
    """The place of each series' calendar in the closures."""
    region = piece.column(REGION) if REGION in piece.schema.names else None
    if rules.closures is None or len(rules.closures.groups) == 1:
        return np.zeros(len(piece), dtype=np.int64)
    return group_positions(rules.closures, region, len(piece))


def fill_groups(piece: pa.RecordBatch) -> Int64Array | None:
    """The position of each series' fill rules; None where all have the same."""
    return piece.column(FILL_GROUP).to_numpy().astype(np.int64) if FILL_GROUP in piece.schema.names else None


def fill_rules(config: Config, related: Collection[str]) -> tuple[FillRules, ...]:
    """The rules of each group of `fill.groups`, then those of all other series. related: series that are read."""
    base = config.fill
    sets = [
        FillRules(
            target=TargetFill(**(group.target or base.target).model_dump()),
            related=_related({**base.related, **group.related}, related),
        )
        for group in base.groups
    ]
    return (*sets, FillRules(TargetFill(**base.target.model_dump()), _related(base.related, related)))


def _related(rules: Mapping[str, object], read: Collection[str]) -> dict[str, RelatedFill]:
    return {name: RelatedFill(**rule.model_dump()) for name, rule in rules.items() if name in read}  # type: ignore[attr-defined]


def fill_group_columns(config: Config) -> list[Column]:
    """The column FILL_GROUP of rows of `series`, where the config has groups."""

    if not config.fill.groups:
        return []
    return [first_match(config.fill.groups, config.data.attributes).cast("int").alias(FILL_GROUP)]


# --- packing ---


def hidden_periods(
    masks: tuple[Mask, ...],
    week: OpeningHours | None,
    column: str | None,
    batch: SeriesBatch,
    related: Mapping[str, tuple[FloatArray, Int64Array]],
) -> np.ndarray | None:
    """Which packed periods are masked or closed, bool like the values; None where none can be. What is packed by a
    part of the key, and holidays, which a run freezes, are not seen here."""
    here = tuple(mask for mask in masks if mask.name in related)
    shut = None
    if week is not None and len(batch.values):
        first, last = int(batch.start.min()), int((batch.start + batch.lengths).max()) - 1
        shut = closures(batch.frequency, first, last, week)
    rules = Observing(here, shut, column if column in related else None)
    if rules.nothing:
        return None
    columns = {name: RelatedSeries(*related[name]) for name in rules.columns}
    seen = SeriesBatch(batch.values, batch.offsets, batch.start, batch.frequency, batch.keys, columns)
    found = rules.observed(seen, np.zeros(len(batch), dtype=np.int64)).filled
    return None if found is None else found != 0


__all__ = [
    "FILL_GROUP",
    "calendar_groups",
    "fill_group_columns",
    "fill_groups",
    "fill_rules",
    "observing",
    "observing_by",
]
