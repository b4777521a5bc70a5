"""What a task is told: the stage, the models and all settings that their rows depend on. It goes to the workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from forecasting.batch import FloatArray
from forecasting.closures import Observing
from forecasting.cold_start import ColdModel, FeatureSpace
from forecasting.evaluation.moving import BacktestRefit
from forecasting.evaluation.windows import ForecastStart
from forecasting.features import Features
from forecasting.filling import FillRules
from forecasting.holidays import HolidayCalendar
from forecasting.postprocess import Bounds
from forecasting.scenarios import Scenario
from forecasting.treatment import Treatment
from udfs import stored
from udfs.living import LifeSpec

Stage = Literal["backtest", "forecast"]


@dataclass(frozen=True)
class ModelSpec:
    """A model with its hyperparameters."""

    name: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Members:
    """How the members that `selection` gave a series become one forecast. mode: see `udfs.blend.Blender`. segments,
    table: what intervals are adjusted by, [G, B, I, C] (see `forecasting.evaluation.calibration`). deepar: whether the
    global model's forecasts are beside the series, as one more member."""

    mode: str
    segments: tuple[str, ...]
    table: FloatArray
    deepar: bool = False


@dataclass(frozen=True)
class ColdStartSpec:
    """What series with fewer than `below` points are forecast from. models: for the forecast, or for each backtest
    window, what is learnt from donors as seen there. columns: feature -> column of a batch. price: the related series
    that is a feature."""

    below: int
    models: tuple[ColdModel, ...]
    space: FeatureSpace
    columns: Mapping[str, str]
    price: str | None
    neighbours: int


@dataclass(frozen=True)
class TaskSpec:
    """All that a task needs to know; goes to the workers.

    frequency: canonical name. global_start, global_end: ordinals of the first and last period of the whole data set.
    choices: lists of models; a row's column `choice` says which list it runs. related: the related series to read,
    and whether their future is known. calendar: the holidays, None for none; a batch with the column REGION says which
    group of it a series belongs to. columns: names and order of what comes out. paths: folders in which a user's
    module may be found. refit: whether the stage forecast goes on from stored numbers (see `udfs.stored`).
    windows, offset, stride, history: the backtest's (see `BacktestPlan`). min_history: periods that a window must see
    of a series, else it is not fitted there. backtest_refit: parameters for each window, or from the earliest one.
    fill: the rules of all series, or those of each group (see `udfs.observing`). observing: what is no observation.
    features: related series to add. treatments: of each of `choices`, how abrupt changes are treated; empty, or None
    for one: not at all.
    members: in a forecast by `selection`, how a series' models become one; None: each model answers for itself.
    lifecycle: what ends and fades forecasts; None: nothing.
    cold: how series with hardly any history are forecast; None: by the models.
    scenario: other values of related series in the stage forecast; None: those that are there.
    """

    stage: Stage
    key: tuple[str, ...]
    frequency: str
    horizon: int
    quantiles: tuple[float, ...]
    windows: int
    offset: int
    forecast_start: ForecastStart
    global_start: int
    global_end: int
    choices: tuple[tuple[ModelSpec, ...], ...]
    columns: tuple[str, ...]
    seed: int = 0
    max_evaluations: int = 20_000
    mase_season_length: int = 1
    score_filled: bool = False
    fill: FillRules | tuple[FillRules, ...] = field(default_factory=FillRules)
    bounds: Bounds = field(default_factory=Bounds)
    related: Mapping[str, bool] = field(default_factory=dict)
    calendar: HolidayCalendar | None = None
    paths: tuple[str, ...] = ()
    refit: stored.Refit = stored.FULL
    stride: int | None = None
    history: int | None = None
    min_history: int = 0
    backtest_refit: BacktestRefit = "each"
    members: Members | None = None
    observing: Observing = field(default_factory=Observing)
    lifecycle: LifeSpec | None = None
    features: Features = field(default_factory=Features)
    treatments: tuple[Treatment | None, ...] = ()
    cold: ColdStartSpec | None = None
    scenario: Scenario | None = None

    @property
    def n_windows(self) -> int:
        """Rows that a series and model make."""
        return self.windows if self.stage == "backtest" else 1
