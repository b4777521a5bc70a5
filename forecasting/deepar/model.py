"""A trained model: what it knows of the data and its network; forecasts in the layout of the local models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from forecasting.api import Forecast, blanked, checked_levels, shares, with_fallback
from forecasting.batch import FloatArray, SeriesBatch
from forecasting.deepar.facts import Facts, ItemMetadata
from forecasting.deepar.inference import quantiles_of, sample_paths
from forecasting.deepar.network import Network
from forecasting.deepar.series_set import SeriesSet
from forecasting.deepar.settings import Settings
from forecasting.deepar.windows import Draw, Reader
from forecasting.models.contract import RawForecast, Rows, Status
from forecasting.postprocess import Bounds, HistoryFacts, apply_bounds, finish, guard, history_facts

NAME = "deepar"
_PATHS_AT_ONCE = {"cpu": 10_000, "cuda": 500_000}


@dataclass(frozen=True)
class DeepAR:
    """Settings, facts and network: all that a forecast needs besides the data."""

    settings: Settings
    facts: Facts
    network: Network

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def checked_horizon(self, horizon: int | None) -> int:
        """The horizon to forecast, the trained one by default; raises ValueError for a longer one."""
        steps = self.facts.horizon if horizon is None else horizon
        if steps > self.facts.horizon:
            raise ValueError(f"horizon is {steps}; this model was trained for at most {self.facts.horizon}")
        return steps

    def predict(
        self,
        batch: SeriesBatch,
        horizon: int | None = None,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        metadata: ItemMetadata | None = None,
        *,
        ends: npt.ArrayLike | None = None,
        seed: int = 0,
        num_samples: int | None = None,
        bounds: Bounds | None = None,
        fallback: bool = True,
    ) -> Forecast:
        """Forecast `horizon` periods (the trained ones by default, no more) after each series, or each window's end.

        ends: int [N, W], how many points each backtest window may see. A series without history is forecast from its
        metadata, calendar and related series, with status `ok`. A row's paths depend on seed and key, not on its
        neighbours, but for rounding (1e-6 of the scale; one unit of a count now and then). fallback: let a seasonal
        naive forecast stand in where a row's own is not finite or explosive.
        Raises ValueError for a horizon that was not trained for, levels that make no sense, or data that lack what
        the model was trained on.
        """
        steps = self.checked_horizon(horizon)
        levels = checked_levels(steps, quantiles)
        limits = bounds or Bounds()
        started = time.perf_counter()
        rows = Rows.of(batch, NAME, ends, seed=seed)
        series = SeriesSet.of(batch, self.facts, metadata, device=self.device)
        own = self.sampled(series, rows, steps, levels, num_samples)
        facts = history_facts(rows)
        reason = guard(own, self._with_typical_level(facts))
        bad = np.flatnonzero(reason != "")
        status = np.full(len(rows), Status.OK, dtype=np.int8)
        if len(bad):
            status[bad] = Status.FALLBACK if fallback else Status.FAILED
            own = with_fallback(own, rows, bad, facts, levels) if fallback else blanked(own, bad)
        raw, n_clipped = apply_bounds(own, limits)
        raw = finish(raw, limits)
        lead = (len(batch),) if ends is None else (len(batch), np.asarray(ends).shape[1])
        return Forecast(
            model=NAME,
            levels=levels,
            mean=raw.mean.reshape(*lead, steps),
            quantiles=raw.quantiles.reshape(*lead, steps, len(levels)),
            status=status.reshape(lead),
            reason=reason.reshape(lead),
            seconds=shares(rows, time.perf_counter() - started).reshape(lead),
            n_obs=facts.n_obs.reshape(lead),
            n_filled=facts.n_filled.reshape(lead),
            n_clipped=n_clipped.reshape(lead),
            evaluations=np.zeros(lead, dtype=np.int64),
            first_step=rows.first_step.reshape(lead),
        )

    def _with_typical_level(self, facts: HistoryFacts) -> HistoryFacts:
        """Zeros alone do not say how far a forecast may go: there the level of the training set does."""
        zero = (facts.low == 0) & (facts.high == 0)
        return replace(facts, high=np.where(zero, np.exp(self.facts.log_level), facts.high))

    def sampled(
        self, series: SeriesSet, rows: Rows, horizon: int, levels: Sequence[float], num_samples: int | None = None
    ) -> RawForecast:
        """Mean and quantiles of the network's own sample paths, before any guard, for rows of the series' batch."""
        n_samples = num_samples or self.settings.num_samples
        device = series.device
        reader = Reader(series, self.facts)
        self.network.eval()
        mean: FloatArray = np.empty((len(rows), horizon))
        quantiles: FloatArray = np.empty((len(rows), horizon, len(levels)))
        chosen = torch.from_numpy(rows.series.copy()).to(device)
        ends = torch.from_numpy(rows.end - rows.batch.offsets[rows.series]).to(device)
        seeds = torch.from_numpy(rows.seeds.view(np.int64).copy()).to(device)
        at_once = max(1, _PATHS_AT_ONCE["cuda" if device.type == "cuda" else "cpu"] // n_samples)
        for first in range(0, len(rows), at_once):
            part = slice(first, first + at_once)
            draw = Draw(chosen[part], ends[part], torch.zeros_like(ends[part]), None)
            paths, means = sample_paths(self.network, reader, self.facts.lags, draw, horizon, n_samples, seeds[part])
            mean[part] = means.double().cpu().numpy()
            quantiles[part] = quantiles_of(paths, levels).double().cpu().numpy()
        return RawForecast(mean=mean, quantiles=quantiles)
