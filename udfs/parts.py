"""The series of a task made ready: extended, filled, cut into windows, sorted by the models that they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray, SeriesBatch
from forecasting.closures import BoolArray, marked
from forecasting.evaluation.metrics import mase_scale, rmsse_scale
from forecasting.evaluation.windows import BacktestPlan, backtest_windows, visible_points, window_cutoffs
from forecasting.features import with_features
from forecasting.filling import extend, fill
from forecasting.frequency import Frequency, Int64Array
from forecasting.models.contract import ObjectArray
from udfs.arrow import list_buffers, to_series_batch
from udfs.holiday_table import REGION, group_positions
from udfs.inheritance import known_by, with_predecessors
from udfs.living import by_life, faded, living, without_ended
from udfs.observing import calendar_groups, fill_groups
from udfs.scenario import with_scenario
from udfs.spec import ModelSpec, TaskSpec
from udfs.treated import short_digest, treated_parts

PIECE_VALUES = 4_000_000
"""Numbers in one array that a task makes at most: 32 MB."""


@dataclass(frozen=True)
class Part:
    """Series ready for the models: positions are rows of `source`.

    ends: int64 [N, W], None in the stage forecast. cutoffs: int64 [N, W], last visible ordinal. actuals: [N, W, H].
    scale, squared_scale: [N, W], of MASE and of RMSSE. refit: how each series comes to its fit, None where all are
    fitted anew. window: the number of the first of the W windows. own: int64 [N, W], periods up to the cutoff from a
    series' own first one, before any fill. short: no series has the history that these windows need. masked: int64
    [N, W], points of the visible history that are no observations. closed: bool [N, W, H], steps that are closed;
    None: none is. live: int64 [N, W, 2], the steps that items live to see, None: all. fade: [N, W, H], what forecasts
    are multiplied by. ended: no series lives to see any step.
    """

    source: pa.RecordBatch
    positions: Int64Array
    series: SeriesBatch
    ends: Int64Array | None
    cutoffs: Int64Array
    actuals: FloatArray | None
    scale: FloatArray
    squared_scale: FloatArray
    refit: ObjectArray | None = None
    own: Int64Array | None = None
    window: int = 1
    short: bool = False
    masked: Int64Array | None = None
    closed: BoolArray | None = None
    live: Int64Array | None = None
    fade: FloatArray | None = None
    ended: bool = False
    treatment: ObjectArray | None = None
    n_treated: Int64Array | None = None
    form: str = ""

    def take(self, index: Int64Array) -> Part:
        if len(index) == len(self.series):
            return self
        return replace(
            self,
            positions=self.positions[index],
            series=self.series.take(index),
            ends=None if self.ends is None else self.ends[index],
            cutoffs=self.cutoffs[index],
            actuals=None if self.actuals is None else self.actuals[index],
            scale=self.scale[index],
            squared_scale=self.squared_scale[index],
            refit=None if self.refit is None else self.refit[index],
            own=None if self.own is None else self.own[index],
            masked=None if self.masked is None else self.masked[index],
            closed=None if self.closed is None else self.closed[index],
            live=None if self.live is None else self.live[index],
            fade=None if self.fade is None else self.fade[index],
            treatment=None if self.treatment is None else self.treatment[index],
            n_treated=None if self.n_treated is None else self.n_treated[index],
        )

    def between(self, begin: int, end: int) -> Part:
        """The windows in columns `begin` to `end` of a backtest."""
        if self.ends is None or self.own is None or self.actuals is None or (begin, end) == (0, self.ends.shape[1]):
            return self
        return replace(
            self,
            ends=self.ends[:, begin:end],
            cutoffs=self.cutoffs[:, begin:end],
            actuals=self.actuals[:, begin:end],
            scale=self.scale[:, begin:end],
            squared_scale=self.squared_scale[:, begin:end],
            own=self.own[:, begin:end],
            masked=None if self.masked is None else self.masked[:, begin:end],
            closed=None if self.closed is None else self.closed[:, begin:end],
            live=None if self.live is None else self.live[:, begin:end],
            window=self.window + begin,
        )


def pieces(batch: pa.RecordBatch, spec: TaskSpec) -> Iterator[pa.RecordBatch]:
    """Cut a batch so that no array made from it grows beyond PIECE_VALUES numbers; slices, nothing is copied."""
    rows = len(batch)
    per_row = spec.n_windows * spec.horizon * len(spec.quantiles)
    if spec.forecast_start == "global":
        per_row = max(per_row, spec.global_end - spec.global_start + 1)
    most_rows = max(1, PIECE_VALUES // per_row)
    _, offsets = list_buffers(batch.column("target"))
    begin = 0
    while begin < rows:
        by_values = int(np.searchsorted(offsets, offsets[begin] + PIECE_VALUES, side="right")) - 1
        end = max(begin + 1, min(rows, begin + most_rows, by_values))
        yield batch.slice(begin, end - begin)
        begin = end


def prepare(piece: pa.RecordBatch, spec: TaskSpec) -> Part:
    """Extended, filled and cut into windows."""
    frequency = Frequency.parse(spec.frequency)
    rules = spec.observing
    beside = dict.fromkeys(rules.columns, True)
    batch = to_series_batch(piece, spec.key, frequency, {**beside, **spec.related})
    common = spec.forecast_start == "global"
    end = spec.global_end if common else None
    if common:
        batch = extend(batch, spec.global_end)
    raw, calendars = batch, calendar_groups(rules, piece)
    if not rules.nothing:
        batch = rules.observed(batch, calendars)
        batch = replace(batch, related={name: batch.related[name] for name in spec.related})
    groups = fill_groups(piece)
    bare, fade = batch, None
    plan = BacktestPlan(spec.horizon, max(spec.windows, 1), spec.offset, spec.stride, spec.history)
    season = spec.mase_season_length
    own: Int64Array | None = None
    if spec.stage == "backtest":
        cutoffs = window_cutoffs(batch, plan, spec.forecast_start, end)
        own = known_by(piece, visible_points(batch, cutoffs), spec)
    batch = with_predecessors(piece, batch)
    if common and batch is not bare:
        batch = extend(batch, spec.global_end)
    if spec.stage == "forecast":
        batch = fill(batch, spec.fill, spec.global_start, end, horizon=spec.horizon, group=groups)
        batch = with_scenario(piece, rules.still(batch, calendars), spec)
        last = batch.start + batch.lengths - 1
        ends, cutoffs, actuals = None, last[:, None], None
        visible = batch.lengths[:, None]
        begins = np.zeros_like(visible)
        fade = faded(piece, cutoffs, spec)
        live = living(piece, raw, cutoffs, spec)
    else:
        batch = fill(batch, spec.fill, spec.global_start, end, horizon=spec.horizon, cutoffs=cutoffs, group=groups)
        batch = rules.still(batch, calendars)
        windows = backtest_windows(batch, plan, spec.forecast_start, end)
        ends, cutoffs = windows.ends, windows.cutoffs
        live = living(piece, raw, cutoffs, spec)
        actuals = without_ended(windows.actuals(batch, score_filled=spec.score_filled), live, spec)
        visible, begins = ends, windows.begins
    batch = with_features(batch, spec.features, spec.horizon)
    if spec.calendar is not None:
        region = piece.column(REGION) if REGION in piece.schema.names else None
        batch = replace(batch, holidays=spec.calendar.of(group_positions(spec.calendar, region, len(batch))))
    first = np.broadcast_to(batch.offsets[:-1, None], visible.shape)
    scored = _scored(batch, spec.score_filled)
    scale = mase_scale(scored, first + begins, first + visible, season)
    squared_scale = rmsse_scale(scored, first + begins, first + visible)
    everything = np.arange(len(batch)), batch, ends, cutoffs, actuals, scale, squared_scale
    form = short_digest(spec.features.form)
    part = Part(piece, *everything, own=own, live=live, fade=fade, form=form)
    if rules.nothing:
        return part
    closed = rules.closed_steps(raw, calendars, cutoffs, spec.horizon)
    return replace(part, masked=marked(batch, first + begins, first + visible), closed=closed)


def _scored(batch: SeriesBatch, score_filled: bool) -> FloatArray:
    """The values that errors are measured on: what is not scored does not set the scale either."""
    if batch.filled is None or score_filled:
        return batch.values
    return np.where(batch.filled != 0, np.nan, batch.values)


def parts_of(piece: pa.RecordBatch, spec: TaskSpec) -> Iterator[tuple[Part, tuple[ModelSpec, ...]]]:
    """The series with the models that each runs, apart where they have other windows."""
    for part, models in by_choice(prepare(piece, spec), spec):
        for seen in by_seen(part, spec):
            for alive in by_life(seen):
                for treated in treated_parts(alive, spec):
                    yield treated, models


def by_choice(part: Part, spec: TaskSpec) -> Iterator[tuple[Part, tuple[ModelSpec, ...]]]:
    choice = part.source.column("choice").to_numpy()
    for value in np.unique(choice):
        yield part.take(np.flatnonzero(choice == value)), spec.choices[int(value)]


def by_seen(part: Part, spec: TaskSpec) -> Iterator[Part]:
    """The series by the windows that they have history enough for, 1 to some number (an earlier window sees less),
    and apart from these the windows that they are too short for. Periods before a series' own first one do not count,
    filled or not: that it will begin is not known to a window before."""
    if part.own is None or spec.min_history < 1:
        yield part
        return
    width = part.own.shape[1]
    enough = (part.own >= spec.min_history).sum(axis=1)
    for count in np.unique(enough).tolist():
        group = part.take(np.flatnonzero(enough == count))
        if count:
            yield group.between(0, count)
        if count < width:
            yield replace(group.between(count, width), short=True)
