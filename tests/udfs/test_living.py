"""Reasons that say what the life of an item made of a forecast, read back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from udfs.living import dead_steps, without_ended_steps


def test_steps_after_an_end_are_left_out_by_the_reason_of_their_row() -> None:
    texts = [
        "",
        "ended",
        "ended_after_step_2",
        "members_lost; ended_after_step_3",
        "x; ended",
        "not_started",
        "unended",
    ]
    found = without_ended_steps(np.ones((len(texts), 4)), pa.array(texts))
    assert np.isfinite(found).sum(axis=1).tolist() == [4, 0, 2, 3, 0, 4, 4]
    assert np.isfinite(found[2]).tolist() == [True, True, False, False]


def test_dead_steps_are_those_before_the_first_and_from_the_last_on() -> None:
    live = np.array([[0, 3], [1, 3], [0, 0], [3, 3], [2, 1]])
    assert dead_steps(live, 3).astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]]
