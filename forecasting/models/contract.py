"""The contract that every local model family keeps.

A model sees *rows*: a row is one series as one backtest window may see it, `values[begin:end]` of the flat array.
`fit` turns rows into numbers (`Fitted`: parameters and states, flat arrays that go to Delta as they are), `predict`
turns those numbers into a mean and quantiles, `update` moves the states over newer points and keeps the parameters.
A row that cannot be fitted gets a status and a reason, never an exception; the caller supplies the fallback.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from forecasting.batch import FloatArray, SeriesBatch, offsets_of, read_only
from forecasting.frequency import Int64Array
from forecasting.models.ranges import Range
from forecasting.seeds import UInt64Array, row_seeds

ObjectArray = npt.NDArray[np.object_]


class Status(IntEnum):
    """What became of a row."""

    OK = 0
    FALLBACK = 1  # another, simpler forecast stands in; `reason` says why
    SKIPPED = 2  # not asked for, by configuration
    TIMEOUT = 3  # a limit ended the search; what it had found so far is used
    FAILED = 4  # no forecast


class Hyperparameters(BaseModel):
    """Base of each family's hyperparameters: unknown names and wrong values are errors that name the field."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    season_length: int | None = Field(default=None, ge=1)
    """Periods in a season; null takes the frequency's."""


class RegressionHyperparameters(Hyperparameters):
    """Base of the families that regress on related series and holidays."""

    regressors: Literal["all", "none"] | tuple[str, ...] = "all"
    """Related series to use: all that are known in the future or have a lag, none, or their names."""
    lags: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Related series -> periods by which it is lagged: how one that is not known in the future can be used. The lag
    must be at least the horizon."""
    use_holidays: bool = True
    """Whether the holidays of the data are used."""


@dataclass(frozen=True)
class Rows:
    """What a model may see: row r is `batch.values[begin[r]:end[r]]`, R rows.

    series: int64 [R], position in the batch. begin, end: int64 [R], absolute positions in the flat array.
    season_length: periods in a season. seeds: uint64 [R]. max_evaluations: likelihood passes a row may spend.
    """

    batch: SeriesBatch
    series: Int64Array
    begin: Int64Array
    end: Int64Array
    season_length: int
    seeds: UInt64Array
    max_evaluations: int = 20_000

    def __post_init__(self) -> None:
        for name in ("series", "begin", "end"):  # one array type for the kernels, so that each compiles once
            object.__setattr__(self, name, read_only(np.ascontiguousarray(getattr(self, name), dtype=np.int64)))

    def __len__(self) -> int:
        return len(self.series)

    @property
    def first_step(self) -> Int64Array:
        """The ordinal of each row's first forecast step, [R]."""
        return self.batch.start[self.series] + self.end - self.batch.offsets[self.series]

    @classmethod
    def of(
        cls,
        batch: SeriesBatch,
        model: str,
        ends: npt.ArrayLike | None = None,
        *,
        season_length: int | None = None,
        seed: int = 0,
        max_evaluations: int = 20_000,
        history: int | None = None,
    ) -> Rows:
        """Rows for whole series (`ends` None: R = N) or for backtest windows (`ends` [N, W] counts of visible
        points: R = N * W, windows of a series side by side). history: the latest points that a row may see; None:
        all."""
        n = len(batch)
        if ends is None:
            series, end = np.arange(n), batch.offsets[1:]
        else:
            visible = np.asarray(ends, dtype=np.int64)
            if visible.ndim != 2 or len(visible) != n:
                raise ValueError(f"got ends of shape {visible.shape}, expected [{n}, windows]")
            if ((visible < 0) | (visible > batch.lengths[:, None])).any():
                raise ValueError("ends must lie between 0 and the length of their series")
            series = np.repeat(np.arange(n), visible.shape[1])
            end = batch.offsets[series] + visible.ravel()
        begin = batch.offsets[series]
        return cls(
            batch=batch,
            series=series,
            begin=begin if history is None else np.maximum(begin, end - history),
            end=np.ascontiguousarray(end),
            season_length=season_length or batch.frequency.season_length,
            seeds=row_seeds(batch.key_hash[series], seed, model),
            max_evaluations=max_evaluations,
        )


@dataclass(frozen=True)
class Fitted:
    """Fitted rows as numbers.

    parameters: float64 [R, P], named by the model's `parameter_names`, NaN where a row has no such parameter.
    states: flat float64 with state_offsets int64 [R + 1]: what `predict` needs beyond the parameters.
    status: int8 [R] (Status). reason: object [R], a short code, "" for none. evaluations: int64 [R], passes spent.
    `predict` uses parameters and states only (and, where `needs_history`, the rows), so that a Fitted that was
    stored as numbers and read back predicts the same.
    """

    rows: Rows
    hyperparameters: Hyperparameters
    parameters: FloatArray
    states: FloatArray
    state_offsets: Int64Array
    status: npt.NDArray[np.int8]
    reason: ObjectArray
    evaluations: Int64Array


@dataclass(frozen=True)
class Components:
    """A fit and its forecast taken apart, in the unit of the data.

    names: C components, such as level, trend, season_7, price, Easter, remainder. values: float64 [T, C], row r's
    periods are values[offsets[r]:offsets[r + 1]], from its begin to its end and then the horizon. They add up to the
    value where it was observed and to the mean over the horizon (where the remainder is 0); a part that multiplies
    is given as what it adds. NaN for a row without a fit.
    """

    names: tuple[str, ...]
    values: FloatArray
    offsets: Int64Array


@dataclass(frozen=True)
class RawForecast:
    """A model's own forecast, before any post-processing.

    mean: float64 [R, H]. quantiles: float64 [R, H, Q], at the levels asked for. Rows without a forecast are NaN.
    """

    mean: FloatArray
    quantiles: FloatArray


class Model(ABC):
    """One local model family."""

    name: ClassVar[str]
    """The name in configs, seeds and tables."""
    cost: ClassVar[float]
    """Expected core-microseconds per observation and window with a short season: breaks ties in selection, plans work;
    never measured."""
    Hyperparameters: ClassVar[type[Hyperparameters]] = Hyperparameters
    parameter_names: ClassVar[tuple[str, ...]] = ()
    needs_history: ClassVar[bool] = False
    """Whether `predict` reads the rows' values as well as the parameters and states."""
    uses_related: ClassVar[bool] = False
    """Whether the model can look at `batch.related`; see `reads_related`."""
    search_space: ClassVar[Mapping[str, Range]] = {}
    """Hyperparameter -> the range that a search tries; empty: nothing to tune."""

    def cost_per_point(self, season_length: int) -> float:  # noqa: ARG002
        """Expected core-microseconds per observation and window: what work is planned by.

        Families whose cost grows with the season override it; ties in selection keep the plain `cost`.
        """
        return self.cost

    @abstractmethod
    def fit(self, rows: Rows, hyperparameters: Any) -> Fitted:
        """Estimate parameters and states of every row; never raises for a row."""

    @abstractmethod
    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        """Mean and quantiles for the `horizon` periods after each row's end."""

    @abstractmethod
    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        """Move the states over points that `rows` has after the fitted end (same series, same order, a later end);
        parameters stay."""

    def refit(self, fitted: Fitted, rows: Rows) -> Fitted:
        """Estimate again on `rows` (same series, same order), starting from what was fitted and keeping its form.

        A family for which a start saves nothing fits anew.
        """
        return self.fit(rows, fitted.hyperparameters)

    def components(self, fitted: Fitted, horizon: int) -> Components | None:  # noqa: ARG002
        """The parts of the fit and of its forecast; None for a family that has none."""
        return None

    def log_density(self, fitted: Fitted, actual: FloatArray) -> FloatArray | None:  # noqa: ARG002
        """The log of the predictive density of what happened, float64 [R, H] for actual [R, H]; NaN where there is no
        actual. None for a family without a density of its own."""
        return None

    def reads_related(self, hyperparameters: Any) -> bool:
        """Whether a fit with these hyperparameters looks at `batch.related`: a job reads those columns only then."""
        if isinstance(hyperparameters, RegressionHyperparameters) and hyperparameters.regressors == "none":
            return False
        return self.uses_related

    def problems(self, hyperparameters: Any, related: Mapping[str, bool], horizon: int) -> list[str]:
        """What is wrong with hyperparameters for this data, each with what to do; known before any row is read.

        related: the related series of the data and whether their future is known.
        """
        if not isinstance(hyperparameters, RegressionHyperparameters):
            return []
        return list(_regression_problems(hyperparameters, related, horizon))


def _regression_problems(
    options: RegressionHyperparameters, related: Mapping[str, bool], horizon: int
) -> Iterator[str]:
    named = options.regressors if isinstance(options.regressors, tuple) else ()
    for name in dict.fromkeys((*named, *options.lags)):
        if name not in related:
            yield f"regressor {name!r} is not a related series of the data; there are {sorted(related) or 'none'}"
    for name in named:
        if not related.get(name, True) and name not in options.lags:
            yield (
                f"regressor {name!r} is not known in the future: "
                f"give it a lag of at least {horizon} (lags), or leave it out"
            )
    for name, lag in options.lags.items():
        if lag < horizon and not related.get(name, True):
            yield f"lags.{name} is {lag}; it must be at least the horizon, {horizon}"


@dataclass(frozen=True)
class Blank:
    """Arrays of a fit before any row is looked at; a model fills them in place."""

    status: npt.NDArray[np.int8]
    reason: ObjectArray
    evaluations: Int64Array = field(repr=False)

    @classmethod
    def of(cls, n_rows: int) -> Blank:
        return cls(
            status=np.zeros(n_rows, dtype=np.int8),
            reason=np.full(n_rows, "", dtype=object),
            evaluations=np.zeros(n_rows, dtype=np.int64),
        )

    def explain(
        self, flags: Int64Array, reasons: Sequence[tuple[int, str]], *, fallback: int, timeout: int, failed: int
    ) -> None:
        """Status and reason of each row from its bits in `flags` [R].

        reasons: bits and what they say, the gravest last. fallback, timeout, failed: the bits that make that status.
        """
        for bit, reason in reasons:
            self.reason[flags & bit > 0] = reason
        for bits, status in ((fallback, Status.FALLBACK), (timeout, Status.TIMEOUT), (failed, Status.FAILED)):
            self.status[flags & bits > 0] = status

    def fitted(
        self,
        rows: Rows,
        hyperparameters: Hyperparameters,
        parameters: FloatArray,
        states: FloatArray,
        state_offsets: Int64Array,
    ) -> Fitted:
        """The fit with these numbers."""
        return Fitted(
            rows=rows,
            hyperparameters=hyperparameters,
            parameters=parameters,
            states=states,
            state_offsets=state_offsets,
            status=self.status,
            reason=self.reason,
            evaluations=self.evaluations,
        )

    def without_numbers(self, rows: Rows, hyperparameters: Hyperparameters) -> Fitted:
        """The fit of a model that reads the history again when it predicts: no parameters, no states."""
        n = len(rows)
        return self.fitted(rows, hyperparameters, np.empty((n, 0)), np.empty(0), np.zeros(n + 1, dtype=np.int64))


def kept(states: FloatArray, widths: npt.ArrayLike) -> tuple[FloatArray, Int64Array]:
    """The first widths[r] numbers of each row of states [R, K]: flat states and offsets, as a `Fitted` holds them."""
    sizes = np.asarray(widths, dtype=np.int64)
    return states[np.arange(states.shape[1]) < sizes[:, None]], offsets_of(sizes)


HyperparameterValues = Mapping[str, Any]
