"""The section on the life of items: new, active, dormant, ended, returning, and what replaced them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from forecasting.lifecycle import SilenceRule
from udfs.config.sources import Section, Source

if TYPE_CHECKING:
    from udfs.config.schema import Config


class DormantAfter(Section):
    """Silence is longer than both: `seasons` seasons and `gaps` times the longest gap between two of its sales."""

    seasons: float = Field(default=1.0, ge=0)
    """Multiple of the season of the frequency (7 for days, 12 for months)."""
    gaps: float = Field(default=2.0, ge=0)
    """Multiple of the series' own longest gap."""


class EndedAfter(Section):
    """As `dormant_after`, and no shorter."""

    seasons: float = Field(default=2.0, ge=0)
    """Multiple of the season of the frequency."""
    gaps: float = Field(default=3.0, ge=0)
    """Multiple of the series' own longest gap."""


class PhaseOut(Section):
    """How sales decline before a known end, learnt from items that have reached theirs."""

    periods: int | None = Field(default=None, ge=1, le=520)
    """Periods before the end over which the decline is learnt; null: the horizon."""
    strength: float = Field(default=10.0, ge=0)
    """Ended items that a decline needs before it counts as much as none (a segment's: as much as all items')."""


class Successors(Source):
    """What replaced what: a table with the columns predecessor and successor, maybe scale and switch_date."""

    key: tuple[str, ...] = ()
    """Forecast dimensions that the table has too, such as [store_id]; (): a link holds in all of them."""
    scale_bounds: tuple[float, float] = (0.1, 10.0)
    """Limits of a scale that is estimated; a scale that the table gives is taken as it is."""

    @model_validator(mode="after")
    def _bounds(self) -> Successors:
        low, high = self.scale_bounds
        if not 0 < low <= 1 <= high:
            raise ValueError(f"scale_bounds is {[low, high]}; expected a number from 0 to 1 and one from 1 on")
        return self


class Lifecycle(Section):
    """The life of items: states by their silence and by dates in the metadata, their end, their successors."""

    new_below: int | None = Field(default=None, ge=1)
    """A series with fewer observations is `new`; null: than a season has periods."""
    dormant_after: DormantAfter = DormantAfter()
    """Silence after which a series is `dormant`; it is forecast all the same."""
    ended_after: EndedAfter = EndedAfter()
    """Silence after which a series is `ended`."""
    returning_within: int | None = Field(default=None, ge=1)
    """Periods for which a series that is sold again after a long silence is `returning`; null: a season."""
    zero_is_silence: bool = False
    """Whether a zero in the data is silence like a missing row (data that are filled with zeros)."""
    start_date: str | None = None
    """Metadata column with the date from which an item is sold: its forecast is zero before."""
    end_date: str | None = None
    """Metadata column with the last date on which an item is sold: its forecast is zero after."""
    zero_after: Literal["ended", "end_date", "never"] = "ended"
    """What is forecast as zero without running a model. ended: series that are `ended`, by date or by silence.
    end_date: by date alone. never: nothing; dates then only set the state."""
    score_ended: bool = True
    """Whether backtests and later evaluations score steps after an end; false leaves them out of the metrics."""
    phase_out: PhaseOut | None = PhaseOut()
    """Decline before an end date that lies in the horizon or shortly after it; null: none."""
    successors: Successors | None = None
    """What replaced what: the predecessor's history stands before the successor's; null: nothing."""

    @model_validator(mode="after")
    def _ordered(self) -> Lifecycle:
        dormant, ended = self.dormant_after, self.ended_after
        if ended.seasons < dormant.seasons or ended.gaps < dormant.gaps:
            raise ValueError(
                f"ended_after is {ended.seasons:g} seasons and {ended.gaps:g} gaps, dormant_after {dormant.seasons:g} "
                f"and {dormant.gaps:g}; a series is dormant before it has ended: neither number may be smaller"
            )
        return self

    @property
    def rule(self) -> SilenceRule:
        """When silence is long."""
        return SilenceRule(
            new_below=self.new_below,
            dormant_seasons=self.dormant_after.seasons,
            dormant_gaps=self.dormant_after.gaps,
            ended_seasons=self.ended_after.seasons,
            ended_gaps=self.ended_after.gaps,
            returning_within=self.returning_within,
            zero_is_silence=self.zero_is_silence,
        )

    @property
    def dates(self) -> tuple[str, ...]:
        """The metadata columns that hold dates."""
        return tuple(name for name in (self.start_date, self.end_date) if name is not None)

    @property
    def of_series(self) -> dict[str, object]:
        """What decides the states in `series`, without what is at its default."""
        silence = {k: v for k, v in vars(self.rule).items() if v != getattr(SilenceRule(), k)}
        dates = {k: v for k, v in (("start_date", self.start_date), ("end_date", self.end_date)) if v is not None}
        return silence | dates


def lifecycle_problems(config: Config) -> Iterator[str]:
    """What disagrees with the rest of the config."""
    life, attributes = config.lifecycle, config.data.attributes
    for field in ("start_date", "end_date"):
        column = getattr(life, field)
        if column is not None and column not in attributes:
            known = ", ".join(attributes) or "none"
            yield f"lifecycle.{field}: no metadata column {column!r}; name one of data.items' attributes: {known}"
    if life.start_date is not None and life.start_date == life.end_date:
        yield f"lifecycle.start_date and end_date are both {life.start_date!r}; name two columns, or one of them"
    if life.successors is not None:
        extra = [name for name in life.successors.key if name not in config.dimensions]
        if extra:
            yield f"lifecycle.successors.key has {extra}; the forecast dimensions are {list(config.dimensions)}"
