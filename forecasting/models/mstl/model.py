"""The MSTL family behind the contract of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from forecasting.batch import FloatArray, offsets_of
from forecasting.frequency import Int64Array
from forecasting.models.contract import Components, Fitted, Hyperparameters, Model, RawForecast, Rows, Status
from forecasting.models.mstl import rows as kernels
from forecasting.models.mstl.components import components
from forecasting.models.mstl.states import Parts, inner_rows, pack, take_apart, visible
from forecasting.models.mstl.stl import Plan
from forecasting.models.ranges import Choice, SearchSpace
from forecasting.models.reasons import LESS_THAN_TWO_SEASONS

Season = Annotated[int, Field(ge=2)]
Window = Annotated[int, Field(ge=3)]
_DEVIATION = (0.15865525393145707, 0.8413447460685429)
"""Levels one deviation below and above the median of a normal law."""


class MstlHyperparameters(Hyperparameters):
    """How the seasons are taken out, and what forecasts the rest."""

    season_lengths: tuple[Season, ...] | None = None
    """Seasons in periods; null takes season_length where that is given, else those usual at the frequency."""
    seasonal_windows: tuple[Window, ...] | None = None
    """Cycles that a season is smoothed over, odd, one for each season, shortest first (R takes 11, 15, 19, …). null
    takes 35 for fewer than ten cycles, which say little about how a season moves, 7 up to a hundred and 11 beyond; set
    on M4 hourly and a set of electricity load."""
    seasonal_degree: Literal[0, 1] = 0
    """Whether a season is locally constant or straight over its cycles."""
    trend_degree: Literal[0, 1] = 1
    """Whether the trend is locally constant or straight."""
    robust: bool = False
    """Give outliers little weight: slower by several times."""
    iterate: Annotated[int, Field(ge=1, le=20)] = 2
    """Times that several seasons are taken out in turn."""
    trend_forecaster: Literal["ets", "theta", "arima"] = "ets"
    """The family that forecasts the seasonally adjusted series, without a season."""
    trend_hyperparameters: dict[str, Any] = Field(default_factory=dict)
    """That family's hyperparameters; for ets the form is "ZZN", chosen without a season, and parameter_bounds are
    "usual", unless given here."""

    @model_validator(mode="after")
    def _sensible(self) -> MstlHyperparameters:
        for window in self.seasonal_windows or ():
            if window % 2 == 0:
                raise ValueError(f"seasonal_windows has {window}; windows must be odd, such as {window + 1}")
        lengths = self.season_lengths or ()
        if len(set(lengths)) < len(lengths):
            raise ValueError(f"season_lengths is {lengths}; each length must be there once")
        if "season_length" in self.trend_hyperparameters:
            raise ValueError(
                "trend_hyperparameters has season_length; the adjusted series has no season: leave it out"
            )
        self.trend_options()
        return self

    def trend_model(self) -> Model:
        """The family that forecasts the adjusted series."""
        from forecasting.models.registry import get_model

        return get_model(self.trend_forecaster)

    def trend_options(self) -> Hyperparameters:
        """That family's hyperparameters.

        Raises ValueError naming what is wrong in trend_hyperparameters.
        """
        given = dict(self.trend_hyperparameters)
        if self.trend_forecaster == "ets":
            given = {"form": "ZZN", "parameter_bounds": "usual", **given}
        return self.trend_model().Hyperparameters.model_validate({**given, "season_length": 1})

    def seasons(self, rows: Rows) -> Int64Array:
        """The season lengths asked for, shortest first."""
        if self.season_lengths is not None:
            lengths: tuple[int, ...] = self.season_lengths
        elif self.season_length is None and rows.season_length == rows.batch.frequency.season_length:
            lengths = rows.batch.frequency.season_lengths
        else:
            lengths = (self.season_length or rows.season_length,)
        return np.array(sorted(m for m in lengths if m > 1), dtype=np.int64)

    def windows(self, count: int) -> Int64Array:
        """The seasonal windows of `count` seasons; 0 for one that the row's cycles decide."""
        given = (self.seasonal_windows or ())[:count]
        return np.array([*given, *[0] * (count - len(given))], dtype=np.int64)

    def plan(self) -> Plan:
        """Degrees and passes, five inside, or two inside each of fifteen robust ones (Cleveland et al. 1990, 3.3)."""
        inner, outer = (2, 15) if self.robust else (5, 0)
        return Plan(self.seasonal_degree, self.trend_degree, self.robust, inner, outer)


SEARCH_SPACE: SearchSpace = {
    "seasonal_windows": Choice((None, (7, 7, 7), (11, 15, 19), (21, 21, 21), (35, 35, 35))),
    "seasonal_degree": Choice((0, 1)),
    "trend_degree": Choice((0, 1)),
    "robust": Choice((False, True)),
    "trend_forecaster": Choice(("ets", "theta")),
}


class Mstl(Model):
    """Several seasons by loess (Bandara, Hyndman and Bergmeir 2021); another family forecasts what is left.

    parameters: seasons in use, the longest of them (1: none), the remainder's deviation and the strength of the
    seasons (0 to 1). states: the coming cycle of each season in use, shortest first; how much each moved from cycle
    to cycle (mean square); then the parameters and states of the family that forecasts the adjusted series.
    """

    name = "mstl"
    cost = 6.0
    Hyperparameters = MstlHyperparameters
    search_space = SEARCH_SPACE
    parameter_names = ("n_seasons", "longest_season", "remainder_sd", "season_strength")

    def cost_per_point(self, season_length: int) -> float:
        return 4.0 + 0.02 * season_length

    def fit(self, rows: Rows, hyperparameters: MstlHyperparameters) -> Fitted:
        return self._fit(rows, hyperparameters, None)

    def refit(self, fitted: Fitted, rows: Rows) -> Fitted:
        """Decomposes anew; the family behind starts from its earlier fit."""
        return self._fit(rows, _options(fitted), _parts(fitted).rest)

    def _fit(self, rows: Rows, options: MstlHyperparameters, earlier: Fitted | None) -> Fitted:
        lengths = options.seasons(rows)
        done = _decompose(rows, options, wanted=False)
        inner = inner_rows(rows, done.adjusted)
        family = options.trend_model()
        rest = family.fit(inner, options.trend_options()) if earlier is None else family.refit(earlier, inner)
        counts = done.parameters[:, kernels.N_SEASONS].astype(np.int64)
        width = np.concatenate([[0], np.cumsum(lengths)])[counts]
        patterns = done.patterns[np.arange(done.patterns.shape[1]) < width[:, None]]
        states, offsets = pack(lengths, counts, patterns, done.drift, rest)
        reason = rest.reason.copy()
        reason[(counts < len(lengths)) & (reason == "")] = LESS_THAN_TWO_SEASONS
        return Fitted(
            rows=rows,
            hyperparameters=options,
            parameters=done.parameters,
            states=states,
            state_offsets=offsets,
            status=rest.status,
            reason=reason,
            evaluations=rest.evaluations,
        )

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        """The adjusted series' forecast and the last cycle of each season; each cycle ahead adds one mean squared
        change of the season to the variance."""
        options, parts = _options(fitted), _parts(fitted)
        n, lengths = len(fitted.rows), options.seasons(fitted.rows)
        asked = np.asarray(quantiles, dtype=np.float64)
        levels = np.unique(np.concatenate([asked, _DEVIATION]))
        raw = options.trend_model().predict(parts.rest, horizon, levels.tolist())
        low, high = (raw.quantiles[:, :, np.searchsorted(levels, level)] for level in _DEVIATION)
        cycles = np.arange(horizon) // lengths[:, None] + 1.0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            factor = np.sqrt(1.0 + (parts.drift @ cycles) / (0.5 * (high - low)) ** 2)
        factor = np.where(np.isfinite(factor), factor, 1.0)
        steps = np.full(n, horizon)
        season = parts.season(lengths, np.zeros(n, dtype=np.int64), steps).reshape(n, horizon)
        table = raw.quantiles[:, :, np.searchsorted(levels, asked)] - raw.mean[:, :, None]
        mean = raw.mean + season
        return RawForecast(mean=mean, quantiles=mean[:, :, None] + table * factor[:, :, None])

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        """The seasons go on as they are; the adjusted new points move the family behind."""
        options, parts = _options(fitted), _parts(fitted)
        lengths, sizes = options.seasons(rows), rows.end - rows.begin
        new_points = rows.first_step - fitted.rows.first_step
        season = parts.season(lengths, new_points - sizes, sizes)
        rest = options.trend_model().update(parts.rest, inner_rows(rows, visible(rows) - season))
        states, offsets = pack(lengths, parts.counts, parts.rotated(lengths, new_points), parts.drift, rest)
        return replace(fitted, rows=rows, states=states, state_offsets=offsets)

    def components(self, fitted: Fitted, horizon: int) -> Components:
        """trend, season_<length> each and remainder: the decomposition of the history, and over the horizon the
        forecast of the adjusted series and the seasons. A row without a season is trend and remainder 0."""
        options = _options(fitted)
        done = _decompose(fitted.rows, options, wanted=True)
        parts = _parts(fitted)
        mean = options.trend_model().predict(parts.rest, horizon, (0.5,)).mean
        failed = (fitted.status == Status.FAILED).astype(np.float64)
        return components(fitted.rows, options.seasons(fitted.rows), parts, done.history, mean, failed)

    def problems(self, hyperparameters: Any, related: Mapping[str, bool], horizon: int) -> list[str]:  # noqa: ARG002
        assert isinstance(hyperparameters, MstlHyperparameters)
        return hyperparameters.trend_model().problems(hyperparameters.trend_options(), {}, horizon)


@dataclass(frozen=True)
class _Decomposition:
    """parameters [R, 4], adjusted [T], patterns [R, sum of lengths], drift [R, K], history [1 + K, T] where wanted."""

    parameters: FloatArray
    adjusted: FloatArray
    patterns: FloatArray
    drift: FloatArray
    history: FloatArray


def _decompose(rows: Rows, options: MstlHyperparameters, wanted: bool) -> _Decomposition:
    n, lengths = len(rows), options.seasons(rows)
    offsets = offsets_of(rows.end - rows.begin)
    size = int(offsets[-1])
    done = _Decomposition(
        parameters=np.full((n, kernels.N_PARAMETERS), np.nan),
        adjusted=np.empty(size),
        patterns=np.zeros((n, int(lengths.sum()))),
        drift=np.zeros((n, len(lengths))),
        history=np.full((1 + len(lengths), size), np.nan) if wanted else np.empty((0, 0)),
    )
    kernels.decompose_rows(
        rows.batch.values,
        rows.begin,
        rows.end,
        lengths,
        options.windows(len(lengths)),
        options.iterate,
        options.plan(),
        offsets,
        done.parameters,
        done.adjusted,
        done.patterns,
        done.drift,
        done.history,
    )
    return done


def _options(fitted: Fitted) -> MstlHyperparameters:
    assert isinstance(fitted.hyperparameters, MstlHyperparameters)
    return fitted.hyperparameters


def _parts(fitted: Fitted) -> Parts:
    options = _options(fitted)
    width = len(options.trend_model().parameter_names)
    return take_apart(fitted, options.seasons(fitted.rows), options.trend_options(), width)
