"""The section on DeepAR+: the library's settings, and where and on what it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from forecasting.deepar.settings import Settings
from forecasting.evaluation.sampler import Sampler
from udfs.config.sources import Section

if TYPE_CHECKING:
    from udfs.config.schema import Config


class DeepARTuning(Section):
    """The search of `tune-deepar`: settings are trained on what lies before its own windows, the ones just before the
    earliest backtest window, and judged there by mean wQL; backtests stay unseen."""

    parameters: tuple[Literal["context_length", "learning_rate", "num_cells", "num_layers"], ...] = Field(
        default=("context_length", "learning_rate"), min_length=1
    )
    """What is searched, over the service's ranges; its own search tried these two."""
    sampler: Sampler = "tpe"
    """tpe: tree-structured Parzen estimator (Bergstra and others 2011)."""
    trials: int = Field(default=20, ge=1)
    """Settings tried, the configured one first."""
    max_steps: int | None = Field(default=None, ge=1)
    """Steps of training that all trials together may spend; null: no limit. Reproducible."""
    windows: int = Field(default=1, ge=1)
    """Windows that settings are judged on."""
    sample: int = Field(default=1000, ge=1)
    """Series that they are judged on, taken by the hash of the key; all are trained on."""
    reduction: int = Field(default=3, ge=2)
    """Successive halving: a trial goes on after 1/27, 1/9 and 1/3 of the epochs only where it is among the best third
    of those that came so far (4: 1/64, 1/16 and 1/4 of the epochs, the best quarter)."""


class DeepARMlflow(Section):
    """Trainings are logged to MLflow: settings, every epoch, the model's row."""

    tracking_uri: str | None = None
    """Where it is: a server's address, a folder, `databricks`; null: what MLflow takes by default."""
    experiment: str = Field(default="almanac", min_length=1)
    """Name of the experiment; it is made where it is not there."""


class DeepARConfig(Settings):
    """The global model: what `tune-deepar`, `train-deepar` and `predict-deepar` read, and no other verb."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU where there is one."""
    models: str | None = None
    """Folder for model folders and checkpoints; null: `deepar_models` beside the tables of the lake. It must be given
    where the lake is on an object store."""
    metadata: tuple[str, ...] | None = None
    """Metadata and key columns that the model reads; null: all metadata but what `lifecycle` names as dates, and of a
    key of several columns those whose values are each shared by ten series or more on average."""
    numbers: tuple[str, ...] = ()
    """Those of them that are read as numbers (an area, a price class); all others are categories."""
    per_window: bool = False
    """Before the backtests train a model for every window, on what that window sees, instead of one that saw only
    what the earliest sees. It costs a training a window; backtests are then as good as what they stand for."""
    series_at_once: int | None = Field(default=None, ge=1)
    """Series in memory and on the device at once, for sets that are larger than these; null: all. Whole buckets of the
    lake are read together, one at least (`lake.buckets`), and the next ones while a training goes on: there are two
    such chunks at a time. Each epoch draws from one chunk, so there should be several epochs a chunk. Predictions are
    made chunk by chunk too; `tune-deepar` and scenarios read all series."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints; 0: one after every epoch."""
    tuning: DeepARTuning = DeepARTuning()
    mlflow: DeepARMlflow | None = None
    """null: no logging to MLflow."""

    @property
    def settings(self) -> Settings:
        """What the library needs to know."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})

    def columns(self, config: Config) -> tuple[str, ...]:
        """The metadata and key columns that the model reads; where none is named, without those of the key."""
        if self.metadata is not None:
            return self.metadata
        return tuple(name for name in config.data.attributes if name not in config.lifecycle.dates)


def deepar_problems(config: Config) -> Iterator[str]:
    """Columns that are not there."""
    section, known = config.deepar, config.data.attributes
    listed = ", ".join(known) or "none"
    for name in section.metadata or ():
        if name not in known and name not in config.key:
            yield (
                f"deepar.metadata: no metadata column {name!r}; data.items' attributes are: {listed}; "
                f"the key is: {', '.join(config.key)}"
            )
    for name in section.numbers:
        if name not in section.columns(config):
            yield f"deepar.numbers: {name!r} is no metadata column that the model reads: {listed}"


__all__ = ["DeepARConfig", "DeepARMlflow", "DeepARTuning", "deepar_problems"]
