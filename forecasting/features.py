"""Related series that are derived from others or from the calendar: one definition for backtest, training and
forecast.

A derived value of period t uses its source up to t only. Gaps of the source take the latest value before them, as they
do where a model regresses on the source itself; so after a source's last known value its change is 0 and its lags and
means go on from what is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numba
import numpy as np

from forecasting.batch import FloatArray, RelatedSeries, SeriesBatch, offsets_of, read_only
from forecasting.calendar_features import Encoding, calendar_columns
from forecasting.frequency import Int64Array

Transform = Literal["relative_change", "difference", "log", "lag", "rolling_mean"]
TRANSFORMS: tuple[Transform, ...] = ("relative_change", "difference", "log", "lag", "rolling_mean")
_CODES = {name: code for code, name in enumerate(TRANSFORMS)}
_RELATIVE, _DIFFERENCE, _LOG, _LAG, _MEAN = range(5)


@dataclass(frozen=True)
class Derived:
    """A related series made of another one, x with its gaps closed, p periods.

    relative_change: x_t / x_(t-p) - 1, 0 where either is missing and where x_(t-p) is 0. difference: x_t - x_(t-p), 0
    where either is missing. log: the natural logarithm, missing where x_t is not positive. lag: x_(t-p). rolling_mean:
    the mean of x_(t-p+1) to x_t, of those that are there.
    Raises ValueError for an unknown transform or p below 1.
    """

    of: str
    transform: Transform
    periods: int = 1

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS or self.periods < 1:
            raise ValueError(
                f"got transform {self.transform!r} over {self.periods} periods; expected one of "
                f"{', '.join(TRANSFORMS)} and at least 1 period"
            )

    def known_in_future(self, source_known: bool, horizon: int) -> bool:
        """Whether it is known over a horizon: as its source is, and a lag of the horizon or more always."""
        return source_known or (self.transform == "lag" and self.periods >= horizon)


@dataclass(frozen=True)
class Features:
    """What is added to a batch. derived: by name. calendar: names of `calendar_features.LENGTHS`, all in one encoding.
    zone: as in `calendar_features.feature_values`."""

    derived: Mapping[str, Derived] = field(default_factory=dict)
    calendar: tuple[str, ...] = ()
    encoding: Encoding = "cyclic"
    zone: str | None = None

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to add."""
        return not self.derived and not self.calendar

    @property
    def form(self) -> str:
        """What a stored fit must share to be gone on from."""
        return "" if self.nothing else repr((sorted(self.derived.items()), self.calendar, self.encoding, self.zone))


def with_features(batch: SeriesBatch, features: Features, horizon: int) -> SeriesBatch:
    """The batch with its features as related series, through `horizon` periods where they are known that far.

    Nothing looks ahead: a backtest window may see of the result what it may see of any related series. Raises
    ValueError for a source that the batch does not have, or a name that is taken.
    """
    taken = sorted(set(features.derived) & set(batch.related))
    missing = sorted({d.of for d in features.derived.values()} - set(batch.related))
    if taken or missing:
        raise ValueError(f"features: {taken} are related series already, and {missing} are none to derive from")
    if features.nothing:
        return batch
    added = {name: _derived(batch, one, horizon) for name, one in features.derived.items()}
    return replace(batch, related={**batch.related, **added, **_calendar(batch, features, horizon)})


def _derived(batch: SeriesBatch, one: Derived, horizon: int) -> RelatedSeries:
    source = batch.related[one.of]
    known = one.known_in_future(source.known_in_future, horizon)
    visible = batch.lengths + (horizon if source.known_in_future else 0)
    lengths = np.where(batch.lengths > 0, batch.lengths, 0) + (horizon if known else 0)
    offsets = offsets_of(lengths)
    out = np.full(int(offsets[-1]), np.nan)
    where = (read_only(source.values), read_only(source.offsets), read_only(visible), read_only(offsets))
    _derive(*where, _CODES[one.transform], one.periods, out)
    return RelatedSeries(read_only(out), read_only(offsets), known_in_future=known)


def _calendar(batch: SeriesBatch, features: Features, horizon: int) -> dict[str, RelatedSeries]:
    if not features.calendar:
        return {}
    lengths = batch.lengths + horizon
    offsets = read_only(offsets_of(lengths))
    ordinals = np.arange(int(offsets[-1])) + np.repeat(batch.start - offsets[:-1], lengths)
    first = int(ordinals.min()) if len(ordinals) else 0
    # Every period once, however many series share it.
    periods = np.arange(first, int(ordinals.max()) + 1) if len(ordinals) else ordinals
    names, table = calendar_columns(batch.frequency, periods, features.calendar, features.encoding, features.zone)
    return {
        name: RelatedSeries(read_only(column[ordinals - first]), offsets, known_in_future=True)
        for name, column in zip(names, table, strict=True)
    }


@numba.njit(cache=True)
def _derive(
    source: FloatArray,
    source_offsets: Int64Array,
    visible: Int64Array,
    offsets: Int64Array,
    transform: int,
    periods: int,
    out: FloatArray,
) -> None:
    """out, flat with offsets: the transform of each source series, of which the first visible[i] values count."""
    longest = 0
    for i in range(len(visible)):
        longest = max(longest, offsets[i + 1] - offsets[i])
    x = np.empty(longest)
    for i in range(len(visible)):
        n = offsets[i + 1] - offsets[i]
        known = min(source_offsets[i + 1] - source_offsets[i], visible[i])
        latest = np.nan
        for t in range(n):
            if t < known and np.isfinite(source[source_offsets[i] + t]):
                latest = source[source_offsets[i] + t]
            x[t] = latest
        for t in range(n):
            at = offsets[i] + t
            if transform == _LOG:
                out[at] = np.log(x[t]) if x[t] > 0.0 else np.nan
            elif transform == _MEAN:
                total, count = 0.0, 0
                for s in range(max(t - periods + 1, 0), t + 1):
                    if np.isfinite(x[s]):
                        total += x[s]
                        count += 1
                out[at] = total / count if count > 0 else np.nan
            else:
                before = x[t - periods] if t >= periods else np.nan
                if transform == _LAG:
                    out[at] = before
                elif not (np.isfinite(before) and np.isfinite(x[t])):
                    out[at] = 0.0
                elif transform == _DIFFERENCE:
                    out[at] = x[t] - before
                else:
                    out[at] = x[t] / before - 1.0 if before != 0.0 else 0.0
