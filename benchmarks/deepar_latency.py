"""How long a fresh process takes to answer for one series given as arrays, from a model folder of DeepAR+; no Spark.

    python benchmarks/deepar_latency.py                     # 2 x 40 cells, hourly, trained for a moment
    python benchmarks/deepar_latency.py --model FOLDER      # a folder that train-deepar has written

A process of its own imports, loads the folder and forecasts, five times anew; medians are printed. Related series and
metadata that the model reads are given as unknown. Needs torch and safetensors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POINTS, PROCESSES, ANSWERS = 2000, 5, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        print(json.dumps(answer(options.model, options.threads)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = options.model or made(Path(place) / "model")
        command = [sys.executable, __file__, "--answer", "--model", str(folder), "--threads", str(options.threads)]
        found: list[dict[str, float]] = []
        for _ in range(PROCESSES):
            begun = time.perf_counter()
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(output) | {"whole process": time.perf_counter() - begun})
    print(f"one series of {POINTS:,} points, {options.threads} thread(s), medians of {PROCESSES} processes:")
    for name in found[0]:
        print(f"  {name:<28}{statistics.median(times[name] for times in found) * 1000:10,.1f} ms")


def answer(folder: Path, threads: int) -> dict[str, float]:
    """Seconds of each part, in this process."""
    times = [time.perf_counter()]
    import numpy as np
    import torch

    from forecasting import SeriesBatch
    from forecasting.deepar import ItemMetadata
    from jobs.model_folder import load_model

    torch.set_num_threads(threads)
    times.append(time.perf_counter())
    model, _ = load_model(folder)
    times.append(time.perf_counter())
    facts = model.facts
    rng = np.random.default_rng(0)
    batch = SeriesBatch.from_arrays(
        [rng.uniform(5, 15, POINTS)],
        "2024-01-01",
        facts.frequency,
        related={part.name: [np.full(POINTS + facts.horizon, np.nan)] for part in facts.related},
        known_in_future=[part.name for part in facts.related if part.known_in_future],
    )
    metadata = ItemMetadata({c.name: [None] for c in facts.categories}, {n.name: [np.nan] for n in facts.numbers})
    answers = []
    for _ in range(1 + ANSWERS):
        begun = time.perf_counter()
        model.predict(batch, metadata=metadata)
        answers.append(time.perf_counter() - begun)
    return {
        "import": times[1] - times[0],
        "load the folder": times[2] - times[1],
        "first answer": answers[0],
        "start to first answer": times[2] - times[0] + answers[0],
        "each further answer": statistics.median(answers[1:]),
    }


def made(folder: Path) -> Path:
    """A model of the service's size, trained for one short epoch: what it says does not matter here."""
    from cases import generated

    from forecasting import SeriesBatch
    from forecasting.deepar import Facts, SeriesSet, Settings, Trainer
    from jobs.model_folder import save_model

    batch = SeriesBatch.from_arrays(generated(20, POINTS, 24), "2020-01-01", "h")
    settings = Settings(context_length=48, epochs=1, batches_per_epoch=2)
    facts = Facts.learn(batch, horizon=24, settings=settings)
    trainer = Trainer(SeriesSet.of(batch, facts), facts, settings)
    list(trainer.run())
    save_model(trainer.model(), folder)
    return folder


if __name__ == "__main__":
    main()
