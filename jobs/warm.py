"""Compile the models' kernels while Spark starts and reads, so that the first tasks find them in the cache on disk.

Compiling holds Python's lock, so it is done by processes of their own, one a core, which take one model after another.
As a program (`python -m jobs.warm`) this is such a process: a line of JSON in is a model, a line out says it is done.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from forecasting import SeriesBatch, fit
from udfs.config import Config
from udfs.config.variants import competing_models
from udfs.session import SINGLE_THREAD

_HISTORY = 3
"""Seasons of the made-up series: enough for every seasonal kernel."""
_SLOW = ("arima", "ets", "prophet", "ces", "mstl", "theta")
"""Families that take longest to compile come first, so that all processes end at about the same time."""


@contextmanager
def warming(config: Config, given: Any = None) -> Iterator[None]:
    """Warm up beside the block and wait at its end.

    With a session that is given, the workers may be other machines with a cache of their own: nothing is done then.
    """
    if given is not None:
        yield
        return
    work = models_to_warm(config)
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for job in work:
        jobs.put(job)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = [
        threading.Thread(target=_feed, args=(jobs,), daemon=True) for _ in range(min(cores, 4, max(len(work) // 2, 1)))
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def models_to_warm(config: Config) -> list[dict[str, Any]]:
    """Each model with its hyperparameters once, as `warm` takes them; a user's own function is not ours to compile."""
    found: dict[str, dict[str, Any]] = {}
    for models in competing_models(config):
        for name, hyperparameters in models.items():
            if ":" in name:
                continue
            job = {
                "model": name,
                "hyperparameters": dict(hyperparameters),
                "frequency": config.grid.name,
                "quantiles": list(config.quantiles),
            }
            found[json.dumps(job, sort_keys=True, default=list)] = job
    place = {name: i for i, name in enumerate(_SLOW)}
    return sorted(found.values(), key=lambda job: place.get(job["model"], len(_SLOW)))


def _feed(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    """One process, given models until there is none left. What fails here fails with a reason in a task."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, **SINGLE_THREAD, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
    except OSError:
        return
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        while True:
            try:
                job = jobs.get_nowait()
            except queue.Empty:
                return
            try:
                process.stdin.write(json.dumps(job, default=list) + "\n")
                process.stdin.flush()
            except OSError:
                return
            if not process.stdout.readline():
                return


def warm(job: dict[str, Any]) -> None:
    """Fit a model once to two small series. job: model, hyperparameters, frequency, quantiles."""
    batch = SeriesBatch.from_arrays([[0.0]], start="2020-01-01", freq=job["frequency"])
    season = min(max(batch.frequency.season_length, 2), 60)
    steps = np.arange(_HISTORY * season + 2)
    series = [5.0 + np.sin(2 * np.pi * steps / season), np.where(steps % 4, 0.0, 3.0)]
    batch = SeriesBatch.from_arrays(series, start="2020-01-01", freq=job["frequency"])
    ends = np.repeat([[len(steps) - 1, len(steps)]], 2, axis=0)
    fit(batch, job["model"], ends, **job["hyperparameters"]).predict(2, tuple(job["quantiles"]))


def serve(lines: IO[str], answers: IO[str]) -> None:
    """Warm up what each line asks for."""
    for line in lines:
        try:
            warm(json.loads(line))
            answers.write("done\n")
        except Exception as error:
            answers.write(f"{type(error).__name__}\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
