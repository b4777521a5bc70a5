"""Drawings with matplotlib: the fan of an item's forecast, the distribution of one step, accuracy beside cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forecasting.demand import ADI_CUT, CV2_CUT
from forecasting.evaluation.distribution import TAILS, Distribution
from forecasting.evaluation.metrics import Layout
from udfs.errors import InputError
from udfs.fan import Fan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTORY, FORECAST, ACTUAL, FRAME = "#4d5560", "#1f6fb4", "#d1495b", "#8a929c"
_FORMATS = (".png", ".svg", ".pdf", ".jpg", ".jpeg")
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FRAME,
    "axes.labelcolor": HISTORY,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.8,
    "xtick.color": HISTORY,
    "ytick.color": HISTORY,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def draw_fan(fan: Fan, out: Path, history: int | None = None) -> None:
    """History, quantile bands, median, mean, and the actuals that are known.

    history: periods shown before the forecast; None shows three horizons, and at least four seasons.
    Raises InputError where matplotlib is missing or `out` is not a picture's name.
    """
    season = fan.frequency.season_length
    n = history if history is not None else max(3 * len(fan.steps), 4 * season if season > 1 else 24)
    with _drawing(out, 1) as (axes,):
        if n:
            axes.plot(fan.times[-n:], fan.values[-n:], color=HISTORY, linewidth=1.3, label="history")
        _bands(axes, fan)
        known = np.isfinite(fan.actuals)
        if known.any():
            marks = {"marker": "o", "markersize": 3, "linewidth": 1.3}
            axes.plot(fan.steps[known], fan.actuals[known], color=ACTUAL, label="actual", **marks)
        axes.axvline(fan.steps[0], color=FRAME, linewidth=0.9, linestyle=":")
        axes.set_title(fan.item, pad=24)
        _subtitle(axes, f"{len(fan.steps)} steps by {fan.model}, run {fan.run_id}")
        axes.set_ylabel("target")
        axes.set_xlabel(f"time (frequency {fan.frequency.name})")
        axes.margins(x=0.01)
        _dates(axes)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _bands(axes: Axes, fan: Fan) -> None:
    layout = Layout.of(fan.levels)
    for position, (low, high) in enumerate(layout.intervals):
        axes.fill_between(
            fan.steps,
            fan.quantiles[:, low],
            fan.quantiles[:, high],
            color=FORECAST,
            alpha=0.16 + 0.12 * position,
            linewidth=0,
            label=f"{_percent(fan.levels[low])} to {_percent(fan.levels[high])}",
        )
    paired = {i for pair in layout.intervals for i in pair} | {layout.median}
    for i, level in enumerate(fan.levels):
        if i not in paired:  # a quantile without its mirror image is a line
            axes.plot(
                fan.steps, fan.quantiles[:, i], color=FORECAST, linewidth=0.9, alpha=0.7, label=f"{_percent(level)}"
            )
    if layout.median is not None:
        axes.plot(fan.steps, fan.quantiles[:, layout.median], color=FORECAST, linewidth=1.8, label="median")
    axes.plot(fan.steps, fan.mean, color=FORECAST, linewidth=1.2, linestyle=(0, (4, 2)), label="mean")


def _percent(level: float) -> str:
    return f"P{level * 100:g}"


def draw_step(fan: Fan, step: int, out: Path, lower: float | None = None, upper: float | None = None) -> None:
    """The whole distribution of one step, 1 to H: density and cumulative, the actual marked where it is known.

    lower, upper: the config's bounds. Raises InputError for a step that the forecast has not, and for fewer than two
    quantiles.
    """
    if not 1 <= step <= len(fan.steps):
        raise InputError(f"step is {step}; the forecast has steps 1 to {len(fan.steps)}")
    if len(fan.levels) < 2:
        raise InputError(f"the run has the quantile {fan.levels[0]:g} alone; a distribution needs two or more")
    distribution = Distribution.of(fan.levels, fan.quantiles[step - 1], lower, upper)
    with _drawing(out, 2) as (left, right):
        _density(left, distribution)
        _cumulative(right, distribution, fan)
        for axes in (left, right):
            axes.axvline(fan.mean[step - 1], color=FORECAST, linewidth=1.2, linestyle=(0, (4, 2)), label="mean")
            if np.isfinite(fan.actuals[step - 1]):
                axes.axvline(fan.actuals[step - 1], color=ACTUAL, linewidth=1.5, label="actual")
            axes.set_xlabel("target")
            axes.legend(loc="best")
        left.set_title(f"{fan.item}, {_label(fan.steps[step - 1])}", pad=24)
        _subtitle(left, f"step {step} by {fan.model}, run {fan.run_id}; {TAILS}")


def _density(axes: Axes, distribution: Distribution) -> None:
    x, density = distribution.density()
    if len(x):
        axes.fill_between(x, density, color=FORECAST, alpha=0.2, linewidth=0)
        axes.plot(x, density, color=FORECAST, linewidth=1.6, label="density")
        axes.set_ylim(0, 1.15 * float(np.quantile(density, 0.98)))
    for value, mass in distribution.atoms:
        axes.axvline(value, color=FORECAST, linewidth=2.5, alpha=0.8, label=f"{mass:.0%} exactly {value:.4g}")
    axes.set_ylabel("density")


def _cumulative(axes: Axes, distribution: Distribution, fan: Fan) -> None:
    p = np.linspace(0.002, 0.998, 997)
    axes.plot(distribution.quantile(p), p, color=FORECAST, linewidth=1.6, label="cumulative")
    axes.plot(distribution.values, fan.levels, "o", color=FORECAST, markersize=5, label="quantiles")
    for level, value in zip(fan.levels, distribution.values, strict=True):
        style: dict[str, Any] = {"fontsize": 8, "color": HISTORY, "path_effects": _halo()}
        axes.annotate(f"{_percent(level)}  {value:.4g}", (value, level), (8, -9), textcoords="offset points", **style)
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability that the target is at or below")


def _halo() -> list[Any]:
    """A white rim that keeps small text readable on lines."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground="white")]


def draw_front(rows: Sequence[Mapping[str, Any]], metric: str, cost: str, source: str, out: Path) -> None:
    """Each model's metric over its cost, and the Pareto front as steps through the models that stand on it.

    rows: with `model`, metric, cost and `pareto`; a model without a metric or a cost above zero is left out. source:
    where they are from, for the subtitle. Raises InputError as the other pictures do, and where no model is left.
    """
    shown = [row for row in rows if row[metric] is not None and (row[cost] or 0.0) > 0.0]
    if not shown:
        raise InputError(f"no model has both {metric} and a cost; there is nothing to draw")
    with _drawing(out, 1) as (axes,):
        front = sorted((row for row in shown if row["pareto"]), key=lambda row: float(row[cost]))
        line = {"color": FORECAST, "linewidth": 1.3, "alpha": 0.6}
        axes.step([r[cost] for r in front], [r[metric] for r in front], where="post", label="Pareto front", **line)
        for mine, colour, name in ((front, FORECAST, "on the front"), (None, FRAME, "cheaper and better exists")):
            points = mine if mine is not None else [row for row in shown if not row["pareto"]]
            places = [r[cost] for r in points], [r[metric] for r in points]
            axes.scatter(*places, s=42, color=colour, zorder=3, label=name if points else None)
        for row in shown:
            style: dict[str, Any] = {"fontsize": 9, "color": HISTORY, "path_effects": _halo()}
            axes.annotate(row["model"], (row[cost], row[metric]), (6, 5), textcoords="offset points", **style)
        axes.set_xscale("log")
        axes.margins(x=0.12, y=0.15)
        axes.set_title("What each model buys", pad=24)
        _subtitle(axes, f"{source}; lower and further left is better")
        axes.set_xlabel("core-seconds per 1,000 series (log)")
        axes.set_ylabel(metric)
        axes.legend(loc="best")


def draw_classes(rows: Sequence[Mapping[str, Any]], n_series: int, out: Path) -> None:
    """Series by their average demand interval and the squared variation of their sizes, with the cuts of the classes.

    rows: with `adi`, `cv2` and `demand_class`. n_series: how many there are, drawn or not. Raises InputError as the
    other pictures do, and where there are no rows.
    """
    if not rows:
        raise InputError("no series has both an average demand interval and a variation; there is nothing to draw")
    with _drawing(out, 1) as (axes,):
        names = sorted({row["demand_class"] for row in rows})
        for name, colour in zip(names, itertools.cycle((FORECAST, ACTUAL, HISTORY, "#e0a458", "#5b8c5a", FRAME))):
            mine = [row for row in rows if row["demand_class"] == name]
            places = [row["adi"] for row in mine], [max(row["cv2"], _LEAST) for row in mine]
            axes.scatter(*places, s=12, color=colour, alpha=0.5, linewidths=0, label=f"{name} ({len(mine)})")
        axes.axvline(ADI_CUT, color=FRAME, linewidth=0.9, linestyle=":")
        axes.axhline(CV2_CUT, color=FRAME, linewidth=0.9, linestyle=":")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title("Kinds of demand", pad=24)
        _subtitle(axes, f"{len(rows)} of {n_series} series")
        axes.set_xlabel("average demand interval, periods (log)")
        axes.set_ylabel("squared variation of the demand sizes (log)")
        axes.legend(loc="best")


_LEAST = 1e-4  # where sizes that do not vary stand on the logarithmic axis


def _label(time: np.datetime64) -> str:
    return str(time.astype("M8[s]")).replace("T", " ").removesuffix(" 00:00:00")


# --- matplotlib ---


@contextmanager
def _drawing(out: Path, panels: int) -> Iterator[list[Any]]:
    """A figure that is saved at the end of the block; without a window system, whatever backend the process has."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("matplotlib is not installed; install almanac[plot]") from error
    if out.suffix.lower() not in _FORMATS:
        raise InputError(f"picture {out} has no known ending; expected one of {', '.join(_FORMATS)}")
    with rc_context(_STYLE):
        figure = Figure(figsize=(11, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        yield list(figure.subplots(1, panels, squeeze=False, sharex=True)[0])
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=150, facecolor="white")


def _subtitle(axes: Axes, text: str) -> None:
    note = axes.text(0, 1.02, text, transform=axes.transAxes, fontsize=9, color=FRAME, va="bottom")
    note.set_in_layout(False)  # it may run over the neighbouring panel without pushing it away


def _dates(axes: Axes) -> None:
    from matplotlib import dates

    tools: Any = dates  # without types
    locator = tools.AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(tools.ConciseDateFormatter(locator))
