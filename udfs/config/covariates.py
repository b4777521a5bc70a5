"""What models want of related series and holidays, held against the data that the config names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from forecasting.models.registry import get_model
from udfs.config.features import known_related

if TYPE_CHECKING:
    from udfs.config.schema import Config


HOLIDAYS = "holidays"
"""In a family of covariates: the holidays of the data."""


def covariate_problems(config: Config) -> Iterator[str]:
    """Regressors that are not there or not known in time, and a column of countries that is not there."""
    related = known_related(config)
    places = [("", config.models), *((f"segment {s.name!r}: ", s.models) for s in config.segments)]
    for place, models in places:
        for name, options in models.items():
            for problem in model_problems(name, options, related, config.horizon):
                yield f"{place}{name}: {problem}"
    for family, members in config.covariates.items():
        unknown = [m for m in members if m not in related and not (m == HOLIDAYS and config.holidays is not None)]
        if unknown or not members:
            there = sorted(related) or "none"
            yield f"covariates.{family}: {unknown} are no related series of the data; there are {there}"
    column = config.holidays.country_column if config.holidays is not None else None
    known = (*config.key, *config.data.attributes)
    if column is not None and column not in known:
        yield f"holidays.country_column: no key or metadata column {column!r}; there are {', '.join(known)}"


def model_problems(model: str, options: Mapping[str, Any], related: Mapping[str, bool], horizon: int) -> list[str]:
    """What a model's hyperparameters ask for and cannot have; nothing for hyperparameters that are wrong by
    themselves, which are another message."""
    try:
        family = get_model(model)
        checked = family.Hyperparameters.model_validate(dict(options))
    except ValueError:
        return []
    return family.problems(checked, related, horizon)
