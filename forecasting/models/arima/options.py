"""Hyperparameters of the ARIMA family."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forecasting.models.arima.polynomials import MAX_LAGS, MAX_SEASONAL
from forecasting.models.box_cox import Power, check_power
from forecasting.models.contract import RegressionHyperparameters
from forecasting.models.ranges import Choice, Number, SearchSpace

LONGEST_ARIMA_SEASON = 24
"""Longer seasons take Fourier terms, unless seasonal factors are asked for."""

_Lags = Annotated[int, Field(ge=0, le=MAX_LAGS)]
_Seasonal = Annotated[int, Field(ge=0, le=MAX_SEASONAL)]
_Difference = Annotated[int, Field(ge=0, le=2)]


class ArimaHyperparameters(RegressionHyperparameters):
    """What a seasonal ARIMA model may be, and how it is chosen."""

    order: tuple[_Lags, _Difference, _Lags] | None = None
    """(p, d, q) instead of a search."""
    seasonal_order: tuple[_Seasonal, _Difference, _Seasonal] | None = None
    """(P, D, Q) with `order`; left out, there are no seasonal factors."""
    d: _Difference | None = None
    """Differences; null chooses by the KPSS test."""
    seasonal_d: _Difference | None = None
    """Seasonal differences; null chooses by the strength of the season."""
    max_p: _Lags = 5
    """Largest p of the search."""
    max_q: _Lags = 5
    """Largest q of the search."""
    max_seasonal_p: _Seasonal = 2
    """Largest P of the search."""
    max_seasonal_q: _Seasonal = 2
    """Largest Q of the search."""
    max_order: int = Field(default=5, ge=0)
    """Largest p + q + P + Q of a full search."""
    max_d: _Difference = 2
    """Most differences that may be chosen."""
    max_seasonal_d: Annotated[int, Field(ge=0, le=1)] = 1
    """Most seasonal differences that may be chosen."""
    constant: Literal["auto", "always", "never"] = "auto"
    """A mean without differences, a drift with one; there is none with more. Without differences auto always has a
    mean, so that forecasts do not depend on where zero is."""
    search: Literal["stepwise", "full"] = "stepwise"
    """Hyndman and Khandakar's steps, or every combination up to `max_order`."""
    criterion: Literal["aicc", "aic", "bic"] = "aicc"
    """Which information criterion chooses."""
    seasonality: Literal["auto", "arima", "fourier", "none"] = "auto"
    """Seasonal factors, Fourier terms as regressors, or no season. auto: factors for seasons of up to 24 periods,
    Fourier terms for longer ones where the criterion is lower with them (with `order` always)."""
    fourier_order: int = Field(default=4, ge=1, le=50)
    """Pairs of Fourier terms a season, at most half its length."""
    fourier_seasons: tuple[Annotated[float, Field(gt=1)], ...] = ()
    """Further seasons in periods, such as 168 for a week of hours or 365.25 for a year of days: each takes Fourier
    terms in the rows that saw it twice."""
    mean_uncertainty: bool = True
    """Whether quantiles carry how unsure the estimated mean or drift is, which counts in short series; false takes it
    for the true one, as R and statsforecast do."""
    box_cox: Power = None
    """Power of a Box-Cox transform of positive series, auto for Guerrero's choice between 0 and 2."""
    log_regressors: tuple[str, ...] = ()
    """Related series that enter by their logarithm, a price above all: with `box_cox: 0` its coefficient is the
    elasticity. Values that are not above 0 count as missing."""
    bias_adjust: bool = True
    """Whether the mean of a transformed series is that of the forecast's distribution (to second order) and not its
    median."""

    @model_validator(mode="after")
    def _consistent(self) -> ArimaHyperparameters:
        if self.seasonal_order is not None and self.order is None:
            raise ValueError("seasonal_order needs order; give both, or max_seasonal_p and the like for a search")
        if self.order is not None and (self.d is not None or self.seasonal_d is not None):
            raise ValueError("order and seasonal_order already say the differences; leave out d and seasonal_d")
        check_power(self.box_cox)
        return self

    def season_factor(self, season_length: int) -> int:
        """The season of the seasonal factors, 1 for none."""
        if self.seasonality == "arima" or (self.seasonality == "auto" and season_length <= LONGEST_ARIMA_SEASON):
            return season_length
        return 1

    def optional_columns(self, season_length: int) -> int:
        """How many Fourier columns, the first ones, a row has only where they pay."""
        if self.seasonality != "auto" or season_length <= LONGEST_ARIMA_SEASON or self.order is not None:
            return 0
        return 2 * self.fourier(season_length)[0][1]

    def fourier(self, season_length: int) -> tuple[tuple[float, int], ...]:
        """Periods and orders of the Fourier terms."""
        periods = list(self.fourier_seasons)
        long = self.seasonality == "auto" and season_length > LONGEST_ARIMA_SEASON
        if season_length > 1 and (self.seasonality == "fourier" or long):
            periods.insert(0, float(season_length))
        # The sine at half the season is 0 at every whole period: it is left out by its kernel.
        return tuple((period, min(self.fourier_order, int(period // 2))) for period in dict.fromkeys(periods))


SEARCH_SPACE: SearchSpace = {
    "criterion": Choice(("aicc", "aic", "bic")),
    "seasonality": Choice(("auto", "fourier", "none")),
    "fourier_order": Number(1, 10, whole=True),
    "max_d": Choice((1, 2)),
    "constant": Choice(("auto", "always", "never")),
    "box_cox": Choice((None, "auto")),
}
