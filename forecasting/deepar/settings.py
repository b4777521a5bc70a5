"""The settings of DeepAR+: Amazon Forecast's hyperparameters under its names and defaults, and ours. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from forecasting.models.ranges import Number, Range

Likelihood = Literal[
    "student-T",
    "gaussian",
    "negative-binomial",
    "poisson",
    "beta",
    "deterministic-L1",
    "piecewise-linear",
]
Sampling = Literal["uniform", "length", "velocity"]
Precision = Literal["float32", "bfloat16"]


class Settings(BaseModel):
    """How the network looks and how it is trained. Unknown names and wrong values are errors that name the field."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    context_length: int | None = Field(default=None, ge=1)
    """Periods that the network reads before it forecasts; null: twice the horizon. Lags reach further back."""
    epochs: int = Field(default=500, ge=1)
    """Passes of `batches_per_epoch` batches, at most; early stopping usually ends the training before."""
    learning_rate: float = Field(default=1e-3, ge=1e-6, le=1.0)
    """Adam's step; 0.0001 to 0.1 is usual."""
    learning_rate_decay: float = Field(default=0.5, gt=0, lt=1)
    """What the learning rate is multiplied by when the loss on the held-out window has not improved."""
    max_learning_rate_decays: int = Field(default=0, ge=0, le=10)
    """How often the learning rate is lowered before the training stops instead."""
    likelihood: Likelihood | Literal["auto"] = "auto"
    """What the network's output means. auto: negative-binomial for counts (typically below 1,000), beta for shares
    between 0 and 1, student-T else."""
    num_averaged_models: int = Field(default=1, ge=1, le=10)
    """The weights of this many best epochs are averaged."""
    num_cells: int = Field(default=40, ge=1, le=1024)
    """Cells in each layer of the network; 30 to 100 is usual."""
    num_layers: int = Field(default=2, ge=1, le=8)
    """Layers of the network; 1 to 4 is usual."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the outputs of each layer but the last that is left out at random in training."""
    batch_size: int = Field(default=32, ge=1)
    """Windows in a step of training, over all processes."""
    batches_per_epoch: int = Field(default=50, ge=1)
    """Steps in an epoch."""
    sampling: Sampling = "uniform"
    """Which series a window comes from: each one as often (uniform), by its number of windows (length), or by its mean
    absolute value (velocity)."""
    lags: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(default=None, min_length=1)
    """Periods by which the target is lagged; null: by the frequency."""
    max_lag: int = Field(default=1200, ge=1)
    """The longest lag that is taken by the frequency."""
    holdout_series: int = Field(default=512, ge=0)
    """Series, chosen by their keys, whose last window is kept from the training and tells when to stop; a quarter of
    all at most, and only series of at least three horizons. 0: all is trained on, for all epochs."""
    early_stopping_patience: int | None = Field(default=20, ge=1)
    """Epochs without a better loss on the held-out window before the learning rate is lowered or the training stops;
    null: never. (The service stopped early only when the learning rate could be lowered.)"""
    cold_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the windows that are shown without history or with a short one, so that new items can be forecast."""
    unknown_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the windows in which a metadata value is hidden, so that an unknown value has a meaning; four times as
    many of those without history or with a short one."""
    gradient_clip: float = Field(default=10.0, gt=0)
    """The longest gradient; longer ones are shortened to it."""
    weight_decay: float = Field(default=1e-8, ge=0)
    """L2 penalty on the weights."""
    num_networks: int = Field(default=1, ge=1, le=20)
    """Networks that are trained, each from other first weights, on other windows and with other series held out; a
    forecast is made of sample paths of all. Each costs a whole training; three to five steady the forecasts."""
    precision: Precision = "float32"
    """Of the network's products in training. bfloat16 pays for large networks on a GPU; weights, losses and forecasts
    stay float32."""
    num_pieces: int = Field(default=10, ge=1, le=100)
    """Pieces of the quantile function of `piecewise-linear`."""
    num_samples: int = Field(default=100, ge=1)
    """Sample paths a forecast is made of, of all networks together."""

    def context(self, horizon: int) -> int:
        """Periods that the network reads before it forecasts `horizon` periods."""
        return self.context_length if self.context_length is not None else 2 * horizon


SEARCH_SPACE: dict[str, Range] = {
    "learning_rate": Number(1e-4, 1e-1, log=True),
    "num_cells": Number(30, 100, whole=True),
    "num_layers": Number(1, 4, whole=True),
}
"""What a search may try besides `context_length`, whose range `context_range` gives."""


def context_range(horizon: int) -> Number:
    """Context lengths that a search tries for a horizon."""
    return Number(max(horizon // 2, 1), 4 * horizon, log=True, whole=True)


def search_space(horizon: int, names: Sequence[str]) -> dict[str, Range]:
    """The ranges of some settings, by name. Raises KeyError for one that has none."""
    ranges: dict[str, Range] = {**SEARCH_SPACE, "context_length": context_range(horizon)}
    return {name: ranges[name] for name in names}
