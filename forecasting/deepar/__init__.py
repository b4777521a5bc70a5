"""DeepAR+: one recurrent network over all series, with related series, item metadata and calendar features.

The global model (Salinas, Flunkert, Gasthaus 2020, "DeepAR: probabilistic forecasting with autoregressive recurrent
networks") under Amazon Forecast's names. `Settings` needs no torch; everything else does (the extra `gpu`).

    facts = Facts.learn(batch, metadata, horizon, settings)      # scalers and vocabulary, from what training may see
    series = SeriesSet.of(batch, facts, metadata)                # all series as one flat tensor on the device
    trainer = Trainer(series, facts, settings, seed=7)           # or Ensemble, for settings.num_networks of them
    for progress in trainer.run(): ...                           # one epoch each; trainer.state() is a checkpoint
    model = trainer.model()
    result = model.predict(batch, 12, (0.1, 0.5, 0.9), metadata) # a forecasting.Forecast
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forecasting.deepar.facts import Facts, ItemMetadata, PartFacts
from forecasting.deepar.settings import Settings

if TYPE_CHECKING:
    from forecasting.deepar.chunks import Chunks
    from forecasting.deepar.ensemble import Ensemble
    from forecasting.deepar.impact import Impacts, impacts
    from forecasting.deepar.model import DeepAR
    from forecasting.deepar.series_set import SeriesSet
    from forecasting.deepar.training import Progress, Trainer

_NEED_TORCH = {
    "Chunks": "chunks",
    "DeepAR": "model",
    "Ensemble": "ensemble",
    "Impacts": "impact",
    "impacts": "impact",
    "SeriesSet": "series_set",
    "Progress": "training",
    "Trainer": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        module = import_module(f"{__name__}.{_NEED_TORCH[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            f"forecasting.deepar.{name} needs torch, which is not installed; install almanac[gpu]", name="torch"
        ) from error
    return getattr(module, name)


__all__ = [
    "Chunks",
    "DeepAR",
    "Ensemble",
    "Facts",
    "Impacts",
    "ItemMetadata",
    "PartFacts",
    "Progress",
    "SeriesSet",
    "Settings",
    "Trainer",
    "impacts",
]
