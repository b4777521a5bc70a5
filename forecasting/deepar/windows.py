"""Windows: which ones a training step sees, and their inputs, gathered on the device by index arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecasting.deepar.facts import Facts
from forecasting.deepar.noise import Noise, mixed, seed_of
from forecasting.deepar.series_set import SeriesSet
from forecasting.deepar.settings import Sampling, Settings

SCALED_LIMIT = 100.0
"""Lagged values are cut at this many scales."""
_LOG_LIMIT = 5.0
_COLD_UNKNOWN = 4.0
"""How much more often a category is hidden where the history is: unknown and new together would be too rare."""
_LEAST_SCALE = 1e-30
_WINDOWS = 1


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

    inputs: [T, B, L + 2 + D + S], side by side: the scaled lags; whether the value before is known, and the share of
    the lags that is; calendar, age and related series; what is the same in all periods: the size of the scale, whether
    it is the series' own, numbers of the metadata. codes: int64 [B, C]. scale: [B]. target: [T, B], 0 where not
    observed, in the unit of the data. observed: bool [T, B].
    """

    inputs: Tensor
    codes: Tensor
    scale: Tensor
    target: Tensor
    observed: Tensor


class Sampler:
    """Windows of training steps. Step s of a seed always has the same ones, so that a resumed training goes on as the
    uninterrupted one, and processes can share a step."""

    def __init__(self, series: SeriesSet, ends: Tensor, settings: Settings, seed: int) -> None:
        """ends: int64 [N], how many points of each series training may see."""
        self._positions = _positions(series, ends)
        weights = drawn_from(series, ends, settings.sampling)
        if not bool((weights > 0).any()):
            raise ValueError("no series has an observation: there is nothing to train on")
        self._cumulated = torch.cumsum(weights, 0) / weights.sum()
        self._last = int(torch.nonzero(weights)[-1])
        self._seed = seed
        self._settings = settings
        self._n_categories = series.codes.shape[1]

    def draw(self, steps: Sequence[int], first: int, n: int, context: int) -> Draw:
        """Windows `first` to `first + n` of some steps, B = len(steps) * n."""
        options = self._settings
        device = self._cumulated.device
        seeds = _brought([seed_of(self._seed, _WINDOWS, step) for step in steps], device)
        place = torch.arange(first, first + n, device=device)
        noise = Noise(mixed(seeds.unsqueeze(1) + place).flatten())
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


def _brought(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Numbers on a device, int64 [n]; a GPU is not waited for, which an ordinary copy would do."""
    here = torch.tensor(numbers)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here


def _rows_of(table: Tensor, place: Tensor) -> Tensor:
    """Rows [..., F] of a table [n, F]; a GPU's own kernel for that spends a block of threads on each row."""
    if table.device.type != "cuda":
        return table[place]
    n_columns = table.shape[1]
    return table.take(place.unsqueeze(-1) * n_columns + torch.arange(n_columns, device=table.device))


def _positions(series: SeriesSet, ends: Tensor) -> Tensor:
    """Where a window may lie, each series, int64 [N]."""
    return (ends - series.horizon).clamp(min=0) + 1


def drawn_from(series: SeriesSet, ends: Tensor, sampling: Sampling) -> Tensor:
    """What each series weighs in the draw of windows, float64 [N]; 0 for one without an observation. ends: int64 [N],
    how many points of each training may see."""
    usable = torch.isfinite(series.average) & (ends > 0)
    weights = {
        "uniform": torch.ones_like(series.average),
        "length": _positions(series, ends).to(torch.float64),
        "velocity": series.average,
    }[sampling]
    weights = torch.where(usable, weights, 0.0)
    # all-zero series have no velocity
    return weights if bool((weights > 0).any()) else usable.to(torch.float64)


@dataclass(frozen=True)
class _Plan:
    """What a window of T periods needs of the target, each value once.

    steps: int64 [U, 1], periods from the end, ascending; the last T are the window. lagged: int64 [T * L], where the
    lags of each period are among them. before: slice, the value before each period; None where lag 1 is not used.
    counts: [T, U], sums over the lags.
    """

    steps: Tensor
    lagged: Tensor
    before: slice | None
    counts: Tensor

    @classmethod
    def of(cls, lags: Sequence[int], before: int, horizon: int, device: torch.device) -> _Plan:
        period = np.arange(-before, horizon)
        source = period[:, None] - np.asarray(lags)
        steps = np.unique(np.concatenate([source.ravel(), period]))
        lagged = np.searchsorted(steps, source)
        counts = np.zeros((len(period), len(steps)), dtype=np.float32)
        counts[np.arange(len(period))[:, None], lagged] = 1.0
        first = len(steps) - len(period)
        return cls(
            steps=torch.from_numpy(steps[:, None]).to(device),
            lagged=torch.from_numpy(lagged.ravel()).to(device),
            before=slice(first - 1, len(steps) - 1) if lags[0] == 1 else None,
            counts=torch.from_numpy(counts).to(device),
        )


class Reader:
    """Gathers windows of a series set as the facts say."""

    def __init__(self, series: SeriesSet, facts: Facts) -> None:
        self._series = series
        self._facts = facts
        device = series.device
        self._past_lags = torch.tensor(facts.past_lags, device=device)
        known = [c for c in facts.related if c.known_in_future]
        self._moving = torch.tensor([k for k, c in enumerate(known) if not c.binary], dtype=torch.int64, device=device)
        ratios = [c.deviation / c.spread for c in known if not c.binary]
        self._ratio = torch.tensor(ratios, dtype=torch.float32, device=device)
        self._outside = len(series.values) - 1
        self._plans: dict[tuple[int, int], _Plan] = {}

    @property
    def device(self) -> torch.device:
        """Where the series are."""
        return self._series.device

    @property
    def context_length(self) -> int:
        """Periods of a window before its horizon."""
        return self._facts.context_length

    @property
    def horizon(self) -> int:
        """The longest horizon of a window."""
        return self._facts.horizon

    def window(self, draw: Draw, horizon: int, *, ahead: bool = False) -> Window:
        """The context before each end and the `horizon` after it.

        ahead: targets and lags from the end on are hidden, as they are when it is forecast. A known related series
        may be read up to the last period of the window.
        """
        return self.windows(draw, horizon, 1, ahead=ahead)[0]

    def windows(self, draw: Draw, horizon: int, groups: int, *, ahead: bool = False) -> list[Window]:
        """The windows of a draw in groups of equal size, each contiguous: those of several steps, gathered at once."""
        series, before = self._series, self._facts.context_length
        plan = self._plan(before, horizon)
        offset = series.offset[draw.rows]
        position = draw.ends + plan.steps  # [U, B]
        inside = position >= draw.begins
        if not ahead:  # short series: the horizon of a training window may go beyond the room after a series
            inside &= position < series.length[draw.rows] + series.horizon
        place = (position + offset).masked_fill_(~inside, self._outside)
        value = series.values[place]
        if ahead:
            value.masked_fill_(plan.steps >= 0, torch.nan)
        observed = ~torch.isnan(value)
        value.nan_to_num_()
        window = slice(len(position) - before - horizon, None)
        recent = slice(len(position) - before - horizon, len(position) - horizon)
        scale, has_level = self._scale(draw, value[recent], observed[recent], offset)
        scaled = (value / scale).clamp_(-SCALED_LIMIT, SCALED_LIMIT).t().contiguous()  # the lags side by side: quick
        lags = scaled.index_select(1, plan.lagged).view(len(draw.rows), before + horizon, len(self._facts.lags))
        seen = observed.to(torch.float32)
        share = (plan.counts @ seen) / len(self._facts.lags)  # whole numbers until divided: the same in any order
        first = seen[plan.before] if plan.before is not None else share
        parts = [lags.transpose(0, 1), first.unsqueeze(2), share.unsqueeze(2)]
        parts += self._known(draw, position[window], inside[window], place[window], offset, before)
        parts.append(self._static(draw.rows, scale, has_level).unsqueeze(0))
        codes, target, observed = self._codes(draw), value[window], observed[window]
        inputs, size = _joined(parts, groups), len(draw.rows) // groups
        found = []
        for k in range(groups):
            own = slice(k * size, (k + 1) * size)
            found.append(Window(inputs[k], codes[own], scale[own], target[:, own], observed[:, own]))
        return found

    def _plan(self, before: int, horizon: int) -> _Plan:
        if (before, horizon) not in self._plans:
            self._plans[before, horizon] = _Plan.of(self._facts.lags, before, horizon, self._series.device)
        return self._plans[before, horizon]

    def _scale(self, draw: Draw, target: Tensor, observed: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The mean absolute observation in the context; where that is 0 or nothing, of all the history; where that is
        too, what metadata suggest, as one observation beside the zeros. [B], and whether it is the series' own."""
        series = self._series
        count = observed.sum(0)
        recent = target.abs().sum(0) / count.clamp(min=1)
        whole = torch.nan_to_num(series.running[offset + draw.ends])
        whole = torch.where(draw.begins == 0, whole, 0.0)  # with a hidden part the context is all that may be seen
        own = torch.where(recent > 0, recent, whole)
        has_level = own > 0
        prior = series.log_prior[draw.rows]
        if draw.unknown is not None:
            prior = prior - torch.where(draw.unknown, series.effects[draw.rows], 0.0).sum(1)
        return torch.where(has_level, own, torch.exp(prior) / (1 + count)).clamp(min=_LEAST_SCALE), has_level

    def _known(
        self, draw: Draw, position: Tensor, inside: Tensor, place: Tensor, offset: Tensor, before: int
    ) -> list[Tensor]:
        """Calendar, holidays, age, related series and lagged related series, D columns in parts [T, B, .]."""
        series = self._series
        moment = (series.start[draw.rows] + position - series.first).clamp(0, series.periods - 1)
        parts = [_rows_of(series.clock, series.group[draw.rows] * series.periods + moment)]
        age = (position - draw.begins).clamp(min=0)
        parts.append((torch.log10(2.0 + age) - 1.5).unsqueeze(2))
        if series.related.shape[1]:
            value = _rows_of(series.related, place)
            missing = torch.isnan(value)
            parts += [torch.nan_to_num(value), missing.to(torch.float32)]
            if len(self._moving):
                parts.append(self._deviation(value[..., self._moving], before))
        if series.past.shape[1]:
            source = position.unsqueeze(2) - self._past_lags
            seen = (source >= draw.begins.unsqueeze(1)) & inside.unsqueeze(2)
            rows = torch.where(seen, source + offset.unsqueeze(1), self._outside)
            value = _rows_of(series.past, rows).flatten(2)  # [T, B, lags * K]
            parts += [torch.nan_to_num(value), torch.isnan(value).to(torch.float32)]
        return parts

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


def _joined(parts: Sequence[Tensor], groups: int) -> Tensor:
    """Parts [T, B, .] or [1, B, .] side by side, each of the groups of B contiguous, [G, T, B / G, I]."""
    periods, n = parts[0].shape[:2]
    width = sum(part.shape[2] for part in parts)
    joined = torch.empty(groups, periods, n // groups, width, device=parts[0].device)
    grouped = joined.transpose(0, 1)  # [T, G, B / G, I]
    first = 0
    for part in parts:
        last = first + part.shape[2]
        grouped[..., first:last] = part.view(len(part), groups, n // groups, part.shape[2])
        first = last
    return joined
