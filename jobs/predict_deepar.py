"""The verb `predict-deepar`: forecasts and backtests of the global model, into a run. No Spark, no JVM.

They go to the table `results_deepar`, which has the layout of `results`: one commit that replaces what this run had
there, so that killed and run again it adds no row.
"""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from forecasting.evaluation.metrics import Layout, ratios
from jobs import tables
from jobs.context import ConfigSource
from jobs.deepar_rows import OnProgress, Opened, answered, counting, scored
from jobs.window_models import Models, check_unseen
from udfs.arrow import nulls, repeated
from udfs.deep_cold import cold_windows
from udfs.deep_source import DeepSource, not_done
from udfs.delta_files import arrow_schema, replace_rows
from udfs.errors import InputError
from udfs.lake import layout_of
from udfs.results import DEEPAR, DEEPAR_COLD
from udfs.schemas import RESULTS_DEEPAR, table_schemas
from udfs.spec import Stage

SHOWN = ("mean_wQL", "WAPE", "RMSE", "MASE", "bias")


@dataclass
class Predicted:
    """What was written. rows: by stage and status. metrics: of all backtest windows together, as in `metrics`; empty
    without backtests. version: of `results_deepar`. predictor: the run whose decisions are to be applied to these.
    timed: whether processor time says what they cost."""

    run_id: str
    model_id: str
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    metrics: dict[str, float] = field(default_factory=dict)
    version: int = -1
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    predictor: str | None = None
    timed: bool = True


def predict(
    config: ConfigSource,
    *,
    overrides: Iterable[str] = (),
    model: str | None = None,
    run_id: str | None = None,
    backtest: bool = False,
    predictor: str | None = None,
    on_progress: OnProgress | None = None,
) -> Predicted:
    """Forecast all series of a run by a trained model, with backtest its backtest windows too.

    model: an id of the table `models`, or a model folder; None: the newest, and with `deepar.per_window` for each
    backtest window the newest that was trained for it. run_id: the run to join, whose version of
    the data is read; None: the newest of this config. predictor: forecast the newest data for a run that is not there
    yet, with the id `run_id` (made up unless given): `forecast --predictor` takes the rows into it.
    Raises InputError where torch is missing, for a lake that is empty or in a catalog, a model that is not there, was
    made for another frequency or a shorter horizon, needs what the data lack, or has seen what its backtests ask for.
    """
    started = time.perf_counter()
    if predictor is not None and backtest:
        raise InputError("a run by a predictor has no backtests: leave out --backtest or --predictor")
    opened = Opened.of(config, overrides, model, run_id, predictor)
    source = opened.source
    models = Models(opened.model, opened.model_id)
    if backtest and source.config.deepar.per_window and model is None:
        models = models.for_windows(source, opened.device)
    elif backtest:
        check_unseen(opened.about, source)
    stages: tuple[Stage, ...] = ("forecast", "backtest") if backtest else ("forecast",)
    notes = tuple(not_done(source.config))
    done = Predicted(opened.run_id, opened.model_id, notes=notes, predictor=predictor, timed=opened.timed)
    schema = table_schemas(layout_of(source.config))[RESULTS_DEEPAR]
    rows = _rows(models, source, stages, done, arrow_schema(schema), on_progress)
    done.version = replace_rows(source.lake, schema, rows, {"run_id": done.run_id, "stage": stages})
    done.seconds = time.perf_counter() - started
    return done


def _rows(
    models: Models,
    source: DeepSource,
    stages: tuple[Stage, ...],
    done: Predicted,
    schema: pa.Schema,
    on_progress: OnProgress | None,
) -> Iterator[pa.RecordBatch]:
    levels = source.config.quantiles
    count = counting(on_progress, source.n_series * len(stages))
    sums = np.zeros(len(Layout.of(levels)))
    clock = time.process_time()
    whole = _Whole(done, source.series_version, schema)
    for stage in stages:
        spec = source.spec(stage)
        for part in source.parts(spec, count):
            cold = cold_windows(part, source.config, spec)
            named = ((DEEPAR, part), *((DEEPAR_COLD, rows) for rows in cold))
            asked = ((name, *one) for name, whole_part in named for one in models.of(whole_part))
            for name, model, model_id, rows in asked:
                made = answered(model, rows, spec, name)
                counted = pc.value_counts(made.column("status")).to_pylist()
                done.rows.update({(stage, row["values"]): row["counts"] for row in counted})
                if rows.actuals is not None and not rows.short and name == DEEPAR:
                    sums += scored(made, rows, spec)
                now = time.process_time()
                yield whole.of(made, stage, model_id, now - clock)
                clock = now
    if "backtest" in stages:
        done.metrics.update({name: float(value) for name, value in ratios(sums, levels).items()})


@dataclass(frozen=True)
class _Whole:
    """Rows of a task as rows of the table. done: what they are part of."""

    done: Predicted
    series_version: int
    schema: pa.Schema

    def of(self, made: pa.RecordBatch, stage: str, model_id: str, core_seconds: float) -> pa.RecordBatch:
        """The rows with what is the same in all of them, and the processor time that they took together."""
        n = len(made)
        wall = made.column("seconds").to_numpy()
        share = wall / wall.sum() if wall.sum() > 0 else np.full(n, 1 / max(n, 1))
        given = {
            "run_id": repeated(self.done.run_id, pa.string(), n),
            "stage": repeated(stage, pa.string(), n),
            "model_id": repeated(model_id, pa.string(), n),
            "series_version": repeated(self.series_version, pa.int64(), n),
            "seconds": pa.array(share * core_seconds) if self.done.timed else nulls(pa.float64(), n),
        }
        columns = [given[f.name] if f.name in given else made.column(f.name) for f in self.schema]
        typed = [c.cast(f.type) for c, f in zip(columns, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(typed, schema=self.schema)


def render(found: Predicted, console: Console | None = None) -> None:
    """Print what was written."""
    out = console or tables.console()
    rows = [(stage, status, n) for (stage, status), n in sorted(found.rows.items())]
    out.print(
        f"{RESULTS_DEEPAR} of run {found.run_id} by {found.model_id}, {found.seconds:,.1f} s",
        highlight=False,
        markup=False,
    )
    out.print(tables.table(["stage", "status", "rows"], rows))
    if found.metrics:
        shown = [n for n in found.metrics if n in SHOWN or n.startswith("coverage_p")]
        values = [None if np.isnan(found.metrics[name]) else found.metrics[name] for name in shown]
        out.print(tables.table(shown, [values], "All backtest windows together"))
    if not found.timed:
        out.print("Its core-seconds are not known on a GPU: the leaderboard leaves its cost empty", highlight=False)
    if found.predictor is not None:
        out.print(f"Next: almanac forecast --predictor {found.predictor} --run-id {found.run_id}", highlight=False)
    for note in found.notes:
        out.print(f"note: not done by this model: {note}", highlight=False, markup=False)


__all__ = ["Predicted", "predict", "render"]

if __name__ == "__main__":
    from jobs.cli import main

    main("predict-deepar")
