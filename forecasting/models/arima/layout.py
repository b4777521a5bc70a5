"""Where the numbers of a fit lie, and what the kernels are told."""

from __future__ import annotations

from typing import NamedTuple

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.polynomials import MAX_LAGS, MAX_SEASONAL

FACTORS = (("ar", MAX_LAGS), ("ma", MAX_LAGS), ("sar", MAX_SEASONAL), ("sma", MAX_SEASONAL))
NAMES = (
    "p",
    "d",
    "q",
    "P",
    "D",
    "Q",
    "season_length",
    "mean",
    "sigma",
    "log_likelihood",
    "criterion",
    "unit",
    "box_cox",
    "offset",
    "scale",
    "gap",
    "n_obs",
    "mean_error",
    *(f"{name}_{j + 1}" for name, n in FACTORS for j in range(n)),
)
(
    AR,
    D,
    MA,
    SEASONAL_AR,
    SEASONAL_D,
    SEASONAL_MA,
    SEASON_LENGTH,
    CONSTANT,
    SIGMA,
    LOG_LIKELIHOOD,
    CRITERION,
    UNIT,
    BOX_COX,
    OFFSET,
    SCALE,
    GAP,
    N_OBS,
    MEAN_ERROR,
    COEFFICIENTS,
) = range(19)
N_PARAMETERS = len(NAMES)

NO_OBSERVATION, ONE_OBSERVATION, CONSTANT_SERIES, LIMIT, SHORT_SEASON, NOT_POSITIVE, FEWER_COLUMNS, MANY_MISSING = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
    128,
)
MOST_MISSING = 80
"""Missing values whose likelihood is exact; earlier ones beyond them keep their interpolated values."""


class Plan(NamedTuple):
    """What the hyperparameters ask for, as numbers.

    m: season of the seasonal factors, 1 for none. d, sd: differences, -1 for chosen. box_cox: 0 none, 1 given by
    `power`, 2 chosen. constant, total, full, criterion: see `search.Space`. fixed: whether orders are `most` itself.
    optional: how many Fourier columns, the first ones, stay only where they pay.
    """

    m: int
    d: int
    sd: int
    max_d: int
    max_sd: int
    constant: int
    total: int
    full: bool
    criterion: int
    fixed: bool
    box_cox: int
    power: float
    optional: int


class Columns(NamedTuple):
    """Regressors: own [T, K] of series i from own_offsets[i], periods and orders [S] of Fourier terms by ordinal.

    starts: ordinal of each series' first period. series_begin: its place in the values. Fourier columns follow the
    own ones: sine and cosine of 1, 2, ... cycles a period.
    """

    own: FloatArray
    own_offsets: Int64Array
    starts: Int64Array
    series_begin: Int64Array
    periods: FloatArray
    orders: Int64Array
