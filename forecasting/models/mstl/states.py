"""A fit's numbers and what they stand for: seasonal patterns, and the fit of the family behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecasting.batch import FloatArray, SeriesBatch, offsets_of
from forecasting.frequency import Int64Array
from forecasting.models.contract import Fitted, Hyperparameters, Rows
from forecasting.models.mstl import rows as kernels


@dataclass(frozen=True)
class Parts:
    """A fit's states taken apart.

    patterns: flat, row r's coming cycles of its seasons, shortest first, at offsets [R + 1]. drift: [R, K], mean
    squared change from cycle to cycle, 0 for a season not in use. counts: seasons of each row [R]. rest: the fit of
    the adjusted series.
    """

    patterns: FloatArray
    offsets: Int64Array
    drift: FloatArray
    counts: Int64Array
    rest: Fitted

    def season(self, lengths: Int64Array, first: Int64Array, steps: Int64Array) -> FloatArray:
        """The seasons' sum at steps first[r] …, steps[r] of them, counted from the fitted end; flat, row by row."""
        where = offsets_of(steps)
        out = np.zeros(int(where[-1]))
        kernels.seasonal_steps(self.patterns, self.offsets, self.counts, lengths, first, steps, where, out)
        return out

    def rotated(self, lengths: Int64Array, by: Int64Array) -> FloatArray:
        """The patterns as they lie `by` [R] periods later."""
        patterns = self.patterns.copy()
        kernels.rotate_rows(patterns, self.offsets, self.counts, lengths, by)
        return patterns


def inner_rows(rows: Rows, adjusted: FloatArray) -> Rows:
    """The adjusted series of the rows, flat, as rows of a batch of their own."""
    batch = rows.batch
    offsets = offsets_of(rows.end - rows.begin)
    return Rows(
        batch=SeriesBatch(
            values=adjusted,
            offsets=offsets,
            start=batch.start[rows.series] + rows.begin - batch.offsets[rows.series],
            frequency=batch.frequency,
            keys=[batch.keys[i] for i in rows.series],
        ),
        series=np.arange(len(rows)),
        begin=offsets[:-1],
        end=offsets[1:],
        season_length=1,
        seeds=rows.seeds,
        max_evaluations=rows.max_evaluations,
    )


def visible(rows: Rows) -> FloatArray:
    """The rows' values one after the other."""
    sizes = rows.end - rows.begin
    index = np.repeat(rows.begin - offsets_of(sizes)[:-1], sizes) + np.arange(int(sizes.sum()))
    return rows.batch.values[index]


def pack(
    lengths: Int64Array, counts: Int64Array, patterns: FloatArray, drift: FloatArray, rest: Fitted
) -> tuple[FloatArray, Int64Array]:
    """Flat states and offsets: each row's patterns, their drift, then the inner fit's parameters and states.

    patterns: flat, as wide a row as its seasons. drift: [R, K].
    """
    n, width = len(counts), rest.parameters.shape[1]
    cycles = _cycles(lengths, counts)
    sizes = np.stack([cycles, counts, np.full(n, width), np.diff(rest.state_offsets)], axis=1)
    offsets = offsets_of(sizes.sum(axis=1))
    states = np.empty(int(offsets[-1]))
    places = offsets[:-1, None] + np.cumsum(sizes, axis=1) - sizes
    used = np.arange(drift.shape[1]) < counts[:, None]
    for k, part in enumerate((patterns, drift[used], rest.parameters.ravel(), rest.states)):
        states[_index(places[:, k], sizes[:, k])] = part
    return states, offsets


def take_apart(fitted: Fitted, lengths: Int64Array, options: Hyperparameters, width: int) -> Parts:
    """The reverse of `pack`; options: the inner family's; width: its number of parameters."""
    counts = fitted.parameters[:, kernels.N_SEASONS].astype(np.int64)
    n, cycles, total = len(counts), _cycles(lengths, counts), np.diff(fitted.state_offsets)
    first = np.stack([cycles, counts, np.full(n, width)], axis=1)
    sizes = np.concatenate([first, (total - first.sum(axis=1))[:, None]], axis=1)
    places = np.asarray(fitted.state_offsets)[:-1, None] + np.cumsum(sizes, axis=1) - sizes
    patterns, moved, parameters, states = (fitted.states[_index(places[:, k], sizes[:, k])] for k in range(4))
    drift = np.zeros((n, len(lengths)))
    drift[np.arange(len(lengths)) < counts[:, None]] = moved
    rest = Fitted(
        rows=inner_rows(fitted.rows, np.full(int((fitted.rows.end - fitted.rows.begin).sum()), np.nan)),
        hyperparameters=options,
        parameters=parameters.reshape(n, width),
        states=states,
        state_offsets=offsets_of(sizes[:, 3]),
        status=fitted.status,
        reason=fitted.reason,
        evaluations=fitted.evaluations,
    )
    return Parts(patterns, offsets_of(cycles), drift, counts, rest)


def _cycles(lengths: Int64Array, counts: Int64Array) -> Int64Array:
    """Places that each row's patterns take."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)[counts]


def _index(first: Int64Array, sizes: Int64Array) -> Int64Array:
    """Positions first[r], first[r] + 1, …, sizes[r] of them, of all rows one after the other."""
    return np.asarray(np.repeat(first - offsets_of(sizes)[:-1], sizes) + np.arange(int(sizes.sum())), dtype=np.int64)
