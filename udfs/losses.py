"""What a contest needs to know of a series, as one packed value: its losses by each model, over all backtest windows
and without each. It is read several times, and the statistics that it is made of are twenty times as large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray
from udfs.arrow import ArrowStep
from udfs.contest import Contest, Field, contest_fields
from udfs.lake import Lake
from udfs.packed_numbers import packed, unpacked
from udfs.series_rows import in_pieces

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LOSSES = "losses"


def loss_rows(lake: Lake, sums: DataFrame, contest: Contest, left_out: Sequence[int]) -> DataFrame:
    """Key, `bucket` and LOSSES of series with their sums (see `derive_sums.series_sums`)."""
    owner = (*lake.layout.key, "bucket")
    ddl = lake.schemas["results"].ddl(owner)
    return sums.mapInArrow(_step(owner, contest, left_out), f"{ddl}, {LOSSES} binary")


def _step(owner: Sequence[str], contest: Contest, left_out: Sequence[int]) -> ArrowStep:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in in_pieces(batches):
            losses = packed(_numbers(contest_fields(batch, contest, left_out)))
            columns = [*(batch.column(name) for name in owner), losses]
            yield pa.RecordBatch.from_arrays(columns, names=[*owner, LOSSES])

    return run


def no_losses(contest: Contest, left_out: Sequence[int]) -> bytes:
    """LOSSES of a series without any backtest."""
    shape = (1, len(contest.models))
    none = Field(np.full(shape, np.nan), np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool), np.zeros(1))
    return _numbers([none] * (1 + len(left_out))).tobytes()


def stored_fields(batch: pa.RecordBatch, contest: Contest, left_out: Sequence[int] = ()) -> list[Field]:
    """As `contest_fields`, from LOSSES."""
    models, fields = len(contest.models), 1 + len(left_out)
    numbers = unpacked(batch.column(LOSSES), models + fields * (2 * models + 1))
    ran, rest = numbers[:, :models] != 0.0, numbers[:, models:].reshape(len(batch), fields, 2 * models + 1)
    return [
        Field(rest[:, i, :models], rest[:, i, models:-1].astype(np.int64), ran, rest[:, i, -1]) for i in range(fields)
    ]


def _numbers(fields: Sequence[Field]) -> FloatArray:
    """Who ran, and of each field the losses, the fallbacks and the number of windows: [S, ..]."""
    parts = [fields[0].ran.astype(np.float64)]
    parts += [part for f in fields for part in (f.loss, f.n_fallback.astype(np.float64), f.windows[:, None])]
    return np.concatenate(parts, axis=1, dtype=np.float64)
