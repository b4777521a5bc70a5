"""Probabilities in SQL: numbers of `forecasting.evaluation.distribution`, whatever types and holes columns have."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import result_table as made
from scipy.stats import norm

from forecasting.evaluation.distribution import Distribution
from jobs.query import query
from udfs.probabilities import batches_of, probabilities, quantiles

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LEVELS = [0.1, 0.5, 0.9]
LAW = norm(10, 2)


def column(*values: Any) -> pd.Series:
    return pd.Series(list(values), dtype=object)


def test_a_normal_law_and_its_inverse() -> None:
    n = 5
    levels, values = column(*[np.array(LEVELS)] * n), column(*[LAW.ppf(LEVELS)] * n)
    low, high = column(None, 8, None, Decimal("9.5"), 20.0), column(12, None, None, 11.0, 8.0)
    found = probabilities(levels, values, low, high)
    expected = [LAW.cdf(12), LAW.sf(8), 1.0, LAW.cdf(11) - LAW.cdf(9.5), 0.0]
    assert np.allclose(found, expected, rtol=1e-10)
    p = pd.Series([0.01, 0.3, 0.5, 0.9, np.nan])
    assert np.allclose(quantiles(levels, values, p), LAW.ppf(p), rtol=1e-10, equal_nan=True)
    (again,) = batches_of("forecast_quantile", [(levels, values, p)])
    assert again.equals(quantiles(levels, values, p))


def test_rows_of_their_own_levels_and_with_holes() -> None:
    levels = column(LEVELS, [0.2, 0.8], LEVELS, [0.1, 0.2, 0.5], None, LEVELS, [0.5])
    values = column([1, 2, 4], [3.0, 5.0], [1.0, None, 4.0], [1, 1, 2], [1.0, 2.0], [None, None, 3.0], [1.0])
    found = probabilities(levels, values, column(*[None] * 7), column(*[2] * 7))
    laws = [(LEVELS, [1, 2, 4]), ([0.2, 0.8], [3, 5]), ([0.1, 0.9], [1, 4]), ([0.1, 0.2, 0.5], [1, 1, 2])]
    assert list(found[:4]) == [float(Distribution.of(*law).cumulative(2)) for law in laws]
    assert found[4:].isna().all()


def test_bounds_cut_the_tails() -> None:
    levels, values = column(LEVELS, LEVELS), column([-1.0, 1.0, 3.0], [-1.0, 1.0, 3.0])
    lower, upper = column(0.0, None), column(None, None)
    found = probabilities(levels, values, column(None, None), column(-0.5, -0.5), lower, upper)
    assert found[0] == 0.0 < found[1]
    low = quantiles(levels, values, column(0.01, 0.01), lower, upper)
    assert low[0] == 0.0 > low[1]


@pytest.mark.parametrize(
    ("levels", "values", "rest", "message"),
    [
        ([0.1, 0.9], [1.0], (), "1 quantiles for 2 levels"),
        ([0.9, 0.1], [1.0, 2.0], (), "increase"),
        ([0.1, 0.9], [2.0, 1.0], (), "decrease"),
        ([0.1, 0.9], [1.0, 2.0], (column(0.0),), "give lower and upper"),
    ],
)
def test_mistakes_are_told(levels: Any, values: Any, rest: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        probabilities(column(levels), column(values), column(1), column(2), *rest)


@pytest.mark.spark
def test_in_sql_over_the_published_forecasts(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> None:
    config, _ = made.derived_lake(spark, tmp_path_factory)
    law = "array(0.1, 0.5, 0.9), array(p10, p50, p90)"
    rows = query(
        config,
        f"SELECT p10, p50, p90, 1 - forecast_probability({law}, NULL, 12) AS above, "
        f"forecast_probability({law}, 11.5, 13, 0, NULL) AS inside, forecast_probability({law}, NULL, NULL) AS whole, "
        f"forecast_quantile({law}, 0.95) AS most, forecast_quantile({law}, CAST(NULL AS double)) AS nothing "
        "FROM forecasts_latest WHERE item_id IN ('A', '=D') ORDER BY item_id, step",
        spark,
    ).collect()
    assert len(rows) == 6
    for row in rows:
        one = Distribution.of(LEVELS, row[:3])
        assert row["above"] == 1 - float(one.cumulative(12))
        assert row["inside"] == Distribution.of(LEVELS, row[:3], lower=0.0).probability(11.5, 13)
        assert (row["whole"], row["nothing"]) == (1.0, None)
        assert row["most"] == float(one.quantile(0.95))
