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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from forecasting.evaluation.metrics import Layout, ratios
from jobs import tables
from jobs.context import ConfigSource
from jobs.deepar_rows import OnProgress, Opened, answered, scored
from udfs.arrow import repeated
from udfs.deep_source import DeepSource, not_done
from udfs.delta_files import arrow_schema, replace_rows
from udfs.errors import InputError
from udfs.lake import layout_of
from udfs.parts import parts_of, pieces
from udfs.schemas import RESULTS_DEEPAR, table_schemas
from udfs.spec import Stage

if TYPE_CHECKING:
    from forecasting.deepar import DeepAR

SHOWN = ("mean_wQL", "WAPE", "RMSE", "MASE", "bias")


@dataclass
class Predicted:
    """What was written. rows: by stage and status. metrics: of all backtest windows together, as in `metrics`; empty
    without backtests. version: of `results_deepar`."""

    run_id: str
    model_id: str
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    metrics: dict[str, float] = field(default_factory=dict)
    version: int = -1
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def predict(
    config: ConfigSource,
    *,
    overrides: Iterable[str] = (),
    model: str | None = None,
    run_id: str | None = None,
    backtest: bool = False,
    on_progress: OnProgress | None = None,
) -> Predicted:
    """Forecast all series of a run by a trained model, with backtest its backtest windows too.

    model: an id of the table `models`, or a model folder; None: the newest. run_id: the run to join, whose version of
    the data is read; None: the newest of this config.
    Raises InputError where torch is missing, for a lake that is empty or in a catalog, a model that is not there, was
    made for another frequency or a shorter horizon, needs what the data lack, or has seen what its backtests ask for.
    """
    started = time.perf_counter()
    opened = Opened.of(config, overrides, model, run_id)
    source = opened.source
    if backtest:
        _check_unseen(opened.about, source)
    stages: tuple[Stage, ...] = ("forecast", "backtest") if backtest else ("forecast",)
    done = Predicted(opened.run_id, opened.model_id, notes=tuple(not_done(source.config)))
    schema = table_schemas(layout_of(source.config))[RESULTS_DEEPAR]
    rows = _rows(opened.model, source, stages, done, arrow_schema(schema), on_progress)
    done.version = replace_rows(source.folder, schema, rows, {"run_id": done.run_id, "stage": stages})
    done.seconds = time.perf_counter() - started
    return done


def _check_unseen(about: Mapping[str, Any], source: DeepSource) -> None:
    plan, trained_to = source.plan, about.get("trained_to")
    if source.config.backtest.windows == 0:
        raise InputError("backtest.windows is 0: there are no windows to forecast; leave --backtest out")
    if source.config.forecast_start == "global" and trained_to is not None:
        earliest = source.label(source.end - plan.span)
        unseen = bool(np.datetime64(str(trained_to), "us") <= earliest)
        seen = f"until {trained_to}, the earliest window sees until {earliest}"
    else:
        left_out, version = int(about.get("left_out", 0)), about.get("series_version")
        unseen = version == source.series_version and left_out >= plan.span
        seen = f"all but the last {left_out} periods of the series at version {version}"
    if not unseen:
        raise InputError(
            f"the model was trained on {seen}: its backtests would be flattered. Train one for them by "
            "`almanac train-deepar --before-backtests`, or leave --backtest out"
        )


def _rows(
    model: DeepAR,
    source: DeepSource,
    stages: tuple[Stage, ...],
    done: Predicted,
    schema: pa.Schema,
    on_progress: OnProgress | None,
) -> Iterator[pa.RecordBatch]:
    total, seen, levels = len(source.series) * len(stages), 0, source.config.quantiles
    sums = np.zeros(len(Layout.of(levels)))
    for stage in stages:
        spec = source.spec(stage)
        for batch in source.batches():
            for piece in pieces(batch, spec):
                for part, _ in parts_of(piece, spec):
                    made = answered(model, part, spec)
                    counted = pc.value_counts(made.column("status")).to_pylist()
                    done.rows.update({(stage, row["values"]): row["counts"] for row in counted})
                    if part.actuals is not None and not part.short:
                        sums += scored(made, part, spec)
                    yield _whole(made, done.run_id, stage, schema)
                seen += len(piece)
                if on_progress is not None:
                    on_progress(seen, total)
    if "backtest" in stages:
        done.metrics.update({name: float(value) for name, value in ratios(sums, levels).items()})


def _whole(made: pa.RecordBatch, run_id: str, stage: str, schema: pa.Schema) -> pa.RecordBatch:
    """The rows with what is the same in all of them, in the table's types."""
    same = {"run_id": repeated(run_id, pa.string(), len(made)), "stage": repeated(stage, pa.string(), len(made))}
    columns = [same[f.name] if f.name in same else made.column(f.name) for f in schema]
    return pa.RecordBatch.from_arrays([c.cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


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
    for note in found.notes:
        out.print(f"note: not done by this model: {note}", highlight=False, markup=False)


__all__ = ["Predicted", "predict", "render"]

if __name__ == "__main__":
    from jobs.cli import main

    main("predict-deepar")
