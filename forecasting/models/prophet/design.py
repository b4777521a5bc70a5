"""The columns of the regression: seasons by ordinal, once for a batch, and what belongs to each series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, SeriesBatch, read_only
from forecasting.covariates import regressors, related_names
from forecasting.frequency import DAY_US, WEEK_US, Frequency, Int64Array
from forecasting.models.contract import RegressionHyperparameters
from forecasting.models.prophet.options import Builtin, ProphetHyperparameters

TRUTH = {False: 0, True: 1, "auto": 2}
_MONTH_DAYS = 365.25 / 12


class Columns(NamedTuple):
    """What each of the C feature columns is; Fourier columns first.

    n_fourier: how many of them are Fourier columns. component: int64 [C], the component a column belongs to; Fourier
    components come first. precision: float64 [C], 1 / prior scale squared. multiplicative: int64 [C], 1 or 0.
    standardize: int64 [C], 0 no, 1 yes, 2 unless binary. min_span, max_step: float64, microseconds by Fourier
    component: the history it needs, and what the smallest distance of two observations must lie below. min_count:
    float64, observations it needs.
    """

    n_fourier: int
    component: Int64Array
    precision: FloatArray
    multiplicative: Int64Array
    standardize: Int64Array
    min_span: FloatArray
    max_step: FloatArray
    min_count: FloatArray


class Grid(NamedTuple):
    """Values by time. labels: int64 [T], microseconds of the ordinals from `first` on. fourier: float64 [T, F].
    own: float64 [T', C - F], by series and period from its start, series i from own_offsets[i] on. bounds: float64
    [T', 2], cap and floor in the same layout; empty without logistic growth."""

    first: int
    labels: Int64Array
    fourier: FloatArray
    own: FloatArray
    own_offsets: Int64Array
    bounds: FloatArray


@dataclass(frozen=True)
class Design:
    """Columns, their values and the names of the components, seasons first."""

    columns: Columns
    grid: Grid
    components: tuple[str, ...]


class _Season(NamedTuple):
    name: str
    period: float
    order: int
    prior_scale: float
    multiplicative: bool
    min_span: float
    max_step: float
    min_count: float


def design(batch: SeriesBatch, options: ProphetHyperparameters, horizon: int = 0) -> Design:
    """The columns for the history of every series and `horizon` periods more."""
    seasons = list(_seasons(options, batch.frequency))
    first = int(batch.start.min()) if len(batch) else 0
    last = int((batch.start + batch.lengths).max()) + horizon if len(batch) else 0
    labels = batch.frequency.labels(np.arange(first, last))
    names = tuple(name for name in related_names(batch, options) if name not in options.bounding_names())
    own = regressors(batch, options.model_copy(update={"regressors": names}), horizon)
    components = [season.name for season in seasons]
    component = [k for k, season in enumerate(seasons) for _ in range(2 * season.order)]
    scale = [season.prior_scale for season in seasons for _ in range(2 * season.order)]
    multiplicative = [season.multiplicative for season in seasons for _ in range(2 * season.order)]
    standardize = [0] * len(component)
    n_fourier = len(component)
    for k, base in enumerate(own.base):
        related = k < own.n_related
        name = base if base not in components[: len(seasons)] else f"{base}_regressor"
        if related or name not in components:
            components.append(name)
        component.append(len(components) - 1 if related else components.index(name))
        one = options.regressor_options.get(base) if related else None
        holiday_scale = None if related else options.holiday_prior_scales.get(base)
        scale.append((one.prior_scale if one else holiday_scale) or options.holidays_prior_scale)
        mode = (one.mode if one else None) if related else options.holidays_mode
        multiplicative.append((mode or options.seasonality_mode) == "multiplicative")
        standardize.append((TRUTH[one.standardize] if one else 2) if related else 0)
    return Design(
        columns=Columns(
            n_fourier=n_fourier,
            component=_integers(component),
            precision=_floats(1.0 / np.square(np.array(scale, dtype=np.float64))),
            multiplicative=_integers(multiplicative),
            standardize=_integers(standardize),
            min_span=_floats([season.min_span for season in seasons]),
            max_step=_floats([season.max_step for season in seasons]),
            min_count=_floats([season.min_count for season in seasons]),
        ),
        grid=Grid(
            first=first,
            labels=read_only(labels),
            fourier=_floats(_fourier(labels, seasons)),
            own=own.values,
            own_offsets=own.offsets,
            bounds=_floats(_bounds(batch, options, horizon, len(own.values))),
        ),
        components=tuple(components),
    )


def _floats(values: npt.ArrayLike) -> FloatArray:
    return read_only(np.ascontiguousarray(values, dtype=np.float64))


def _integers(values: npt.ArrayLike) -> Int64Array:
    return read_only(np.ascontiguousarray(values, dtype=np.int64))


def _seasons(options: ProphetHyperparameters, frequency: Frequency) -> Iterator[_Season]:
    """The user's own seasons, then yearly, weekly and daily by Prophet's rules."""
    multiplicative = options.seasonality_mode == "multiplicative"
    usual = options.seasonality_prior_scale
    for own in options.seasonalities:
        mode = own.mode or options.seasonality_mode
        scale = own.prior_scale or usual
        yield _Season(own.name, own.period, own.fourier_order, scale, mode == "multiplicative", 0.0, np.inf, 0.0)
    step = frequency.step_us / DAY_US if frequency.step_us else frequency.months * _MONTH_DAYS
    length = options.season_length
    if length is not None and length > 1 and length not in frequency.season_lengths:
        order, span = min(10, length // 2), 2.0 * length * step * DAY_US
        yield _Season(f"season_{length}", length * step, order, usual, multiplicative, span, np.inf, 2.0 * length)
    builtins: tuple[tuple[str, Builtin, int, float, float, float], ...] = (
        ("yearly", options.yearly_seasonality, 10, 365.25, 730.0 * DAY_US, np.inf),
        ("weekly", options.weekly_seasonality, 3, 7.0, 14.0 * DAY_US, WEEK_US),
        ("daily", options.daily_seasonality, 4, 1.0, 2.0 * DAY_US, DAY_US),
    )
    taken = {own.name for own in options.seasonalities}
    for name, asked, order, period, span, most_step in builtins:
        if asked is False or name in taken:
            continue
        if asked == "auto":
            if period < 2.0 * step:
                continue  # the grid shows nothing of it
            # Two observations for each wave that the grid can tell apart, or the season would repeat the data.
            count = 2.0 * min(2.0 * order, period // step)
            yield _Season(name, period, order, usual, multiplicative, span, most_step, count)
        else:
            given = order if asked is True else int(asked)
            yield _Season(name, period, given, usual, multiplicative, 0.0, np.inf, 0.0)


def _fourier(labels: Int64Array, seasons: list[_Season]) -> FloatArray:
    """sin and cos of 2 pi j t / period, t in days since 1970 (Taylor and Letham 2018, section 3.2)."""
    days = labels / DAY_US
    columns = []
    for season in seasons:
        for j in range(1, season.order + 1):
            angle = 2.0 * np.pi * days * (j / season.period)
            columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1) if columns else np.empty((len(labels), 0))


def _bounds(batch: SeriesBatch, options: ProphetHyperparameters, horizon: int, n_periods: int) -> FloatArray:
    """Cap and floor by series and period; a series without any value of its cap has NaN there."""
    if options.growth != "logistic":
        return np.empty((0, 2))
    bounds = np.zeros((n_periods, 2))
    for k, given in enumerate((options.cap, options.floor)):
        if isinstance(given, str):
            one = RegressionHyperparameters(regressors=(given,), lags=options.lags, use_holidays=False)
            column = regressors(batch, one, horizon)
            if len(column) == 0:
                raise ValueError(
                    f"{('cap', 'floor')[k]} {given!r} is not a related series; there are {sorted(batch.related)}"
                )
            bounds[:, k] = column.values[:, 0]
        elif given is not None:
            bounds[:, k] = given
    return bounds
