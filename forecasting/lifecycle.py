"""Where a series stands in its life, from its own silence: how long it has been quiet against its seasons and gaps.

A *sale* is an observation (with `zero_is_silence`: one that is not zero). A *gap* is the number of periods from one
sale to the next, the *silence* that from the last sale to the end. Both are compared with the series' own history, so
that a product that sells one season a year, or a spare part that sells every other year, is not taken for dead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, read_only
from forecasting.frequency import Int64Array

STATES = ("new", "active", "dormant", "ended", "returning")
NEW, ACTIVE, DORMANT, ENDED, RETURNING = STATES


@dataclass(frozen=True)
class SilenceRule:
    """When silence is long. A silence is longer than a limit when it exceeds both multiples: of the season and of the
    longest gap so far.

    new_below: fewer observations than this make a series new; None: than a season. returning_within: periods since it
    was sold again; None: a season. zero_is_silence: a zero is no sale, and what lies before the first sale does not
    count as observed.
    """

    new_below: int | None = None
    dormant_seasons: float = 1.0
    dormant_gaps: float = 2.0
    ended_seasons: float = 2.0
    ended_gaps: float = 3.0
    returning_within: int | None = None
    zero_is_silence: bool = False


@dataclass(frozen=True)
class Quiet:
    """The silence of N series as W cutoffs see it, all int64 [N, W].

    n_obs: observations. silent: periods from the last sale to the cutoff, 0 without a sale. gap: the longest before.
    since: periods from the latest return to the cutoff, -1 for none; before: the silence that it ended.
    """

    n_obs: Int64Array
    silent: Int64Array
    gap: Int64Array
    since: Int64Array
    before: Int64Array

    def ended(self, rule: SilenceRule, season: int) -> npt.NDArray[np.bool_]:
        """Which series had ended by each cutoff, bool [N, W]."""
        limit = np.maximum(rule.ended_seasons * season, rule.ended_gaps * self.gap)
        return np.asarray((self.n_obs > 0) & (self.silent > limit))

    def states(self, rule: SilenceRule, season: int) -> npt.NDArray[np.int8]:
        """The position in STATES, int8 [N, W]. Of several that hold, the first of: ended, new, dormant, returning."""
        few = season if rule.new_below is None else rule.new_below
        recent = season if rule.returning_within is None else rule.returning_within
        dormant = self.silent > np.maximum(rule.dormant_seasons * season, rule.dormant_gaps * self.gap)
        returning = (self.since >= 0) & (self.since < recent)
        place = {name: position for position, name in enumerate(STATES)}
        conditions = [self.ended(rule, season), (self.n_obs < few) | (self.n_obs == 0), dormant, returning]
        chosen = [place[ENDED], place[NEW], place[DORMANT], place[RETURNING]]
        return np.asarray(np.select(conditions, chosen, place[ACTIVE]), dtype=np.int8)


def quiet(
    values: FloatArray, offsets: Int64Array, start: Int64Array, cutoffs: Int64Array, rule: SilenceRule, season: int
) -> Quiet:
    """What each cutoff sees of the series' silence; what comes after a cutoff does not matter.

    values, offsets, start: as in a `SeriesBatch`, NaN is missing and nothing is filled. cutoffs: int64 [N, W],
    ordinals of the last period seen.
    """
    shape = cutoffs.shape
    n_obs, gap, before = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    last, back = (np.full(shape, -1, dtype=np.int64) for _ in range(2))
    visible = np.clip(cutoffs - start[:, None] + 1, 0, np.diff(offsets)[:, None])
    floats = read_only(np.ascontiguousarray(values, dtype=np.float64))
    places, ends = (read_only(np.ascontiguousarray(a, dtype=np.int64)) for a in (offsets, visible))
    least, times = float(rule.dormant_seasons * season), float(rule.dormant_gaps)
    _walk(floats, places, ends, rule.zero_is_silence, least, times, n_obs, last, gap, back, before)
    from_start = cutoffs - start[:, None]
    silent = np.where(last >= 0, from_start - last, 0)
    return Quiet(n_obs, silent, gap, np.where(back >= 0, from_start - back, -1), before)


@numba.njit(cache=True)
def _walk(
    values: FloatArray,
    offsets: Int64Array,
    visible: Int64Array,
    zero_is_silence: bool,
    least: float,
    times: float,
    n_obs: Int64Array,
    last: Int64Array,
    gap: Int64Array,
    back: Int64Array,
    before: Int64Array,
) -> None:
    """One walk over each series, which stops at its windows from the earliest (the last column) on."""
    windows = visible.shape[1]
    for i in range(visible.shape[0]):
        t, seen, sale, longest, again, silence = 0, 0, -1, 0, -1, 0
        for w in range(windows - 1, -1, -1):
            if visible[i, w] < t:  # cutoffs in another order: from the beginning
                t, seen, sale, longest, again, silence = 0, 0, -1, 0, -1, 0
            while t < visible[i, w]:
                y = values[offsets[i] + t]
                if not np.isnan(y):
                    sold = y != 0.0 or not zero_is_silence
                    if sold or sale >= 0:
                        seen += 1
                    if sold:
                        if sale >= 0:
                            if t - sale > max(least, times * longest):
                                again, silence = t, t - sale
                            longest = max(longest, t - sale)
                        sale = t
                t += 1
            n_obs[i, w], last[i, w], gap[i, w], back[i, w], before[i, w] = seen, sale, longest, again, silence
