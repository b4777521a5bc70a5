"""The models that really compete: those of the config and, for families of covariates, with and without each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forecasting.models.contract import RegressionHyperparameters
from forecasting.models.registry import get_model, with_variant
from udfs.config.covariates import HOLIDAYS

if TYPE_CHECKING:
    from udfs.config.schema import Config

Models = Mapping[str, Mapping[str, Any]]
ALL = "all"
TUNED = "tuned"
"""The variant that a hyperparameter search has found."""


def competing_models(config: Config) -> tuple[Models, ...]:
    """The models of each segment in order; those of the series that no segment matches come last."""
    return tuple(_with_covariates(config, models) for models in (*(s.models for s in config.segments), config.models))


def trial_variants(config: Config) -> frozenset[str]:
    """Names of variants that are trials: of a family's trials and the family itself only the best in a segment
    competes there, while variants that a user has named compete side by side."""
    families = config.covariates
    return frozenset((*families, *((ALL,) if len(families) > 1 else ()), TUNED))


def _with_covariates(config: Config, models: Models) -> Models:
    """A model that regresses and is not told on what is tried without covariates under its own name, and with each
    family and with all as variants."""
    if not config.covariates:
        return models
    out: dict[str, Mapping[str, Any]] = {}
    sets = dict(config.covariates)
    if len(sets) > 1:
        sets[ALL] = tuple(dict.fromkeys(member for members in config.covariates.values() for member in members))
    for name, options in models.items():
        if not _regresses_freely(name, options):
            out[name] = options
            continue
        out[name] = _regressing(options, ())
        for variant, members in sets.items():
            out[with_variant(name, variant)] = _regressing(options, members)
    return out


def _regresses_freely(name: str, options: Mapping[str, Any]) -> bool:
    family = get_model(name).Hyperparameters
    return issubclass(family, RegressionHyperparameters) and not {"regressors", "use_holidays"} & set(options)


def _regressing(options: Mapping[str, Any], members: tuple[str, ...]) -> Mapping[str, Any]:
    columns = [member for member in members if member != HOLIDAYS]
    lags = {name: lag for name, lag in options.get("lags", {}).items() if name in columns}
    chosen: dict[str, Any] = {**options, "regressors": columns or "none", "use_holidays": HOLIDAYS in members}
    return {**chosen, "lags": lags} if "lags" in options else chosen
