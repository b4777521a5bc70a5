"""From backtests to decisions: `selection`, `calibration`, and the backtests of what was selected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.batch import FloatArray
from forecasting.postprocess import Bounds
from udfs.blend import (
    STAGE,
    Blender,
    Calibration,
    blended_backtests,
    calibration,
    final_backtests,
    selection_with_factors,
)
from udfs.calibration_table import write_calibration
from udfs.config import Config
from udfs.contest import Contest, standings
from udfs.derive_selection import Rule, selection_rows
from udfs.derive_sums import kept
from udfs.lake import Lake
from udfs.learn_weights import learn_weights
from udfs.losses import LOSSES, loss_rows, no_losses, stored_fields
from udfs.members import ENSEMBLE
from udfs.results import BACKTEST, has_deepar, results_of, writing_settings
from udfs.runs import Run, find
from udfs.segments import with_segment
from udfs.session_settings import settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def blender_of(config: Config) -> Blender:
    """How a config's members become one forecast."""
    windows, bounds = config.backtest.windows, config.bounds.of_forecasts
    single = config.selection.mode.startswith("best_")
    return Blender(config.selection.mode, config.quantiles, config.horizon, windows, bounds, single)


@dataclass(frozen=True)
class Decisions:
    """What was decided for the series of a run. selection: rows of `selection`. backtests: the backtests of what was
    selected, rows of `results`. calibration: the segments' adjustments."""

    lake: Lake
    run_id: str
    selection: DataFrame
    backtests: DataFrame
    calibration: Calibration
    bounds: Bounds

    def write_choice(self) -> None:
        """Replace the run's part of `selection` and `calibration`."""
        write_calibration(self.lake, self.run_id, self.calibration)
        self.lake.replace("selection", self.selection, {"run_id": self.run_id})

    def write_backtests(self) -> None:
        """Replace the run's backtests of what was selected. After all else: whatever Spark keeps of rows read from
        `results` is made anew once there is a commit to it."""
        with settings(self.lake.spark, writing_settings(self.bounds)):
            self.lake.replace("results", self.backtests, {"run_id": self.run_id, "stage": STAGE})


@contextmanager
def decided(lake: Lake, run_id: str, sums: DataFrame, config: Config) -> Iterator[Decisions]:
    """Choose for every series of `sums` and calibrate; nothing is written but by what is yielded, inside the block."""
    lake.ensure("selection", "calibration", "results")
    blender, contest = blender_of(config), Contest.of(config, deepar=has_deepar(lake, run_id))
    left_out = range(1, blender.windows + 1) if blender.windows > 1 else range(0)
    with (
        kept(loss_rows(lake, sums, contest, left_out)) as losses,
        _chosen(lake, run_id, losses, config, contest, left_out) as selection,
        kept(blended_backtests(lake, run_id, selection, blender, contest.models)) as blended,
    ):
        found = Calibration.none(blender)
        if config.calibration.method == "conformal":
            found = calibration(blended, blender, config.calibration.series_points)
        rows = selection_with_factors(lake, blended, blender, found)
        backtests = final_backtests(lake, run_id, blended, blender, found)
        yield Decisions(lake, run_id, rows, backtests, found, blender.bounds)


def _none_skipped(run: Run | None) -> bool:
    """Whether the run's own counts say that no series was too short for a window; False where it has none."""
    counts = {} if run is None else run.counts
    return any(name.startswith("backtest_") for name in counts) and "backtest_skipped" not in counts


def _with_skipped(lake: Lake, run_id: str, losses: DataFrame, none: bytes) -> DataFrame:
    """The series of `losses` and those that were too short for every window, which have none."""
    from pyspark.sql import functions as F

    skipped = results_of(lake, run_id, BACKTEST).where(F.col("status") == "skipped")
    if skipped.isEmpty():
        return losses
    identity = [*lake.layout.key, "bucket"]
    without = skipped.select(*identity).distinct().join(losses.select(*identity), identity, "left_anti")
    return losses.unionByName(without.select(*identity, F.lit(bytearray(none)).alias(LOSSES)))


@contextmanager
def _chosen(
    lake: Lake, run_id: str, losses: DataFrame, config: Config, contest: Contest, left_out: Sequence[int]
) -> Iterator[DataFrame]:
    """Rows of `selection`, without the factors that calibration adds; beside them each window's weights by the others,
    so that what is scored was not fitted to it (with one window it is)."""
    run = find(lake, run_id)
    everyone = losses if _none_skipped(run) else _with_skipped(lake, run_id, losses, no_losses(contest, left_out))
    series = with_segment(lake, everyone, config, run.series_version if run else None)
    found = standings(series, contest, stored_fields, left_out)
    learnt: Sequence[FloatArray | None] = [None] * len(found)
    if config.selection.mode == ENSEMBLE and len(contest.models) > 1:
        learnt = learn_weights(lake, run_id, series, found, left_out, config.selection.sample)
    choice = config.selection
    rules = [Rule(choice.mode, choice.smallest_weight, s, w) for s, w in zip(found, learnt, strict=True)]
    with kept(selection_rows(lake, run_id, series, rules, left_out)) as rows:
        yield rows
