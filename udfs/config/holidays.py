"""The section `holidays`: which holidays the models see, and their windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from udfs.config.sources import Section, Source
from udfs.public_holidays import FEASTS, known_names, parse_place, unknown_name

WindowDays = tuple[Annotated[int, Field(ge=0, le=60)], Annotated[int, Field(ge=0, le=60)]]


class CalendarSource(Source):
    """A calendar of your own: rows with the columns name and date, and region where they do not hold for all."""


class HolidaysConfig(Section):
    """Holidays, known in the past and in the future. The dates are frozen in the lake's table `holidays`, so that a
    newer version of the `holidays` package changes nothing that is there."""

    countries: tuple[str, ...] = ()
    """Countries or subdivisions (US, UK, DE-BY) whose public holidays every series keeps, all of them together."""
    country_column: str | None = None
    """Key or metadata column with each series' own country, subdivision or region of the calendar; a series without
    one keeps `countries`."""
    feasts: tuple[str, ...] = ()
    """Moving feasts that every series keeps, days off or not: Lunar New Year, Chuseok, Easter, Eid al-Fitr,
    Eid al-Adha, Diwali."""
    only: tuple[str, ...] | None = None
    """Names of the holidays to keep, a feast among them for every series; null keeps all."""
    windows: dict[str, WindowDays] = Field(default_factory=dict)
    """Holiday -> days before and after that have an effect of their own: {Christmas Day: [3, 1]}; periods of the grid
    where these are longer than a day."""
    default_window: WindowDays = (0, 0)
    """The window of all other holidays."""
    calendar: Annotated[CalendarSource | None, BeforeValidator(lambda v: {"path": v} if isinstance(v, str) else v)] = (
        None
    )
    """A calendar of your own: a path, or a source with the columns name, date and, where it applies, region."""

    @model_validator(mode="after")
    def _known(self) -> HolidaysConfig:
        problems = list(_problems(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def all_feasts(self) -> tuple[str, ...]:
        """The feasts that are added for every series."""
        return tuple(f for f in FEASTS if f in self.feasts or f in (self.only or ()))

    @property
    def named(self) -> tuple[str, ...]:
        """Every holiday that is named."""
        return tuple(dict.fromkeys((*(self.only or ()), *self.windows)))


def _problems(section: HolidaysConfig) -> Iterator[str]:
    known: set[str] = set()
    sound = True
    for text in section.countries:
        try:
            known |= known_names(*parse_place(text))
        except ValueError as error:
            sound = False
            yield f"countries: {error}"
    for feast in section.feasts:
        if feast not in FEASTS:
            yield f"feasts: {feast!r} is not one of {', '.join(FEASTS)}"
    if not (section.countries or section.country_column or section.all_feasts or section.calendar):
        yield "name countries, a country_column, feasts or a calendar, or leave the section out"
    # What a calendar or a column of countries holds is known when they have been read, and checked then.
    if sound and section.calendar is None and section.country_column is None:
        for name in section.named:
            if (problem := unknown_name(name, known)) is not None:
                yield problem


__all__ = ["CalendarSource", "HolidaysConfig"]
