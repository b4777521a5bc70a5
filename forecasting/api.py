"""`fit` and `forecast`: any registered model over a series batch, with guards, fallback and an honest status."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, SeriesBatch
from forecasting.frequency import Int64Array
from forecasting.models.contract import Components, Fitted, Model, ObjectArray, RawForecast, Rows, Status
from forecasting.models.reasons import NO_OBSERVATIONS
from forecasting.models.registry import get_model
from forecasting.postprocess import Bounds, HistoryFacts, apply_bounds, finish, guard, history_facts

FALLBACK_MODEL = "seasonal_naive"


@dataclass(frozen=True)
class Forecast:
    """Forecasts of a batch. Leading shape S is [N], or [N, W] when fitted with backtest windows.

    mean: float64 [*S, H]. quantiles: float64 [*S, H, Q], never crossing, at `levels`. status: int8 [*S] (Status).
    reason: object [*S], "" for none. seconds: float64 [*S], the row's share of the time by length. n_obs, n_filled,
    n_clipped, evaluations: int64 [*S]. first_step: int64 [*S], ordinal of the first step forecast.
    """

    model: str
    levels: tuple[float, ...]
    mean: FloatArray
    quantiles: FloatArray
    status: npt.NDArray[np.int8]
    reason: ObjectArray
    seconds: FloatArray
    n_obs: Int64Array
    n_filled: Int64Array
    n_clipped: Int64Array
    evaluations: Int64Array
    first_step: Int64Array

    def take(self, index: Int64Array) -> Forecast:
        """The forecasts of some series."""
        arrays: dict[str, Any] = {n: v[index] for n, v in vars(self).items() if isinstance(v, np.ndarray)}
        return replace(self, **arrays)


@dataclass(frozen=True)
class FittedBatch:
    """A model fitted to a batch. `numbers` holds the flat parameters and states; `windows` is W, or None."""

    model: Model
    numbers: Fitted
    windows: int | None
    seconds: FloatArray

    def predict(
        self,
        horizon: int,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        *,
        bounds: Bounds | None = None,
        fallback: bool = True,
    ) -> Forecast:
        """Forecast `horizon` periods after each row's end.

        quantiles: increasing levels in (0, 1). bounds: limits and whole units. fallback: let a seasonal naive
        forecast stand in for a row whose own is missing, not finite or explosive (status `fallback`, with the reason);
        without it such a row keeps status `failed` and NaN.
        Raises ValueError for a horizon or levels that make no sense.
        """
        levels = checked_levels(horizon, quantiles)
        limits = bounds or Bounds()
        started = time.perf_counter()
        rows = self.numbers.rows
        status, reason = self.numbers.status.copy(), self.numbers.reason.copy()
        working = replace(self.numbers, status=status, reason=reason)
        raw = self.model.predict(working, horizon, levels)
        facts = history_facts(rows)
        verdict = guard(raw, facts)
        verdict[facts.n_obs + facts.n_filled == 0] = NO_OBSERVATIONS
        bad = np.flatnonzero((verdict != "") | (status == Status.FAILED))
        if len(bad):
            # A model's own reason says why it failed; a forecast that it did make is refused for the verdict.
            unexplained = bad[(reason[bad] == "") | (status[bad] != Status.FAILED)]
            reason[unexplained] = verdict[unexplained]
            reason[bad[verdict[bad] == NO_OBSERVATIONS]] = NO_OBSERVATIONS
            status[bad] = Status.FALLBACK if fallback else Status.FAILED
            raw = with_fallback(raw, rows, bad, facts, levels) if fallback else blanked(raw, bad)
        raw, n_clipped = apply_bounds(raw, limits)
        raw = finish(raw, limits)
        seconds = self.seconds + shares(rows, time.perf_counter() - started)
        lead = (len(rows.batch),) if self.windows is None else (len(rows.batch), self.windows)
        return Forecast(
            model=self.model.name,
            levels=levels,
            mean=raw.mean.reshape(*lead, horizon),
            quantiles=raw.quantiles.reshape(*lead, horizon, len(levels)),
            status=status.reshape(lead),
            reason=reason.reshape(lead),
            seconds=seconds.reshape(lead),
            n_obs=facts.n_obs.reshape(lead),
            n_filled=facts.n_filled.reshape(lead),
            n_clipped=n_clipped.reshape(lead),
            evaluations=self.numbers.evaluations.reshape(lead),
            first_step=rows.first_step.reshape(lead),
        )

    def update(self, newer: SeriesBatch) -> FittedBatch:
        """Keep the parameters, move the states over the points that `newer` has after the fitted end.

        newer: the same series in the same order, ending at or after the fitted end.
        Raises ValueError when the series differ or end earlier.
        """
        rows = self._same_series(newer)
        started = time.perf_counter()
        numbers = self.model.update(self.numbers, rows)
        return replace(self, numbers=numbers, seconds=shares(rows, time.perf_counter() - started))

    def refit(self, newer: SeriesBatch) -> FittedBatch:
        """Estimate again on `newer`, starting from what was fitted: the form stays, the numbers move.

        newer: the same series in the same order, ending at or after the fitted end.
        Raises ValueError when the series differ or end earlier.
        """
        rows = self._same_series(newer)
        started = time.perf_counter()
        numbers = self.model.refit(self.numbers, rows)
        return replace(self, numbers=numbers, seconds=shares(rows, time.perf_counter() - started))

    def components(self, horizon: int) -> Components | None:
        """The parts of the fit and of its forecast over `horizon` periods; None for a family that has none."""
        return self.model.components(self.numbers, horizon)

    def _same_series(self, newer: SeriesBatch) -> Rows:
        old = self.numbers.rows
        if self.windows is not None:
            raise ValueError("a model fitted with backtest windows cannot be updated; fit it without `ends`")
        if list(newer.keys) != list(old.batch.keys) or newer.frequency != old.batch.frequency:
            raise ValueError("update needs the same series, in the same order, on the same frequency")
        rows = Rows.of(newer, self.model.name, season_length=old.season_length, max_evaluations=old.max_evaluations)
        rows = replace(rows, seeds=old.seeds)
        if (rows.first_step < old.first_step).any():
            raise ValueError("update got series that end before the fitted end; give the newer history")
        return rows


def fit(
    batch: SeriesBatch,
    model: str,
    ends: npt.ArrayLike | None = None,
    *,
    seed: int = 0,
    max_evaluations: int = 20_000,
    history: int | None = None,
    **hyperparameters: Any,
) -> FittedBatch:
    """Fit a registered model (or `module:function`) to every series of a batch.

    ends: int [N, W], how many points each backtest window may see; None fits the whole series. Nothing is copied.
    history: the latest points that a fit may see; None: all of them. max_evaluations: likelihood passes a row may
    spend. Other keywords are the model's hyperparameters, such as
    season_length=12. Raises ValueError for an unknown model or hyperparameter.
    """
    family = get_model(model)
    options = family.Hyperparameters.model_validate(hyperparameters)
    rows = Rows.of(
        batch,
        model,
        ends,
        season_length=options.season_length,
        seed=seed,
        max_evaluations=max_evaluations,
        history=history,
    )
    started = time.perf_counter()
    numbers = family.fit(rows, options)
    return FittedBatch(
        model=family,
        numbers=numbers,
        windows=None if ends is None else np.asarray(ends).shape[1],
        seconds=shares(rows, time.perf_counter() - started),
    )


def forecast(
    batch: SeriesBatch,
    model: str,
    horizon: int,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    *,
    seed: int = 0,
    bounds: Bounds | None = None,
    fallback: bool = True,
    **hyperparameters: Any,
) -> Forecast:
    """`fit` and `predict` in one call."""
    return fit(batch, model, seed=seed, **hyperparameters).predict(
        horizon, quantiles, bounds=bounds, fallback=fallback
    )


def checked_levels(horizon: int, quantiles: Sequence[float]) -> tuple[float, ...]:
    levels = tuple(float(q) for q in quantiles)
    if horizon < 1:
        raise ValueError(f"horizon is {horizon}; it must be at least 1")
    if not levels or any(not 0 < q < 1 for q in levels) or any(b <= a for a, b in pairwise(levels)):
        raise ValueError(f"quantiles are {list(levels)}; they must be increasing and lie between 0 and 1")
    return levels


def shares(rows: Rows, seconds: float) -> FloatArray:
    """A call's time by row: in proportion to the points seen, plus one so that an empty row counts."""
    weight = rows.end - rows.begin + 1.0
    return np.asarray(weight * (seconds / max(weight.sum(), 1.0)), dtype=np.float64)


def with_fallback(
    raw: RawForecast, rows: Rows, bad: Int64Array, facts: HistoryFacts, levels: tuple[float, ...]
) -> RawForecast:
    """Seasonal naive in the bad rows; zero where a row has no observation at all."""
    part = replace(rows, series=rows.series[bad], begin=rows.begin[bad], end=rows.end[bad], seeds=rows.seeds[bad])
    family = get_model(FALLBACK_MODEL)
    stand_in = family.predict(family.fit(part, family.Hyperparameters()), raw.mean.shape[1], levels)
    empty = np.isnan(facts.low[bad])
    mean, quantiles = raw.mean.copy(), raw.quantiles.copy()
    mean[bad] = np.where(empty[:, None], 0.0, stand_in.mean)
    # A spread that overflowed is left out: the stand-in is the last line, so it is always a number.
    spread = np.where(np.isfinite(stand_in.quantiles), stand_in.quantiles, stand_in.mean[:, :, None])
    quantiles[bad] = np.where(empty[:, None, None], 0.0, spread)
    return RawForecast(mean=mean, quantiles=quantiles)


def blanked(raw: RawForecast, bad: Int64Array) -> RawForecast:
    mean, quantiles = raw.mean.copy(), raw.quantiles.copy()
    mean[bad], quantiles[bad] = np.nan, np.nan
    return RawForecast(mean=mean, quantiles=quantiles)
