"""Dates of the `holidays` package, with English names: one place for country codes, names and moving feasts."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from functools import lru_cache
from importlib import metadata

Named = list[tuple[date, str]]

CODES = {"UK": "GB"}
"""Country codes of Amazon Forecast that ISO 3166 spells otherwise."""
FEASTS = ("Lunar New Year", "Chuseok", "Easter", "Eid al-Fitr", "Eid al-Adha", "Diwali")
"""Moving feasts that have one name here, whatever a country calls them, and dates for every country."""
_SAME = {
    "Lunar New Year": (
        "Chinese New Year", "Chinese New Year (Spring Festival)", "Chinese New Year's Day", "Korean New Year",
        "Vietnamese New Year",
    ),
    "Easter": ("Easter Sunday", "Catholic Easter", "Catholic Easter Sunday", "Gregorian Easter Sunday"),
    "Diwali": ("Deepavali",),
}  # fmt: skip
_CANONICAL = {other: name for name, others in _SAME.items() for other in others}
_KEEPS = {"Lunar New Year": "SG", "Chuseok": "KR", "Eid al-Fitr": "TR", "Eid al-Adha": "TR", "Diwali": "SG"}
"""A country whose public holidays tell a feast's first day."""
_NEAR_YEARS = range(2000, 2036)


def package_version() -> str:
    """The version of the `holidays` package."""
    return metadata.version("holidays")


def parse_place(text: str) -> tuple[str, str | None]:
    """Country and subdivision from "US", "UK", "US-NY". Raises ValueError with near matches for an unknown one."""
    code, _, part = text.strip().partition("-")
    known = _subdivisions()
    country = CODES.get(code.upper(), code.upper())
    if country not in known:
        near = _near(country, known)
        raise ValueError(f"country {text!r} is not known; {near or 'give a two-letter code such as US, DE or KR'}")
    if not part:
        return country, None
    exact = [s for s in known[country] if s.upper() == part.upper()]
    if not exact:
        near = _near(part.upper(), known[country])
        listed = ", ".join(known[country]) or "none"
        raise ValueError(f"{text!r}: {country} has no subdivision {part!r}; {near or f'it has {listed}'}")
    return country, exact[0]


def place_name(country: str, subdivision: str | None) -> str:
    """As parse_place takes it."""
    return country if subdivision is None else f"{country}-{subdivision}"


def public_holidays(country: str, subdivision: str | None, years: Iterable[int]) -> Named:
    """Dates and English names of the public holidays, in order; the moving feasts under their common names."""
    import holidays

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says for which years some holidays are known
        calendar = holidays.country_holidays(country, subdiv=subdivision, years=list(years), language="en_US")
    return sorted({(day, plain_name(name)) for day in calendar for name in calendar.get_list(day)})


def feast_dates(feast: str, years: Iterable[int]) -> list[date]:
    """The first day of a moving feast in each year, in any country."""
    wanted = sorted(years)
    if feast == "Easter":
        from dateutil.easter import easter

        return [easter(year) for year in wanted]
    days = [day for day, name in public_holidays(_KEEPS[feast], None, wanted) if name == feast]
    # A feast of several days is listed day by day; the Islamic ones can come twice in a year.
    return [day for day in days if day - timedelta(days=1) not in days]


@lru_cache(maxsize=256)
def known_names(country: str, subdivision: str | None) -> frozenset[str]:
    """The names that a country's holidays have in this century."""
    return frozenset(name for _, name in public_holidays(country, subdivision, _NEAR_YEARS))


def unknown_name(name: str, known: Collection[str]) -> str | None:
    """What is wrong with a holiday's name; None for a known one."""
    if name in known or name in FEASTS:
        return None
    names = sorted({*known, *FEASTS})
    near = _near(name, names)
    return f"holiday {name!r} is not known; {near or 'known: ' + ', '.join(names)}"


def plain_name(name: str) -> str:
    """A name without what is said of one date only: an estimate, or which day it stands in for."""
    name = re.sub(r" \((observed), estimated\)$", r" (\1)", name)
    name = re.sub(r" \((?:estimated|substituted from [^)]*)\)$", "", name)
    holiday, observed, _ = name.partition(" (observed)")
    return _CANONICAL.get(holiday, holiday) + observed


def _near(text: str, known: Iterable[str]) -> str:
    by_lower = {each.lower(): each for each in known}
    matches = difflib.get_close_matches(text.lower(), by_lower, n=3, cutoff=0.5)
    return f"did you mean {', '.join(repr(by_lower[m]) for m in matches)}?" if matches else ""


@lru_cache(maxsize=1)
def _subdivisions() -> dict[str, tuple[str, ...]]:
    import holidays

    found: dict[str, tuple[str, ...]] = {}
    for code, parts in holidays.list_supported_countries().items():
        if len(code) == 2:
            found[code] = tuple(sorted(parts))
    return found


@lru_cache(maxsize=1)
def known_places() -> tuple[str, ...]:
    """Every country and subdivision that `parse_place` takes, in capitals."""
    places = [(code, parts) for code, parts in _subdivisions().items()]
    places += [(other, _subdivisions()[code]) for other, code in CODES.items() if code in _subdivisions()]
    return tuple(sorted(name for code, parts in places for name in (code, *(f"{code}-{p.upper()}" for p in parts))))
