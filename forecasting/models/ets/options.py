"""What an ETS model may be: the hyperparameters."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from forecasting.batch import FloatArray
from forecasting.models.box_cox import Power, check_power
from forecasting.models.contract import Hyperparameters
from forecasting.models.ets.region import ADMISSIBLE, BOTH, RATIOS, USUAL, Limits
from forecasting.models.ets.starts import N_CODES, N_FORMS
from forecasting.models.ranges import Choice, SearchSpace

_SPEC = re.compile(r"([AMZ])(N|Ad|A|Md|M|Z)([NAMZ])")
_BELOW_ONE, _LEAST = 0.9999, 1e-4

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0, lt=4.0)]
Range = tuple[Weight, Weight]


class EtsHyperparameters(Hyperparameters):
    """What an ETS model may be.

    Other objectives than the likelihood (R's opt.crit, nmse) are left out: the criterion that chooses the form needs
    it.
    The tight bounds keep beta below `tight_trend(season length)` of alpha and gamma below half of 1 - alpha. A slope
    or a season that follows single observations raises the likelihood and extrapolates noise: on ten public sets (M3,
    M4 weekly and hourly, retail, hospital, electricity) they lowered the mean quantile loss by up to 15 % and raised
    it on one, by 0.4 %. They were set on these sets.
    """

    form: str = "ZZZ"
    """Error, trend and season, each a letter or Z for "choose": error A or M, trend N, A, Ad, M or Md, season N, A
    or M."""
    damped: bool | None = None
    """True keeps damped trends (form "A" then means "Ad", "M" "Md"), False undamped ones, null what the form says."""
    restrict: bool = True
    """Leave out additive errors with a multiplicative trend or season, whose forecast variance is infinite, and a
    multiplicative trend with an additive season."""
    allow_multiplicative_trend: bool = False
    """Let trend Z choose M and Md, too. They extrapolate growth by a rate, and so forecast poorly more often than
    not: R and statsforecast leave them out as well unless asked. A form that names them needs no permission."""
    additive_only: bool = False
    """Leave out multiplicative errors, trends and seasons."""
    box_cox: Power = None
    """Power of a Box-Cox transform of positive series, auto for Guerrero's choice between 0 and 2. With it the form is
    additive, and series with values of zero or below are fitted as they are."""
    bias_adjust: bool = True
    """Whether the mean of a transformed series is that of the forecast's distribution (to second order) and not its
    median."""
    criterion: Literal["aicc", "aic", "bic"] = "aicc"
    """Which information criterion chooses the form."""
    parameter_bounds: Literal["tight", "usual", "admissible", "both"] = "tight"
    """usual: 0 < beta < alpha and 0 < gamma < 1 - alpha. tight: slopes and seasons that move slowly. admissible: all
    for which old observations lose their weight. both: usual and admissible."""
    alpha: Weight | Range | None = None
    """The level's smoothing parameter: fixed, or its range. Null is 0.0001 to 0.9999 (admissible: to 1.9999)."""
    beta: Weight | Range | None = None
    """The slope's smoothing parameter: fixed, or its range. Null is what `parameter_bounds` allow; a given one is not
    held to the tight bounds, only to the usual ones."""
    gamma: Weight | Range | None = None
    """The season's smoothing parameter: as beta."""
    phi: Share | tuple[Share, Share] = (0.8, 0.98)
    """The damping parameter: fixed, or its range."""
    interval: Literal["auto", "exact", "simulated"] = "auto"
    """auto: exact variances with the normal law where they are known and the deviation is below a quarter of the mean
    for multiplicative errors, else simulated paths. exact: wherever variances are known. simulated: always."""
    n_paths: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Simulated paths of a series."""

    @model_validator(mode="after")
    def _sensible(self) -> EtsHyperparameters:
        if _SPEC.fullmatch(self.form) is None:
            raise ValueError(
                f"form is {self.form!r}; expected error A, M or Z, trend N, A, Ad, M, Md or Z, season N, A, M or Z, "
                "as in 'MAdM' or 'ZZZ'"
            )
        for name in ("alpha", "beta", "gamma", "phi"):
            given = getattr(self, name)
            if isinstance(given, tuple) and given[0] > given[1]:
                raise ValueError(f"{name} is ({given[0]}, {given[1]}); the lower end must not exceed the upper one")
        check_power(self.box_cox)
        self._inside_bounds()
        if not self.forms().any():
            raise ValueError(
                f"form {self.form!r} with damped={self.damped}, restrict={self.restrict}, "
                f"additive_only={self.additive_only} and box_cox={self.box_cox} leaves no form to fit; damped needs a "
                "trend, an additive error with a multiplicative trend or season needs restrict=False, and so does a "
                "multiplicative trend with an additive season; additive_only and box_cox have no M"
            )
        return self

    def _inside_bounds(self) -> None:
        low, high = _ends(self.alpha, (_LEAST, self._most_alpha))
        if low <= 0.0 or high > self._most_alpha:
            raise ValueError(
                f"alpha is {self.alpha}; with parameter_bounds {self.parameter_bounds!r} it must lie above 0 and "
                f"not above {self._most_alpha}"
            )
        if self.parameter_bounds == "admissible":
            return
        least_beta, least_gamma = _ends(self.beta, (_LEAST, 1.0))[0], _ends(self.gamma, (_LEAST, 1.0))[0]
        if self.beta is not None and least_beta > high:
            raise ValueError(f"beta is at least {least_beta}, alpha at most {high}; beta must not exceed alpha")
        if self.gamma is not None and least_gamma > 1.0 - low:
            raise ValueError(
                f"gamma is at least {least_gamma}, alpha at least {low}; alpha and gamma together must not exceed 1"
            )
        if self.beta is not None and self.gamma is not None and least_beta + least_gamma > 1.0:
            raise ValueError(
                f"beta is at least {least_beta}, gamma at least {least_gamma}; alpha lies between beta and 1 - gamma"
            )

    @property
    def _most_alpha(self) -> float:
        return 1.9999 if self.parameter_bounds == "admissible" else _BELOW_ONE

    def forms(self) -> FloatArray:
        """Which forms may be chosen, 1.0 or 0.0, by code (`likelihood`), [36]."""
        match = _SPEC.fullmatch(self.form)
        assert match is not None
        error, trend, season = match.groups()
        trends = self._trends(trend)
        additive = self.additive_only or self.box_cox is not None
        asked = np.zeros(N_CODES)
        for form in range(N_CODES):
            e, t, s = form // 9 % 2, form // N_FORMS * 3 + form % 9 // 3, form % 3
            growing = t >= 3
            fits = error in ("AM"[e], "Z") and t in trends and season in ("NAM"[s], "Z")
            fits = fits and not (additive and (e == 1 or s == 2 or growing))
            unsound = (e == 0 and (s == 2 or growing)) or (growing and s == 1)
            asked[form] = fits and not (self.restrict and unsound)
        return asked

    def _trends(self, letters: str) -> tuple[int, ...]:
        """Trends that are asked for: 0 N, 1 A, 2 Ad, 4 M, 5 Md."""
        every = (0, 1, 2, 4, 5) if self.allow_multiplicative_trend else (0, 1, 2)
        trends = {"N": (0,), "A": (1,), "Ad": (2,), "M": (4,), "Md": (5,), "Z": every}[letters]
        if self.damped is None:
            return trends
        if self.damped:
            return {"N": (), "A": (2,), "M": (5,)}.get(letters, tuple(t for t in trends if t in (0, 2, 5)))
        return tuple(t for t in trends if t in (0, 1, 4))

    def limits(self, season_length: int) -> Limits:
        """What the smoothing parameters must keep to."""
        alpha, phi = _ends(self.alpha, (_LEAST, self._most_alpha)), _ends(self.phi, (0.8, 0.98))
        g, b = (0.5, tight_trend(season_length)) if self.parameter_bounds == "tight" else (_BELOW_ONE, _BELOW_ONE)
        if self.beta is None and self.gamma is None and self.parameter_bounds in ("tight", "usual"):
            ends = alpha, (_LEAST, g), (_LEAST, b), phi
            return Limits(np.array(ends, dtype=np.float64).T.copy(), RATIOS, g, b)
        beta, gamma = _ends(self.beta, (_LEAST, 3.9999)), _ends(self.gamma, (_LEAST, 2.2499))
        return Limits(
            np.array((alpha, gamma, beta, phi), dtype=np.float64).T.copy(),
            {"admissible": ADMISSIBLE, "both": BOTH}.get(self.parameter_bounds, USUAL),
            1.0 if self.gamma is not None else g,
            1.0 if self.beta is not None else b,
        )


def _ends(given: float | tuple[float, float] | None, default: tuple[float, float]) -> tuple[float, float]:
    if given is None:
        return default
    return given if isinstance(given, tuple) else (given, given)


def tight_trend(season_length: int) -> float:
    """The largest beta / alpha within tight bounds: 0.1 without a season, less for longer ones, at least 0.03."""
    return max(0.1 / float(np.sqrt(season_length)), 0.03)


SEARCH_SPACE: SearchSpace = {
    "damped": Choice((None, True, False)),
    "additive_only": Choice((False, True)),
    "criterion": Choice(("aicc", "aic", "bic")),
    "parameter_bounds": Choice(("tight", "usual", "both")),
}
