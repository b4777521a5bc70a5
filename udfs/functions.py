"""Forecasts as SQL functions: `SELECT item_id, forecast_ets(series, 28) FROM series_input`.

`register(spark)` makes one pandas UDF a family, `forecast_<family>(series, horizon[, options])`, and
`forecast_model(name, series, horizon[, options])` for every other model there is (`module:function` and the like);
and the functions of `udfs.probabilities`.

series: a STRUCT with the fields `target` (ARRAY<DOUBLE>, NULL or NaN is missing), `start` (TIMESTAMP_NTZ, label of
its first value) and `frequency`; and if wanted `season` (periods), `key` (text that seeds derive from), `related` (MAP
of name to ARRAY<DOUBLE>, from the same start) and `known_in_future` (ARRAY of those names). The view `series_input`
has all of them. options: a MAP or a JSON text: quantiles, seed, lower, upper, whole_units, max_evaluations and the
family's hyperparameters.

The answer is an array with a struct a step: step, timestamp, mean, and quantiles by their names (p10, p50, p90). The
numbers are those of `forecasting.forecast`, bit for bit. A NULL series, target, start or horizon gives NULL; a series
that cannot be forecast gets what the jobs give it: a seasonal naive forecast, zeros where it has no value at all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecasting.api import Forecast, fit
from forecasting.batch import RelatedSeries, SeriesBatch, offsets_of
from forecasting.frequency import Frequency, to_microseconds
from forecasting.levels import quantile_column
from forecasting.models.registry import get_model, model_names
from forecasting.postprocess import Bounds
from udfs import probabilities

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RETURNS = "array<struct<step: int, timestamp: timestamp_ntz, mean: double, quantiles: map<string, double>>>"
ANY_MODEL = "forecast_model"
REQUIRED = ("target", "start", "frequency")
COMMON = ("quantiles", "seed", "lower", "upper", "whole_units", "max_evaluations")
"""Options of every model, beside its hyperparameters."""


@dataclass(frozen=True)
class Call:
    """What calls must share to be answered together. options: name and value as JSON, in order of name."""

    model: str
    horizon: int
    grid: Frequency
    season: int | None
    options: str


def function_name(model: str) -> str:
    """The SQL function of a family."""
    return f"forecast_{model}"


def register(
    spark: SparkSession, *, quantiles: Sequence[float] = (0.1, 0.5, 0.9), seed: int = 0, prefix: str = ""
) -> tuple[str, ...]:
    """Make the functions known to a session, for as long as it lasts; returns their names.

    quantiles, seed: where the options of a call say nothing. prefix: goes before every name.
    """
    from pyspark.sql.pandas.functions import pandas_udf

    made = {function_name(model): family_function(model, quantiles, seed) for model in model_names()}
    made[ANY_MODEL] = any_model_function(quantiles, seed)
    for name, function in made.items():
        spark.udf.register(prefix + name, pandas_udf(function, RETURNS))  # type: ignore[call-overload]
    for name in probabilities.FUNCTIONS:
        law = pandas_udf(law_function(name), probabilities.RETURNS)  # type: ignore[call-overload]
        spark.udf.register(prefix + name, law)
    return tuple(prefix + name for name in (*made, *probabilities.FUNCTIONS))


def family_function(model: str, quantiles: Sequence[float], seed: int) -> Callable[..., pd.Series]:
    """(series, horizon[, options]) over pandas columns, for one family."""
    levels, paths = tuple(quantiles), tuple(sys.path)

    def function(series: pd.DataFrame, horizon: pd.Series, *options: pd.Series) -> pd.Series:
        sys.path.extend(path for path in paths if path not in sys.path)
        return answers([model] * len(series), series, horizon, options, levels, seed)

    return _hinted(function)


def batches_of(
    model: str, quantiles: Sequence[float], seed: int, batches: Iterable[tuple[pd.DataFrame, pd.Series, pd.Series]]
) -> Iterator[pd.Series]:
    """The same over batches of (series, horizon, options), as Unity Catalog hands them on."""
    for series, horizon, options in batches:
        yield answers([model] * len(series), series, horizon, [options], quantiles, seed)


def any_model_function(quantiles: Sequence[float], seed: int) -> Callable[..., pd.Series]:
    """(name, series, horizon[, options]) over pandas columns."""
    levels, paths = tuple(quantiles), tuple(sys.path)

    def function(name: pd.Series, series: pd.DataFrame, horizon: pd.Series, *options: pd.Series) -> pd.Series:
        sys.path.extend(path for path in paths if path not in sys.path)
        return answers(list(name), series, horizon, options, levels, seed)

    return _hinted(function)


def law_function(name: str) -> Callable[..., pd.Series]:
    """One of `udfs.probabilities` over pandas columns."""
    answer, paths = probabilities.FUNCTIONS[name], tuple(sys.path)

    def function(levels: pd.Series, values: pd.Series, at: pd.Series, *others: pd.Series) -> pd.Series:
        sys.path.extend(path for path in paths if path not in sys.path)
        return answer(levels, values, at, *others)

    return _hinted(function)


def _hinted(function: Callable[..., pd.Series]) -> Callable[..., pd.Series]:
    """Spark reads the kind of UDF from the hints, and hints that are only text are not there on the workers."""
    kinds = {"series": pd.DataFrame}
    function.__annotations__ = {name: kinds.get(name, pd.Series) for name in function.__annotations__}
    return function


def answers(
    models: Sequence[str | None],
    series: pd.DataFrame,
    horizon: pd.Series,
    options: Sequence[pd.Series],
    quantiles: Sequence[float],
    seed: int,
) -> pd.Series:
    """The forecast of every row as a list of steps, None where there is nothing to forecast. Rows whose calls agree
    are one batch. Raises ValueError for a struct without the fields, unknown options and wrong values."""
    missing = [name for name in REQUIRED if name not in series.columns]
    if missing:
        raise ValueError(
            f"the series is a struct with {', '.join(map(str, series.columns))} and lacks {', '.join(missing)}; "
            "give the column `series` of the view series_input, or "
            "named_struct('target', …, 'start', …, 'frequency', 'D')"
        )
    if len(options) > 1:
        raise ValueError(f"got {len(options)} arguments after the horizon; give one map or JSON text of options")
    given = options[0] if options else [None] * len(series)
    fields: list[Mapping[str, Any]] = list(series.to_dict("records"))  # type: ignore[arg-type]
    rows = list(zip(models, fields, horizon, given, strict=True))
    groups: dict[Call, list[int]] = {}
    for i, (model, row, steps, chosen) in enumerate(rows):
        call = _call(model, row, steps, chosen)
        if call is not None:
            groups.setdefault(call, []).append(i)
    out: list[list[dict[str, Any]] | None] = [None] * len(rows)
    for call, members in groups.items():
        batch = _batch([rows[i][1] for i in members], call.grid)
        for i, steps in zip(members, _steps(call, batch, quantiles, seed), strict=True):
            out[i] = steps
    return pd.Series(out, dtype=object)


def _call(model: str | None, row: Mapping[str, Any], horizon: Any, options: Any) -> Call | None:
    if model is None or pd.isna(horizon) or row["target"] is None or pd.isna(row["start"]) or not row["frequency"]:
        return None
    grid = Frequency.parse(row["frequency"])
    if not grid.anchored:
        grid = grid.aligned_to(int(to_microseconds(np.asarray(row["start"]))))
    season = row.get("season")
    own = None if season is None or pd.isna(season) or int(season) == grid.season_length else int(season)
    return Call(model, int(horizon), grid, own, json.dumps(read_options(options), sort_keys=True))


def read_options(options: Any) -> dict[str, Any]:
    """Options as a mapping. The values of a map are text in SQL and read as JSON where they are JSON: '12', 'true',
    '[0.1, 0.9]', and 'ZZZ' for itself. Raises ValueError for a text that is not a JSON object."""
    if options is None or (isinstance(options, float) and np.isnan(options)):
        return {}
    if isinstance(options, str):
        try:
            read = json.loads(options) if options.strip() else {}
        except json.JSONDecodeError as error:
            raise ValueError(f'options are {options!r}, which is not JSON ({error}); write {{"seed": 7}}') from None
        if not isinstance(read, dict):
            raise ValueError(f'options are {options!r}; expected a JSON object such as {{"seed": 7}}')
        return read
    return {name: _value(value) for name, value in dict(options).items()}


def _value(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Decimal):  # what 0.5 is in SQL
        return float(value)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _batch(rows: Sequence[Mapping[str, Any]], grid: Frequency) -> SeriesBatch:
    targets = [_floats(row["target"]) for row in rows]
    names = sorted({name for row in rows for name in (row.get("related") or {})})
    known = {name for row in rows for name in (row["known_in_future"] if _there(row.get("known_in_future")) else ())}
    related = {}
    for name in names:
        columns = [_floats((row.get("related") or {}).get(name)) for row in rows]
        related[name] = RelatedSeries(*_flat(columns), known_in_future=name in known)
    values, offsets = _flat(targets)
    starts = to_microseconds(np.array([row["start"] for row in rows], dtype="M8[us]"))
    return SeriesBatch(
        values=values,
        offsets=offsets,
        start=grid.ordinals(starts),
        frequency=grid,
        keys=[row.get("key") or "" for row in rows],
        related=related,
    )


def _there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and np.isnan(value))


def _floats(values: Any) -> np.ndarray[Any, Any]:
    return np.empty(0) if not _there(values) else np.asarray(values, dtype=np.float64)


def _flat(arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.concatenate(arrays), offsets_of([len(values) for values in arrays])


def _steps(call: Call, batch: SeriesBatch, quantiles: Sequence[float], seed: int) -> Iterator[list[dict[str, Any]]]:
    chosen: dict[str, Any] = {"quantiles": quantiles, "seed": seed} | json.loads(call.options)
    common = {name: chosen.pop(name) for name in COMMON if name in chosen}
    if call.season is not None:
        chosen = {"season_length": call.season} | chosen
    check_options(call.model, chosen)
    limits = Bounds(common.get("lower"), common.get("upper"), bool(common.get("whole_units", False)))
    spent = {name: int(common[name]) for name in ("seed", "max_evaluations") if name in common}
    fitted = fit(batch, call.model, **spent, **chosen)
    made = fitted.predict(call.horizon, sorted(map(float, common["quantiles"])), bounds=limits)
    return _as_rows(made, batch.frequency)


def check_options(model: str, hyperparameters: Mapping[str, Any]) -> None:
    """Raise ValueError naming each option that the model does not know or cannot use, and those that it knows."""
    from pydantic import ValidationError

    family = get_model(model)
    try:
        family.Hyperparameters.model_validate(dict(hyperparameters))
    except ValidationError as error:
        known = ", ".join((*COMMON, *family.Hyperparameters.model_fields))
        wrong = []
        for item in error.errors():
            name = ".".join(map(str, item["loc"]))
            unknown = item["type"] == "extra_forbidden"
            wrong.append(f"option {name!r} is not known" if unknown else f"{name} is {item['input']!r}: {item['msg']}")
        raise ValueError(f"{function_name(model)}: {'; '.join(wrong)}. Known options: {known}") from None


def _as_rows(made: Forecast, grid: Frequency) -> Iterator[list[dict[str, Any]]]:
    names = [quantile_column(level) for level in made.levels]
    n, horizon = made.mean.shape
    labels = grid.labels(made.first_step[:, None] + np.arange(horizon)).astype("M8[us]").astype(object)
    means, tables = made.mean.tolist(), made.quantiles.tolist()
    for i in range(n):
        yield [
            {
                "step": h + 1,
                "timestamp": labels[i, h],
                "mean": means[i][h],
                "quantiles": dict(zip(names, tables[i][h], strict=True)),
            }
            for h in range(horizon)
        ]
