"""`metrics` from the additive statistics: per item, per value of each metadata column, per horizon step and in total.

Every scope is a sum of the same numbers followed by the same ratios, so a total is never a mean of items' ratios.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray
from forecasting.evaluation.sums import GroupedSums
from forecasting.frequency import Int64Array
from udfs.arrow import ArrowStep, nulls, repeated
from udfs.config import Config
from udfs.derive_sums import SELECTED, of_series
from udfs.lake import Lake
from udfs.metric_columns import metric_columns
from udfs.packed_numbers import packed, unpacked
from udfs.row_numbers import HEAD, STEP, n_numbers
from udfs.series_rows import ALL_WINDOWS, Listed, SeriesRows, in_pieces, series_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CHOSEN = "chosen"
REFERENCES = ("seasonal_naive", "naive")
"""The models that OWA may be relative to, the first that the run has."""
_FLUSH_GROUPS = 50_000
_SCOPE = ("window", "attribute", "value", STEP)
_GROUP = ("model", *_SCOPE)


def metric_rows(lake: Lake, run_id: str, sums: DataFrame, config: Config) -> DataFrame:
    """Rows of `metrics` for the series of `sums` (see derive_sums), and for steps where these are there; with the
    pseudo-model where they have a column `chosen`, the model chosen for the series. config: the run's."""
    levels = config.quantiles
    members = of_series(sums)
    metadata = _metadata(lake)
    if metadata is not None:
        members = members.join(metadata, list(lake.layout.key), "left")
    attributes = lake.layout.attributes if metadata is not None else ()
    width = n_numbers(levels)
    finish = _Finish(run_id, lake.schemas["metrics"].names, lake.layout.key, tuple(levels), _reference(config))
    rows = lake.schemas["metrics"].ddl()
    items = members.mapInArrow(_item_step(finish), rows)
    parts = members.mapInArrow(_parts_step(attributes, width), _PARTS_DDL)
    if STEP in sums.columns:
        steps = sums.where(f"{STEP} IS NOT NULL").select(STEP, "rows")
        parts = parts.unionByName(steps.mapInArrow(_step_parts_step(width), _PARTS_DDL))
    # all models of a scope in one task: OWA is relative to one of them
    return items.unionByName(parts.repartition(*_SCOPE).mapInArrow(_combine_step(finish, width), rows))


def _reference(config: Config) -> str | None:
    """The model that OWA is relative to."""
    known = {*config.models, *(name for segment in config.segments for name in segment.models)}
    return next((name for name in REFERENCES if name in known), None)


def _metadata(lake: Lake) -> DataFrame | None:
    """Each series' metadata columns; None where there are none."""
    from pyspark.sql import functions as F

    if not lake.layout.attributes or not lake.exists("series"):
        return None
    newest = F.max_by("metadata", "segment").alias("metadata")
    rows = lake.read("series").groupBy(*lake.layout.key).agg(newest)
    return rows.select(*lake.layout.key, *(F.col("metadata")[name].alias(name) for name in lake.layout.attributes))


# --- what the steps hand on ---

_PARTS_DDL = "model string, window int, attribute string, value string, step int, numbers binary, lost binary"


# --- the steps ---


@dataclass(frozen=True)
class _Finish:
    """Sums to rows of `metrics`; goes to the workers."""

    run_id: str
    names: tuple[str, ...]
    key: tuple[str, ...]
    levels: tuple[float, ...]
    reference: str | None

    def rows(
        self, scope: pa.Array, columns: Mapping[str, pa.Array], numbers: FloatArray, reference: Int64Array
    ) -> pa.RecordBatch:
        """columns: model, window and what of key, attribute, value and step there is. numbers: [R, K]. reference:
        [R], the row of the reference model in the same scope, -1 for none."""
        n = len(numbers)
        given = {"run_id": repeated(self.run_id, pa.string(), n), "scope": scope, **columns}
        beside = np.where(reference[:, None] >= 0, numbers[reference], np.nan)
        given |= metric_columns(numbers, beside, self.levels)
        absent = nulls(pa.string(), n)
        given.setdefault(STEP, nulls(pa.int32(), n))
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
            scope = repeated("item", pa.string(), len(rows.series))
            yield finish.rows(scope, columns, rows.numbers, _reference_rows(rows, finish.reference))

    return run


def _reference_rows(rows: SeriesRows, reference: str | None) -> Int64Array:
    """For each row that of the reference model in the same series and window, -1 for none."""
    if reference not in rows.models:
        return np.full(len(rows.series), -1, dtype=np.int64)
    mine = np.flatnonzero(rows.model == rows.models.index(reference))
    windows = int(rows.window.max(initial=0)) + 2  # from ALL_WINDOWS, -1, on
    place = rows.series * windows + rows.window + 1
    of_place = np.full(int(place.max(initial=0)) + 1, -1, dtype=np.int64)
    of_place[place[mine]] = mine
    return np.asarray(of_place[place])


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
        model, window, attribute, value, step = zip(*self.names, strict=True)
        columns = {
            "model": pa.array(model, pa.string()),
            "window": pa.array(window, pa.int32()),
            "attribute": pa.array(attribute, pa.string()),
            "value": pa.array(value, pa.string()),
            STEP: pa.array(step, pa.int32()),
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
            groups.add([*by_model, nothing, nothing, nothing], rows.numbers)
            for attribute in attributes:
                of_series = batch.column(attribute).dictionary_encode(null_encoding="encode")
                code = of_series.indices.to_numpy(zero_copy_only=False)[rows.series]
                name = ((attribute,), nothing[1])
                groups.add([*by_model, name, (of_series.dictionary.to_pylist(), code), nothing], rows.numbers)
            if len(groups) > _FLUSH_GROUPS:
                yield groups.flush()
        if len(groups):
            yield groups.flush()

    return run


def _step_parts_step(width: int) -> ArrowStep:
    """The tasks' sums of each step, and of all backtest windows together; forecasts (window 0), of which a series has
    one, are those of the pseudo-model too."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        groups = _Groups(width)
        for batch in batches:
            listed = Listed.of(batch.column("rows"), 2 * width)
            numbers, window = listed.numbers, listed.window
            step = batch.column(STEP).to_numpy().astype(np.int64)[listed.place]
            models = (listed.models, listed.model)
            nothing = ((None,), np.zeros(len(window), dtype=np.int64))
            steps = (range(int(step.max(initial=0)) + 1), step)
            high, low = numbers[:, :width], numbers[:, width:]
            groups.add([models, (range(int(window.max(initial=0)) + 1), window), nothing, nothing, steps], high, low)
            for mine, name, of in ((window > 0, models, ALL_WINDOWS), (window == 0, ((SELECTED,), nothing[1]), 0)):
                codes = [name, ((of,), nothing[1]), nothing, nothing, steps]
                groups.add([(values, code[mine]) for values, code in codes], high[mine], low[mine])
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
            reference = [groups.names.get((finish.reference, *scope), -1) for _, *scope in groups.names]
            parts = groups.flush()
            whole, of_step = pc.is_null(parts.column("attribute")), pc.is_valid(parts.column(STEP))
            totals[of_step.to_numpy(zero_copy_only=False), HEAD.index("seconds")] = np.nan
            scope = pc.if_else(of_step, "step", pc.if_else(whole, "total", "segment"))
            names = {name: parts.column(name) for name in _GROUP}
            yield finish.rows(scope, names, totals, np.array(reference, dtype=np.int64))

    return run
