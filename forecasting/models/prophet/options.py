"""What a Prophet model may be told: the names and defaults of the `prophet` package."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from forecasting.frequency import Int64Array, to_microseconds
from forecasting.models.contract import RegressionHyperparameters
from forecasting.models.ranges import Choice, Number, SearchSpace

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Order = Annotated[int, Field(ge=1, le=200)]
Mode = Literal["additive", "multiplicative"]
Builtin = Literal["auto"] | bool | Order


class Seasonality(BaseModel):
    """A season of one's own, as `add_seasonality` takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1)]
    """Its name among the components; "yearly", "weekly" or "daily" replaces the built-in one left on auto."""
    period: Positive
    """Length in days."""
    fourier_order: Order
    """Pairs of sine and cosine."""
    prior_scale: Positive | None = None
    """Deviation of the coefficients' normal prior; null takes seasonality_prior_scale."""
    mode: Mode | None = None
    """null takes seasonality_mode."""


class RegressorOptions(BaseModel):
    """How one related series enters, as `add_regressor` takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    prior_scale: Positive | None = None
    """Deviation of the coefficient's normal prior; null takes holidays_prior_scale, as Prophet does."""
    standardize: Literal["auto"] | bool = "auto"
    """Whether to centre and scale by the history; auto does so unless the history holds 0 and 1 only."""
    mode: Mode | None = None
    """null takes seasonality_mode."""


class ProphetHyperparameters(RegressionHyperparameters):
    """Prophet's own names and defaults."""

    season_length: int | None = Field(default=None, ge=1)
    """Prophet's seasons are given in days below; a length here (in periods, above 1) that the frequency does not
    have by itself adds one more, with a Fourier order of up to 10."""
    growth: Literal["linear", "logistic", "flat"] = "linear"
    """The trend: piecewise linear, saturating at `cap`, or constant."""
    cap: float | str | None = None
    """Capacity of logistic growth, in the unit of the data: a number or the name of a related series."""
    floor: float | str | None = None
    """Lower end of logistic growth: a number or the name of a related series; null is 0."""
    changepoints: tuple[datetime | date, ...] | None = None
    """Dates at which the trend may bend; null places n_changepoints. Those outside a series' history are left out."""
    n_changepoints: Annotated[int, Field(ge=0, le=500)] = 25
    """Changepoints placed evenly over the observations in the first part of the history."""
    changepoint_range: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Which part of the history holds them."""
    yearly_seasonality: Builtin = "auto"
    """auto: order 10 with two years of history; true, false or a Fourier order."""
    weekly_seasonality: Builtin = "auto"
    """auto: order 3 with two weeks of history and periods below a week."""
    daily_seasonality: Builtin = "auto"
    """auto: order 4 with two days of history and periods below a day."""
    seasonalities: tuple[Seasonality, ...] = ()
    """Further seasons."""
    seasonality_mode: Mode = "additive"
    """Whether seasons are added to the trend or multiply it."""
    seasonality_prior_scale: Positive = 10.0
    """Deviation of the normal prior of the seasons' coefficients."""
    holidays_prior_scale: Positive = 10.0
    """The same for holidays and regressors."""
    holiday_prior_scales: dict[str, Positive] = Field(default_factory=dict)
    """Holiday (without its window) -> prior scale of its own."""
    holidays_mode: Mode | None = None
    """null takes seasonality_mode."""
    regressor_options: dict[str, RegressorOptions] = Field(default_factory=dict)
    """Related series -> how it enters."""
    changepoint_prior_scale: Positive = 0.05
    """Scale of the Laplace prior on the changes of slope: larger follows more."""
    scaling: Literal["absmax", "minmax"] = "absmax"
    """How the target is scaled before priors apply. minmax suits data with a large offset."""
    interval: Literal["exact", "simulated"] = "exact"
    """exact: quantiles of the predictive law by inverting its characteristic function (linear and flat growth).
    simulated: by drawing future changepoints and noise; logistic growth always is."""
    parameter_uncertainty: bool = True
    """Whether quantiles carry how unsure level and slope are at the end of the history; false gives Prophet's law,
    which takes the fit for the truth."""
    uncertainty_samples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Simulated paths of a series."""

    @model_validator(mode="after")
    def _sensible(self) -> ProphetHyperparameters:
        if (self.growth == "logistic") != (self.cap is not None):
            raise ValueError(
                f"growth is {self.growth!r} and cap is {self.cap!r}; "
                "logistic growth needs cap (a number or the name of a related series), the others take none"
            )
        if self.floor is not None and self.growth != "logistic":
            raise ValueError(f"floor is {self.floor!r} with growth {self.growth!r}; only logistic growth has a floor")
        if isinstance(self.cap, float) and not isinstance(self.floor, str) and self.cap <= (self.floor or 0.0):
            raise ValueError(f"cap is {self.cap}; it must be greater than floor, {self.floor or 0.0}")
        names = [s.name for s in self.seasonalities]
        if len(set(names)) < len(names):
            raise ValueError(f"seasonalities are {names}; each needs a name of its own")
        return self

    def bounding_names(self) -> tuple[str, ...]:
        """The related series that hold cap and floor."""
        return tuple(name for name in (self.cap, self.floor) if isinstance(name, str))

    def changepoint_labels(self) -> Int64Array:
        """The given changepoints in microseconds, sorted; empty when they are placed."""
        given = [
            np.datetime64(day.replace(tzinfo=None) if isinstance(day, datetime) else day, "us")
            for day in self.changepoints or ()
        ]
        return np.sort(to_microseconds(np.array(given, dtype="M8[us]")))


SEARCH_SPACE: SearchSpace = {
    "changepoint_prior_scale": Number(0.001, 0.5, log=True),
    "seasonality_prior_scale": Number(0.01, 10, log=True),
    "holidays_prior_scale": Number(0.01, 10, log=True),
    "seasonality_mode": Choice(("additive", "multiplicative")),
    "changepoint_range": Number(0.8, 0.95),
}
"""The ranges that Prophet's documentation ("Diagnostics", hyperparameter tuning) recommends."""
