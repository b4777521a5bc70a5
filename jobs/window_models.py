"""The models that forecast the backtest windows of a run: one that saw only what the earliest window sees, or, with
`deepar.per_window`, one for each window, trained on what that window sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.deepar_lake import open_stored, stored_models
from udfs.deep_source import DeepSource
from udfs.errors import InputError
from udfs.parts import Part

if TYPE_CHECKING:
    from forecasting.deepar import DeepAR


@dataclass(frozen=True)
class Models:
    """A model and its id, and those of single windows, the latest window first; empty: the one does for all."""

    model: DeepAR
    model_id: str
    windows: tuple[tuple[DeepAR, str], ...] = field(default=())

    def of(self, part: Part) -> Iterator[tuple[DeepAR, str, Part]]:
        """Which model forecasts which windows of a part."""
        if part.ends is None or not self.windows:
            yield self.model, self.model_id, part
            return
        for column in range(part.ends.shape[1]):
            model, model_id = self.windows[part.window - 1 + column]
            yield model, model_id, part.between(column, column + 1)

    def for_windows(self, source: DeepSource, device: str) -> Models:
        """With the newest model of each backtest window. Raises InputError where a window has none."""
        rows, found = stored_models(source.config), []
        for window in range(source.config.backtest.windows):
            mine = [row for row in rows if _left_out(row) == source.plan.back[window] and _unseen(row, source, window)]
            if not mine:
                raise InputError(
                    f"deepar.per_window is true and backtest window {window + 1} has no model that was trained on "
                    "what it sees; run `almanac train-deepar --before-backtests` with this config"
                )
            found.append((open_stored(source.config, mine[-1], device)[0], str(mine[-1]["model_id"])))
        return replace(self, windows=tuple(found))


def _left_out(row: Mapping[str, Any]) -> int:
    return int(row.get("left_out") or 0)


def _unseen(about: Mapping[str, Any], source: DeepSource, window: int) -> bool:
    """Whether a model has seen nothing of what comes after the cutoff of a window."""
    plan, trained_to = source.plan, about.get("trained_to")
    if source.config.forecast_start == "global" and trained_to is not None:
        cutoff = source.label(source.end - int(plan.back[window]))
        return bool(np.datetime64(str(trained_to).replace(" ", "T"), "us") <= cutoff)
    return about.get("series_version") == source.series_version and _left_out(about) >= plan.back[window]


def check_unseen(about: Mapping[str, Any], source: DeepSource) -> None:
    """Raise InputError for a model that was trained on what comes after the cutoff of some backtest window."""
    plan, trained_to = source.plan, about.get("trained_to")
    if source.config.backtest.windows == 0:
        raise InputError("backtest.windows is 0: there are no windows to forecast; leave --backtest out")
    if _unseen(about, source, plan.windows - 1):
        return
    if source.config.forecast_start == "global" and trained_to is not None:
        earliest = source.label(source.end - plan.span)
        seen = f"until {trained_to}, the earliest window sees until {earliest}"
    else:
        version = about.get("series_version")
        seen = f"all but the last {_left_out(about)} periods of the series at version {version}"
    raise InputError(
        f"the model was trained on {seen}: its backtests would be flattered. Train one for them by "
        "`almanac train-deepar --before-backtests`, or leave --backtest out"
    )


__all__ = ["Models", "check_unseen"]
