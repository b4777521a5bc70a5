"""Forecasts and components of every row from its numbers."""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.prophet import fitting as f
from forecasting.models.prophet.descent import LOGISTIC, logistic, trend_line
from forecasting.models.prophet.design import Columns, Grid
from forecasting.models.prophet.uncertainty import MOST_NODES, characteristic, empirical, simulate, spread_quantile
from forecasting.seeds import UInt64Array

_K, _M, _SIGMA, _SCALE, _FLOOR = f.K, f.M, f.SIGMA, f.SCALE, f.FLOOR
_START, _SPAN, _BENDS, _POSTERIOR, _LEVEL = f.START, f.SPAN, f.N_BENDS, f.LOG_POSTERIOR, f.LEVEL_VARIANCE


@numba.njit(cache=True)
def _line(parameters: FloatArray, states: FloatArray, most: int, growth: int, t: float) -> float:
    """The linear trend, or the logistic one's argument."""
    k, m = parameters[_K], parameters[_M]
    level = -k * m if growth == LOGISTIC else m
    return trend_line(t, level, k, states[:most], states[most : 2 * most], int(parameters[_BENDS]))


@numba.njit(cache=True)
def _features(
    columns: Columns, grid: Grid, at: int, shift: int, states: FloatArray, most: int, parts: FloatArray
) -> tuple[float, float]:
    """Sums of the additive and the multiplicative features; parts: by component, where it has room for them."""
    n_columns = len(columns.component)
    plus, times = 0.0, 0.0
    place = 2 * most
    for j in range(len(parts)):
        parts[j] = 0.0
    for c in range(n_columns):
        beta = states[place + c]
        if beta == 0.0:
            continue
        if c < columns.n_fourier:
            x = grid.fourier[at, c]
        else:
            moment = place + n_columns + 2 * (c - columns.n_fourier)
            x = (grid.own[at + shift, c - columns.n_fourier] - states[moment]) / states[moment + 1]
        if columns.multiplicative[c] == 1:
            times += beta * x
        else:
            plus += beta * x
        if len(parts) > 0:
            parts[columns.component[c]] += beta * x
    return plus, times


@numba.njit(cache=True)
def forecast_rows(
    parameters: FloatArray,
    states: FloatArray,
    columns: Columns,
    grid: Grid,
    growth: int,
    most: int,
    first: Int64Array,
    shift: Int64Array,
    last: Int64Array,
    seeds: UInt64Array,
    levels: FloatArray,
    normal: FloatArray,
    open_ended: bool,
    simulated: bool,
    n_paths: int,
    mean: FloatArray,
    table: FloatArray,
) -> None:
    """mean [R, H] and table [R, H, Q] for the places first .. first + H of the grid; shift: as in `fit_rows`.

    states: [R, width]. last: microseconds of the last period that a row has, from where on its trend may bend.
    normal: standard normal quantiles of the levels. open_ended: whether coefficients are uncertain."""
    n, horizon = mean.shape
    z, ahead, cap = np.zeros(horizon), np.zeros(horizon), np.ones(horizon)
    times, plus, floors = np.zeros(horizon), np.zeros(horizon), np.zeros(horizon)
    phi, none, state = np.zeros(MOST_NODES), np.zeros(0), np.zeros(1, dtype=np.uint64)
    paths = np.zeros((n_paths if simulated else 0, horizon))
    for r in range(n):
        p = parameters[r]
        if np.isnan(p[_M]):
            continue
        if np.isnan(p[_POSTERIOR]):
            mean[r, :], table[r, :, :] = p[_M], p[_M]
            continue
        count = int(p[_BENDS])
        scale = 0.0
        for j in range(count):
            scale += abs(states[r, most + j]) / count
        end = max((last[r] - p[_START]) / p[_SPAN], 1.0)
        sigma = p[_SIGMA]
        of_level, both, of_slope = (p[_LEVEL], p[_LEVEL + 1], p[_LEVEL + 2]) if open_ended else (0.0, 0.0, 0.0)
        for h in range(horizon):
            at = first[r] + h
            t = (grid.labels[at] - p[_START]) / p[_SPAN]
            z[h] = _line(p, states[r], most, growth, t)
            ahead[h] = t - end
            floors[h] = p[_FLOOR]
            trend = z[h]
            if growth == LOGISTIC:
                floors[h] = grid.bounds[at + shift[r], 1]
                cap[h] = (grid.bounds[at + shift[r], 0] - floors[h]) / p[_SCALE]
                trend = cap[h] * logistic(z[h])
            plus[h], times[h] = _features(columns, grid, at, shift[r], states[r], most, none)
            times[h] += 1.0
            mean[r, h] = (trend * times[h] + plus[h]) * p[_SCALE] + floors[h]
        if simulated:
            simulate(
                seeds[r],
                float(count),
                scale,
                growth == LOGISTIC,
                z,
                ahead,
                cap,
                times,
                plus,
                sigma,
                of_level,
                both,
                of_slope,
                end - 1.0,
                state,
                paths,
            )
            for h in range(horizon):
                ordered = np.sort(paths[:, h])
                for q in range(len(levels)):
                    table[r, h, q] = empirical(ordered, levels[q]) * p[_SCALE] + floors[h]
            continue
        for h in range(horizon):
            reach = scale * abs(times[h])
            since = ahead[h] + end - 1.0
            fitted = times[h] ** 2 * (of_level + since * (2.0 * both + since * of_slope))
            spread = np.sqrt(sigma**2 + fitted)
            bends = reach * ahead[h] * np.sqrt(2.0 * count * ahead[h] / 3.0) > 1e-4 * spread
            nodes, du = 0, 0.0
            if bends:
                nodes, du = characteristic(float(count), reach, ahead[h], spread, phi)
            for q in range(len(levels)):
                off = normal[q] * spread
                if bends:
                    off = spread_quantile(levels[q], normal[q], float(count), reach, ahead[h], spread, nodes, du, phi)
                table[r, h, q] = mean[r, h] + off * p[_SCALE]


@numba.njit(cache=True)
def component_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    parameters: FloatArray,
    states: FloatArray,
    columns: Columns,
    grid: Grid,
    growth: int,
    most: int,
    position: Int64Array,
    shift: Int64Array,
    offsets: Int64Array,
    out: FloatArray,
) -> None:
    """out [T, 1 + components + 1]: trend, components, remainder, over each row's history and horizon."""
    n_parts = out.shape[1] - 2
    parts, by_mode = np.zeros(n_parts), np.zeros(n_parts, dtype=np.int64)
    for c in range(len(columns.component)):
        by_mode[columns.component[c]] = columns.multiplicative[c]
    for r in range(len(begin)):
        p = parameters[r]
        for i in range(offsets[r + 1] - offsets[r]):
            line = out[offsets[r] + i]
            inside = begin[r] + i < end[r]
            y = values[begin[r] + i] if inside else np.nan
            if np.isnan(p[_M]):
                line[:] = np.nan
                continue
            line[:] = 0.0
            if np.isnan(p[_POSTERIOR]):
                line[0] = p[_M]
                line[n_parts + 1] = y - p[_M] if inside else 0.0
                continue
            at = position[r] + i
            trend = _line(p, states[r], most, growth, (grid.labels[at] - p[_START]) / p[_SPAN])
            floor = p[_FLOOR]
            if growth == LOGISTIC:
                floor = grid.bounds[at + shift[r], 1]
                trend = (grid.bounds[at + shift[r], 0] - floor) / p[_SCALE] * logistic(trend)
            _features(columns, grid, at, shift[r], states[r], most, parts)
            line[0] = trend * p[_SCALE] + floor
            total = line[0]
            for j in range(n_parts):
                line[1 + j] = parts[j] * p[_SCALE] * (trend if by_mode[j] == 1 else 1.0)
                total += line[1 + j]
            line[n_parts + 1] = y - total if inside else 0.0
