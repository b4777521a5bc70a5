"""Compiled kernels of NPTS: exact laws and exact weighted quantiles, row by row, without sampling.

Step h (from 0) copies observation i with probability p_h(i), or an earlier step j < h, which is itself such a copy:

    p_h(i) ∝ w(i, h) + Σ_{j<h} w(n + j, h) p_j(i)                                                           (1)

with the kernel's weights w and positions n + j of the steps after the n points of history. Every law has the form

    p_h(i) = A[h, s(i)] e(i) + U[h]                                                                         (2)

where s(i) is the phase of point i and e(i) its recency weight: (1) then concerns the few numbers A and U only, and the
history is sorted once for all steps. Quantiles are those of `weighted.py`, the inverse of the step distribution.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.weighted import read_off, sort_pairs, summarise

_UNDERFLOW = -746.0  # exp() of anything smaller is 0
_NEVER = -(1 << 40)


@numba.njit(cache=True)
def observed(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    first_step: Int64Array,
    context: int,
    table: Int64Array,
    origin: int,
    n_phases: int,
) -> tuple[Int64Array, Int64Array]:
    """Observations within the context and distinct phases among them, both [R]."""
    n_rows, period = len(begin), len(table)
    counts, distinct = np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows, dtype=np.int64)
    last_row = np.full(n_phases, -1, dtype=np.int64)
    for r in range(n_rows):
        at = (first_step[r] - origin) % period
        for t in range(end[r] - 1, max(begin[r], end[r] - context) - 1, -1):
            at = at - 1 if at > 0 else period - 1
            if not np.isnan(values[t]):
                counts[r] += 1
                if last_row[table[at]] != r:
                    last_row[table[at]] = r
                    distinct[r] += 1
    return counts, distinct


@numba.njit(cache=True)
def forecast_by_phase(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    first_step: Int64Array,
    context: int,
    alpha: float,
    table: Int64Array,
    origin: int,
    n_phases: int,
    levels: FloatArray,
    mean: FloatArray,
    quantiles: FloatArray,
) -> None:
    """Kernel w(t, T) = exp(-alpha |T - t|) within a phase and 0 between phases, distance in steps.

    Such weights forget nothing but scale when T moves on, so (1) gives every step of a phase the same law,
    p(i) ∝ exp(-alpha (newest - i)) over the observations of the phase: an earlier step copies in proportion to what
    it is a copy of. A phase without observations takes all observations alike.
    Fills mean [R, H] and quantiles [R, H, Q]; rows without an observation become NaN.
    """
    n_rows, horizon = mean.shape
    longest = _longest(begin, end, context)
    decay = np.empty(longest)
    for lag in range(longest):
        decay[lag] = math.exp(-alpha * lag)
    y, w = np.empty(longest), np.empty(longest)
    spare_y, spare_w = np.empty(longest), np.empty(longest)
    slot_of_phase = np.full(n_phases, -1, dtype=np.int64)
    slot_of_step = np.empty(horizon, dtype=np.int64)
    first_of_slot, newest = np.empty(horizon, dtype=np.int64), np.empty(horizon, dtype=np.int64)
    size, place = np.empty(horizon, dtype=np.int64), np.empty(horizon, dtype=np.int64)
    for r in range(n_rows):
        low, now = max(begin[r], end[r] - context), (first_step[r] - origin) % len(table)
        n_slots = _meet_phases(table, now, slot_of_phase, slot_of_step, first_of_slot)
        _count(values, low, end[r], table, now, slot_of_phase, size[:n_slots], newest)
        total = 0
        for slot in range(n_slots):
            place[slot] = total
            total += size[slot]
        _place(values, low, end[r], table, now, slot_of_phase, newest, decay, place, y, w)
        for slot in range(n_slots):
            a, b, h = place[slot] - size[slot], place[slot], first_of_slot[slot]
            if size[slot] > 0:
                sort_pairs(y[a:b], w[a:b], spare_y, spare_w)
                summarise(y[a:b], w[a:b], levels, mean[r, h : h + 1], quantiles[r, h])
        unmet = -1  # the first step whose phase was never observed
        for slot in range(n_slots):
            h = first_of_slot[slot]
            if size[slot] > 0:
                continue
            if unmet < 0:
                unmet = h
                k = _gather(values, low, end[r], y, w)
                if k > 0:
                    sort_pairs(y[:k], w[:k], spare_y, spare_w)
                    summarise(y[:k], w[:k], levels, mean[r, h : h + 1], quantiles[r, h])
                else:
                    mean[r, h] = np.nan
                    quantiles[r, h, :] = np.nan
            mean[r, h] = mean[r, unmet]
            quantiles[r, h] = quantiles[r, unmet]
        for h in range(horizon):
            first = first_of_slot[slot_of_step[h]]
            if h != first:
                mean[r, h] = mean[r, first]
                quantiles[r, h] = quantiles[r, first]
        for slot in range(n_slots):
            slot_of_phase[table[(now + first_of_slot[slot]) % len(table)]] = -1


@numba.njit(cache=True)
def _longest(begin: Int64Array, end: Int64Array, context: int) -> int:
    longest = 1
    for r in range(len(begin)):
        longest = max(longest, min(end[r] - begin[r], context))
    return longest


@numba.njit(cache=True)
def _meet_phases(
    table: Int64Array, now: int, slot_of_phase: Int64Array, slot_of_step: Int64Array, first_of_slot: Int64Array
) -> int:
    """Number the phases that the horizon meets, in order; returns how many."""
    n_slots, at = 0, now
    for h in range(len(slot_of_step)):
        phase = table[at]
        if slot_of_phase[phase] < 0:
            slot_of_phase[phase] = n_slots
            first_of_slot[n_slots] = h
            n_slots += 1
        slot_of_step[h] = slot_of_phase[phase]
        at = at + 1 if at + 1 < len(table) else 0
    return n_slots


@numba.njit(cache=True)
def _count(
    values: FloatArray,
    low: int,
    high: int,
    table: Int64Array,
    now: int,
    slot_of_phase: Int64Array,
    size: Int64Array,
    newest: Int64Array,
) -> None:
    """The number of observations and the newest of them for every slot."""
    size[:] = 0
    at = now
    for t in range(high - 1, low - 1, -1):
        at = at - 1 if at > 0 else len(table) - 1
        slot = slot_of_phase[table[at]]
        if slot >= 0 and not np.isnan(values[t]):
            if size[slot] == 0:
                newest[slot] = t
            size[slot] += 1


@numba.njit(cache=True)
def _place(
    values: FloatArray,
    low: int,
    high: int,
    table: Int64Array,
    now: int,
    slot_of_phase: Int64Array,
    newest: Int64Array,
    decay: FloatArray,
    place: Int64Array,
    y: FloatArray,
    w: FloatArray,
) -> None:
    """Observations and their weights, slot by slot; `place` moves from each slot's begin to its end."""
    at = now
    for t in range(high - 1, low - 1, -1):
        at = at - 1 if at > 0 else len(table) - 1
        slot = slot_of_phase[table[at]]
        if slot >= 0 and not np.isnan(values[t]):
            y[place[slot]] = values[t]
            w[place[slot]] = decay[newest[slot] - t]
            place[slot] += 1


@numba.njit(cache=True)
def _gather(values: FloatArray, low: int, high: int, y: FloatArray, w: FloatArray) -> int:
    """All observations with weight 1; returns how many."""
    k = 0
    for t in range(low, high):
        if not np.isnan(values[t]):
            y[k], w[k] = values[t], 1.0
            k += 1
    return k


@numba.njit(cache=True)
def forecast_scaled(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    first_step: Int64Array,
    context: int,
    alpha: float,
    uniform: bool,
    table: Int64Array,
    origin: int,
    feature: FloatArray,
    levels: FloatArray,
    mean: FloatArray,
    quantiles: FloatArray,
) -> None:
    """Kernel of GluonTS' NPTSPredictor: w(t, T) = exp(-alpha (|T - t| / (n + H - 1) + |f(t) - f(T)|)) with `feature`
    f by phase (already scaled), or, `uniform`, 1 within a phase and 0 between phases.

    As there, weights are taken relative to the largest before they may underflow, missing points get weight 0
    afterwards, and where all weights are 0 all observations and earlier steps count alike.
    Fills mean [R, H] and quantiles [R, H, Q]; rows without an observation become NaN.
    """
    n_rows, horizon = mean.shape
    period, n_phases, longest = len(table), len(feature), _longest(begin, end, context)
    y, w, e = np.empty(longest), np.empty(longest), np.empty(longest)
    spare_y, spare_w = np.empty(longest), np.empty(longest)
    phase_of_lag = np.empty(longest + 1, dtype=np.int64)
    phase_of_point = np.empty(longest, dtype=np.int64)
    phase_of_step = np.empty(horizon, dtype=np.int64)
    newest, newest_observed = np.empty(n_phases, dtype=np.int64), np.empty(n_phases, dtype=np.int64)
    mass = np.empty(n_phases)
    mix, level = np.empty((horizon, n_phases)), np.empty(horizon)  # A and U of (2)
    for r in range(n_rows):
        n = min(end[r] - begin[r], context)
        now = (first_step[r] - origin) % period
        at = now
        for h in range(horizon):
            phase_of_step[h] = table[at]
            at = at + 1 if at + 1 < period else 0
        rate = 0.0 if uniform else alpha / max(n + horizon - 1, 1)
        newest[:], newest_observed[:], mass[:] = _NEVER, _NEVER, 0.0
        at, k = now, 0
        for lag in range(1, n + 1):
            at = at - 1 if at > 0 else period - 1
            phase = table[at]
            phase_of_lag[lag] = phase
            if newest[phase] == _NEVER:
                newest[phase] = lag
            value = values[end[r] - lag]
            if not np.isnan(value):
                if newest_observed[phase] == _NEVER:
                    newest_observed[phase] = lag
                mass[phase] += math.exp(-rate * (lag - newest_observed[phase]))
                y[k], w[k] = value, lag
                k += 1
        if k == 0:
            mean[r, :] = np.nan
            quantiles[r, :, :] = np.nan
            continue
        sort_pairs(y[:k], w[:k], spare_y, spare_w)
        for i in range(k):
            lag = int(w[i])
            phase_of_point[i] = phase_of_lag[lag]
            e[i] = math.exp(-rate * (lag - newest_observed[phase_of_lag[lag]]))
        for h in range(horizon):
            _mix_step(h, k, rate, alpha, uniform, feature, phase_of_step, newest, newest_observed, mass, mix, level)
            centre, running = 0.0, 0.0
            for i in range(k):
                p = mix[h, phase_of_point[i]] * e[i] + level[h]
                centre += p * y[i]
                running += p
                w[i] = running
            mean[r, h] = min(max(centre / running, y[0]), y[k - 1])
            read_off(y[:k], w[:k], levels, quantiles[r, h])
            newest[phase_of_step[h]] = -h


@numba.njit(cache=True)
def _mix_step(
    h: int,
    n_observed: int,
    rate: float,
    alpha: float,
    uniform: bool,
    feature: FloatArray,
    phase_of_step: Int64Array,
    newest: Int64Array,
    newest_observed: Int64Array,
    mass: FloatArray,
    mix: FloatArray,
    level: FloatArray,
) -> None:
    """A[h, :] and U[h] of (2) from those of the earlier steps, by (1).

    newest [S]: lag of each phase's newest position, missing points and earlier steps included: the history's lags
    start at 1, step j has lag -j.
    """
    here = phase_of_step[h]
    largest = -np.inf
    for s in range(len(feature)):
        if newest[s] != _NEVER:
            largest = max(largest, _log_weight(h + newest[s], s, here, rate, alpha, uniform, feature))
    mix[h, :] = 0.0
    level[h] = 0.0
    total = 0.0
    if largest > -np.inf:
        for s in range(len(feature)):
            if newest_observed[s] != _NEVER:
                log_w = _log_weight(h + newest_observed[s], s, here, rate, alpha, uniform, feature) - largest
                if log_w > _UNDERFLOW:
                    mix[h, s] = math.exp(log_w)
                    total += mix[h, s] * mass[s]
        for j in range(h):
            log_w = _log_weight(h - j, phase_of_step[j], here, rate, alpha, uniform, feature) - largest
            if log_w > _UNDERFLOW:
                weight = math.exp(log_w)
                total += weight
                level[h] += weight * level[j]
                for s in range(len(feature)):
                    mix[h, s] += weight * mix[j, s]
    if total == 0.0:
        total = float(n_observed + h)
        level[h] = 1.0
        for j in range(h):
            level[h] += level[j]
            for s in range(len(feature)):
                mix[h, s] += mix[j, s]
    level[h] /= total
    for s in range(len(feature)):
        mix[h, s] /= total


@numba.njit(cache=True)
def _log_weight(
    distance: int, s: int, here: int, rate: float, alpha: float, uniform: bool, feature: FloatArray
) -> float:
    if uniform:
        return 0.0 if s == here else -np.inf
    return float(-(rate * distance + alpha * abs(feature[s] - feature[here])))
