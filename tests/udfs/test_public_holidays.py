"""Countries, names and moving feasts."""

from __future__ import annotations

from datetime import date

import pytest

from udfs.public_holidays import FEASTS, feast_dates, known_names, parse_place, plain_name, unknown_name

SERVICE = (
    "AE AL AR AT AU BA BE BG BO BR BY CA CH CL CO CR CZ DE DK EC EE ES ET FI FR GR HR HU IE IN IS IT JP KR KZ LI LT "
    "LU LV MD ME MK MT MX NG NI NL NO NZ PA PE PL PT PY RO RS RU SE SI SK UA UK US UY VE ZA"
)
PUBLISHED = {  # two years each, from almanacs
    "Lunar New Year": [date(2023, 1, 22), date(2024, 2, 10)],
    "Chuseok": [date(2023, 9, 29), date(2024, 9, 17)],
    "Easter": [date(2023, 4, 9), date(2024, 3, 31)],
    "Eid al-Fitr": [date(2023, 4, 21), date(2024, 4, 10)],
    "Eid al-Adha": [date(2023, 6, 28), date(2024, 6, 16)],
    "Diwali": [date(2023, 11, 12), date(2024, 10, 31)],
}


@pytest.mark.parametrize("feast", FEASTS)
def test_moving_feasts_fall_where_almanacs_say(feast: str) -> None:
    assert feast_dates(feast, [2023, 2024]) == PUBLISHED[feast]
    assert len(feast_dates(feast, range(1990, 2035))) >= 45


@pytest.mark.parametrize("country", SERVICE.split())
def test_every_country_of_the_service_is_there(country: str) -> None:
    assert len(known_names(*parse_place(country))) >= 4


def test_one_name_in_all_countries() -> None:
    for country in ("KR", "CN", "SG", "VN", "MY"):
        assert "Lunar New Year" in known_names(country, None)
    for country in ("AE", "TR", "IN", "ID", "MY"):
        assert {"Eid al-Fitr", "Eid al-Adha"} <= known_names(country, None)
    assert plain_name("Eid al-Adha (observed, estimated)") == "Eid al-Adha (observed)"
    assert plain_name("Day off (substituted from 01/05/2013)") == "Day off"
    assert plain_name("Chinese New Year (observed)") == "Lunar New Year (observed)"


def test_places_and_near_matches() -> None:
    assert parse_place("uk") == ("GB", None)
    assert parse_place("de-by") == ("DE", "BY")
    for wrong, hint in (("UX", "did you mean"), ("US-NYY", "did you mean 'NY'"), ("Narnia-X", "is not known")):
        with pytest.raises(ValueError, match=hint):
            parse_place(wrong)
    assert unknown_name("Chrismas Day", known_names("US", None)).startswith(  # type: ignore[union-attr]
        "holiday 'Chrismas Day' is not known; did you mean 'Christmas Day'"
    )
    assert unknown_name("Diwali", known_names("US", None)) is None
