"""The contest of a run's models: each series' losses, and how each model stands in each segment.

A segment's standing needs only sums, a few hundred numbers for the driver whatever the number of series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.evaluation.crowd import (
    Crowd,
    best_in_segment,
    crowd_rows,
    crowd_width,
    own_scores,
    relative_loss,
    shrunken,
)
from forecasting.evaluation.selection import selection_loss
from forecasting.evaluation.sums import GroupedSums
from forecasting.frequency import Int64Array
from forecasting.models.registry import get_model, last_variant
from udfs.arrow import ArrowStep, repeated
from udfs.config import Config
from udfs.config.variants import competing_models, trial_variants
from udfs.packed_numbers import packed, unpacked
from udfs.results import DEEPAR, DEEPAR_COST
from udfs.row_numbers import HEAD, n_numbers
from udfs.series_rows import in_pieces, series_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_SUMS_DDL = "segment string, left_out int, numbers binary, lost binary"
TRIAL_GAIN = 0.01
"""A trial takes its family's place only with a mean loss lower by this share: less is chance, and it costs more."""


@dataclass(frozen=True)
class Contest:
    """What models are compared by. models: in the order of the config; trials: their variants that are trials."""

    models: tuple[str, ...]
    metric: str
    levels: tuple[float, ...]
    crowd: float
    trials: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Config, *, deepar: bool = False) -> Contest:
        """deepar: whether the global model takes part; it comes last."""
        *segments, rest = competing_models(config)
        names = [*rest, *(name for models in segments for name in models), *([DEEPAR] if deepar else [])]
        choice = config.selection
        return cls(tuple(dict.fromkeys(names)), choice.metric, config.quantiles, choice.crowd, trial_variants(config))

    @property
    def costs(self) -> list[float]:
        """The models' static costs, for ties."""
        return [DEEPAR_COST if name == DEEPAR else get_model(name).cost for name in self.models]

    def trial_groups(self) -> list[list[int]]:
        """Positions of a model and its trials, for each model that has any."""
        groups: dict[str, list[int]] = {}
        for position, name in enumerate(self.models):
            base, variant = last_variant(name)
            groups.setdefault(base if variant in self.trials else name, []).append(position)
        return [group for group in groups.values() if len(group) > 1]


@dataclass(frozen=True)
class Field:
    """The losses of S series among M models; NaN is no score. ran: [S, M], whether the model is a candidate.
    windows: [S], windows with a score."""

    loss: FloatArray
    n_fallback: Int64Array
    ran: npt.NDArray[np.bool_]
    windows: FloatArray


def contest_fields(batch: pa.RecordBatch, contest: Contest, left_out: Sequence[int] = ()) -> list[Field]:
    """The fields of a batch of series with their sums (see `derive_sums.series_sums`): over all windows, and without
    each of those left out, where the candidates stay who they are."""
    width = n_numbers(contest.levels)
    rows = series_rows(batch, width, contest.models)
    shape = (len(batch), len(contest.models), width)
    of = rows.over_windows
    numbers = np.full(shape, np.nan)
    numbers[rows.series[of], rows.model[of]] = rows.numbers[of]
    fields = [_field(numbers, contest)]
    windows = np.unique(rows.window[rows.window > 0])
    for window in left_out:
        numbers = np.zeros(shape)
        some = np.zeros(shape[:2], dtype=bool)
        for other in windows[windows != window]:
            at = rows.window == other
            numbers[rows.series[at], rows.model[at]] += rows.numbers[at]
            some[rows.series[at], rows.model[at]] = True
        numbers[~some] = np.nan
        fields.append(replace(_field(numbers, contest), ran=fields[0].ran))
    return fields


def _field(numbers: FloatArray, contest: Contest) -> Field:
    """numbers: [S, M, K], NaN where a model has no row."""
    ran = ~np.isnan(numbers[..., 0])
    loss = selection_loss(numbers[..., len(HEAD) :], contest.levels, contest.metric)
    scored = np.fmax(numbers[..., len(HEAD)], 0.0) * np.isfinite(loss)  # n_rows: windows with a scored point
    return Field(loss, np.where(ran, numbers[..., 1], 0).astype(np.int64), ran, scored.max(axis=1, initial=0.0))


FieldsOf = Callable[[pa.RecordBatch, Contest, Sequence[int]], list[Field]]


@dataclass(frozen=True)
class Standing:
    """How the models of a contest stand in each segment.

    segments: names. crowd: scores and losses by segment. eligible: [G, M], whether a model competes there: of a family
    and its trials only the best does.
    """

    contest: Contest
    segments: tuple[str, ...]
    crowd: Crowd
    eligible: npt.NDArray[np.bool_]
    series: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, contest: Contest, sums: Mapping[str, FloatArray]) -> Standing:
        """From each segment's sums of `crowd_rows`."""
        names = tuple(sorted(sums))
        table = np.array([sums[name] for name in names]).reshape(len(names), crowd_width(len(contest.models)))
        crowd = Crowd.of(table)
        eligible = np.isfinite(crowd.scores)
        own = own_scores(table)  # not shrunk: what a price does for one segment says nothing of another
        for group in contest.trial_groups():
            handicap = np.where(np.arange(len(group)) == 0, 0.0, TRIAL_GAIN)  # the family itself comes first
            scores = np.where(eligible[:, group], own[:, group] + handicap, np.inf)
            best = scores.argmin(axis=1)
            for i, position in enumerate(group):
                eligible[:, position] &= best == i
        return cls(contest, names, crowd, eligible, {n: int(c) for n, c in zip(names, table[:, 0], strict=True)})

    def positions(self, segments: Sequence[str]) -> Int64Array:
        """The place of each series' segment in `segments`, -1 for one without any score."""
        place = {name: i for i, name in enumerate(self.segments)}
        return np.array([place.get(name, -1) for name in segments], dtype=np.int64)

    def crowd_scores(self, segments: Sequence[str]) -> FloatArray:
        """The scores of each series' segment, those of all for one without any, [S, M]; NaN for none."""
        at = self.positions(segments)
        if not self.segments:
            return np.full((len(at), len(self.contest.models)), np.nan)
        return np.where((at >= 0)[:, None], self.crowd.scores[at], self.crowd.overall)

    def scores(self, lines: Field, segments: Sequence[str]) -> FloatArray:
        """Each series' shrunken relative losses among the models that compete in its segment, [S, M]."""
        at = self.positions(segments)
        known, crowd = (at >= 0)[:, None], self.crowd_scores(segments)
        candidates = lines.ran | ~lines.ran.any(axis=1, keepdims=True)
        competes = candidates & (np.where(known, self.eligible[at], True) if self.segments else True)
        mine = np.where(competes, lines.loss, np.nan)
        return shrunken(relative_loss(mine), lines.windows, np.where(competes, crowd, np.nan), self.contest.crowd)

    def best(self) -> dict[str, int]:
        """The model with the smallest summed loss of each segment."""
        crowd = Crowd(self.crowd.scores, np.where(self.eligible, self.crowd.losses, np.nan))
        return dict(zip(self.segments, best_in_segment(crowd, self.contest.costs).tolist(), strict=True))

    def best_of_all(self) -> int:
        """The model with the smallest loss over all segments that ran it; among those that most segments ran."""
        losses = np.where(self.eligible, self.crowd.losses, np.nan)
        count = np.isfinite(losses).sum(axis=0)
        if not count.any():
            return int(min(range(len(self.contest.models)), key=lambda m: (self.contest.costs[m], m)))
        usable = np.where(count == count.max(), np.nansum(losses, axis=0), np.nan)[None]
        return int(best_in_segment(Crowd(usable, usable), self.contest.costs)[0])


def standings(sums: DataFrame, contest: Contest, fields_of: FieldsOf, left_out: Sequence[int] = ()) -> list[Standing]:
    """The models' standing over series with the column `segment`, by all windows and without each of those left out:
    one pass, sums to the driver. fields_of: the fields of a batch of them."""
    parts = sums.mapInArrow(_sums_step(contest, left_out, fields_of), _SUMS_DDL).toArrow()
    width = crowd_width(len(contest.models))
    names: list[dict[str, int]] = [{} for _ in (None, *left_out)]
    totals = [GroupedSums(width) for _ in names]
    for batch in parts.to_batches():
        which = batch.column("left_out").to_numpy()
        for i in np.unique(which).tolist():
            mine = batch.filter(pa.array(which == i))
            slots = [names[i].setdefault(name, len(names[i])) for name in mine.column("segment").to_pylist()]
            totals[i].add(unpacked(mine.column("numbers"), width), slots, unpacked(mine.column("lost"), width))
    return [Standing.of(contest, dict(zip(n, t.totals, strict=True))) for n, t in zip(names, totals, strict=True)]


def _sums_step(contest: Contest, left_out: Sequence[int], fields_of: FieldsOf) -> ArrowStep:
    # The global model's rows may lack some series. Summed losses are compared over the series that all have scored, or
    # it would win by being asked less.
    everywhere = np.array([name == DEEPAR for name in contest.models])

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names: dict[str, int] = {}
        totals = [GroupedSums(crowd_width(len(contest.models))) for _ in (None, *left_out)]
        for batch in in_pieces(batches):
            slots = [names.setdefault(name, len(names)) for name in batch.column("segment").to_pylist()]
            for total, lines in zip(totals, fields_of(batch, contest, left_out), strict=True):
                total.add(crowd_rows(lines.loss, lines.ran | everywhere), slots)
        for i, total in enumerate(totals if names else ()):
            high, low = total.parts
            segments, which = pa.array(list(names), pa.string()), repeated(i, pa.int32(), len(names))
            columns = [segments, which, packed(high), packed(low)]
            yield pa.RecordBatch.from_arrays(columns, names=["segment", "left_out", "numbers", "lost"])

    return run
