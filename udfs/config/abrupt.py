"""The section `abrupt`: level shifts, surges and outliers, and what models see of series that have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from forecasting.demand import DEMAND_CLASSES
from forecasting.models.contract import RegressionHyperparameters
from forecasting.models.registry import get_model
from forecasting.surge_kernels import SHORTEST
from forecasting.treatment import Treatment
from udfs.config.sources import Section

if TYPE_CHECKING:
    from udfs.config.schema import Config


class Abrupt(Section):
    """Level shifts, surges and outliers: found in what a backtest window sees, and in the whole history for the table
    `events` and the forecast. What a fit sees is treated; actuals and scores never are."""

    treatment: Literal["report", "dampen", "after_shift", "regressors"] = "report"
    """report: the table `events` only. dampen: outliers and surges are replaced by what was expected. after_shift:
    models see the history from the last level shift on. regressors: a step for each of the latest shifts and a pulse
    for each of the latest surges, for models that regress (prophet, arima); the others see the data as they are."""
    penalty: float = Field(default=3.0, gt=0)
    """What a level shift must be worth, in log(n) times the squared noise; larger finds fewer."""
    min_segment: int = Field(default=5, ge=2)
    """Observed periods that a level lasts at least."""
    threshold: float = Field(default=5.0, ge=2)
    """Noise scales by which an outlier, and a surge on average, lies beyond its neighbours."""
    surge_length: int | None = Field(default=None, ge=0)
    """Observed periods of the longest surge, a level that comes and goes; 0: none, from 3 on. What lasts longer is two
    level shifts. null: a year of months, half a year of weeks, a quarter of days, two days of finer periods."""
    season_length: int | None = Field(default=None, ge=1)
    """Periods of the season that is taken out before events are looked for; null takes the frequency's."""
    min_history: int | None = Field(default=None, ge=1)
    """Of after_shift: periods that must follow the last shift, else all are seen; null: two seasons, and two horizons
    at least."""
    max_steps: int = Field(default=3, ge=1, le=10)
    """Of regressors: the latest shifts, and the latest surges, that become one."""
    exempt: tuple[str, ...] = ("intermittent", "lumpy")
    """Classes of demand that are left alone: in these every sale is an outlier."""

    @field_validator("surge_length")
    @classmethod
    def _long_enough(cls, value: int | None) -> int | None:
        if value is not None and 0 < value < SHORTEST:
            raise ValueError(
                f"got {value}; a surge has at least {SHORTEST} periods (fewer are outliers), and 0 is off"
            )
        return value

    @field_validator("exempt")
    @classmethod
    def _known_classes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in value if name not in DEMAND_CLASSES]
        if wrong:
            raise ValueError(f"{wrong} are no classes of demand; expected some of {', '.join(DEMAND_CLASSES)}")
        return value

    @property
    def rules(self) -> Treatment:
        """As the task takes it."""
        return Treatment(kind=self.treatment, **self.model_dump(exclude={"treatment"}))


def treatments(config: Config) -> tuple[Treatment | None, ...]:
    """Of each segment in order, those of the series that no segment matches last; None where nothing is looked for."""
    sections = [segment.abrupt or config.abrupt for segment in config.segments] + [config.abrupt]
    return tuple(None if section is None else section.rules for section in sections)


def abrupt_problems(config: Config) -> Iterator[str]:
    """Treatments that would do nothing, or that do not go with the rest of the config."""
    places: list[tuple[str, Abrupt | None, Mapping[str, Mapping[str, Any]]]] = [
        (f"segment {s.name!r}: abrupt", s.abrupt, s.models) for s in config.segments
    ]
    places.append(("abrupt", config.abrupt, config.models))
    for place, section, models in places:
        if section is None or section.treatment == "report":
            continue
        what = section.treatment
        if config.backtest.refit == "first":
            yield (
                f"{place}.treatment is {what} and backtest.refit is first: a fit cannot go on where an event is seen "
                "later; set backtest.refit: each"
            )
        if what == "regressors" and config.refit != "full":
            yield (
                f"{place}.treatment is regressors and refit is {config.refit}: the steps change with the data, so no "
                "stored fit can be gone on from; set refit: full, or treatment: dampen or after_shift"
            )
        used = models if section is not config.abrupt else _all_models(config)
        if what == "regressors" and not any(map(_regresses, used)):
            yield f"{place}.treatment is regressors, and no model regresses: name prophet or arima, or dampen instead"


def _all_models(config: Config) -> Mapping[str, Mapping[str, Any]]:
    return {**config.models, **{m: o for s in config.segments if s.abrupt is None for m, o in s.models.items()}}


def _regresses(model: str) -> bool:
    try:
        return issubclass(get_model(model).Hyperparameters, RegressionHyperparameters)
    except ValueError:
        return False  # another message
