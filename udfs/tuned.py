"""What a tuning has found and when it may be used: the config with the chosen settings as further models.

A finished tuning is usable while everything that its trials depended on, apart from the data, is as it was: the config
sections of `_DEPENDS_ON`, and it covers each segment and model that is to be tuned. The data may have grown since: a
setting that no longer fits them loses in the backtests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forecasting.models.registry import with_variant
from udfs.config import Config
from udfs.config.tuning import tunable
from udfs.config.variants import TUNED
from udfs.errors import InputError
from udfs.lake import Lake

TABLE = "hpo_trials"
_DEPENDS_ON = frozenset(
    "frequency time_alignment time_zone dimensions fill opening holidays forecast_start horizon quantiles bounds "
    "models segments backtest seed".split()
)


@dataclass(frozen=True)
class Study:
    """A segment (its position among the config's and name; "" for the series that no segment matches) and a model of
    it to tune."""

    position: int
    segment: str
    model: str
    hyperparameters: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """What it is in the table."""
        return self.segment, self.model


def studies(config: Config) -> tuple[Study, ...]:
    """All that the config's section `tuning` asks for."""
    section = config.tuning
    if section is None:
        return ()
    groups = [*((segment.name, segment.models) for segment in config.segments), ("", config.models)]
    return tuple(
        Study(position, name, model, dict(options))
        for position, (name, models) in enumerate(groups)
        for model, options in models.items()
        if (model in section.models if section.models is not None else tunable(model))
    )


def tuned_name(model: str) -> str:
    """The name of a model with the setting that was found: ets+tuned, ets+damped-tuned."""
    return with_variant(model, TUNED)


def tuning_digest(config: Config) -> str:
    """A digest of what must be the same for a tuning to be usable."""
    content = config.model_dump(by_alias=True, mode="json", include=set(_DEPENDS_ON))
    content["mase_season_length"] = config.evaluation.mase_season_length
    content["score_filled"] = config.evaluation.score_filled
    content["max_evaluations"] = config.limits.max_evaluations
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def usable_tuning(lake: Lake, config: Config) -> str | None:
    """The id of the newest finished tuning that is usable, None where there is none."""
    from pyspark.sql import functions as F

    if not lake.exists(TABLE):
        return None
    rows = lake.read(TABLE).where(F.col("digest") == tuning_digest(config))
    done = rows.groupBy("run_id").agg(
        F.max("started_at").alias("started_at"), F.collect_set(F.struct("segment", "model")).alias("studies")
    )
    wanted = {study.key for study in studies(config)}
    for row in done.orderBy(F.desc("started_at"), F.desc("run_id")).collect():
        if wanted <= {(s["segment"], s["model"]) for s in row["studies"]}:
            return str(row["run_id"])
    return None


def winners(lake: Lake, run_id: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The chosen hyperparameters of a tuning by segment and model."""
    from pyspark.sql import functions as F

    rows = lake.read(TABLE).where((F.col("run_id") == run_id) & F.col("chosen"))
    return {(row["segment"], row["model"]): json.loads(row["hyperparameters"]) for row in rows.collect()}


def with_winners(config: Config, found: Mapping[tuple[str, str], Mapping[str, Any]]) -> Config:
    """The config with each chosen setting as one more model of its segment, the last ones.

    Raises InputError where the config has a model of such a name already.
    """
    wanted = {study.key for study in studies(config)}

    def extended(segment: str, models: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        more = {tuned_name(m): dict(found[segment, m]) for m in models if (segment, m) in wanted & found.keys()}
        taken = more.keys() & models.keys()
        if taken:
            raise InputError(f"the config has a model {min(taken)!r}, which is what a tuning names its own; rename it")
        return {**{name: dict(options) for name, options in models.items()}, **more}

    segments = tuple(s.model_copy(update={"models": extended(s.name, s.models)}) for s in config.segments)
    return config.model_copy(update={"models": extended("", config.models), "segments": segments})
