"""A training in MLflow, where `deepar.mlflow` asks for it: settings, what each epoch reached, and the model's row.

MLflow is not installed with almanac; `mlflow-skinny` is enough. A server that stops answering stops no training.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from udfs.errors import InputError

if TYPE_CHECKING:
    from forecasting.deepar import Progress, Settings
    from udfs.config.deepar import DeepARMlflow

_EPOCH = ("loss", "held_out", "best", "learning_rate", "windows_per_second", "skipped")
_MODEL = ("folder", "digest", "series_version", "code_version", "frequency", "trained_to", "left_out", "device")


class Tracking:
    """One MLflow run for one model. failure: what the server last answered in place of taking a value, "" for nothing;
    nothing more is sent then."""

    def __init__(self, section: DeepARMlflow, model_id: str, run_id: str | None, settings: Settings) -> None:
        """run_id: the MLflow run of a training that is resumed. Raises InputError where MLflow is not installed, or
        its server does not answer at the start."""
        if find_spec("mlflow") is None:
            raise InputError(
                "deepar.mlflow is set and MLflow is not installed: pip install mlflow-skinny, or unset it"
            )
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        from mlflow.tracking import MlflowClient

        self.failure = ""
        self._client: Any = None
        try:
            self._client = MlflowClient(tracking_uri=section.tracking_uri)
            self.run_id = run_id or self._begun(section.experiment, model_id, settings)
        except Exception as error:
            raise InputError(
                f"MLflow ({section.tracking_uri or 'its default tracking URI'}) does not take a run: {error}"
            ) from error

    def _begun(self, experiment: str, model_id: str, settings: Settings) -> str:
        found = self._client.get_experiment_by_name(experiment)
        place = found.experiment_id if found is not None else self._client.create_experiment(experiment)
        run: str = self._client.create_run(place, run_name=model_id, tags={"model_id": model_id}).info.run_id
        for name, value in settings.model_dump(mode="json").items():
            self._client.log_param(run, name, value)
        return run

    def epoch(self, progress: Progress) -> None:
        """What an epoch reached; numbers that are not there are left out."""
        values = {name: float(getattr(progress, name)) for name in _EPOCH}
        self._send({name: value for name, value in values.items() if math.isfinite(value)}, progress.epoch)

    def done(self, row: Mapping[str, Any]) -> None:
        """The model is there. row: as in `models`."""
        metrics = dict(row["metrics"])
        self._send({name: float(value) for name, value in metrics.items()}, int(metrics["epochs"]))
        for name in _MODEL:
            self._try(self._client.set_tag, name, str(row[name]))
        self._try(self._client.set_terminated)

    def _send(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._try(self._client.log_metric, name, value, None, step)

    def _try(self, ask: Callable[..., Any], *what: Any) -> None:
        if self.failure:
            return
        try:
            ask(self.run_id, *what)
        except Exception as error:  # whatever a server or a file system says: the training is worth more
            self.failure = f"MLflow took no more values: {error}"


__all__ = ["Tracking"]
