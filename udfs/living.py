"""Which steps of a forecast an item lives to see: zero after its end and before its start, fading towards its end.

The end is a date in the metadata, or (see `forecasting.lifecycle`) a silence after which a series is `ended`, judged
anew at each cutoff by what that cutoff sees. Dates are metadata: a backtest knows them as the forecast does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.api import Forecast
from forecasting.batch import FloatArray, SeriesBatch
from forecasting.frequency import Int64Array
from forecasting.lifecycle import SilenceRule, quiet
from forecasting.models.contract import ObjectArray, Status
from forecasting.phase_out import Curves, fading

if TYPE_CHECKING:
    from udfs.config import Config
    from udfs.parts import Part
    from udfs.spec import TaskSpec

START, END, SEGMENT = "life:start", "life:end", "life:segment"
"""Columns beside a series: the first and the last period of its life, NULL where it is not known; its segment."""
ENDED, NOT_STARTED, PHASE_OUT = "ended", "not_started", "phase_out"
"""Reasons. A forecast that is zero from some step on has `ended_after_step_3`, up to one `not_started_to_step_2`."""
_FAR = np.iinfo(np.int64).max // 4


@dataclass(frozen=True)
class LifeSpec:
    """What a task needs to know of the life of items. by_silence: whether a long one ends it. season: periods. curves:
    how forecasts decline before an end date; None: they do not."""

    rule: SilenceRule
    season: int
    by_silence: bool
    score_ended: bool = True
    curves: Curves | None = None

    @classmethod
    def of(cls, config: Config, season: int) -> LifeSpec | None:
        """What the config says, without curves; None where nothing ends."""
        life = config.lifecycle
        # A series that is forecast from its own last point is not silent, unless zeros at its end are silence.
        by_silence = life.zero_after == "ended" and (config.forecast_start == "global" or life.zero_is_silence)
        if not by_silence and (life.zero_after == "never" or not life.dates):
            return None
        return cls(life.rule, season, by_silence, life.score_ended)


def living(piece: pa.RecordBatch, own: SeriesBatch, cutoffs: Int64Array, spec: TaskSpec) -> Int64Array | None:
    """The steps that each series lives to see, int64 [N, W, 2]: from the first on, before the second. None: all do.

    own: the series as they are, neither filled nor lengthened by a predecessor's. cutoffs: int64 [N, W].
    """
    life, horizon = spec.lifecycle, spec.horizon
    if life is None:
        return None
    begin = _ordinals(piece, START, -_FAR)
    end = _ordinals(piece, END, _FAR)
    first = np.clip(begin[:, None] - cutoffs - 1, 0, horizon)
    stop = np.clip(end[:, None] - cutoffs, 0, horizon)
    if life.by_silence:
        found = quiet(own.values, own.offsets, own.start, cutoffs, life.rule, life.season)
        again = begin[:, None] > cutoffs - found.silent  # a start after its last sale is a new life
        stop[found.ended(life.rule, life.season) & ~again] = 0
    if not first.any() and (stop == horizon).all():
        return None
    return np.stack([first, stop], axis=2)


def faded(piece: pa.RecordBatch, cutoffs: Int64Array, spec: TaskSpec) -> FloatArray | None:
    """What the forecasts of N series are multiplied by as their end comes near, [N, 1, H]; None: nothing changes."""
    life = spec.lifecycle
    if life is None or life.curves is None or END not in piece.schema.names:
        return None
    end, cutoff = _ordinals(piece, END, _FAR), cutoffs[:, 0]
    near = np.flatnonzero((end > cutoff) & (end - cutoff - spec.horizon < life.curves.factors.shape[1]))
    if not len(near):
        return None
    names = piece.column(SEGMENT).take(pa.array(near)).to_pylist()
    factor = np.ones((len(piece), 1, spec.horizon))
    factor[near, 0] = fading(life.curves, life.curves.rows_of(names), cutoff[near], end[near], spec.horizon)
    return factor


def _ordinals(piece: pa.RecordBatch, name: str, default: int) -> Int64Array:
    if name not in piece.schema.names:
        return np.full(len(piece), default, dtype=np.int64)
    return np.asarray(pc.fill_null(piece.column(name), default).to_numpy(zero_copy_only=False), dtype=np.int64)


def without_ended(actuals: FloatArray, live: Int64Array | None, spec: TaskSpec) -> FloatArray:
    """Actuals [N, W, H] without those that are not scored because of an end."""
    if live is None or spec.lifecycle is None or spec.lifecycle.score_ended:
        return actuals
    return np.where(dead_steps(live, actuals.shape[-1]), np.nan, actuals)


def dead_steps(live: Int64Array, horizon: int) -> npt.NDArray[np.bool_]:
    """bool [.., H] of int64 [.., 2]."""
    step = np.arange(horizon)
    return np.asarray((step < live[..., :1]) | (step >= live[..., 1:]))


def by_life(part: Part) -> Iterator[Part]:
    """The series and windows for which models are run, and apart from them those whose every step is zero."""
    if part.live is None or part.short:
        yield part
        return
    over = part.live[..., 1] <= part.live[..., 0]
    if not over.any():
        yield part
        return
    patterns, which = np.unique(over, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        group = part.take(np.flatnonzero(which.reshape(-1) == number))
        bounds = [0, *(np.flatnonzero(np.diff(pattern)) + 1).tolist(), len(pattern)]
        for begin, end in pairwise(bounds):
            yield replace(group.between(begin, end), ended=bool(pattern[begin]))


def all_zero(skipped: Forecast) -> Forecast:
    """What stands for windows that need no model. skipped: the same without numbers."""
    return replace(
        skipped,
        mean=np.zeros_like(skipped.mean),
        quantiles=np.zeros_like(skipped.quantiles),
        status=np.full_like(skipped.status, Status.OK),
        reason=np.full(skipped.status.shape, "", dtype=object),
    )


def lived(forecast: Forecast, part: Part) -> Forecast:
    """The forecast after blending and calibration as the life of its items leaves it, with the reason."""
    if (part.live is None and part.fade is None) or part.short:
        return forecast
    mean, quantiles, lead = forecast.mean, forecast.quantiles, forecast.mean.shape[:-1]
    if part.fade is not None:
        fade = part.fade.reshape(mean.shape)
        mean, quantiles = mean * fade, quantiles * fade[..., None]
    if part.live is not None:
        dead = dead_steps(part.live.reshape(*lead, 2), mean.shape[-1])
        mean, quantiles = np.where(dead, 0.0, mean), np.where(dead[..., None], 0.0, quantiles)
    return noted(replace(forecast, mean=mean, quantiles=quantiles), part)


def noted(forecast: Forecast, part: Part) -> Forecast:
    """The forecast with what its items' life makes of it among its reasons."""
    if (part.live is None and part.fade is None) or part.short:
        return forecast
    reason, lead = forecast.reason.copy(), forecast.mean.shape[:-1]
    horizon = forecast.mean.shape[-1]
    if part.fade is not None:
        _note(reason, (part.fade != 1.0).any(axis=-1).reshape(lead), lambda _: PHASE_OUT)
    if part.live is not None:
        first, stop = (part.live[..., side].reshape(lead) for side in (0, 1))
        # Steps that both dates leave out are counted for the end: it is the later news.
        _note(reason, (first > 0) & (first < stop), lambda at: f"{NOT_STARTED}_to_step_{first[at]}")
        _note(reason, (first > 0) & (first >= stop) & (stop > 0), lambda _: NOT_STARTED)
        _note(reason, (stop < horizon) & (stop > first), lambda at: f"{ENDED}_after_step_{stop[at]}")
        _note(reason, stop == 0, lambda _: ENDED)
    return replace(forecast, reason=reason)


def _note(reason: ObjectArray, where: npt.NDArray[np.bool_], text: Any) -> None:
    """Add a text to the reasons of some rows; few are."""
    for at in zip(*np.nonzero(where), strict=True):
        reason[at] = f"{reason[at]}; {text(at)}" if reason[at] else text(at)


def scored_density(density: FloatArray | None, part: Part) -> FloatArray | None:
    """Log densities [R, H] of backtest rows; NaN where the forecast is not the model's own."""
    if density is None or part.live is None or part.short:
        return density
    return np.where(dead_steps(part.live.reshape(-1, 2), density.shape[-1]), np.nan, density)


def without_ended_steps(actuals: FloatArray, reason: pa.Array) -> FloatArray:
    """Actuals [R, H] of stored forecasts without the steps after an end, which the rows' reasons tell of."""
    after = pc.struct_field(pc.extract_regex(reason, rf"{ENDED}_after_step_(?P<step>[0-9]+)"), "step")
    stop = pc.fill_null(after.cast(pa.int64()), actuals.shape[1]).to_numpy(zero_copy_only=False)
    whole = pc.match_substring_regex(reason, rf"(^|; ){ENDED}(;|$)").to_numpy(zero_copy_only=False)
    stop = np.where(whole.astype(bool), 0, stop)
    return np.where(np.arange(actuals.shape[1]) >= stop[:, None], np.nan, actuals)


def step_flag(reason: str, step: str) -> str:
    """SQL of `forecasts.lifecycle`: what became of a step (an INT expression from 1), from the row's reason."""
    after, to = (
        f"cast(nullif(regexp_extract({reason}, '{name}([0-9]+)', 1), '') AS int)"
        for name in (f"{ENDED}_after_step_", f"{NOT_STARTED}_to_step_")
    )
    whole = {name: f"{reason} RLIKE '(^|; ){name}(;|$)'" for name in (ENDED, NOT_STARTED, PHASE_OUT)}
    return (
        f"CASE WHEN {reason} = '' THEN NULL WHEN {whole[ENDED]} OR {step} > {after} THEN '{ENDED}' "
        f"WHEN {whole[NOT_STARTED]} OR {step} <= {to} THEN '{NOT_STARTED}' "
        f"WHEN {whole[PHASE_OUT]} THEN '{PHASE_OUT}' END"
    )
