"""What the report says of the steps that series have."""

from __future__ import annotations

import pytest

from forecasting.frequency import Frequency
from udfs.config.grid import FrequencyCheck
from udfs.errors import InputError
from udfs.resolution import frequency_notes, sample_of, usual_step


@pytest.mark.parametrize(
    ("grid", "steps", "parts"),
    [("D", {"D": 95, "W": 5}, None), ("D", {"D": 89, "W": 11}, "only 89.0% have"),
     ("W", {"D": 100}, "more often than W"), ("MS", {"MS": 50, "ME": 50}, "different steps"),
     ("MS", {"QS": 100}, "only 0.0% have"), ("QS", {"MS": 99}, "MS 100.0%"),
     ("h", {"irregular": 9, "h": 1}, "no regular step 90.0%"), ("15min", {"h": 10}, "only 0.0% have"),
     ("4W", {"MS": 10}, "only 0.0% have"), ("D", {}, None), ("D", {"12h": 9, "h": 91}, "aggregated by sum")],
)  # fmt: skip
def test_notes(grid: str, steps: dict[str, int], parts: str | None) -> None:
    notes = frequency_notes(FrequencyCheck(), Frequency.parse(grid), "sum", steps)
    assert (not notes) if parts is None else (len(notes) == 1 and parts in notes[0]), notes


def test_an_error_where_the_config_says_so_and_silence_where_it_does() -> None:
    steps = {"W": 3, "D": 1}
    with pytest.raises(InputError, match=r"W 75\.0%, D 25\.0%"):
        frequency_notes(FrequencyCheck(otherwise="error"), Frequency.parse("D"), "sum", steps)
    assert frequency_notes(FrequencyCheck(otherwise="ignore"), Frequency.parse("D"), "sum", steps) == []
    lax = frequency_notes(FrequencyCheck(min_share=0.2, otherwise="error"), Frequency.parse("D"), "sum", steps)
    assert lax == []


def test_the_usual_step_is_the_finer_of_two() -> None:
    assert usual_step({"W": 4, "D": 4, "MS": 1}) == "D"
    assert usual_step({}) == "irregular"
    assert [sample_of(n) for n in (1, 8, 16, 365, 100_000)] == [1, 1, 2, 45, 64]
