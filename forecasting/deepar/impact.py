"""Impact: what each related series, metadata column and calendar feature adds to the forecast of each series.

A feature's impact is the forecast with it less the forecast without it, with the same random numbers, so that nothing
else differs. Without: a related series known in the future is at its own mean of the series, one that is not is
missing, a metadata value is unknown, a holiday does not occur, a calendar feature is at its average over the data.
Features that do each other's work share it in no particular way; the impacts need not add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from forecasting.batch import FloatArray, SeriesBatch
from forecasting.deepar.facts import Facts, ItemMetadata
from forecasting.deepar.model import NAME, DeepAR
from forecasting.deepar.series_set import SeriesSet
from forecasting.models.contract import Rows

_CALENDAR_COLUMNS = 3


@dataclass(frozen=True)
class Impacts:
    """F features of N series.

    names, kinds: F; a kind is related, metadata, holiday or calendar. mean: [N, F], what a feature adds to the mean
    forecast, averaged over the horizon, in the unit of the data. size: [N, F], the mean absolute difference of the
    mean forecast by the mean absolute forecast, 0 for a feature without effect. total: [F], the same over all series.
    forecast: [N], the mean absolute forecast, by which the sizes of series are weighted in the total.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    mean: FloatArray
    size: FloatArray
    total: FloatArray
    forecast: FloatArray


def impacts(
    model: DeepAR,
    batch: SeriesBatch,
    horizon: int | None = None,
    metadata: ItemMetadata | None = None,
    *,
    seed: int = 0,
    num_samples: int | None = None,
) -> Impacts:
    """The impact of every feature on the forecasts that `model.predict` makes with the same arguments.

    It costs one forecast a feature. Raises ValueError as `predict` does.
    """
    steps = model.checked_horizon(horizon)
    series = SeriesSet.of(batch, model.facts, metadata, device=model.device)
    rows = Rows.of(batch, NAME, seed=seed)
    base = model.sampled(series, rows, steps, (0.5,), num_samples).mean
    names, kinds, means, sizes, totals = [], [], [], [], []
    for kind, name, without in _without_each(series, model.facts):
        difference = base - model.sampled(without, rows, steps, (0.5,), num_samples).mean
        names.append(name)
        kinds.append(kind)
        means.append(difference.mean(axis=1))
        sizes.append(_ratio(np.abs(difference).sum(axis=1), np.abs(base).sum(axis=1)))
        totals.append(float(_ratio(np.abs(difference).sum(), np.abs(base).sum())))
    n = len(batch)
    return Impacts(
        names=tuple(names),
        kinds=tuple(kinds),
        mean=np.stack(means, axis=1) if means else np.empty((n, 0)),
        size=np.stack(sizes, axis=1) if sizes else np.empty((n, 0)),
        total=np.array(totals),
        forecast=np.abs(base).mean(axis=1),
    )


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=np.asarray(whole) > 0))


def _without_each(series: SeriesSet, facts: Facts) -> Iterator[tuple[str, str, SeriesSet]]:
    """Each feature's kind and name, and the series as they would be without it."""
    places = {True: 0, False: 0}
    for part in facts.related:
        k = places[part.known_in_future]
        places[part.known_in_future] += 1
        if part.known_in_future:
            related = series.related.clone()
            related[:-1, k] = _own_mean(series, related[:-1, k])
            yield "related", part.name, replace(series, related=related)
        else:
            past = series.past.clone()
            past[:, k] = torch.nan
            yield "related", part.name, replace(series, past=past)
    for c, category in enumerate(facts.categories):
        codes, effects = series.codes.clone(), series.effects.clone()
        codes[:, c], effects[:, c] = 0, 0.0
        log_prior = series.log_prior - series.effects[:, c]
        yield "metadata", category.name, replace(series, codes=codes, effects=effects, log_prior=log_prior)
    for m, number in enumerate(facts.numbers):
        numbers = series.numbers.clone()
        numbers[:, m] = torch.nan
        log_prior = series.log_prior - number.effect * torch.nan_to_num(series.numbers[:, m])
        yield "metadata", number.name, replace(series, numbers=numbers, log_prior=log_prior)
    n_calendar = _CALENDAR_COLUMNS * len(facts.calendar)
    for j, name in enumerate(facts.holidays):
        clock = series.clock.clone()
        clock[:, n_calendar + j] = 0.0
        yield "holiday", name, replace(series, clock=clock)
    for j, name in enumerate(facts.calendar):
        clock = series.clock.clone()
        columns = slice(_CALENDAR_COLUMNS * j, _CALENDAR_COLUMNS * (j + 1))
        clock[:, columns] = clock[:, columns].mean(0)
        yield "calendar", name, replace(series, clock=clock)


def _own_mean(series: SeriesSet, column: Tensor) -> Tensor:
    """Each known value replaced by the mean of its series' known values, [E]."""
    row = torch.repeat_interleave(torch.arange(len(series), device=column.device), series.length + series.horizon)
    known = ~torch.isnan(column)
    zero = torch.zeros(len(series), device=column.device)
    total = zero.index_add(0, row, torch.nan_to_num(column))
    count = zero.index_add(0, row, known.to(column.dtype))
    return torch.where(known, (total / count.clamp(min=1.0))[row], torch.nan)
