"""From packed rows to one row a step, as SQL: what `forecasts` and the view `backtest` share.

Spark's own code generation does this without a Python worker, and the same text serves a view in a catalog.
`forecasting.frequency` is the authority for labels; the tests compare the two for every kind of frequency.
"""

from __future__ import annotations

from collections.abc import Sequence

from forecasting.frequency import MINUTE_US, Frequency
from forecasting.levels import quantile_column
from udfs.lake import literal
from udfs.layout import quoted

NOT_A_NUMBER = "double('NaN')"


def step_label(frequency: Frequency, first: str, steps: str) -> str:
    """SQL of the label `steps` periods (an INT expression) after the label `first` (a TIMESTAMP_NTZ expression)."""
    if frequency.step_us:
        return f"{first} + make_dt_interval(0, 0, {frequency.step_us // MINUTE_US} * ({steps}))"
    later = f"make_ym_interval(0, {frequency.months} * ({steps}))"
    if not frequency.month_end:
        return f"{first} + {later}"
    return f"cast(last_day(cast({first} AS date) + {later}) AS timestamp_ntz)"


def finite(expression: str) -> str:
    """SQL of a number with NaN as NULL."""
    return f"nullif({expression}, {NOT_A_NUMBER})"


def quantile_values(levels: Sequence[float], position: str) -> list[str]:
    """SQL of the quantile columns of one step. levels: those of `quantiles`, in order. position: the step from 0."""
    return [
        f"{finite(f'get(quantiles, ({position}) * {len(levels)} + {i})')} AS {quoted(quantile_column(level))}"
        for i, level in enumerate(levels)
    ]


def quantile_value_of_run(level: float, position: str, levels: str) -> str:
    """SQL of one quantile column where `levels` (an ARRAY<DOUBLE> expression) differ by run; NULL where a run has it
    not."""
    place = f"array_position({levels}, {literal(level)}D)"
    value = finite(f"get(quantiles, cast(({position}) * size({levels}) + {place} - 1 AS int))")
    return f"CASE WHEN {place} > 0 THEN {value} END AS {quoted(quantile_column(level))}"
