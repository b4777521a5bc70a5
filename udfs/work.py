"""The plan of a run: work units of about equal cost, and waves of them.

A *cell* is a storage bucket's slot, `bucket * slots + pmod(hash(key), slots)`: fine grains of the data whose place
depends on the key alone. A *work unit* is a range of neighbouring cells. So a plan is a list of cuts, a few kilobytes
for any number of series, and the same cut after a resume whatever the cluster looks like then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.frequency import Int64Array
from udfs.spec import ModelSpec
from udfs.stored import FULL, Refit

CELLS = 16_384
"""Cells of a lake, at least one a bucket."""
ROW_MICROSECONDS = 60.0
"""Expected core-microseconds of a series, model and window beside the kernels: reading, moving, writing."""
TASKS_PER_CORE = 3
"""Units a core gets at least, where there is work for them, so that cores finish together."""
SHORTEST_UNIT = 1.0
"""Expected core-seconds below which a smaller unit costs more than it brings."""
WAVE_TASKS_PER_CORE = 4


def slots(buckets: int) -> int:
    """Cells of a bucket."""
    return max(1, CELLS // buckets)


@dataclass(frozen=True)
class StagePlan:
    """The units of one stage: unit u is the cells cuts[u] to cuts[u + 1].

    series: series in each unit. seconds: its expected core-seconds.
    """

    cuts: tuple[int, ...]
    series: tuple[int, ...]
    seconds: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.series)

    def cells(self, unit: int) -> range:
        """The cells of a unit."""
        return range(self.cuts[unit], self.cuts[unit + 1])


@dataclass(frozen=True)
class RunPlan:
    """What is fixed when a run begins.

    frequency: canonical. start, end: ordinals of the first and last period in the lake's `series` (of all of them,
    also where the run is limited to some). pieces: whether some history lies in several rows. n_series: series in the
    run. model: the one model of its forecast, None where `selection` or the config decides. refit,
    parameters_from: how its forecast comes to its fits, and the run it starts from. holidays: the version of the table
    `holidays` that it reads, None without. tuning: the tuning whose settings compete (they stand in the run's config),
    "" for none. where, items: its limits. successors: the version of the table `successors`, None without. deepar: the
    run whose forecasts by the global model its own takes, "" for none. deepar_cold: the segments whose series with
    hardly any history take them. statistics: which statistics its backtests' tasks write beside their rows (see
    `udfs.row_numbers.statistics_form`), "" for none.
    """

    frequency: str
    start: int
    end: int
    buckets: int
    pieces: bool
    n_series: int
    mean_length: float
    model: str | None = None
    refit: Refit = FULL
    parameters_from: str = ""
    holidays: int | None = None
    tuning: str = ""
    where: str | None = None
    items: tuple[str, ...] | None = None
    successors: int | None = None
    deepar: str = ""
    deepar_cold: tuple[str, ...] = ()
    statistics: str = ""
    stages: Mapping[str, StagePlan] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As it is stored in `runs.plan`."""
        content = {name: value for name, value in vars(self).items() if name != "stages"}
        return content | {"stages": {name: vars(stage) for name, stage in self.stages.items()}}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunPlan:
        """The plan from its stored form."""
        stages = {
            name: StagePlan(tuple(stage["cuts"]), tuple(stage["series"]), tuple(stage["seconds"]))
            for name, stage in content["stages"].items()
        }
        items, cold = content["items"], tuple(content.get("deepar_cold", ()))
        fixed = {"stages": stages, "items": None if items is None else tuple(items), "deepar_cold": cold}
        return cls(**{**content, **fixed})


def expected_microseconds(
    models: Sequence[ModelSpec], windows: int, season_length: int, shares: Mapping[str, float] | None = None
) -> tuple[float, float]:
    """Expected core-microseconds of a series that runs these models: per series, and per period of its history.

    season_length: the frequency's, for models that are not told another. shares: by model, the share of series that
    run it; None: all do.
    """
    from forecasting.models.registry import get_model

    rows, per_period = 0.0, 0.0
    for model in models:
        share = 1.0 if shares is None else shares.get(model.name, 0.0)
        season = int(model.hyperparameters.get("season_length") or season_length)
        rows, per_period = rows + share, per_period + share * get_model(model.name).cost_per_point(season)
    return ROW_MICROSECONDS * rows * windows, per_period * windows


def cut(
    cells: Int64Array,
    series: Int64Array,
    seconds: npt.NDArray[np.float64],
    *,
    cores: int,
    unit_seconds: float,
    n_cells: int,
) -> StagePlan:
    """Cut cells into units of about equal cost.

    cells: int64 [C], increasing, those that hold series. series, seconds: [C], series in each and expected cost.
    cores: task slots. unit_seconds: the longest unit wanted. n_cells: cells of the lake. Units hold at least one
    non-empty cell each.
    """
    if not len(cells):
        return StagePlan((0, n_cells), (0,), (0.0,))
    total = float(seconds.sum())
    wanted = min(unit_seconds, max(SHORTEST_UNIT, total / (TASKS_PER_CORE * max(cores, 1))))
    count = max(1, int(np.ceil(total / wanted - 1e-9)))
    reached = np.cumsum(seconds) - seconds / 2
    unit = np.minimum((reached / max(total, 1e-300) * count).astype(np.int64), count - 1)
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    return StagePlan(
        cuts=(0, *(int(c) for c in cells[first[1:]]), n_cells),
        series=tuple(int(s) for s in np.bincount(unit, weights=series)),
        seconds=tuple(round(float(s), 6) for s in np.bincount(unit, weights=seconds)),
    )


def waves(units: Sequence[int], cores: int) -> list[tuple[int, ...]]:
    """Units in waves of a few tasks a core; the last waves are no smaller than need be."""
    size = max(1, WAVE_TASKS_PER_CORE * cores)
    return [tuple(units[i : i + size]) for i in range(0, len(units), size)]


def places(plan: StagePlan, units: Sequence[int]) -> tuple[int, npt.NDArray[np.int64]]:
    """Where the cells of some units go: the first cell, and for it and those that follow the position of their unit
    in `units`, -1 for cells of other units."""
    spans = [plan.cells(unit) for unit in units]
    low, high = min(s.start for s in spans), max(s.stop for s in spans)
    out = np.full(high - low, -1, dtype=np.int64)
    for position, span in enumerate(spans):
        out[span.start - low : span.stop - low] = position
    return low, out
