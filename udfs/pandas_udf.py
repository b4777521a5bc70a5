"""The same models as a pandas UDF over the packed columns, for SQL, notebooks and DataFrames of one's own.

    steps = forecast_udf("ets", "D", horizon=28)
    rows.select("item_id", steps(series_key_column("item_id"), "start", "target").alias("steps"))

The numbers are those of `forecasting.forecast` and of the tables, bit for bit. A model of your own, `module:function`,
runs on the workers: the module must be importable there. In local mode the driver's `sys.path` is used; on a cluster
ship it with `spark.submit.pyFiles` (or in your own wheel).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecasting.api import Forecast, fit
from forecasting.batch import SeriesBatch, offsets_of
from forecasting.filling import FillRules, extend, fill
from forecasting.frequency import Frequency, to_microseconds
from forecasting.models.contract import RegressionHyperparameters
from forecasting.models.registry import get_model
from forecasting.postprocess import Bounds
from forecasting.seeds import KEY_SEPARATOR

if TYPE_CHECKING:
    from pyspark.sql import Column

SeriesUdf = Callable[..., "Column"]
"""Takes the columns key, start and target; gives the column of steps."""
STEP_TYPE = "array<struct<step: int, mean: double, quantiles: array<double>>>"
"""What the UDF returns for a series: a struct a step, quantiles at the levels asked for, in their order."""


def forecast_udf(
    model: str,
    frequency: str | Frequency,
    horizon: int,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    *,
    seed: int = 0,
    end: object | None = None,
    rules: FillRules | None = None,
    bounds: Bounds | None = None,
    max_evaluations: int = 20_000,
    hyperparameters: Mapping[str, Any] | None = None,
) -> SeriesUdf:
    """A pandas UDF (key, start, target) -> array of steps.

    key: text, as `series_key_column` makes it; seeds derive from it. start: TIMESTAMP_NTZ, label of the first period.
    target: ARRAY<DOUBLE>, NaN or NULL is missing. end: a label; every series is forecast from there (forecast_start:
    global), None from its own end. rules: fill keys. Raises ValueError for an unknown model or hyperparameter, and for
    a frequency whose phase is open ("2D"): the UDF sees a part of the data only.
    """
    from pyspark.sql.pandas.functions import pandas_udf

    grid = Frequency.parse(frequency)
    if not grid.anchored and end is None:
        raise ValueError(
            f"frequency {grid.name!r} leaves its phase open; write an anchored one, such as W-MON or 2D@2024-01-01"
        )
    last = None
    if end is not None:
        label = int(to_microseconds(np.asarray(end)))
        grid = grid.aligned_to(label)
        last = int(grid.ordinals(label))
    family = get_model(model)
    checked = family.Hyperparameters.model_validate(dict(hyperparameters or {}))
    optional = isinstance(checked, RegressionHyperparameters)  # such a family does without, unless one is named
    if (family.reads_related(checked) and not optional) or family.problems(checked, {}, horizon):
        raise ValueError(f"model {model!r} wants related series, which the UDF does not take; use the jobs")
    options = {"seed": seed, "max_evaluations": max_evaluations, **(hyperparameters or {})}
    levels, paths = tuple(quantiles), tuple(sys.path)

    def steps(batches: Iterator[tuple[pd.Series, pd.Series, pd.Series]]) -> Iterator[pd.Series]:
        sys.path.extend(path for path in paths if path not in sys.path)
        for key, start, target in batches:
            batch = packed(key, start, target, grid)
            if last is not None:
                batch = extend(batch, last)
            if rules is not None:
                batch = fill(batch, rules, None, last, horizon=horizon)
            yield _steps(fit(batch, model, **options).predict(horizon, levels, bounds=bounds))

    # Spark reads the kind of UDF from the hints, and hints that are only text are not there on the workers.
    steps.__annotations__ = {
        "batches": Iterator[tuple[pd.Series, pd.Series, pd.Series]],
        "return": Iterator[pd.Series],
    }
    udf: SeriesUdf = pandas_udf(steps, STEP_TYPE)  # type: ignore[call-overload]
    return udf


def series_key_column(*columns: str) -> Column:
    """The key of a series as one text, from item_id and the forecast dimensions in their order."""
    from pyspark.sql import functions as F

    return F.concat_ws(KEY_SEPARATOR, *columns)


def packed(key: Iterable[str], start: pd.Series, target: Iterable[Any], frequency: Frequency) -> SeriesBatch:
    """A series batch from pandas columns; NULL arrays are empty, NULL values missing."""
    arrays = [np.empty(0) if values is None else np.asarray(values, dtype=np.float64) for values in target]
    labels = start.fillna(pd.Timestamp(0)).to_numpy()
    return SeriesBatch(
        values=np.concatenate(arrays) if arrays else np.empty(0),
        offsets=offsets_of([len(values) for values in arrays]),
        start=frequency.ordinals(to_microseconds(labels)),
        frequency=frequency,
        keys=list(key),
    )


def _steps(forecast: Forecast) -> pd.Series:
    n, horizon = forecast.mean.shape
    means, tables = forecast.mean.tolist(), forecast.quantiles.tolist()
    return pd.Series(
        [[{"step": h + 1, "mean": means[i][h], "quantiles": tables[i][h]} for h in range(horizon)] for i in range(n)],
        dtype=object,
    )
