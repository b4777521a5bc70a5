"""`predict-deepar --impacts`: what each feature adds to the forecasts of a global model, into the table `impacts`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from jobs import tables
from jobs.context import ConfigSource
from jobs.deepar_rows import OnProgress, Opened, counting, metadata_for
from udfs.arrow import repeated
from udfs.deepar_schema import impacts_schema
from udfs.delta_files import arrow_schema, replace_rows
from udfs.errors import InputError
from udfs.lake import layout_of
from udfs.parts import Part

if TYPE_CHECKING:
    from forecasting.deepar import Impacts

Feature = tuple[str, str]
"""Name and kind."""


@dataclass
class Explained:
    """What was written. total: feature and kind -> (effect, size) over all series. version: of `impacts`."""

    run_id: str
    model_id: str
    n_series: int = 0
    total: dict[Feature, tuple[float, float]] = field(default_factory=dict)
    version: int = -1
    seconds: float = 0.0


def explain(
    config: ConfigSource,
    *,
    overrides: Iterable[str] = (),
    model: str | None = None,
    run_id: str | None = None,
    on_progress: OnProgress | None = None,
) -> Explained:
    """The impact of every feature on the forecast of every series of a run, and over all of them, in place of what the
    run has in `impacts`; it costs one forecast a feature. Arguments and errors as `predict`."""
    started = time.perf_counter()
    opened = Opened.of(config, overrides, model, run_id)
    source = opened.source
    done = Explained(opened.run_id, opened.model_id)
    schema = impacts_schema(layout_of(source.config))
    rows = _rows(opened, done, arrow_schema(schema), on_progress)
    done.version = replace_rows(source.lake, schema, rows, {"run_id": done.run_id})
    done.seconds = time.perf_counter() - started
    return done


def _rows(
    opened: Opened, done: Explained, schema: pa.Schema, on_progress: OnProgress | None
) -> Iterator[pa.RecordBatch]:
    source, spec = opened.source, opened.source.spec("forecast")
    total = _Total()
    for part in source.parts(spec, counting(on_progress, source.n_series)):
        if not part.ended:  # nothing moves the zeros of an item that is over
            found = _impacts(opened, part)
            total.add(found)
            done.n_series += len(part.series)
            yield _items(opened, part, found, schema)
    done.total = total.made()
    records = [
        {"scope": "total", "feature": name, "kind": kind, "effect": effect, "size": size}
        for (name, kind), (effect, size) in done.total.items()
    ]
    same = {"run_id": opened.run_id, "model_id": opened.model_id}
    yield pa.RecordBatch.from_pylist([record | same for record in records], schema=schema)


def _impacts(opened: Opened, part: Part) -> Impacts:
    from forecasting.deepar import impacts

    config = opened.source.config
    metadata = metadata_for(opened.model, part)
    try:
        return impacts(opened.model, part.series, config.horizon, metadata, seed=config.seed)
    except ValueError as error:
        raise InputError(f"the model cannot forecast these series: {error}") from error


def _items(opened: Opened, part: Part, found: Impacts, schema: pa.Schema) -> pa.RecordBatch:
    """A row a series and feature."""
    n, width = found.mean.shape
    index = pa.array(np.repeat(part.positions, width))
    columns: Mapping[str, Any] = {
        "run_id": repeated(opened.run_id, pa.string(), n * width),
        "model_id": repeated(opened.model_id, pa.string(), n * width),
        "scope": repeated("item", pa.string(), n * width),
        **{name: part.source.column(name).take(index) for name in opened.source.config.key},
        "feature": pa.array(list(found.names) * n, pa.string()),
        "kind": pa.array(list(found.kinds) * n, pa.string()),
        "effect": pa.array(found.mean.reshape(-1)),
        "size": pa.array(found.size.reshape(-1)),
    }
    return pa.RecordBatch.from_arrays([columns[f.name].cast(f.type) for f in schema], schema=schema)


class _Total:
    """Over the series of all parts: the mean of the effects, and the sizes weighted by the forecasts."""

    def __init__(self) -> None:
        self.sums: dict[Feature, np.ndarray[Any, Any]] = {}

    def add(self, found: Impacts) -> None:
        n = len(found.forecast)
        for j, feature in enumerate(zip(found.names, found.kinds, strict=True)):
            one = [found.mean[:, j].sum(), n, found.size[:, j] @ found.forecast, found.forecast.sum()]
            self.sums[feature] = self.sums.get(feature, 0) + np.array(one)

    def made(self) -> dict[Feature, tuple[float, float]]:
        return {
            feature: (float(effect / n) if n else 0.0, float(change / whole) if whole else 0.0)
            for feature, (effect, n, change, whole) in self.sums.items()
        }


def render(found: Explained, console: Console | None = None) -> None:
    """Print the totals, the largest first."""
    out = console or tables.console()
    ordered = sorted(found.total.items(), key=lambda pair: -pair[1][1])
    rows = [(name, kind, effect, size) for (name, kind), (effect, size) in ordered]
    title = f"impacts of run {found.run_id} by {found.model_id}, {found.n_series:,} series, {found.seconds:,.1f} s"
    out.print(tables.table(["feature", "kind", "effect", "size"], rows, title=title))


__all__ = ["Explained", "explain", "render"]
