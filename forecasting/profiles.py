"""What kind of series each one is: counts, class of demand, strength of trend and season, spectrum.

No number changes when a series is multiplied by a positive constant, up to rounding. Values are taken as they stand in
the batch: a filled value counts as observed, and one that is not finite as missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, SeriesBatch, offsets_of, read_only
from forecasting.demand import ADI_CUT, CV2_CUT, DEMAND_CLASSES
from forecasting.frequency import Int64Array
from forecasting.profile_kernels import MIN_OBSERVATIONS, N_PERIODS, count_rows, decompose_rows, spectrum_rows

_TIE = 1e-12  # so that rounding moves no series that lies on a cut, such as one with sizes 3 and 17
_CLASSES = np.array(DEMAND_CLASSES, dtype=object)
_NONE, _UNKNOWN = DEMAND_CLASSES.index("none"), DEMAND_CLASSES.index("unknown")


@dataclass(frozen=True)
class Profiles:
    """N series described; NaN where a number is not defined.

    All but the counts, the shares, `adi` and `cv2` need MIN_OBSERVATIONS (8) observations and some variation beyond
    rounding (1e-12 of the largest absolute value); constants have NaN there. Strengths and spectra look at the span
    from the first to the last observation, with gaps in it interpolated linearly.

    n_obs, n_missing, n_zero: int64 [N], periods with a value, without one, with the value 0.
    missing_share: float64 [N], missing periods / all periods.
    zero_share: float64 [N], zeros / observed periods.
    adi: float64 [N], the average demand interval in periods: observed periods / those with demand, which is any value
        other than 0; NaN without demand.
    cv2: float64 [N], squared coefficient of variation of the demand sizes, with the variance of a population; NaN
        without demand or where the sizes sum to zero.
    demand_class: object [N] of str. smooth, intermittent (high ADI), erratic (high CV2), lumpy (both high); high is
        above 1.32 (ADI) and 0.49 (CV2). none: no demand. unknown, which goes before the others: fewer than
        MIN_OBSERVATIONS observations, or no CV2 in spite of demand.
    trend_strength, seasonal_strength: float64 [N], max(0, 1 - Var(R) / Var(T + R)) and the same with S (Hyndman and
        Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, section 4.3), variances over the observed
        periods. T, S and R are from STL with a seasonal window of 11 and degree 0, a trend of degree 1 with the
        shortest window of Cleveland et al. (1990), two passes, not robust, gaps at weight 0. The seasonal strength is
        NaN with fewer than two seasons or season_length + 2 observations. T is then the loess of degree 1 over two
        thirds of the span (at most 201 periods), S is 0. Noise has strengths above 0, the more the shorter it is.
    spectral_entropy: float64 [N], Shannon entropy of the spectral density, 0 (one wave) to 1 (flat), after Goerg
        (2013), "Forecastable component analysis", ICML. The density is estimated by the raw one-sided periodogram of
        the series less its mean, at the K = n // 2 Fourier frequencies above 0, as shares of its sum; log K
        normalises. Not smoothed, it is about 1 - 0.42 / log K for white noise.
    dominating_periods: float64 [N, 3], the periods n / k of the largest peaks of the same periodogram, here of the
        linearly detrended series; largest first, NaN where there are fewer. Harmonics of a season are periods of
        their own. See `profile_kernels.dominating` for what counts as a peak.
    """

    n_obs: Int64Array
    n_missing: Int64Array
    n_zero: Int64Array
    missing_share: FloatArray
    zero_share: FloatArray
    adi: FloatArray
    cv2: FloatArray
    demand_class: npt.NDArray[np.object_]
    trend_strength: FloatArray
    seasonal_strength: FloatArray
    spectral_entropy: FloatArray
    dominating_periods: FloatArray

    def __len__(self) -> int:
        return len(self.n_obs)


def profile(batch: SeriesBatch, season_length: int | None = None) -> Profiles:
    """Describe each series of a batch.

    season_length: periods in the season whose strength is measured; None takes the frequency's, 1 is none.
    Raises ValueError when it is below 1.
    """
    if season_length is not None and season_length < 1:
        raise ValueError(f"season_length is {season_length}; it must be at least 1")
    m = batch.frequency.season_length if season_length is None else season_length
    n = len(batch)
    counts, demand = np.zeros((3, n), dtype=np.int64), np.full((2, n), np.nan)
    count_rows(batch.values, batch.offsets, counts, demand)
    strengths, entropy, periods = np.full((2, n), np.nan), np.full(n, np.nan), np.full((n, N_PERIODS), np.nan)
    spans, flat = np.zeros((2, n), dtype=np.int64), np.zeros((2, n), dtype=np.bool_)
    levelled = np.zeros((2, int(batch.offsets[-1] - batch.offsets[0])))
    decompose_rows(batch.values, batch.offsets, m, strengths, spans, flat, levelled)
    spectra, offsets = _spectra(levelled, spans, flat)
    spectrum_rows(read_only(spectra), read_only(offsets), read_only(spans), read_only(flat), entropy, periods)
    n_obs, n_missing, n_zero = counts
    return Profiles(
        n_obs=n_obs,
        n_missing=n_missing,
        n_zero=n_zero,
        missing_share=_share(n_missing, n_obs + n_missing),
        zero_share=_share(n_zero, n_obs),
        adi=demand[0],
        cv2=demand[1],
        demand_class=_classes(n_obs, n_zero, demand[0], demand[1]),
        trend_strength=strengths[0],
        seasonal_strength=strengths[1],
        spectral_entropy=entropy,
        dominating_periods=periods,
    )


def demand_classes(batch: SeriesBatch) -> npt.NDArray[np.object_]:
    """The class of demand of each series alone, object [N] of str: `Profiles.demand_class` at the price of a pass."""
    counts, demand = np.zeros((3, len(batch)), dtype=np.int64), np.full((2, len(batch)), np.nan)
    count_rows(batch.values, batch.offsets, counts, demand)
    return _classes(counts[0], counts[2], demand[0], demand[1])


def _share(part: Int64Array, whole: Int64Array) -> FloatArray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _classes(n_obs: Int64Array, n_zero: Int64Array, adi: FloatArray, cv2: FloatArray) -> npt.NDArray[np.object_]:
    code = (adi > ADI_CUT + _TIE) + 2 * (cv2 > CV2_CUT + _TIE)
    code[np.isnan(cv2)] = _UNKNOWN
    code[n_zero == n_obs] = _NONE
    code[n_obs < MIN_OBSERVATIONS] = _UNKNOWN
    return _CLASSES[code]


def _spectra(
    levelled: FloatArray, spans: Int64Array, flat: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.complex128], Int64Array]:
    """Fourier transforms of each series' two rows, complex128 [2, *], series i at offsets[i]; of none where flat."""
    wanted = ~flat[0]
    offsets = offsets_of(np.where(wanted, (spans[1] - spans[0]) // 2 + 1, 0))
    spectra = np.empty((2, int(offsets[-1])), dtype=np.complex128)
    for i in np.flatnonzero(wanted).tolist():  # one by one: transforms in bulk may round by their neighbours
        spectra[:, offsets[i] : offsets[i + 1]] = np.fft.rfft(levelled[:, spans[0, i] : spans[1, i]])
    return spectra, offsets
