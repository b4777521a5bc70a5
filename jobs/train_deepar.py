"""The verb `train-deepar`: the global model from the packed series of a lake. Plain Python: no Spark, no JVM."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jobs.context import ConfigSource
from jobs.deepar_lake import check_libraries, device_of, models_folder, with_tuned
from jobs.processes import Processes, together
from jobs.tracking import Tracking
from jobs.training_shown import epoch_lines, render
from udfs.config import Config, load_config
from udfs.config.evaluation import least_history
from udfs.deep_source import DeepSource, metadata_of, not_done, open_source
from udfs.delta_files import arrow_schema, replace_rows
from udfs.errors import InputError
from udfs.models_schema import models_schema
from udfs.parts import Part, prepare
from udfs.results import DEEPAR
from udfs.runs import code_version, new_run_id

if TYPE_CHECKING:
    from forecasting import SeriesBatch
    from forecasting.deepar import DeepAR, Ensemble, ItemMetadata, Progress, SeriesSet
    from forecasting.frequency import Int64Array
    from udfs.series_chunks import Survey

    TrainingSet = tuple[SeriesBatch, ItemMetadata, Int64Array | None]

CHECKPOINT = "training.checkpoint"
SHARED_BY = 10
"""Series that share a value of a key column, on average, for it to be a category; fewer are learned by heart."""
OnEpoch = Callable[["Progress", int], None]
"""Called after an epoch, with how many there may be."""


@dataclass(frozen=True)
class Trained:
    """A model that was trained. row: what stands in `models`. notes: what of the config it does not do. resumed: from
    which epoch it went on, 0 where it began anew. first: whether this process, of several, is the one that speaks.
    failures: what went wrong beside the training."""

    row: dict[str, Any]
    notes: tuple[str, ...]
    resumed: int
    first: bool = True
    failures: tuple[str, ...] = ()

    @property
    def model_id(self) -> str:
        """The model."""
        return str(self.row["model_id"])

    @property
    def folder(self) -> Path:
        """The model folder."""
        return Path(self.row["folder"])


def train(
    config: ConfigSource,
    *,
    overrides: Iterable[str] = (),
    before_backtests: bool = False,
    resume: bool = False,
    tuned: str | None = None,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train the global model, save its folder, and write its row into `models`.

    before_backtests: see only what the earliest backtest window sees, so that its backtests are honest; with
    `deepar.per_window` train a model for each window, which sees what that one sees. resume: go on
    from the checkpoint of an interrupted training, on the data that it read; without a checkpoint begin anew.
    tuned: the tuning whose best setting is used. Killed at any moment and resumed it writes one model and one row.
    Raises InputError where torch is missing, for a lake that is empty or in a catalog, a tuning that is not there or
    not for these data, and for data without an observation to learn from.
    """
    check_libraries()
    loaded = load_config(config, overrides)
    if tuned is not None:
        loaded = with_tuned(loaded, tuned)
    with together(device_of(loaded)) as processes:
        return _trained(loaded, processes, before_backtests, resume, on_epoch)


def _trained(
    config: Config, processes: Processes, before_backtests: bool, resume: bool, on_epoch: OnEpoch | None
) -> Trained:
    """One model, or one for each backtest window from the earliest to the latest."""
    told = _told(models_folder(config) / CHECKPOINT) if resume else {}
    if told and bool(told["before_backtests"]) != before_backtests:
        hint = "with" if told["before_backtests"] else "without"
        raise InputError(
            f"the training in {models_folder(config) / CHECKPOINT} was begun {hint} --before-backtests; resume it so, "
            "or leave --resume"
        )
    latest = 0 if before_backtests and config.deepar.per_window else config.backtest.windows - 1
    window = int(told["window"]) if told else config.backtest.windows - 1
    done = _one(config, processes, told or {"before_backtests": before_backtests, "window": window}, on_epoch)
    for later in range(window - 1, latest - 1, -1):
        version = done.row["series_version"]
        about = {"before_backtests": before_backtests, "window": later, "series_version": version}
        done = replace(_one(config, processes, about, on_epoch), resumed=done.resumed)
    return done


def _one(config: Config, processes: Processes, told: dict[str, Any], on_epoch: OnEpoch | None) -> Trained:
    """One model. told: all that a checkpoint says of it, or what is to be trained."""
    place = models_folder(config) / CHECKPOINT
    source = open_source(config, version=told.get("series_version"))
    resuming = "model_id" in told
    about = processes.agreed(told if resuming else _about(source, told["before_backtests"], told["window"]))
    if about["series_version"] != source.series_version:  # a newer one came between two processes
        source = open_source(config, version=about["series_version"])
    session = _Session.begun(source, about, processes)
    resumed = 0
    if resuming:
        from jobs.model_folder import load_checkpoint

        load_checkpoint(session.trainer, place)
        resumed = session.trainer.epoch
    tracking = None
    if processes.first and config.deepar.mlflow is not None:
        tracking = Tracking(config.deepar.mlflow, about["model_id"], about.get("mlflow_run"), config.deepar.settings)
        about["mlflow_run"] = tracking.run_id  # so that a resumed training goes on in it
    session.run(place, _both(on_epoch, tracking))
    row: dict[str, Any] = {}
    if processes.first:
        row = session.saved(models_folder(config))
        batch = pa.RecordBatch.from_pylist([row], schema=arrow_schema(models_schema()))
        replace_rows(source.lake, models_schema(), iter([batch]), {"model_id": row["model_id"]})
        place.unlink(missing_ok=True)
        if tracking is not None:
            tracking.done(row)
    failures = (tracking.failure,) if tracking is not None and tracking.failure else ()
    return Trained(processes.agreed(row), tuple(not_done(config)), resumed, processes.first, failures)


def _both(on_epoch: OnEpoch | None, tracking: Tracking | None) -> OnEpoch | None:
    """Both are told of an epoch."""
    if tracking is None:
        return on_epoch

    def told(progress: Progress, epochs: int) -> None:
        tracking.epoch(progress)
        if on_epoch is not None:
            on_epoch(progress, epochs)

    return told


def _about(source: DeepSource, before_backtests: bool, window: int) -> dict[str, Any]:
    """What is to be known of a training that begins now. window: the backtest window it is for, 0 is the latest."""
    left = int(source.plan.back[window]) if before_backtests else 0
    common = source.config.forecast_start == "global"
    return {
        "model_id": f"{DEEPAR}-{new_run_id()}",
        "dataset_group": source.config.dataset_group,
        "series_version": source.series_version,
        "before_backtests": before_backtests,
        "window": window,
        "left_out": left,
        "trained_to": str(source.label(source.end - left)) if common or not left else None,
        "seconds": 0.0,
        "windows": 0.0,
        "loss": None,
    }


@dataclass
class _Session:
    """A training under way. about: what goes into checkpoints and into the model folder."""

    source: DeepSource
    trainer: Ensemble
    processes: Processes
    about: dict[str, Any]

    @classmethod
    def begun(cls, source: DeepSource, about: dict[str, Any], processes: Processes) -> _Session:
        from forecasting.deepar import Chunks, Ensemble, Facts, PartFacts, SeriesSet

        config, n = source.config, len(source.chunks)
        settings, device = config.deepar.settings, processes.device

        def ready(k: int) -> TrainingSet:
            return training_set(source, about["before_backtests"], about["window"], chunk=k)

        def laid_out(chunk: TrainingSet) -> SeriesSet:
            batch, metadata, ends = chunk
            return SeriesSet.of(batch, facts, metadata, ends=ends, device=device)

        try:
            if n == 1:
                whole = ready(0)
                facts = Facts.learn_in_parts([PartFacts.of(*whole)], config.horizon, settings)
                chunks = Chunks.whole(laid_out(whole))
            else:
                facts = Facts.learn_in_parts([PartFacts.of(*ready(k)) for k in range(n)], config.horizon, settings)
                chunks = Chunks(lambda k: laid_out(ready(k)), n, device)
            trainer = Ensemble(chunks, facts, settings, seed=config.seed)
        except ValueError as error:
            raise InputError(f"the model cannot be trained on these series: {error}") from error
        return cls(source, trainer, processes, about)

    def run(self, place: Path, on_epoch: OnEpoch | None) -> None:
        """Train to the end, with checkpoints; one more where it is interrupted."""
        from jobs.model_folder import save_checkpoint

        every, settings = self.source.config.deepar.checkpoint_seconds, self.trainer.settings
        before, begun = float(self.about["seconds"]), time.perf_counter()
        saved = begun
        per_epoch = settings.batches_per_epoch * settings.batch_size
        try:
            for progress in self.trainer.run():
                now = time.perf_counter()
                self.about |= {
                    "seconds": before + now - begun,
                    "windows": self.about["windows"] + per_epoch,
                    "loss": progress.loss if math.isfinite(progress.loss) else None,
                }
                if not self.processes.first:
                    continue
                if on_epoch is not None:
                    on_epoch(progress, self.trainer.epochs)
                if now - saved >= every or progress.stop:
                    save_checkpoint(self.trainer, place, self.about)
                    saved = time.perf_counter()
        except KeyboardInterrupt:
            if self.processes.first:
                save_checkpoint(self.trainer, place, self.about)
            raise

    def saved(self, folder: Path) -> dict[str, Any]:
        """The row of the model, its folder written; one that a killed process has left is taken as it is."""
        from jobs.model_folder import MANIFEST, load_model, save_model

        about, trainer, config = self.about, self.trainer, self.source.config
        model, place = trainer.model(), folder / str(about["model_id"])
        metrics = self._metrics(model)
        if place.exists():
            load_model(place)
            digest = _sha256(place / MANIFEST)
        else:
            digest = save_model(model, place, {**about, "metrics": metrics})
        trained_to = about["trained_to"]
        return {
            "model_id": about["model_id"],
            "model": DEEPAR,
            "folder": str(place),
            "digest": digest,
            "trained_at": datetime.now(timezone.utc),
            "series_version": about["series_version"],
            "code_version": code_version(),
            "frequency": model.facts.frequency,
            "horizon": config.horizon,
            "trained_to": None if trained_to is None else datetime.fromisoformat(trained_to),
            "left_out": about["left_out"],
            "settings": model.settings.model_dump_json(),
            "metrics": list(metrics.items()),
            "n_series": model.facts.n_series,
            "n_observations": model.facts.n_observations,
            "windows_per_second": about["windows"] / max(about["seconds"], 1e-9),
            "seconds": about["seconds"],
            "device": self.processes.device.partition(":")[0],
        }

    def _metrics(self, model: DeepAR) -> dict[str, float]:
        """Numbers of the training; those that are not there are left out."""
        numbers = {
            "held_out_loss": self.trainer.state()[1]["best"][0] if self.trainer.state()[1]["best"] else None,
            "loss": self.about["loss"],
            "epochs": float(self.trainer.epoch),
            "windows": float(self.about["windows"]),
            "skipped_steps": float(self.trainer.skipped),
            "weights": float(sum(w.numel() for w in model.weights().values())),
        }
        return {name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)}


def training_set(
    source: DeepSource, before_backtests: bool, window: int = -1, *, chunk: int | None = None
) -> TrainingSet:
    """Series made ready, their metadata, and how many points of each may be seen (None: all).

    window: the backtest window before which they end, by default the earliest; 0 is the latest. chunk: take one of the
    source's chunks, by default all series.

    Raises InputError for backtest windows that no series is long enough for, and for more than can be taken at once.
    """
    config, survey = source.config, source.chunks.survey
    rows = source.series if chunk is None else source.chunks.read(chunk)
    if rows.most_values > np.iinfo(np.int32).max:
        raise InputError(
            f"{rows.most_values:,} values are more than one training set can hold (2.1 thousand million); give a "
            f"smaller deepar.series_at_once than {config.deepar.series_at_once or len(rows)}"
        )
    if before_backtests:
        if config.backtest.windows == 0:
            raise InputError(
                "backtest.windows is 0, so there is nothing to train before; leave --before-backtests out"
            )
        span = source.end - source.start + 1
        longest = span if config.forecast_start == "global" else survey.longest
        try:
            source.plan.check_fits(longest, least_history(config))
        except ValueError as error:
            raise InputError(str(error)) from None
    batch = source.batch(rows, 0, len(rows))
    part: Part = prepare(batch, source.spec("backtest" if before_backtests else "forecast"))
    numbers = config.deepar.numbers
    categories = [name for name in config.deepar.columns(config) if name not in numbers]
    if config.deepar.metadata is None:
        categories += shared_keys(survey, config.key)
    metadata = metadata_of(batch, part.positions, categories, numbers)
    return part.series, metadata, None if part.ends is None else part.ends[:, window]


def shared_keys(survey: Survey, key: Sequence[str]) -> list[str]:
    """Of a key of several columns those whose values say something of each other's series."""
    if len(key) == 1:
        return []
    return [name for name in key if survey.n_series >= SHARED_BY * len(survey.values[name])]


def _told(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of its training; {} where there is none."""
    import safetensors

    if not checkpoint.exists():
        return {}
    try:
        with safetensors.safe_open(str(checkpoint), "pt") as opened:
            told = json.loads(opened.metadata()["document"])["about"]
        return {name: told[name] for name in ("model_id", "series_version", "before_backtests", "window")} | dict(told)
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{checkpoint} is not a whole checkpoint: {error}; delete it to begin anew") from error


def _sha256(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


__all__ = ["Trained", "epoch_lines", "render", "shared_keys", "train", "training_set"]

if __name__ == "__main__":
    from jobs.cli import main

    main("train-deepar")
