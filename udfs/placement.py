"""Rows to the partition that the plan says: a task is a work unit, neither merged with another nor split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from forecasting.frequency import Int64Array

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def looked_up(table: Int64Array, index: Column) -> Column:
    """table[index], NULL outside. The table is one text in the query plan, which Spark turns into an array once."""
    from pyspark.sql import functions as F

    return F.get(F.split(F.lit(",".join(map(str, table.tolist()))), ",").cast("array<int>"), index)


def placed(rows: DataFrame, partitions: int) -> DataFrame:
    """Rows in the partition that their column `place` names (0 to partitions - 1).

    `repartitionById` where Spark has it (4.1); before, by hash of a number that hashes to the wanted partition.
    Adaptive execution leaves both alone, because the number of partitions is given.
    """
    from pyspark.sql import functions as F

    if hasattr(rows, "repartitionById"):
        return rows.repartitionById(partitions, F.col("place"))
    return placed_by_hash(rows, partitions)


def placed_by_hash(rows: DataFrame, partitions: int) -> DataFrame:
    """`placed` for Spark 4.0; adds a column `place:hashed`."""
    from pyspark.sql import functions as F

    rows = rows.withColumn("place:hashed", looked_up(numbers_for(partitions), F.col("place")))
    return rows.repartition(partitions, F.col("place:hashed"))


def numbers_for(partitions: int) -> Int64Array:
    """For each partition the smallest non-negative int that Spark's hash partitioning puts there, [partitions]."""
    found = np.full(partitions, -1, dtype=np.int64)
    begin, step = 0, 64 * partitions
    while (found < 0).any():
        numbers = np.arange(begin, begin + step, dtype=np.int64)
        where = spark_hash(numbers).astype(np.int64) % partitions
        homes, first = np.unique(where, return_index=True)
        new = found[homes] < 0
        found[homes[new]] = numbers[first[new]]
        begin += step
    return found


def spark_hash(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Spark's hash of ints: MurmurHash3 x86 32 bit (Appleby) of four bytes, seed 42."""
    with np.errstate(over="ignore"):
        k = numbers.astype(np.uint32) * np.uint32(0xCC9E2D51)
        k = _rotated(k, 15) * np.uint32(0x1B873593)
        h = _rotated(np.uint32(42) ^ k, 13) * np.uint32(5) + np.uint32(0xE6546B64)
        h ^= np.uint32(4)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    return h.astype(np.int32)


def _rotated(x: npt.NDArray[np.uint32], by: int) -> npt.NDArray[np.uint32]:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))
