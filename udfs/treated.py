"""The treatment of abrupt changes in a task: what each backtest window, or the forecast, sees of its series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.treatment import Treated, Treatment, seen_until, treat
from udfs.arrow import nulls, texts

if TYPE_CHECKING:
    from udfs.parts import Part
    from udfs.spec import TaskSpec


def treatment_of(part: Part, spec: TaskSpec) -> Treatment | None:
    """How the series of a part, which run the same models, are treated; None for not at all."""
    if not spec.treatments or not len(part.series):
        return None
    return spec.treatments[int(part.source.column("choice")[int(part.positions[0])].as_py())]


def treated_parts(part: Part, spec: TaskSpec) -> Iterator[Part]:
    """The part as its models see it: of a backtest a part a window, since each finds events in what it sees itself.

    Cutoffs, actuals and scales stay those of the data.
    """
    treatment = treatment_of(part, spec)
    if treatment is None or treatment.kind == "report" or part.short or part.ended:
        yield part
        return
    filled = spec.score_filled
    if part.ends is None:
        yield _with(part, treat(part.series, treatment, spec.horizon, filled_count=filled), treatment)
        return
    for window in range(part.ends.shape[1]):
        seen = seen_until(part.series, part.ends[:, window], spec.history)
        made = treat(seen, treatment, spec.horizon, filled_count=filled)
        mine = replace(part.between(window, window + 1), ends=made.series.lengths[:, None])
        yield _with(mine, made, treatment)


def _with(part: Part, made: Treated, treatment: Treatment) -> Part:
    form = short_digest(part.form + treatment.form)
    return replace(part, series=made.series, treatment=made.what, n_treated=made.count, form=form)


def short_digest(form: str) -> str:
    """A digest of what stored fits must share; empty for nothing."""
    return hashlib.sha256(form.encode()).hexdigest()[:16] if form else ""


def treatment_columns(part: Part, width: int) -> dict[str, pa.Array]:
    """The columns of `results` that say what was done, `width` rows a series."""
    rows = len(part.series) * width
    if part.treatment is None or part.n_treated is None:
        return {"treatment": nulls(pa.string(), rows), "n_treated": nulls(pa.int64(), rows)}
    return {
        "treatment": texts(np.repeat(part.treatment, width)),
        "n_treated": pa.array(np.repeat(part.n_treated, width)),
    }
