"""The section on DeepAR+: the library's settings, and where and on what it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from forecasting.deepar.settings import Settings

if TYPE_CHECKING:
    from udfs.config.schema import Config


class DeepARConfig(Settings):
    """The global model, trained by `train-deepar` and used by `predict-deepar`; no other verb reads this section."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU where there is one."""
    models: str | None = None
    """Folder for model folders and checkpoints; null: `deepar_models` beside the tables of the
    lake."""
    metadata: tuple[str, ...] | None = None
    """Metadata columns that the model reads; null: all but those that `lifecycle` names as dates."""
    numbers: tuple[str, ...] = ()
    """Those of them that are read as numbers (an area, a price class); all others are categories."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints; 0: one after every epoch."""

    @property
    def settings(self) -> Settings:
        """What the library needs to know."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})

    def columns(self, config: Config) -> tuple[str, ...]:
        """The metadata columns that the model reads."""
        if self.metadata is not None:
            return self.metadata
        return tuple(name for name in config.data.attributes if name not in config.lifecycle.dates)


def deepar_problems(config: Config) -> Iterator[str]:
    """Columns that are not there."""
    section, known = config.deepar, config.data.attributes
    listed = ", ".join(known) or "none"
    for name in section.metadata or ():
        if name not in known:
            yield f"deepar.metadata: no metadata column {name!r}; data.items' attributes are: {listed}"
    for name in section.numbers:
        if name not in section.columns(config):
            yield f"deepar.numbers: {name!r} is no metadata column that the model reads: {listed}"


__all__ = ["DeepARConfig", "deepar_problems"]
