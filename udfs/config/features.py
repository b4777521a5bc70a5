"""The section `features`: related series that are derived from others or from the calendar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from forecasting.calendar_features import LENGTHS, column_names, usable
from forecasting.features import Derived, Features
from forecasting.models.registry import get_model
from udfs.config.sources import NAME, Section

if TYPE_CHECKING:
    from udfs.config.schema import Config


class DerivedFeature(Section):
    """A related series made of another one, whose gaps take the latest value before them."""

    of: str
    """The related series that it is made of."""
    transform: Literal["relative_change", "difference", "log", "lag", "rolling_mean"]
    """Of x over p periods. relative_change: x now / x p periods before - 1. difference: x now - x p periods before.
    log. lag: x p periods before. rolling_mean: of the latest p periods, the present one among them."""
    periods: int = Field(default=1, ge=1, le=10_000)
    """p. A lag of at least the horizon is known in the future even where its source is not."""


class FeaturesConfig(Section):
    """Related series defined once for backtests and forecasts, by name like those of the data; for models that regress
    or read related series."""

    derived: dict[str, DerivedFeature] = Field(default_factory=dict)
    """By the name of the new series."""
    calendar: tuple[str, ...] = ()
    """minute_of_hour, hour_of_day, day_of_week, day_of_month, day_of_year, week_of_year, month_of_year,
    quarter_of_year: those that differ between the periods of the frequency."""
    encoding: Literal["cyclic", "one_hot"] = "cyclic"
    """Of calendar features. cyclic: two columns each, month_of_year_sin and month_of_year_cos. one_hot: a column of 0
    and 1 for each value but the first, month_of_year_1 (February) to month_of_year_11."""

    def rules(self, time_zone: str | None) -> Features:
        """As the task takes it."""
        derived = {name: Derived(**one.model_dump()) for name, one in self.derived.items()}
        return Features(derived, self.calendar, self.encoding, time_zone)


def known_related(config: Config) -> dict[str, bool]:
    """Every related series, of the data and derived, and whether its future is known."""
    related = {name: column.known_in_future for name, column in config.data.related_columns.items()}
    section = config.features
    if section is None:
        return related
    for name, one in section.rules(config.time_zone).derived.items():
        related[name] = one.known_in_future(related.get(one.of, False), config.horizon)
    return related | dict.fromkeys(_calendar_names(section), True)


def _calendar_names(section: FeaturesConfig) -> list[str]:
    return [c for name in section.calendar if name in LENGTHS for c in column_names(name, section.encoding)]


def feature_problems(config: Config, taken: Mapping[str, Any] | frozenset[str]) -> Iterator[str]:
    """Sources that are not there, names that are taken or wrong, calendar features that say nothing, and features that
    no model reads. taken: names of other columns."""
    section = config.features
    if section is None:
        return
    there = config.data.related_columns
    for name, one in section.derived.items():
        if one.of not in there:
            known = ", ".join(sorted(there)) or "none"
            yield f"features.derived.{name}.of: no related series {one.of!r} in the data; there are {known}"
        if not NAME.fullmatch(name) or name in taken or name.lower() in taken:
            yield f"features.derived.{name}: the name is taken, or not of letters, digits and underscores"
    for column in _calendar_names(section):
        if column in taken or column in section.derived:
            yield f"features.calendar makes a column {column}, a name that is taken; rename the other"
    for name in section.calendar:
        if name not in LENGTHS:
            yield f"features.calendar: {name!r} is not one of {', '.join(LENGTHS)}"
        elif not usable(name, config.grid):
            good = ", ".join(n for n in LENGTHS if usable(n, config.grid)) or "none"
            yield f"features.calendar: {name} is the same in all periods of {config.frequency}; usable are {good}"
    models = [config.models, *(segment.models for segment in config.segments)]
    if not any(_reads_related(name, options) for some in models for name, options in some.items()):
        yield "features are given and no model reads related series; name one that does, such as prophet or arima"


def _reads_related(name: str, options: Mapping[str, Any]) -> bool:
    try:
        family = get_model(name)
        return family.reads_related(family.Hyperparameters.model_validate(dict(options)))
    except ValueError:
        return True  # another message
