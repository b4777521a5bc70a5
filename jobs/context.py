"""What every verb starts from: the config, a session, the lake, and the DataFrames that stand in for paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.config import Config, load_config
from udfs.lake import Lake
from udfs.session import open_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ConfigSource = str | Path | Mapping[str, Any] | Config


@dataclass(frozen=True)
class Frames:
    """DataFrames in place of the sources of the config, in its order."""

    target: DataFrame | None = None
    related: Sequence[DataFrame] = ()
    items: Sequence[DataFrame] = ()
    calendar: DataFrame | None = None

    @property
    def given(self) -> bool:
        """Whether any is there."""
        return self.target is not None or bool(self.related) or bool(self.items) or self.calendar is not None


@dataclass(frozen=True)
class Job:
    """A verb's surroundings."""

    config: Config
    spark: SparkSession
    lake: Lake
    frames: Frames = field(default_factory=Frames)


def open_job(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    overrides: Iterable[str] = (),
    frames: Frames | None = None,
) -> Job:
    """Read the config first, so that its mistakes show before a session starts; then the session, then the lake.

    A given session is used and left as it is. Raises ConfigError, or InputError for a lake of another dataset group.
    """
    given = frames or Frames()
    loaded = load_config(config, overrides, frames=given.given)
    session = spark or open_session(loaded)
    lake = Lake.of(session, loaded)
    lake.check_identity(loaded)
    return Job(config=loaded, spark=session, lake=lake, frames=given)
