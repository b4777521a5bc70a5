"""`metrics` from the additive statistics: per item, per value of each metadata column and in total.

Every scope is a sum of the same numbers followed by the same ratios, so a total is never a mean of items' ratios.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray
from forecasting.evaluation.metrics import Layout, ratios
from forecasting.evaluation.sums import GroupedSums
from forecasting.frequency import Int64Array
from forecasting.levels import quantile_column
from udfs.arrow import nulls, repeated
from udfs.derive_sums import HEAD, SELECTED, ArrowStep, SeriesRows, in_pieces, n_numbers, packed, series_rows, unpacked
from udfs.lake import Lake, quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CHOSEN = "chosen"
_FLUSH_GROUPS = 50_000
_GROUP = ("model", "window", "attribute", "value")
_RATIOS = ("mean_wQL", "WAPE", "RMSE", "MAPE", "MASE", "sMAPE", "bias")


def metric_rows(lake: Lake, run_id: str, sums: DataFrame, levels: Sequence[float]) -> DataFrame:
    """Rows of `metrics` for the series of `sums` (see derive_sums); with the pseudo-model where these have a column
    `chosen`, the model chosen for the series."""
    members = sums
    metadata = _metadata(lake)
    if metadata is not None:
        members = members.join(metadata, list(lake.layout.key), "left")
    attributes = lake.layout.attributes if metadata is not None else ()
    width = n_numbers(levels)
    finish = _Finish(run_id, lake.schemas["metrics"].names, lake.layout.key, tuple(levels))
    items = members.mapInArrow(_item_step(finish), _metrics_ddl(lake))
    parts = members.mapInArrow(_parts_step(attributes, width), _PARTS_DDL)
    return items.unionByName(parts.repartition(*_GROUP).mapInArrow(_combine_step(finish, width), _metrics_ddl(lake)))


def with_chosen(lake: Lake, run_id: str, sums: DataFrame) -> DataFrame:
    """The series' sums with the model that the run's selection chose; unchanged where the run has none."""
    from pyspark.sql import functions as F

    if not lake.exists("selection"):
        return sums
    selection = lake.read("selection").where(F.col("run_id") == run_id)
    chosen = selection.select(*lake.layout.key, F.col("model").alias(CHOSEN))
    return sums.join(chosen, list(lake.layout.key), "left")


def _metadata(lake: Lake) -> DataFrame | None:
    """Each series' metadata columns; None where there are none."""
    from pyspark.sql import functions as F

    if not lake.layout.attributes or not lake.exists("series"):
        return None
    newest = F.max_by("metadata", "segment").alias("metadata")
    rows = lake.read("series").groupBy(*lake.layout.key).agg(newest)
    return rows.select(*lake.layout.key, *(F.col("metadata")[name].alias(name) for name in lake.layout.attributes))


# --- what the steps hand on ---

_PARTS_DDL = "model string, window int, attribute string, value string, numbers binary, lost binary"


def _metrics_ddl(lake: Lake) -> str:
    return ", ".join(f"{quoted(c.name)} {c.type}" for c in lake.schemas["metrics"].columns)


# --- the steps ---


@dataclass(frozen=True)
class _Finish:
    """Sums to rows of `metrics`; goes to the workers."""

    run_id: str
    names: tuple[str, ...]
    key: tuple[str, ...]
    levels: tuple[float, ...]

    def rows(self, scope: pa.Array, columns: Mapping[str, pa.Array], numbers: FloatArray) -> pa.RecordBatch:
        """columns: model, window and what of key, attribute and value there is. numbers: [R, K]."""
        n = len(numbers)
        given = {"run_id": repeated(self.run_id, pa.string(), n), "scope": scope, **columns}
        given |= _metric_columns(numbers, self.levels)
        absent = nulls(pa.string(), n)
        return pa.RecordBatch.from_arrays([given.get(name, absent) for name in self.names], names=list(self.names))


def _item_step(finish: _Finish) -> ArrowStep:
    """A row for each series, model and window."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in in_pieces(batches):
            rows = _with_selected(series_rows(batch, n_numbers(finish.levels)), batch)
            index = pa.array(rows.series)
            columns = {
                "model": pa.array(rows.models).take(pa.array(rows.model)),
                "window": pa.array(rows.window.astype(np.int32)),
                **{name: batch.column(name).take(index) for name in finish.key},
            }
            yield finish.rows(repeated("item", pa.string(), len(rows.series)), columns, rows.numbers)

    return run


def _with_selected(rows: SeriesRows, batch: pa.RecordBatch) -> SeriesRows:
    """The rows of each series' chosen model once more, as the pseudo-model."""
    if CHOSEN not in batch.schema.names:
        return rows
    names = np.array([*rows.models, ""], dtype=object)
    chosen = batch.column(CHOSEN).to_numpy(zero_copy_only=False)
    mine = np.flatnonzero(names[rows.model] == chosen[rows.series])
    return SeriesRows(
        models=(*rows.models, SELECTED),
        series=np.concatenate([rows.series, rows.series[mine]]),
        model=np.concatenate([rows.model, np.full(len(mine), len(rows.models))]),
        window=np.concatenate([rows.window, rows.window[mine]]),
        numbers=np.concatenate([rows.numbers, rows.numbers[mine]]),
    )


class _Groups:
    """Sums of the groups that a task has met so far."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.names: dict[tuple[Any, ...], int] = {}
        self.sums = GroupedSums(width)

    def __len__(self) -> int:
        return len(self.names)

    def add(
        self, columns: Sequence[tuple[Sequence[Any], Int64Array]], numbers: FloatArray, lost: FloatArray | None = None
    ) -> None:
        """Add rows to their groups. columns: for each part of a group's name its values and, [R], each row's code."""
        if not len(numbers):
            return
        codes = np.stack([code for _, code in columns], axis=1)
        unique, inverse = np.unique(codes, axis=0, return_inverse=True)
        names = [tuple(values[i] for (values, _), i in zip(columns, row, strict=True)) for row in unique.tolist()]
        slots = np.array([self.names.setdefault(name, len(self.names)) for name in names], dtype=np.int64)
        self.sums.add(numbers, slots[inverse.reshape(-1)], lost)

    def flush(self) -> pa.RecordBatch:
        """The groups as rows; empty afterwards."""
        batch = self._rows()
        self.names, self.sums = {}, GroupedSums(self.width)
        return batch

    def _rows(self) -> pa.RecordBatch:
        high, low = self.sums.parts
        model, window, attribute, value = zip(*self.names, strict=True)
        columns = {
            "model": pa.array(model, pa.string()),
            "window": pa.array(window, pa.int32()),
            "attribute": pa.array(attribute, pa.string()),
            "value": pa.array(value, pa.string()),
            "numbers": packed(high),
            "lost": packed(low),
        }
        return pa.RecordBatch.from_pydict(columns)


def _parts_step(attributes: Sequence[str], width: int) -> ArrowStep:
    """What a task adds to each group."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        groups = _Groups(width)
        for batch in in_pieces(batches):
            rows = _with_selected(series_rows(batch, width), batch)
            windows, window = np.unique(rows.window, return_inverse=True)
            by_model: list[tuple[Sequence[Any], Int64Array]] = [
                (rows.models, rows.model),
                (windows.tolist(), window.reshape(-1)),
            ]
            nothing = ((None,), np.zeros(len(rows.series), dtype=np.int64))
            groups.add([*by_model, nothing, nothing], rows.numbers)
            for attribute in attributes:
                of_series = batch.column(attribute).dictionary_encode(null_encoding="encode")
                code = of_series.indices.to_numpy(zero_copy_only=False)[rows.series]
                name = ((attribute,), nothing[1])
                groups.add([*by_model, name, (of_series.dictionary.to_pylist(), code)], rows.numbers)
            if len(groups) > _FLUSH_GROUPS:
                yield groups.flush()
        if len(groups):
            yield groups.flush()

    return run


def _combine_step(finish: _Finish, width: int) -> ArrowStep:
    """The tasks' parts of each group as one row."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        groups = _Groups(width)
        for batch in batches:
            columns = []
            for name in _GROUP:
                encoded = batch.column(name).dictionary_encode(null_encoding="encode")
                columns.append((encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)))
            groups.add(columns, unpacked(batch.column("numbers"), width), unpacked(batch.column("lost"), width))
        if len(groups):
            totals = groups.sums.totals
            parts = groups.flush()
            whole = pc.is_null(parts.column("attribute"))
            yield finish.rows(pc.if_else(whole, "total", "segment"), {n: parts.column(n) for n in _GROUP}, totals)

    return run


def _metric_columns(numbers: FloatArray, levels: Sequence[float]) -> dict[str, pa.Array]:
    layout = Layout.of(levels)
    statistics = numbers[:, len(HEAD) :]
    metrics = ratios(statistics, levels)
    columns = {
        "n_series": _whole(numbers[:, 0]),
        "n_fallback": _whole(numbers[:, 1]),
        "seconds": pa.array(numbers[:, 2]),
        "n_points": _whole(layout.part(statistics, "n_points")),
        "n_missing": _whole(layout.part(statistics, "n_missing")),
        "sums": _maps(layout.names, statistics),
    }
    quantiles = [quantile_column(q) for q in levels]
    for metric in ("wQL", "coverage"):
        columns[metric] = _maps(quantiles, np.stack([metrics[f"{metric}_{q}"] for q in quantiles], axis=1))
    return columns | {name: _nullable(metrics[name]) for name in _RATIOS}


def _whole(values: FloatArray) -> pa.Array:
    return pa.array(values.astype(np.int64))


def _nullable(values: npt.NDArray[np.float64]) -> pa.Array:
    """NaN, an undefined ratio, as NULL."""
    return pa.array(np.ascontiguousarray(values), from_pandas=True)


def _maps(names: Sequence[str], table: FloatArray) -> pa.Array:
    """[R, K] as R maps from a name to a number; NaN as NULL."""
    rows, width = table.shape
    keys = pa.array(list(names)).take(pa.array(np.tile(np.arange(width), rows)))
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.MapArray.from_arrays(pa.array(offsets), keys, _nullable(table.reshape(-1)))
