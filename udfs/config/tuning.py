"""The section on hyperparameter search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from udfs.config.sources import Section


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
