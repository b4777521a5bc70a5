"""Which series the weights of a segment are learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from udfs.learn_weights import Draw

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.parametrize(
    ("share", "bits", "buckets", "gap"),
    [(1.0, 0, 64, 1), (7.0, 0, 64, 1), (0.6, 0, 64, 1), (0.5, 1, 64, 2), (0.3, 1, 6, 2), (0.01, 6, 48, 16),
     (0.01, 6, 7, 1), (1e-6, 19, 1024, 1024)],
)  # fmt: skip
def test_the_lowest_bits_come_first(share: float, bits: int, buckets: int, gap: int) -> None:
    draw = Draw.of(share)
    assert draw.bits == bits
    assert draw.limit == pytest.approx(min(share, 1.0) * 2**bits * 2**31, abs=1.0)
    assert draw.gap(buckets) == gap


@pytest.mark.spark
def test_as_many_are_drawn_as_were_asked_for_and_they_lie_in_few_buckets(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    n, shares = 40_000, (1.0, 0.7, 0.3, 0.02)
    hashed = F.xxhash64(F.col("id").cast("string"))
    draws = [Draw.of(share) for share in shares]
    flags = [draw.condition(hashed).alias(f"drawn{i}") for i, draw in enumerate(draws)]
    rows = spark.range(n).select(hashed.alias("hash"), *flags).toPandas()
    assert rows["drawn0"].all()
    for i, (share, draw) in enumerate(zip(shares, draws, strict=True)):
        drawn = rows.loc[rows[f"drawn{i}"], "hash"].to_numpy()
        assert abs(len(drawn) - share * n) <= 5 * np.sqrt(n * share * (1 - share))
        for buckets in (1, 4, 6, 7, 48, 64):
            assert set(drawn % buckets) <= set(range(0, buckets, draw.gap(buckets)))
