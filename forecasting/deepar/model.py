"""A trained model: what it knows of the data and its network; forecasts in the layout of the local models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.api import Forecast, blanked, checked_levels, shares, with_fallback
from forecasting.batch import FloatArray, SeriesBatch
from forecasting.deepar.facts import Facts, ItemMetadata
from forecasting.deepar.inference import quantiles_of, sample_paths
from forecasting.deepar.network import Network
from forecasting.deepar.noise import mixed, seed_of
from forecasting.deepar.series_set import SeriesSet
from forecasting.deepar.settings import Settings
from forecasting.deepar.windows import Draw, Reader
from forecasting.models.contract import RawForecast, Rows, Status
from forecasting.postprocess import Bounds, HistoryFacts, apply_bounds, finish, guard, history_facts

NAME = "deepar"
FURTHER = "further."
_MEMBER = 15
_PATHS_AT_ONCE = {"cpu": 10_000, "cuda": 500_000}


@dataclass(frozen=True)
class DeepAR:
    """Settings, facts and networks: all that a forecast needs besides the data. further: networks beside the first."""

    settings: Settings
    facts: Facts
    network: Network
    further: tuple[Network, ...] = ()

    @property
    def networks(self) -> tuple[Network, ...]:
        """All networks; a forecast is an equal mixture of theirs."""
        return (self.network, *self.further)

    def with_weights(self, weights: Sequence[Mapping[str, Tensor]]) -> DeepAR:
        """The model with one network for each of some weights, where this one's is."""
        networks = []
        for one in weights:
            network = Network(self.facts, self.settings).to(self.device)
            network.load_state_dict(dict(one))
            networks.append(network.eval())
        return replace(self, network=networks[0], further=tuple(networks[1:]))

    def weights(self) -> dict[str, Tensor]:
        """The weights by name, those of the networks beside the first behind `further.<k>.`."""
        found = dict(self.network.state_dict())
        for k, network in enumerate(self.further):
            found |= {f"{FURTHER}{k}.{name}": w for name, w in network.state_dict().items()}
        return found

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
        """Mean and quantiles of the networks' own sample paths, before any guard, for rows of the series' batch."""
        n_samples = num_samples or self.settings.num_samples
        device = series.device
        reader = Reader(series, self.facts)
        numbers = _samples_of_each(n_samples, len(self.networks))
        mean: FloatArray = np.empty((len(rows), horizon))
        quantiles: FloatArray = np.empty((len(rows), horizon, len(levels)))
        chosen = torch.from_numpy(rows.series.copy()).to(device)
        ends = torch.from_numpy(rows.end - rows.batch.offsets[rows.series]).to(device)
        seeds = torch.from_numpy(rows.seeds.view(np.int64).copy()).to(device)
        at_once = max(1, _PATHS_AT_ONCE["cuda" if device.type == "cuda" else "cpu"] // n_samples)
        for first in range(0, len(rows), at_once):
            part = slice(first, first + at_once)
            draw = Draw(chosen[part], ends[part], torch.zeros_like(ends[part]), None)
            found = [
                sample_paths(network.eval(), reader, self.facts.lags, draw, horizon, n, _seeds(seeds[part], k))
                for k, (network, n) in enumerate(zip(self.networks, numbers, strict=True))
            ]
            mean[part] = torch.stack([means for _, means in found]).mean(0).double().cpu().numpy()
            paths = torch.cat([paths for paths, _ in found], dim=1)
            quantiles[part] = quantiles_of(paths, levels).double().cpu().numpy()
        return RawForecast(mean=mean, quantiles=quantiles)


def _samples_of_each(n_samples: int, networks: int) -> list[int]:
    """Sample paths of each network; each makes one at least."""
    return [max(1, (n_samples + k) // networks) for k in reversed(range(networks))]


def _seeds(seeds: Tensor, network: int) -> Tensor:
    """The seeds of the rows for a network: as they are for the first, so that one network alone forecasts as ever."""
    return seeds if network == 0 else mixed(seeds + seed_of(network, _MEMBER, 0))
