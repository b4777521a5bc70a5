"""Whether a long season's Fourier terms are worth their number.

A season that was seen two or three times is easily noise, and forecasts with it return to a mean that was not there.
Where the season is Fourier terms by default, they stay if an ARMA(1, 1) model of the differences with them has the
lower criterion than one without; the number of differences for both is that of the series without them.
"""

from __future__ import annotations

import numba
import numpy as np

from forecasting.frequency import Int64Array
from forecasting.models.arima.differences import choose_differences
from forecasting.models.arima.layout import Columns, Plan
from forecasting.models.arima.likelihood import Work
from forecasting.models.arima.polynomials import MAX_FREE
from forecasting.models.arima.prepare import load_regressors, without_regressors
from forecasting.models.arima.room import Room, differenced_columns
from forecasting.models.arima.search import NEAREST_ROOT, ROUGH, Space, score_of, with_constant

MOST_PASSES = 30
CHOOSE, LEFT_OUT, KEPT = -1, 0, 1


@numba.njit(cache=True, error_model="numpy")
def _load(columns: Columns, series: int, first: int, n: int, allowed: int, left_out: int, room: Room) -> int:
    n_all = room.factors.shape[1]
    return load_regressors(columns, series, first, n, n_all, allowed, left_out, room.regressors, room.factors)


@numba.njit(cache=True, error_model="numpy")
def _score(
    n: int,
    d: int,
    n_missing: int,
    n_regressors: int,
    plan: Plan,
    most: Int64Array,
    passes: int,
    room: Room,
    work: Work,
) -> tuple[float, int]:
    """The criterion of ARMA(1, 1) for the d-th differences with the regressors loaded, and the passes spent."""
    orders = np.zeros(5, dtype=np.int64)
    orders[0], orders[1] = min(1, most[0]), min(1, most[1])
    orders[4] = 1 if d == 0 and plan.constant > 0 else 0
    space = Space(most, plan.total, orders[4], False, plan.criterion, False)
    data = differenced_columns(n, d, 0, 1, n_missing, n_regressors, NEAREST_ROOT, room)
    seen = with_constant(data, orders[4], data.n_columns - 1)
    x = np.full(MAX_FREE, 0.1)
    score, _, _, _, spent = score_of(seen, orders, x, space, ROUGH, np.inf, passes, work)
    return score, spent


@numba.njit(cache=True, error_model="numpy")
def choose_regressors(
    columns: Columns,
    series: int,
    first: int,
    n: int,
    n_obs: int,
    n_missing: int,
    terms: int,
    plan: Plan,
    most: Int64Array,
    max_passes: int,
    room: Room,
    work: Work,
) -> tuple[int, bool, int]:
    """Load a row's regressors into room, its optional Fourier terms (`plan.optional`) where they pay.

    terms: CHOOSE, or what an earlier fit did with them. Returns how many regressors there are, whether the history
    was too short for all, and the passes spent.
    """
    allowed = max(n_obs // 3 - 1, 0)
    n_all, passes = room.factors.shape[1], 0
    left_out = plan.optional if terms == LEFT_OUT else 0
    taken = _load(columns, series, first, n, allowed, left_out, room)
    if plan.optional > 0 and terms == CHOOSE:
        without = _load(columns, series, first, n, allowed, plan.optional, room)
        if without < taken:
            without_regressors(room.filled, room.regressors, without, n, room.normal, room.scratch[3])
            d, _ = choose_differences(room.scratch[3], n, 1, plan.d, 0, plan.max_d, 0, room.scratch)
            most_passes = min(MOST_PASSES, max(max_passes // 4, 1))
            bare, spent = _score(n, d, n_missing, without, plan, most, most_passes, room, work)
            _load(columns, series, first, n, allowed, 0, room)
            rich, more = _score(n, d, n_missing, taken, plan, most, most_passes, room, work)
            passes = spent + more
            if not rich < bare:
                left_out = plan.optional
                taken = _load(columns, series, first, n, allowed, left_out, room)
    return taken, taken == allowed and n_all - left_out > allowed, passes
