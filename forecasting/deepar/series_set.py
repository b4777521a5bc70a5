"""All series on the device: one flat tensor with offsets, laid out once; windows are gathered from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.batch import FloatArray, SeriesBatch, offsets_of
from forecasting.deepar.facts import Facts, ItemMetadata, visible
from forecasting.deepar.kernels import Float32Array, lay_out, lay_out_column, target_facts
from forecasting.deepar.time_features import calendar
from forecasting.frequency import Int64Array

_LIMIT = 10.0
"""Related values further from the mean than this many standard deviations are taken as this far."""


@dataclass(frozen=True)
class SeriesSet:
    """N series with room for the horizon after each, float32, NaN is missing.

    values, running: [E + 1], series i at offset[i]; running is the mean absolute observation before a place; the last
    element is the NaN that stands for all places outside. related [E + 1, K], past [E + 1, K']: standardised related
    series, known in the future or not. offset, length, start, group: int64 [N]; length counts visible points, start is
    the ordinal of the first. log_prior: [N], the logarithm of the scale that metadata suggest; effects: [N, C], what
    each category has added to it. average: float64 [N], mean absolute observation, NaN for none. codes: int64 [N, C].
    numbers: [N, M], standardised, NaN is missing. clock: [G * T, F], calendar and holiday columns of each calendar
    group from the ordinal `first`, `periods` a group. key_hash: int64 [N]. horizon: periods of room.
    """

    values: Tensor
    running: Tensor
    related: Tensor
    past: Tensor
    offset: Tensor
    length: Tensor
    start: Tensor
    log_prior: Tensor
    effects: Tensor
    average: Tensor
    codes: Tensor
    numbers: Tensor
    clock: Tensor
    group: Tensor
    key_hash: Tensor
    first: int
    periods: int
    horizon: int

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.values.device

    @classmethod
    def of(
        cls,
        batch: SeriesBatch,
        facts: Facts,
        metadata: ItemMetadata | None = None,
        *,
        ends: npt.ArrayLike | None = None,
        device: str | torch.device = "cpu",
    ) -> SeriesSet:
        """Lay a batch out. ends: int [N], how many points of each series there are to be seen; None: all.

        Raises ValueError with all that the data lack that the facts were learned on.
        """
        items = metadata or ItemMetadata()
        if problems := facts.problems(batch, items):
            raise ValueError("; ".join(problems))
        seen = visible(batch, ends)
        begin = batch.offsets[:-1]
        offsets = offsets_of(seen + facts.horizon)
        size = int(offsets[-1]) + 1
        values, running = np.full(size, np.nan, dtype=np.float32), np.full(size, np.nan, dtype=np.float32)
        lay_out(batch.values, begin, begin + seen, offsets, values, running)
        codes = np.zeros((len(batch), len(facts.categories)), dtype=np.int64)
        numbers = np.zeros((len(batch), len(facts.numbers)), dtype=np.float32)
        log_prior = np.full(len(batch), facts.log_level)
        effects = np.zeros(codes.shape)
        for c, category in enumerate(facts.categories):
            codes[:, c] = category.codes(items.categories[category.name])
            effects[:, c] = np.concatenate([[0.0], category.effects])[codes[:, c]]
        for m, number in enumerate(facts.numbers):
            numbers[:, m] = number.standardised(items.numbers[number.name])
            log_prior += number.effect * np.nan_to_num(numbers[:, m])
        first, periods = _span(batch, facts, seen)
        clock = _clock(batch, facts, first, periods)
        group = batch.holidays.group if facts.holidays and batch.holidays is not None else np.full(len(batch), -1)
        place = torch.device(device)
        return cls(
            values=torch.from_numpy(values).to(place),
            running=torch.from_numpy(running).to(place),
            related=torch.from_numpy(_columns(batch, facts, seen, offsets, True)).to(place),
            past=torch.from_numpy(_columns(batch, facts, seen, offsets, False)).to(place),
            offset=torch.from_numpy(offsets[:-1].copy()).to(place),
            length=torch.from_numpy(seen.copy()).to(place),
            start=torch.from_numpy(batch.start.copy()).to(place),
            log_prior=torch.from_numpy((log_prior + effects.sum(1)).astype(np.float32)).to(place),
            effects=torch.from_numpy(effects.astype(np.float32)).to(place),
            average=torch.from_numpy(target_facts(batch.values, begin, begin + seen)[0]).to(place),
            codes=torch.from_numpy(codes).to(place),
            numbers=torch.from_numpy(numbers).to(place),
            clock=torch.from_numpy(clock.reshape(len(clock) * periods, -1 if clock.size else 0)).to(place),
            group=torch.from_numpy(np.where(group < 0, len(clock) - 1, group)).to(place),
            key_hash=torch.from_numpy(batch.key_hash.view(np.int64).copy()).to(place),
            first=first,
            periods=periods,
            horizon=facts.horizon,
        )


def _span(batch: SeriesBatch, facts: Facts, seen: Int64Array) -> tuple[int, int]:
    """The first ordinal that a window may touch, and how many from there."""
    if not len(batch):
        return 0, 1
    first = int(batch.start.min()) - facts.context_length
    return first, int((batch.start + seen).max()) + facts.horizon - first


def _clock(batch: SeriesBatch, facts: Facts, first: int, periods: int) -> Float32Array:
    """Calendar and holidays by group, [G, T, F]; the last group keeps no holidays."""
    dates = calendar(batch.frequency, first, periods)
    if not facts.holidays:
        return dates[None]
    held = batch.holidays
    table = np.zeros((1 + (len(held.values) if held is not None else 0), periods, len(facts.holidays)), np.float32)
    if held is not None:
        low, high = max(first, held.first), min(first + periods, held.first + held.values.shape[1])
        for k, name in enumerate(facts.holidays):
            if name in held.names and low < high:
                part = held.values[:, low - held.first : high - held.first, held.names.index(name)]
                table[:-1, low - first : high - first, k] = part
    return np.concatenate([np.broadcast_to(dates, (len(table), *dates.shape)), table], axis=2)


def _columns(batch: SeriesBatch, facts: Facts, seen: Int64Array, offsets: Int64Array, known: bool) -> Float32Array:
    """The related series whose future is known, or is not, [E + 1, K]."""
    chosen = [c for c in facts.related if c.known_in_future == known]
    out = np.full((int(offsets[-1]) + 1, len(chosen)), np.nan, dtype=np.float32)
    reach: FloatArray | Int64Array = seen + facts.horizon if known else seen
    for k, part in enumerate(chosen):
        held = batch.related[part.name]
        lay_out_column(
            held.values, held.offsets, offsets, np.asarray(reach), part.mean, part.deviation, _LIMIT, out, k
        )
    return out
