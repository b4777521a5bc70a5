"""The sections on backtests, the choice among models, calibration and the scoring of forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from udfs.config.segments import KINDS
from udfs.config.sources import Matching, Section

if TYPE_CHECKING:
    from udfs.config.schema import Config


class Backtest(Section):
    """Backtest windows: window k is cut `offset` + (k - 1) x `stride` periods before the end of the history and scored
    over one horizon."""

    windows: int = Field(default=1, ge=0, le=100)
    """How many; 0 for one model that need not be chosen."""
    offset: int | None = Field(default=None, ge=1)
    """Periods between the end of the history and the latest cutoff; null: the horizon."""
    stride: int | None = Field(default=None, ge=1)
    """Periods between cutoffs; null: the offset. Shorter than the horizon, windows overlap."""
    history: int | None = Field(default=None, ge=1)
    """Rolling windows: the latest periods that a window may see. null: all before its cutoff (expanding)."""
    min_history: int | None = Field(default=None, ge=1)
    """A series is left out of a window that would see fewer periods of it; null: the horizon, and at least 3."""
    refit: Literal["each", "first"] = "each"
    """each: parameters are estimated for every window. first: in the earliest one, then only states move on."""


class Selection(Section):
    """How each series' model, or weights of several, come from its backtest scores."""

    mode: Literal["ensemble", "best_per_series", "best_per_segment", "best_overall", "mean", "median"] = "ensemble"
    """ensemble: quantiles averaged with weights from the backtests, learnt per segment and bent to each series.
    best_per_series: one model a series, by scores shrunk towards its segment. best_per_segment, best_overall: one for
    all series of a segment, or for all. mean (trimmed), median: of all models' quantiles, nothing learnt."""
    metric: Literal["mean_wQL", "WAPE", "RMSE", "MASE", "MAPE", "cost"] = "mean_wQL"
    """Summed over the windows of a series; mean_wQL by the summed quantile loss, which zero actuals leave defined.
    cost: by the money of `evaluation.error_cost`."""
    segment_by: tuple[str, ...] = ()
    """Key or metadata columns, lifecycle or demand_class: series that agree in them are one segment. (): all series
    are, but for `segments`."""
    crowd: float = Field(default=4.0, ge=0)
    """How many windows of its own a series' score needs to weigh as much as its segment's; 0: own scores alone."""
    sample: int = Field(default=500, ge=1)
    """Series of a segment that its weights are learnt from, taken by the hash of the key."""
    smallest_weight: float = Field(default=0.05, ge=0, lt=0.5)
    """Smaller weights of a series are dropped: each model that it keeps has to run."""


class Calibration(Section):
    """Conformal adjustment of the quantiles by what the backtests missed."""

    method: Literal["conformal", "none"] = "conformal"
    """conformal: intervals are widened or narrowed until they would have held in the backtests, as far as the windows
    agree."""
    series_points: float = Field(default=500.0, gt=0)
    """Backtest points that a series' own adjustment needs to weigh as much as its segment's."""


class ErrorCostGroup(Matching):
    """Unit costs of the series that meet `where`."""

    under: float = Field(ge=0)
    """Cost of a unit of demand that was not forecast."""
    over: float = Field(ge=0)
    """Cost of a unit that was forecast and not wanted."""


class ErrorCost(Section):
    """What a unit of error costs, in money: it decides the quantile to plan with, under / (under + over)."""

    under: float = Field(ge=0)
    """Cost of a unit of demand that was not forecast, such as a lost margin."""
    over: float = Field(ge=0)
    """Cost of a unit that was forecast and not wanted, such as holding or waste."""
    groups: tuple[ErrorCostGroup, ...] = ()
    """Other costs for some series; the first that matches counts."""

    @model_validator(mode="after")
    def _some_cost(self) -> ErrorCost:
        for under, over in ((self.under, self.over), *((g.under, g.over) for g in self.groups)):
            if under + over <= 0:
                raise ValueError("under and over are both 0; give at least one a cost above 0")
        return self


class Evaluation(Section):
    """How forecasts are scored."""

    mase_season_length: int | None = Field(default=None, ge=1)
    """Season of MASE's naive error; null: the season of the frequency."""
    score_filled: bool = False
    """Whether points that a fill rule made count as actuals (true where no row is known to mean zero)."""
    error_cost: ErrorCost | None = None
    """Costs of over- and under-forecasting; null: none."""


def evaluation_problems(config: Config, known: Iterable[str]) -> Iterator[str]:
    """What disagrees with the rest of the config. known: key and metadata columns."""
    columns, backtest, horizon = set(known), config.backtest, config.horizon
    if backtest.offset is not None and backtest.offset < horizon:
        yield (
            f"backtest.offset is {backtest.offset} and the horizon {horizon}; "
            "the offset must be at least the horizon, or a window would be scored beyond the end of the data"
        )
    if backtest.history is not None and backtest.history < least_history(config):
        yield (
            f"backtest.history is {backtest.history} and a window must see {least_history(config)} periods "
            "(backtest.min_history): make the history longer or the minimum shorter"
        )
    yield from (
        f"selection.segment_by: no key or metadata column {c!r}"
        for c in config.selection.segment_by
        if c not in columns and c not in KINDS
    )
    costs = config.evaluation.error_cost
    if config.selection.metric == "cost" and costs is None:
        yield "selection.metric is cost and evaluation.error_cost is not given: say what a unit of error costs"
    for position, group in enumerate(costs.groups if costs else ()):
        unknown = [c for c in group.where if c not in columns]
        if unknown:
            yield f"evaluation.error_cost.groups[{position}]: no key or metadata column {unknown}"


def least_history(config: Config) -> int:
    """Periods that a backtest window must see of a series."""
    return config.backtest.min_history or max(config.horizon, 3)
