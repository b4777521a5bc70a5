"""The section on hyperparameter search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from forecasting.models.registry import get_model
from udfs.config.sources import Section

if TYPE_CHECKING:
    from udfs.config.schema import Config


class Tuning(Section):
    """Search of each family's documented ranges on a sample of series per segment (`almanac tune`). Its result enters
    the next backtests as one more candidate, `<model>+tuned`, which has to win there like any other."""

    models: tuple[str, ...] | None = None
    """Models to tune; null: all of the config that have ranges."""
    sampler: Literal["tpe", "random"] = "tpe"
    """tpe: tree-structured Parzen estimator (Bergstra and others 2011)."""
    trials: int = Field(default=20, ge=1)
    """Settings tried per segment and model, the configured one first."""
    sample: int = Field(default=200, ge=1)
    """Series per segment, taken by the hash of the key."""
    max_evaluations: int | None = Field(default=None, ge=1)
    """Likelihood passes that a segment and model may spend in all; null: no limit. Reproducible."""
    core_seconds: float | None = Field(default=None, gt=0)
    """Core-seconds that a segment and model may spend; null: no limit. How far it gets depends on the machine."""


def tunable(model: str) -> bool:
    """Whether a model's family has ranges to search; an unknown model has none, which is another message."""
    try:
        return bool(get_model(model).search_space)
    except ValueError:
        return False


def tuning_problems(config: Config) -> Iterator[str]:
    """What of a tuning cannot be done with the rest of the config."""
    section = config.tuning
    if section is None:
        return
    names = dict.fromkeys((*config.models, *(model for segment in config.segments for model in segment.models)))
    for model in section.models or ():
        if model not in names:
            yield f"tuning.models: {model!r} is no model of this config; there are {', '.join(names)}"
        elif not tunable(model):
            yield f"tuning.models: {model!r} has no ranges to search (docs/models.md, Tuning); leave it out"
    if section.models == () or (section.models is None and not any(map(tunable, names))):
        yield "tuning: no model to tune; name some in tuning.models, or leave the section out"
    if config.backtest.windows == 0:
        yield "tuning: backtest.windows is 0, so settings cannot be judged; use at least one window"
    titles = [segment.name for segment in config.segments]
    for title in sorted({t for t in titles if titles.count(t) > 1}):
        yield f"tuning: two segments are called {title!r}; a tuning tells segments apart by their names"
    if "" in titles:
        yield "tuning: a segment has no name; that of the series that no segment matches is empty"
