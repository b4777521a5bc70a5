"""A global model and the run that it answers for; its answers for series made ready: rows of `results`, and how good
they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from forecasting.evaluation.metrics import row_statistics
from jobs.context import ConfigSource
from jobs.deepar_lake import check_libraries, device_of, open_model
from udfs.arrow import list_buffers
from udfs.config import load_config
from udfs.deep_source import DeepSource, check_predictor, find_run, metadata_of, open_source
from udfs.errors import InputError
from udfs.parts import Part
from udfs.results import DEEPAR
from udfs.runs import new_run_id
from udfs.spec import ModelSpec, TaskSpec
from udfs.task import answered as whole_rows

if TYPE_CHECKING:
    from forecasting import Forecast
    from forecasting.batch import FloatArray
    from forecasting.deepar import DeepAR, ItemMetadata

NO_UNIT = -1
"""These rows belong to no work unit of the run's plan."""


OnProgress = Callable[[int, int], None]
"""Called with (series done, of all)."""


def counting(on_progress: OnProgress | None, total: int) -> Callable[[int], None] | None:
    """Adds up the series that are done, for `DeepSource.parts`."""
    if on_progress is None:
        return None
    seen = 0

    def more(n: int) -> None:
        nonlocal seen
        seen += n
        on_progress(seen, total)

    return more


@dataclass(frozen=True)
class Opened:
    """A model, what was told of it, and the series of the run that it answers for. device: where it computes."""

    run_id: str
    model_id: str
    model: DeepAR
    about: Mapping[str, Any]
    source: DeepSource
    device: str

    @property
    def timed(self) -> bool:
        """Whether processor time says what its answers cost."""
        return self.device == "cpu"

    @classmethod
    def of(
        cls,
        config: ConfigSource,
        overrides: Iterable[str],
        model: str | None,
        run_id: str | None,
        predictor: str | None = None,
    ) -> Opened:
        """model: an id of the table `models`, or a model folder; None: the newest. run_id: the run to join, whose
        version of the data is read; None: the newest of this config. predictor: a run whose decisions are to be
        applied to the newest data, in a run that is not there yet and gets the id `run_id` (made up unless given).

        Raises InputError where torch is missing, for a lake that is empty or in a catalog, and a model that is not
        there, was made for another frequency or a shorter horizon, or needs what the data lack.
        """
        check_libraries()
        loaded = load_config(config, overrides)
        if predictor is not None:
            check_predictor(loaded, predictor)
        run = find_run(loaded, run_id) if predictor is None else None
        device = device_of(loaded)
        network, about = open_model(loaded, model, device)
        source = open_source(loaded, run=run)
        _check_fits(network, source)
        joined = run.run_id if run is not None else run_id or new_run_id()
        return cls(joined, str(about.get("model_id", model)), network, about, source, device)


def _check_fits(model: DeepAR, source: DeepSource) -> None:
    """Raise InputError for a model that does not fit the data."""
    config, facts = source.config, model.facts
    problems = []
    if config.horizon > facts.horizon:
        problems.append(f"the horizon is {config.horizon}, the model was trained for at most {facts.horizon}")
    if source.frequency.name != facts.frequency:
        problems.append(f"the data have the frequency {source.frequency.name}, the model {facts.frequency}")
    for name in (*(c.name for c in facts.categories), *(n.name for n in facts.numbers)):
        if name not in config.data.attributes and name not in config.key:
            problems.append(f"the model reads the metadata column {name!r}, which the config does not have")
    if problems:
        raise InputError(f"the model does not fit: {'; '.join(problems)}. Train one for this config: train-deepar")


def metadata_for(model: DeepAR, part: Part) -> ItemMetadata:
    """The metadata that a model reads, of the series of a part."""
    facts = model.facts
    return metadata_of(
        part.source, part.positions, [c.name for c in facts.categories], [n.name for n in facts.numbers]
    )


def scored(made: pa.RecordBatch, part: Part, spec: TaskSpec) -> FloatArray:
    """The sums of some backtest rows."""
    mean, quantiles, actual = (list_buffers(made.column(name))[0] for name in ("mean", "quantiles", "actuals"))
    shape = (len(made), spec.horizon)
    rows = row_statistics(
        mean.reshape(shape),
        quantiles.reshape(*shape, -1),
        actual.reshape(shape),
        part.scale.reshape(-1),
        spec.quantiles,
        rmsse_scale=part.squared_scale.reshape(-1),
    )
    return np.asarray(rows.sum(axis=0), dtype=np.float64)


def answered(model: DeepAR, part: Part, spec: TaskSpec, name: str = DEEPAR) -> pa.RecordBatch:
    """Rows of `results` for a part, by the name that the model has in them.

    Raises InputError for series that lack what the model needs.
    """

    def answer(rows: Part) -> Forecast:
        options: dict[str, Any] = {"ends": rows.ends, "seed": spec.seed, "bounds": spec.bounds}
        try:
            return model.predict(rows.series, spec.horizon, spec.quantiles, metadata_for(model, rows), **options)
        except ValueError as error:
            raise InputError(f"the model cannot forecast these series: {error}") from error

    return whole_rows(part, answer, ModelSpec(name), spec, np.array([NO_UNIT], dtype=np.int32))


__all__ = ["OnProgress", "Opened", "answered", "counting", "metadata_for", "scored"]
