"""Every value that a range can give is a valid hyperparameter of its family, and the docs name every range."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecasting.models.ranges import Choice, Number
from forecasting.models.registry import get_model, model_names

ROOT = Path(__file__).resolve().parents[3]
WITHOUT = {"naive", "seasonal_naive"}
TUNABLE = [name for name in model_names() if name not in WITHOUT]


def values(span: Choice | Number) -> list[Any]:
    """All values of a choice; both ends of numbers and some between."""
    if isinstance(span, Choice):
        return list(span.values)
    rng = np.random.default_rng(0)
    if span.log:
        assert span.low > 0
    between = [float(v) for v in rng.uniform(span.low, span.high, 20)]
    found = [span.low, span.high, *between]
    return [int(v) for v in found] if span.whole else found


def test_who_has_ranges() -> None:
    assert {name for name in model_names() if not get_model(name).search_space} == WITHOUT


@pytest.mark.parametrize("name", TUNABLE)
def test_every_value_is_valid(name: str) -> None:
    family = get_model(name)
    assert set(family.search_space) <= set(family.Hyperparameters.model_fields)
    for field, span in family.search_space.items():
        for value in values(span):
            checked = family.Hyperparameters.model_validate({field: value})
            assert getattr(checked, field) == value


@pytest.mark.parametrize("name", TUNABLE)
def test_choices_go_together(name: str) -> None:
    family = get_model(name)
    ends = {
        field: span.values if isinstance(span, Choice) else (values(span)[0], values(span)[1])
        for field, span in family.search_space.items()
    }
    for chosen in itertools.islice(itertools.product(*ends.values()), 2000):
        family.Hyperparameters.model_validate(dict(zip(ends, chosen, strict=True)))


@pytest.mark.parametrize("name", TUNABLE)
def test_no_value_is_there_twice_and_numbers_are_short(name: str) -> None:
    for span in get_model(name).search_space.values():
        if isinstance(span, Choice):
            assert len({(type(v), str(v)) for v in span.values}) == len(span.values) > 1
        else:
            assert span.low < span.high
            # the search rounds to four digits, which must not lead out of the range
            assert all(float(f"{end:.4g}") == end for end in (span.low, span.high))


@pytest.mark.parametrize("name", TUNABLE)
def test_the_docs_say_the_ranges(name: str) -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    section = page.partition("\n## Tuning\n")[2]
    (line,) = (row for row in section.splitlines() if row.startswith("| `") and f"`{name}`" in row.split("|")[1])
    for field, span in get_model(name).search_space.items():
        assert f"`{field}`" in line
        if isinstance(span, Number):
            assert f"{span.low:g} to {span.high:g}" in line
