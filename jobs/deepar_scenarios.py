"""`predict-deepar --scenarios`: forecasts of a global model with other related series, into the table `scenarios`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from forecasting.frequency import Int64Array
from forecasting.levels import quantile_column
from forecasting.scenarios import Scenario
from jobs import tables
from jobs.context import ConfigSource
from jobs.deepar_rows import OnProgress, Opened, answered, counting
from udfs.arrow import joined_keys, label_microseconds, list_buffers, repeated, timestamps
from udfs.deep_source import DeepSource
from udfs.deepar_schema import scenarios_schema
from udfs.delta_files import arrow_schema, replace_rows
from udfs.lake import layout_of
from udfs.scenario import read_scenarios
from udfs.schemas import BASELINE


@dataclass
class Imagined:
    """What was written. total: scenario -> the sum of the mean forecasts over all series and periods, the baseline
    first. version: of `scenarios`."""

    run_id: str
    model_id: str
    n_series: int
    total: dict[str, float] = field(default_factory=dict)
    version: int = -1
    seconds: float = 0.0


def imagine(
    config: ConfigSource,
    scenarios: Path,
    *,
    overrides: Iterable[str] = (),
    model: str | None = None,
    run_id: str | None = None,
    on_progress: OnProgress | None = None,
) -> Imagined:
    """Forecast every series of a run in each scenario of a file (see `udfs.scenario.read_scenarios`), and without any,
    in place of what the run has in `scenarios`; the run's forecasts stay as they are.

    Raises InputError with all that is wrong in the file, replacements outside the run's series and horizon included,
    and as `predict`.
    """
    started = time.perf_counter()
    opened = Opened.of(config, overrides, model, run_id)
    source = opened.source
    keys = joined_keys(source.series.batch(0, len(source.series)), source.config.key)
    found = read_scenarios(scenarios, source.config, source.frequency, keys, _first_step(source))
    done = Imagined(opened.run_id, opened.model_id, source.n_series)
    schema = scenarios_schema(layout_of(source.config))
    rows = _rows(opened, found, done, arrow_schema(schema), on_progress)
    done.version = replace_rows(source.lake, schema, rows, {"run_id": done.run_id})
    done.seconds = time.perf_counter() - started
    return done


def _first_step(source: DeepSource) -> Int64Array:
    """The ordinal of the first period that is forecast, of each series."""
    held = source.series
    own = source.frequency.ordinals(held.start) + held.lengths
    return np.where(held.lengths > 0, source.end + 1, own) if source.config.forecast_start == "global" else own


def _rows(
    opened: Opened, scenarios: tuple[Scenario, ...], done: Imagined, schema: pa.Schema, on_progress: OnProgress | None
) -> Iterator[pa.RecordBatch]:
    source, plain = opened.source, opened.source.spec("forecast")
    asked: Mapping[str, Scenario | None] = {BASELINE: None, **{scenario.name: scenario for scenario in scenarios}}
    count = counting(on_progress, len(asked) * source.n_series)
    for name, scenario in asked.items():
        spec = replace(plain, scenario=scenario)
        done.total[name] = 0.0
        for part in source.parts(spec, count):
            made = _long(answered(opened.model, part, spec), name, opened, schema)
            done.total[name] += pc.sum(made.column("mean"), min_count=0).as_py()
            yield made


def _long(made: pa.RecordBatch, scenario: str, opened: Opened, schema: pa.Schema) -> pa.RecordBatch:
    """A row a period, from a row a series."""
    config, frequency = opened.source.config, opened.source.frequency
    horizon, n = config.horizon, len(made)
    index = pa.array(np.repeat(np.arange(n), horizon))
    mean, quantiles = (list_buffers(made.column(name))[0].reshape(n, horizon, -1) for name in ("mean", "quantiles"))
    first = frequency.ordinals(label_microseconds(made.column("forecast_start")))
    columns: dict[str, Any] = {
        "run_id": repeated(opened.run_id, pa.string(), n * horizon),
        "model_id": repeated(opened.model_id, pa.string(), n * horizon),
        "scenario": repeated(scenario, pa.string(), n * horizon),
        **{name: made.column(name).take(index) for name in config.key},
        "step": pa.array(np.tile(np.arange(1, horizon + 1), n)),
        "timestamp": timestamps(frequency.labels(first[:, None] + np.arange(horizon)).reshape(-1)),
        "mean": pa.array(mean.reshape(-1)),
        **{quantile_column(q): pa.array(quantiles[:, :, j].reshape(-1)) for j, q in enumerate(config.quantiles)},
    }
    return pa.RecordBatch.from_arrays([columns[f.name].cast(f.type) for f in schema], schema=schema)


def render(found: Imagined, console: Console | None = None) -> None:
    """Print the sum of each scenario's forecasts beside the baseline's."""
    out = console or tables.console()
    base = found.total[BASELINE]
    rows = [(name, total, f"{total / base - 1:+.1%}" if base else None) for name, total in found.total.items()]
    title = f"scenarios of run {found.run_id} by {found.model_id}, {found.n_series:,} series, {found.seconds:,.1f} s"
    out.print(tables.table(["scenario", "sum of mean forecasts", f"to {BASELINE}"], rows, title=title))


__all__ = ["Imagined", "imagine", "render"]
