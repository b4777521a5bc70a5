"""A fit as a table of parameters gives it back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecasting import FittedBatch


def through_lists(fitted: FittedBatch) -> FittedBatch:
    """The same fit, with its numbers written to lists and read again."""
    numbers = fitted.numbers
    return replace(
        fitted,
        numbers=replace(
            numbers,
            parameters=np.array(numbers.parameters.tolist()),
            states=np.array(numbers.states.tolist()),
            state_offsets=np.array(numbers.state_offsets.tolist(), dtype=np.int64),
        ),
    )
