"""What the GPU job reads and is told, without Spark: the packed series of a lake, made ready as for the local models.

Filling, masks, opening hours, features, holidays, backtest windows and the life of items are those of `udfs.parts`.
Not done for the global model: `abrupt`, successors and the decline before an end (`not_done`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.deepar import ItemMetadata
from forecasting.evaluation.windows import BacktestPlan
from forecasting.features import Features
from forecasting.frequency import Frequency, Int64Array
from forecasting.holidays import HolidayCalendar
from udfs.config import Config
from udfs.config.load import config_hash
from udfs.delta_files import lake_root, open_table, read_files, read_rows
from udfs.errors import InputError
from udfs.holiday_table import REGION, Holiday, calendar_at_hand
from udfs.lake import LakeInfo, layout_of, same_group
from udfs.living import END, START, LifeSpec
from udfs.observing import FILL_GROUP, observing_by
from udfs.packed_series import METADATA_PREFIX, PackedSeries
from udfs.parts import Part, parts_of, pieces
from udfs.results import DEEPAR
from udfs.results_schema import STATISTICS, STEP_STATISTICS
from udfs.schemas import SCHEMA_VERSION, table_schemas
from udfs.series_chunks import SeriesChunks, item_names
from udfs.spec import ModelSpec, Stage, TaskSpec
from udfs.stage import spec_of
from udfs.work import RunPlan

_ROWS_AT_ONCE = 100_000
_INFO = ("dataset_group", "frequency", "dimensions", "buckets", "schema_version")
_RUN = ("run_id", "state", "config_hash", "plan", "input_versions", "started_at")
_DECIDED = ("run_id", "horizon", "quantiles")


@dataclass(frozen=True)
class JoinedRun:
    """What a forecast needs to know of the run that it joins. items: the joined keys of its series; None: all."""

    run_id: str
    plan: RunPlan
    series_version: int
    items: Sequence[str] | None = None


@dataclass(frozen=True)
class DeepSource:
    """All series of a lake at a version. start, end: ordinals of the first and last period of the data set. chunks:
    the series, as many at once as `deepar.series_at_once` says."""

    lake: str
    config: Config
    frequency: Frequency
    chunks: SeriesChunks
    series_version: int
    start: int
    end: int
    calendar: HolidayCalendar | None

    @property
    def n_series(self) -> int:
        """All series."""
        return self.chunks.survey.n_series

    @cached_property
    def series(self) -> PackedSeries:
        """All series at once, in the order of their keys."""
        return self.chunks.everything()

    @property
    def plan(self) -> BacktestPlan:
        """The backtest windows."""
        config = self.config
        return BacktestPlan(
            config.horizon, max(config.backtest.windows, 1), config.offset, config.stride, config.backtest.history
        )

    def label(self, ordinal: int) -> np.datetime64:
        """The label of a period."""
        return np.datetime64(int(self.frequency.labels([ordinal])[0]), "us")

    def parts(self, spec: TaskSpec, on_series: Callable[[int], None] | None = None) -> Iterator[Part]:
        """All series made ready for a stage, as for the tasks of the local models. on_series: told how many are done
        after each piece."""
        for batch in self.batches():
            for piece in pieces(batch, spec):
                for part, _ in parts_of(piece, spec):
                    yield part
                if on_series is not None:
                    on_series(len(piece))

    def spec(self, stage: Stage) -> TaskSpec:
        """As `udfs.stage.task_spec` for one model, `deepar`. Series too short for a window are left out of backtests,
        as they are for the local models, and forecast all the same."""
        config, span = self.config, (self.start, self.end)
        related = {name: column.known_in_future for name, column in config.data.related_columns.items()}
        names = table_schemas(layout_of(config))["results"].names
        columns = [name for name in names if name not in (STATISTICS, STEP_STATISTICS)]
        return replace(
            spec_of(stage, config, self.frequency, span, related, ((ModelSpec(DEEPAR),),), columns),
            observing=observing_by(config, self.frequency.name, *span, self.calendar),
            calendar=self.calendar,
            lifecycle=LifeSpec.of(config, self.frequency.season_length),
            features=Features() if config.features is None else config.features.rules(config.time_zone),
        )

    def batch(self, series: PackedSeries, begin: int, end: int) -> pa.RecordBatch:
        """Rows `begin` to `end` of some series as a task gets them."""
        config, made = self.config, series.batch(begin, end)
        zeros = pa.array(np.zeros(end - begin, dtype=np.int32))
        columns = {name: made.column(name) for name in made.schema.names} | {"choice": zeros, "place": zeros}
        section = config.holidays
        if section is not None and section.country_column is not None:
            columns[REGION] = _column(made, section.country_column, config)
        if config.fill.groups:
            columns[FILL_GROUP] = pa.array(_groups(made, config).astype(np.int32))
        dates = {START: config.lifecycle.start_date, END: config.lifecycle.end_date}
        if config.lifecycle.zero_after != "never":
            columns |= {ours: self._ordinals(_column(made, name, config)) for ours, name in dates.items() if name}
        return pa.RecordBatch.from_pydict(columns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, some at a time."""
        for series in self.chunks:
            for begin in range(0, len(series), _ROWS_AT_ONCE):
                yield self.batch(series, begin, min(begin + _ROWS_AT_ONCE, len(series)))

    def _ordinals(self, texts: pa.Array) -> pa.Array:
        """The periods of ISO dates; NULL for what is none, and for stand-ins such as 9999-12-31."""
        days = pd.to_datetime(pd.Series(texts.to_pandas(), dtype=object).str.strip().str[:10], errors="coerce")
        missing = days.isna().to_numpy()
        labels = days.fillna(pd.Timestamp(0)).to_numpy().astype("M8[us]").astype(np.int64)
        return pa.array(self.frequency.ordinals(labels), pa.int64(), mask=missing)


def metadata_of(
    batch: pa.RecordBatch, positions: Int64Array, categories: Sequence[str], numbers: Sequence[str]
) -> ItemMetadata:
    """The metadata of some rows of a batch, or parts of their keys. A text that is no number is an unknown number."""
    rows = pa.array(positions)

    def texts(name: str) -> list[str | None]:
        held = METADATA_PREFIX + name
        column = batch.column(held if held in batch.schema.names else name)
        found: list[str | None] = column.take(rows).to_pylist()
        return found

    return ItemMetadata(
        {name: texts(name) for name in categories},
        {
            name: pd.to_numeric(pd.Series(texts(name), dtype=object), errors="coerce").to_numpy(np.float64)
            for name in numbers
        },
    )


def not_done(config: Config) -> list[str]:
    """What the config asks for and the global model does not do."""
    found = []
    abrupt = [config.abrupt, *(segment.abrupt for segment in config.segments)]
    if any(section is not None for section in abrupt):
        found.append("abrupt: it sees the history as it is, without treatment")
    if config.lifecycle.successors is not None:
        found.append("lifecycle.successors: a successor does not get its predecessor's history")
    if config.lifecycle.end_date is not None and config.lifecycle.phase_out is not None:
        found.append("lifecycle.phase_out: forecasts are zero after the end date and do not decline before it")
    if config.backtest.history is not None:
        found.append("backtest.history: windows see all that lies before them")
    return found


# --- opening ---


def open_source(config: Config, *, run: JoinedRun | None = None, version: int | None = None) -> DeepSource:
    """The series of the config's lake: as the run saw them, else at the version, else the newest.

    Raises InputError for a lake that is empty, in a catalog, or another dataset group's, and for a version that is
    gone.
    """
    lake = lake_root(config.lake)
    info = _identity(lake, config)
    table = open_table(lake, "series", run.series_version if run is not None else version)
    if table is None:
        raise InputError("the lake holds no series yet; run `almanac ingest` first")
    layout, frequency = layout_of(config), Frequency.parse(info.frequency)
    section = config.holidays
    column = section.country_column if section is not None else None
    chunks = SeriesChunks.stored(
        table,
        layout,
        frequency,
        at_once=config.deepar.series_at_once,
        metadata=[column] if column is not None and column not in config.key else [],
        items=run.items if run is not None else None,
    )
    found = chunks.survey
    if run is not None:
        start, end = run.plan.start, run.plan.end
    elif found.first is None or found.last is None:
        raise InputError("the lake holds no series with a history; run `almanac ingest` first")
    else:
        start, end = found.first, found.last
    countries: list[str | None] = []
    if column is not None:
        countries = found.values[column if column in config.key else METADATA_PREFIX + column].to_pylist()
    calendar = _calendar(lake, config, countries, info.frequency, start, end, run)
    return DeepSource(lake, config, frequency, chunks, int(table.version()), start, end, calendar)


def _identity(lake: str, config: Config) -> LakeInfo:
    table = open_table(lake, "lake")
    rows = [] if table is None else read_rows(table, _INFO)
    if not rows:
        raise InputError(f"the lake {lake} is empty; run `almanac ingest` (or `almanac run`) first")
    row = rows[0]
    if row["schema_version"] != SCHEMA_VERSION:
        raise InputError(
            f"the lake has schema version {row['schema_version']}, this almanac reads {SCHEMA_VERSION}; "
            "use the version of almanac that made it"
        )
    info = LakeInfo(row["dataset_group"], row["frequency"], tuple(row["dimensions"]), row["buckets"])
    return same_group(info, config)


def find_run(config: Config, run_id: str | None) -> JoinedRun:
    """The run to join: the given one, else the newest of this config. Raises InputError where there is none, for a
    run of another config, and for one that is limited by a condition and has no rows yet."""
    lake = lake_root(config.lake)
    _identity(lake, config)
    table = open_table(lake, "runs")
    rows = sorted([] if table is None else read_rows(table, _RUN), key=lambda r: (r["started_at"], r["run_id"]))
    mine = [row for row in rows if row["config_hash"] == config_hash(config)]
    if run_id is not None:
        known = [row for row in rows if row["run_id"] == run_id]
        if not known:
            raise InputError(f"there is no run {run_id!r} in this lake; `almanac describe` lists the runs")
        mine = [row for row in known if row in mine]
        if not mine:
            raise InputError(f"run {run_id} was begun with another config; give the config it was begun with")
    if not mine:
        raise InputError(
            "this config has no run whose backtests and forecasts these rows could join; run `almanac backtest` first "
            "(the section deepar may differ, all others must be the same)"
        )
    row = mine[-1]
    plan = RunPlan.from_dict(json.loads(row["plan"]))
    items = plan.items if plan.where is None else _items_of(lake, config, row["run_id"], plan.where)
    return JoinedRun(row["run_id"], plan, int(row["input_versions"]["series"]), items)


def _items_of(lake: str, config: Config, run_id: str, where: str) -> list[str]:
    """The joined keys of the series that a run has rows of: only Spark can tell what meets its condition."""
    table = open_table(lake, "results")
    parts = [] if table is None else read_files(table, config.key, {"run_id": [run_id]})
    names = [pc.unique(item_names([rows.column(part) for part in config.key])) for rows in parts]
    found = {name for some in names for name in some.to_pylist()}
    if not found:
        raise InputError(
            f"run {run_id} is limited by the condition {where!r}, which only Spark can tell, and has no rows yet that "
            f"would say of which series; run `almanac backtest --resume --run-id {run_id}` first"
        )
    return sorted(found)


def check_predictor(config: Config, predictor: str) -> None:
    """Raise InputError where a run is not there whose decisions a later forecast is to apply, or was made for other
    steps or levels."""
    lake = lake_root(config.lake)
    _identity(lake, config)
    table = open_table(lake, "runs")
    rows = [row for row in ([] if table is None else read_rows(table, _DECIDED)) if row["run_id"] == predictor]
    if not rows:
        raise InputError(f"there is no run {predictor!r} in this lake; `almanac describe` lists the runs")
    made = (rows[0]["horizon"], tuple(rows[0]["quantiles"]))
    if made != (config.horizon, config.quantiles):
        raise InputError(
            f"predictor {predictor} was made for horizon {made[0]} and quantiles {list(made[1])}; the config asks for "
            f"{config.horizon} and {list(config.quantiles)}: give the predictor's"
        )


def _calendar(
    lake: str,
    config: Config,
    countries: list[str | None],
    frequency: str,
    start: int,
    end: int,
    run: JoinedRun | None,
) -> HolidayCalendar | None:
    if config.holidays is None:
        return None
    table = open_table(lake, "holidays", None if run is None else run.plan.holidays)
    names = list(Holiday.__dataclass_fields__)
    stored = [] if table is None else [Holiday(**row) for row in read_rows(table, names)]
    return calendar_at_hand(stored, config, frequency, start, end, countries)


def _column(batch: pa.RecordBatch, name: str, config: Config) -> pa.Array:
    """A metadata or key column, or what a series is known for."""
    return batch.column(METADATA_PREFIX + name if name in config.data.attributes else name)


def _groups(batch: pa.RecordBatch, config: Config) -> Int64Array:
    """The position of the first of `fill.groups` that each row meets; behind the last for none."""
    groups = config.fill.groups
    found = np.full(len(batch), len(groups), dtype=np.int64)
    for position in reversed(range(len(groups))):
        meets = np.ones(len(batch), dtype=bool)
        for name, values in groups[position].conditions.items():
            held = pc.is_in(_column(batch, name, config), pa.array(list(values), pa.string()))
            meets &= held.to_numpy(zero_copy_only=False)
        found[meets] = position
    return found


__all__ = ["DeepSource", "JoinedRun", "check_predictor", "find_run", "metadata_of", "not_done", "open_source"]
