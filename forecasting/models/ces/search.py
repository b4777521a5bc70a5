"""The least-squares fit of one form by Levenberg-Marquardt steps inside bounds, and the choice between forms."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ces.recursion import FULL, N_FORMS, PARTIAL, STEP, Work, evaluate, n_smoothing

START_ALPHA = (1.3, 1.0)
DRAWN_BACK = (1.35, 0.93)
BELOW_ONE = (0.88, 1.0)
NEAR_ONE = 1.1
WIDE = 0.5  # bounds of alpha_1 that begin above this are tight
START_BETA = (0.1, 1.45, 0.7)
"""beta_0 of partial, beta_0 and beta_1 of full seasonality. Where the sum of squares has several minima, those reached
from here are as deep as those from statsforecast's 1.3 and 1.0, and forecast better (NN5, M4 hourly)."""
TOLERANCE = 1e-7  # relative, of the sum of squared errors
MOST_STEPS = 60


@numba.njit(cache=True)
def start_of(form: int, p: FloatArray) -> None:
    """Where a search begins: level smoothing with 0.3 in complex numbers."""
    p[0], p[1] = START_ALPHA[0], START_ALPHA[1]
    p[2] = START_BETA[1] if form == FULL else START_BETA[0]
    p[3] = START_BETA[2]


@numba.njit(cache=True)
def _solve(products: FloatArray, n: int, free: FloatArray, damping: float, a: FloatArray, step: FloatArray) -> bool:
    """(J'J + damping diag J'J) step = -J'e over the free parameters, by Cholesky; False where that fails."""
    for i in range(n):
        step[i] = -products[0, i + 1] / STEP if free[i] > 0.0 else 0.0
        for j in range(i + 1):
            a[i, j] = products[j + 1, i + 1] / (STEP * STEP) if free[i] > 0.0 and free[j] > 0.0 else 0.0
        a[i, i] = a[i, i] * (1.0 + damping) if free[i] > 0.0 else 1.0
    for i in range(n):
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            if i == j:
                if not total > 1e-300:
                    return False
                a[i, i] = math.sqrt(total)
            else:
                a[i, j] = total / a[j, j]
    for i in range(n):
        for k in range(i):
            step[i] -= a[i, k] * step[k]
        step[i] /= a[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            step[i] -= a[k, i] * step[k]
        step[i] /= a[i, i]
    return True


@numba.njit(cache=True)
def descend(
    y: FloatArray,
    n: int,
    form: int,
    m: int,
    box: FloatArray,
    p: FloatArray,
    limit: int,
    work: Work,
    spare: FloatArray,
) -> tuple[float, int]:
    """Move p to where the sum of squared errors is least nearby; that sum and the evaluations spent.

    box [2, 4]: lower and upper ends of the parameters.
    limit: evaluations allowed, each of them of the function and its derivatives. spare: [16, 6] scratch.
    """
    size = n_smoothing(form)
    products, a, step, trial, free = spare[0:6], spare[6:10, :4], spare[10], spare[11], spare[12]
    value, spent, damping = np.inf, 0, 1e-3
    trial[:4] = p[:4]
    for k in range(MOST_STEPS + 1):
        reached = evaluate(y, n, form, m, trial, work)
        spent += 1
        if k == 0 or reached < value:
            gain = (value - reached) / value if k > 0 else 1.0
            p[:4] = trial[:4]
            products[:, :5] = work.products
            value = reached
            if k > 0:
                damping = max(0.1 * damping, 1e-8)
            if gain < TOLERANCE:
                break
        else:
            damping *= 10.0
            if damping > 1e6:
                break
        if spent >= limit or not value > 0.0:
            break
        for i in range(size):
            slope = products[0, i + 1]
            at_end = (p[i] <= box[0, i] and slope > 0.0) or (p[i] >= box[1, i] and slope < 0.0)
            free[i] = 0.0 if at_end else 1.0
        moved = 0.0
        if _solve(products, size, free, damping, a, step):
            for i in range(size):
                trial[i] = min(max(p[i] + step[i], box[0, i]), box[1, i])
                moved = max(moved, abs(trial[i] - p[i]))
        if moved < 1e-9:
            break
    return value, spent


@numba.njit(cache=True)
def criterion_of(value: float, n_obs: int, form: int, which: int, start_terms: FloatArray) -> float:
    """AICc, AIC or BIC of a sum of squared errors: parameters are the states' components, the deviation and the
    form's start_terms [4]. AICc's correction leaves out those of partial seasonality, which are shrunk: it is for
    unrestricted estimates, and with it short series lost their season too often."""
    k = float((3.0 if form < PARTIAL else form + 2.0) + start_terms[form])
    fit = n_obs * math.log(max(value, 1e-300))
    if which == 2:
        return fit + k * math.log(n_obs)
    if which == 1:
        return fit + 2.0 * k
    free = k - start_terms[form] if form == PARTIAL else k
    room = n_obs - free - 1.0
    return fit + 2.0 * k + 2.0 * free * (free + 1.0) / room if room > 0.0 else np.inf


@numba.njit(cache=True)
def select(
    y: FloatArray,
    n: int,
    n_obs: int,
    m: int,
    asked: FloatArray,
    box: FloatArray,
    start: FloatArray,
    which: int,
    start_terms: FloatArray,
    limit: int,
    work: Work,
    spare: FloatArray,
    best: FloatArray,
) -> tuple[int, float, int]:
    """The form (of those asked, [4]) with the least criterion, its criterion and the evaluations spent.

    box [4, 2, 4]: each form's bounds. start [4]: where to begin, NaN for the usual place. start_terms
    [4]: parameters that each form spends on its season before the first point. best [4]: what was chosen.
    """
    p = spare[13]
    chosen, least, spent = -1, np.inf, 0
    for k in range(N_FORMS + 2):
        form = k
        if k < N_FORMS:
            if asked[form] == 0.0 or (chosen >= 0 and spent >= limit):
                continue
            start_of(form, p)
            if not math.isnan(start[0]):
                for i in range(n_smoothing(form)):
                    p[i] = start[i]
        else:
            # The sum of squares often has a minimum on either side of the usual start; tight bounds leave them alone,
            # as they fit better and forecast worse.
            if chosen < 0 or spent >= limit or not math.isnan(start[0]) or box[chosen, 0, 1] >= WIDE:
                break
            if k > N_FORMS and best[0] > NEAR_ONE:
                break
            form = chosen
            p[:4] = best[:4]
            p[0], p[1] = (DRAWN_BACK[0], DRAWN_BACK[1]) if k == N_FORMS else (BELOW_ONE[0], BELOW_ONE[1])
        for i in range(4):
            p[i] = min(max(p[i], box[form, 0, i]), box[form, 1, i])
        value, passes = descend(y, n, form, m, box[form], p, limit - spent, work, spare)
        spent += passes
        got = criterion_of(value, n_obs, form, which, start_terms)
        if got < least:
            chosen, least = form, got
            best[:4] = p[:4]
    return chosen, least, spent
