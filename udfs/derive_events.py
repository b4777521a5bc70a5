"""The table `events`: level shifts, surges and outliers in the whole history of each series of a run's forecast.

Made from what the forecast read, so it can be repeated; what backtest windows found in what they saw is counted in the
ledger (`treatment`, `n_treated`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from forecasting.abrupt import KIND_NAMES, whole_surges
from forecasting.treatment import events_of
from udfs.arrow import timestamps
from udfs.parts import Part, by_choice, pieces, prepare
from udfs.run_rows import run_rows
from udfs.runs import Run
from udfs.spec import TaskSpec
from udfs.stage import StageInput, task_spec
from udfs.treated import treatment_of

_KINDS = pa.array(KIND_NAMES)


def derive_events(source: StageInput, run: Run) -> None:
    """`events` of a run, from what its stage forecast read; replaces what was there in one commit. Nothing is done
    where the config looks for none."""
    plain = replace(source, chosen=None, stored=None)
    spec = task_spec("forecast", plain, run.plan)
    if not any(spec.treatments):
        return
    source.lake.ensure("events")
    source.lake.replace(
        "events",
        run_rows(plain, run, "events", lambda batch, names: found_events(batch, spec, names)),
        {"run_id": run.run_id},
    )


def found_events(batch: pa.RecordBatch, spec: TaskSpec, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """The events of the series in a batch of a task, as rows with these columns."""
    for piece in pieces(batch, spec):
        for part, _ in by_choice(prepare(piece, spec), spec):
            treatment = treatment_of(part, spec)
            if treatment is not None:
                yield _rows(part, spec, names)


def _rows(part: Part, spec: TaskSpec, names: tuple[str, ...]) -> pa.RecordBatch:
    treatment = treatment_of(part, spec)
    assert treatment is not None
    events = whole_surges(events_of(part.series, treatment, filled_count=spec.score_filled))
    grid, start = part.series.frequency, part.series.start[events.row]
    index = pa.array(part.positions[events.row])
    columns = {name: part.source.column(name).take(index) for name in (*spec.key, "bucket")}
    columns |= {
        "timestamp": timestamps(grid.labels(start + events.time)),
        "until": timestamps(grid.labels(start + events.until)),
        "kind": _KINDS.take(pa.array(events.kind)),
        "size": pa.array(events.size),
        "sign": pa.array(events.sign.astype(np.int32)),
        "score": pa.array(events.score),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=list(names))
