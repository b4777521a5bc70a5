"""Rows of a table that tasks make from the series of a run, prepared as for its models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from udfs.layout import quoted
from udfs.limits import condition
from udfs.runs import Run
from udfs.stage import StageInput

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Made = Callable[[pa.RecordBatch, tuple[str, ...]], Iterator[pa.RecordBatch]]


def run_rows(source: StageInput, run: Run, table: str, made: Made) -> DataFrame:
    """Rows of a table. made: from a batch of a task and the names of all columns but `run_id` to rows with these."""
    from pyspark.sql import functions as F

    lake = source.lake
    limit = condition(lake.layout.key, run.plan.where, run.plan.items)
    rows = source.rows(run.plan, limit, range(run.plan.buckets))
    schema = lake.schemas[table]
    names = tuple(name for name in schema.names if name != "run_id")
    ddl = ", ".join(f"{quoted(name)} {schema.column(name).type}" for name in names)

    def step(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from made(batch, names)

    return rows.mapInArrow(step, ddl).withColumn("run_id", F.lit(run.run_id))
