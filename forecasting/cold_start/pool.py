"""The donors: items with a history that others are forecast from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forecasting.batch import FloatArray, read_only
from forecasting.cold_start.features import Features
from forecasting.frequency import Int64Array
from forecasting.seeds import UInt64Array, key_hashes


@dataclass(frozen=True)
class DonorPool:
    """D donors on one grid.

    values: flat float64, NaN is missing. offsets: int64 [D + 1]. start: int64 [D], ordinal of each donor's first value
    here. launched: bool [D], whether that is the donor's first period ever and lies inside the data, so that it shows
    a launch. features: of the donors. keys: D strings, their identity.
    """

    values: FloatArray
    offsets: Int64Array
    start: Int64Array
    launched: Int64Array
    features: Features
    keys: Sequence[str]

    def __post_init__(self) -> None:
        n = len(self.offsets) - 1
        if not (len(self.start) == len(self.launched) == len(self.features) == len(self.keys) == n):
            raise ValueError(
                f"got {len(self.start)} starts, {len(self.launched)} launches, {len(self.features)} features and "
                f"{len(self.keys)} keys for {n} donors; they must agree"
            )
        for name in ("values", "offsets", "start", "launched"):
            kind = np.float64 if name == "values" else np.int64
            object.__setattr__(self, name, read_only(np.ascontiguousarray(getattr(self, name), dtype=kind)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def key_hash(self) -> UInt64Array:
        """The stable hash of each key, [D]."""
        return key_hashes(self.keys)

    @property
    def lengths(self) -> Int64Array:
        """Values of each donor, [D]."""
        return np.diff(self.offsets)
