"""Windows: which ones a training step sees, and their inputs, gathered on the device by index arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forecasting.deepar.facts import Facts
from forecasting.deepar.noise import Noise, streams
from forecasting.deepar.series_set import SeriesSet
from forecasting.deepar.settings import Settings

SCALED_LIMIT = 100.0
"""Lagged values are cut at this many scales."""
_LOG_LIMIT = 5.0
_COLD_UNKNOWN = 4.0
"""How much more often a category is hidden where the history is: unknown and new together would be too rare."""
_LEAST_SCALE = 1e-30


@dataclass(frozen=True)
class Draw:
    """B windows of a step. rows, ends: int64 [B], series and how many of its points come before the horizon. begins:
    int64 [B], points before this one are hidden. unknown: bool [B, C], categories that are hidden; None for none."""

    rows: Tensor
    ends: Tensor
    begins: Tensor
    unknown: Tensor | None


@dataclass(frozen=True)
class Window:
    """Inputs of B windows over T periods, time first.

    lags: [T, B, L], scaled. flags: [T, B, 2], whether the value before is known, and the share of the lags that is.
    known: [T, B, D], calendar, age and related series. codes: int64 [B, C]. static: [B, S]. scale: [B]. target:
    [T, B], 0 where not observed, in the unit of the data. observed: bool [T, B].
    """

    lags: Tensor
    flags: Tensor
    known: Tensor
    codes: Tensor
    static: Tensor
    scale: Tensor
    target: Tensor
    observed: Tensor


class Sampler:
    """Windows of training steps. Step s of a seed always has the same ones, so that a resumed training goes on as the
    uninterrupted one, and processes can share a step."""

    def __init__(self, series: SeriesSet, ends: Tensor, settings: Settings, seed: int) -> None:
        """ends: int64 [N], how many points of each series training may see."""
        self._positions = (ends - series.horizon).clamp(min=0) + 1
        weights = {
            "uniform": torch.ones_like(series.average),
            "length": self._positions.to(torch.float64),
            "velocity": series.average,
        }[settings.sampling]
        usable = torch.isfinite(series.average) & (ends > 0)
        if not bool(usable.any()):
            raise ValueError("no series has an observation: there is nothing to train on")
        weights = torch.where(usable, weights, 0.0)
        if not bool((weights > 0).any()):  # all-zero series have no velocity
            weights = usable.to(torch.float64)
        self._cumulated = torch.cumsum(weights, 0) / weights.sum()
        self._last = int(torch.nonzero(weights)[-1])
        self._seed = torch.tensor(seed, device=series.device)
        self._settings = settings
        self._n_categories = series.codes.shape[1]

    def draw(self, step: int, first: int, n: int, context: int) -> Draw:
        """Windows `first` to `first + n` of a step."""
        options = self._settings
        place = torch.arange(first, first + n, device=self._cumulated.device)
        noise = Noise(streams(streams(self._seed, 1) + step, 1)[..., 0] + place * 0x632BE59BD9B4E019)
        u, v = noise.pair(torch.float64)
        rows = torch.searchsorted(self._cumulated, u, right=True).clamp(max=self._last)
        ends = (v * self._positions[rows]).long()
        begins = torch.zeros_like(ends)
        if options.cold_share > 0:
            u, v = noise.pair(torch.float64)
            short = (v * 2.0 * context).long() - context  # half of them 0 or less: no history at all
            begins = torch.where(u < options.cold_share, (ends - short.clamp(min=0)).clamp(min=0), begins)
        unknown = None
        if options.unknown_share > 0 and self._n_categories:
            share = torch.where(begins > 0, _COLD_UNKNOWN * options.unknown_share, options.unknown_share)
            columns = [noise.pair()[0] < share for _ in range(self._n_categories)]
            unknown = torch.stack(columns, dim=1)
        return Draw(rows, ends, begins, unknown)


class Reader:
    """Gathers windows of a series set as the facts say."""

    def __init__(self, series: SeriesSet, facts: Facts) -> None:
        self._series = series
        self._facts = facts
        device = series.device
        self._lags = torch.tensor(facts.lags, device=device)
        self._past_lags = torch.tensor(facts.past_lags, device=device)
        known = [c for c in facts.related if c.known_in_future]
        self._moving = torch.tensor([k for k, c in enumerate(known) if not c.binary], dtype=torch.int64, device=device)
        ratios = [c.deviation / c.spread for c in known if not c.binary]
        self._ratio = torch.tensor(ratios, dtype=torch.float32, device=device)
        self._outside = len(series.values) - 1

    def window(self, draw: Draw, horizon: int, *, context: int | None = None, ahead: bool = False) -> Window:
        """The `context` periods before each end and the `horizon` after it.

        ahead: targets and lags from the end on are hidden, as they are when it is forecast. A known related series
        may be read up to the last period of the window.
        """
        series, before = self._series, self._facts.context_length if context is None else context
        step = torch.arange(-before, horizon, device=series.device).unsqueeze(1)
        offset = series.offset[draw.rows]
        position = draw.ends + step  # [T, B]
        inside = position >= draw.begins
        if not ahead:  # short series: the horizon of a training window may go beyond the room after a series
            inside &= position < series.length[draw.rows] + series.horizon
        place = torch.where(inside, offset + position, self._outside)
        target = series.values[place]
        if ahead:
            target = torch.where(step < 0, target, torch.nan)
        observed = ~torch.isnan(target)
        target = torch.nan_to_num(target)
        scale, has_level = self._scale(draw, target[:before], observed[:before], offset)
        lags, flags = self._lagged(draw, position, offset, scale, ahead)
        return Window(
            lags=lags,
            flags=flags,
            known=self._known(draw, position, inside, place, offset, before),
            codes=self._codes(draw),
            static=self._static(draw.rows, scale, has_level),
            scale=scale,
            target=target,
            observed=observed,
        )

    def _scale(self, draw: Draw, target: Tensor, observed: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The mean absolute observation in the context; where that is 0 or nothing, of all the history; where there is
        none either, what metadata suggest. [B], and whether it is the series' own."""
        series = self._series
        recent = target.abs().sum(0) / observed.sum(0).clamp(min=1)
        whole = torch.nan_to_num(series.running[offset + draw.ends.clamp(max=self._outside)])
        whole = torch.where(draw.begins == 0, whole, 0.0)  # with a hidden part the context is all that may be seen
        own = torch.where(recent > 0, recent, whole)
        has_level = own > 0
        prior = series.log_prior[draw.rows]
        if draw.unknown is not None:
            prior = prior - torch.where(draw.unknown, series.effects[draw.rows], 0.0).sum(1)
        return torch.where(has_level, own, torch.exp(prior)).clamp(min=_LEAST_SCALE), has_level

    def _lagged(
        self, draw: Draw, position: Tensor, offset: Tensor, scale: Tensor, ahead: bool
    ) -> tuple[Tensor, Tensor]:
        source = position.unsqueeze(2) - self._lags  # [T, B, L]
        seen = source >= draw.begins.unsqueeze(1)
        if ahead:
            seen &= source < draw.ends.unsqueeze(1)
        value = self._series.values[torch.where(seen, source + offset.unsqueeze(1), self._outside)]
        missing = torch.isnan(value)
        scaled = (torch.nan_to_num(value) / scale.unsqueeze(1)).clamp(-SCALED_LIMIT, SCALED_LIMIT)
        share = 1.0 - missing.to(torch.float32).mean(2)
        first = (~missing[:, :, 0]).to(torch.float32) if self._facts.lags[0] == 1 else share
        return scaled, torch.stack([first, share], dim=2)

    def _known(
        self, draw: Draw, position: Tensor, inside: Tensor, place: Tensor, offset: Tensor, before: int
    ) -> Tensor:
        """Calendar, holidays, age, related series and lagged related series, [T, B, D]."""
        series = self._series
        moment = (series.start[draw.rows] + position - series.first).clamp(0, series.periods - 1)
        parts = [series.clock[series.group[draw.rows] * series.periods + moment]]
        age = (position - draw.begins).clamp(min=0)
        parts.append((torch.log10(2.0 + age) - 1.5).unsqueeze(2))
        if series.related.shape[1]:
            value = series.related[place]
            missing = torch.isnan(value)
            parts += [torch.nan_to_num(value), missing.to(torch.float32)]
            if len(self._moving):
                parts.append(self._deviation(value[..., self._moving], before))
        if series.past.shape[1]:
            source = position.unsqueeze(2) - self._past_lags
            seen = (source >= draw.begins.unsqueeze(1)) & inside.unsqueeze(2)
            rows = torch.where(seen, source + offset.unsqueeze(1), self._outside)
            value = series.past[rows].flatten(2)  # [T, B, lags * K]
            parts += [torch.nan_to_num(value), torch.isnan(value).to(torch.float32)]
        return torch.cat(parts, dim=2)

    def _deviation(self, value: Tensor, before: int) -> Tensor:
        """Related series around their own mean in the context (in the horizon where the context has none): what a
        price is to its item, whatever the item costs."""
        mean = torch.nanmean(value[:before], dim=0)
        mean = torch.where(torch.isnan(mean), torch.nanmean(value[before:], dim=0), mean)
        return torch.nan_to_num((value - mean) * self._ratio).clamp(-10.0, 10.0)

    def _codes(self, draw: Draw) -> Tensor:
        codes = self._series.codes[draw.rows]
        return codes if draw.unknown is None else codes.masked_fill(draw.unknown, 0)

    def _static(self, rows: Tensor, scale: Tensor, has_level: Tensor) -> Tensor:
        """[B, S]: size of the scale, whether it is the series' own, numbers and whether each is known."""
        facts = self._facts
        size = ((torch.log(scale) - facts.log_level) / facts.log_level_spread).clamp(-_LOG_LIMIT, _LOG_LIMIT)
        parts = [torch.stack([size, has_level.to(torch.float32)], dim=1)]
        if self._series.numbers.shape[1]:
            numbers = self._series.numbers[rows]
            parts += [torch.nan_to_num(numbers), torch.isnan(numbers).to(torch.float32)]
        return torch.cat(parts, dim=1)
