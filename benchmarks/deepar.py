"""DeepAR+ beside the bare network and beside GluonTS' DeepAREstimator: speed of training and sampling, accuracy.

    python benchmarks/deepar.py                                   # speed on generated hourly series
    python benchmarks/deepar.py --data FOLDER --epochs 30         # and accuracy on the sets of a folder
    python benchmarks/deepar.py --device cuda --batch 32 1024     # on a GPU

The bare network is ours, fed tensors that were made before the clock started: what the data path costs is the
difference. They take turns in pieces of steps, so that a busy machine slows them alike; the median piece counts.
On a GPU each is run as it is and as a CUDA graph. GluonTS has the same cells, layers, context, batch, windows seen,
related series and metadata; lags and calendar are its own. The accuracy is that of the training part's last horizon,
which neither has seen, or with --test that of the test part. --chase: how long ours trains until it forecasts these
as well as GluonTS does in the end (the clock stands still while it forecasts). Needs torch, gluonts and lightning.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from cases import LEVELS, generated
from datasets import Dataset, find

from forecasting import SeriesBatch
from forecasting.batch import FloatArray
from forecasting.deepar import DeepAR, Facts, ItemMetadata, SeriesSet, Settings, Trainer
from forecasting.deepar.graph import StepGraph
from forecasting.deepar.windows import Window

CONTEXT, HORIZON, BATCH = 48, 24, 32
PIECE = 64


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="data sets, or folders that hold some")
    parser.add_argument("--test", action="store_true", help="score the test part instead of a validation part")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of 50 batches on each data set")
    parser.add_argument("--likelihood", default="auto")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--pieces", type=int, default=6, help="pieces of 64 steps for the speed of training; 0: none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="*", default=[BATCH], help="windows a step; gluonts: the first")
    parser.add_argument("--settings", type=json.loads, default={}, help="further settings of ours, JSON")
    parser.add_argument("--chase", action="store_true", help="time to the accuracy of gluonts")
    parser.add_argument("--no-gluonts", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning", "gluonts"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if options.pieces:
        speed(options)
    for dataset in find(options.data, validate=not options.test):
        accuracy(dataset, options)


def speed(options: argparse.Namespace) -> None:
    arrays = generated(200, 2000, 24)
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "h")
    judge, theirs = None, None
    if not options.no_gluonts:
        theirs, judge = gluonts_training(batch, ItemMetadata(), "h", HORIZON, CONTEXT, 3, options)
    for size in options.batch:
        trainer = training_speed(batch, size, theirs if size == options.batch[0] else None, options)
    model = trainer.model()
    model.predict(batch.take(np.arange(10)))
    n_samples = trainer.settings.num_samples
    works: dict[str, Callable[[], object]] = {"almanac": lambda: model.predict(batch)}
    if judge is not None:
        torch.set_num_threads(options.threads)
        works["gluonts"] = lambda: list(judge.predict(entries(batch, ItemMetadata(), "h", HORIZON)))
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(5):  # in turns, like the training
        for name, work in works.items():
            times[name].append(timed(work))
    print(f"sampling, {len(arrays)} series x {n_samples} paths x {HORIZON} steps, paths per second:")
    for name, each in times.items():
        seconds, ours = statistics.median(each), statistics.median(times["almanac"])
        rate = len(arrays) * n_samples / seconds
        print(f"  {name:<14}{rate:10,.0f}   almanac is {seconds / ours:.1f} times as fast")


def training_speed(batch: SeriesBatch, size: int, theirs: float | None, options: argparse.Namespace) -> Trainer:
    given = {"context_length": CONTEXT, "batch_size": size, "likelihood": "student-T", "holdout_series": 0}
    settings = Settings(**{**given, **options.settings})
    facts = Facts.learn(batch, horizon=HORIZON, settings=settings)
    trainer = Trainer(SeriesSet.of(batch, facts, device=options.device), facts, settings, seed=1)
    plain = torch.nn.LSTM(bare_inputs(trainer), settings.num_cells, settings.num_layers, dropout=settings.dropout)
    pieces: dict[str, Callable[[], object]] = {"almanac": trainer.step, "bare network": bare_step(trainer)}
    if trainer.device.type == "cuda":
        pieces |= {"bare, as a graph": bare_step(trainer, graph=True)}
    pieces |= {"bare nn.LSTM": bare_step(trainer, plain)}
    seconds: dict[str, list[float]] = {name: [] for name in pieces}
    trainer.network.train()
    for step in pieces.values():
        for _ in range(5):
            step()
    for _ in range(options.pieces):
        for name, step in pieces.items():
            seconds[name].append(timed(lambda step=step: [step() for _ in range(PIECE)]))
    rates = {name: PIECE * size / statistics.median(times) for name, times in seconds.items()}
    if theirs is not None:
        rates["gluonts"] = theirs
    cells = f"{settings.num_layers} x {settings.num_cells} cells, {settings.precision}"
    print(f"training, hourly, {cells}, context {CONTEXT}, horizon {HORIZON}, batch {size}, windows per second:")
    for name, rate in rates.items():
        print(f"  {name:<18}{rate:10,.0f}   the first is {rates['almanac'] / rate:.2f} times as fast", flush=True)
    return trainer


def bare_inputs(trainer: Trainer) -> int:
    return int(trainer.network.layers[0].input_size)


def bare_step(trainer: Trainer, stack: torch.nn.LSTM | None = None, graph: bool = False) -> Callable[[], object]:
    """A step of a network like the trainer's with windows that are ready. stack: torch's own module for the layers,
    which is slower with dropout between them."""
    other = Trainer(trainer.chunks, trainer.facts, trainer.settings, seed=2)
    network, law, device = other.network, other.network.law, trainer.device
    ready = []
    for k in range(20):
        window = other.window(k)
        ready.append(replace(window, inputs=network.inputs(window).detach()))
    if stack is not None:
        stack = stack.to(device)
        network.stack = stack  # so that its weights are trained
    cuda = device.type == "cuda"
    rate = torch.tensor(1e-3, device=device) if cuda else 1e-3
    adam = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=1e-8, fused=True, capturable=cuda)
    dropout = torch.Generator(device)
    narrow = trainer.settings.precision == "bfloat16"
    turn = 0

    def on(window: Window) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, narrow, cache_enabled=False):
            raw = network.raw(window.inputs, dropout) if stack is None else network.head(stack(window.inputs)[0])
        losses = law.loss(raw.float(), window.target, window.scale)
        loss = torch.where(window.observed, losses, 0.0).sum()
        adam.zero_grad(set_to_none=True)
        (loss / window.observed.sum()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        adam.step()
        return loss.detach()

    run = StepGraph(on, dropout) if graph else on

    def step() -> object:
        nonlocal turn
        turn += 1
        return run(ready[turn % len(ready)])

    network.train()
    return step


def clock() -> float:
    """Processor time where one thread works on one core, which other programs do not slow; else the wall's."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def timed(work: Callable[[], object]) -> float:
    begun = clock()
    work()
    return clock() - begun


def entries(batch: SeriesBatch, metadata: ItemMetadata, freq: str, horizon: int) -> list[dict[str, Any]]:
    """The series as GluonTS takes them; a missing related value takes the one before it, as its users do."""
    period = {"MS": "M", "QS": "Q", "YS": "Y"}.get(freq, freq)
    starts = [pd.Period(pd.Timestamp(int(us), unit="us"), freq=period) for us in batch.frequency.labels(batch.start)]
    codes = [pd.factorize(np.asarray(column, dtype=object))[0] + 1 for column in metadata.categories.values()]
    numbers = [np.nan_to_num((x - np.nanmean(x)) / np.nanstd(x)) for x in map(np.asarray, metadata.numbers.values())]
    found = []
    for i in range(len(batch)):
        entry: dict[str, Any] = {"target": batch.series(i), "start": starts[i]}
        if batch.related:
            size = int(batch.lengths[i]) + horizon
            columns = [c.values[c.offsets[i] : c.offsets[i + 1]][:size] for c in batch.related.values()]
            entry["feat_dynamic_real"] = np.stack([pd.Series(c).ffill().bfill().fillna(0.0) for c in columns])
        if codes:
            entry["feat_static_cat"] = [int(column[i]) for column in codes]
        if numbers:
            entry["feat_static_real"] = [float(column[i]) for column in numbers]
        found.append(entry)
    return found


def gluonts_training(
    batch: SeriesBatch,
    metadata: ItemMetadata,
    freq: str,
    horizon: int,
    context: int,
    epochs: int,
    options: argparse.Namespace,
) -> tuple[float, Any]:
    """Windows per second in the median epoch, and the predictor."""
    import lightning.pytorch as pl
    from gluonts.torch import DeepAREstimator

    class Clock(pl.Callback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.begun = 0.0

        def on_train_epoch_start(self, *_: Any) -> None:
            self.begun = clock()

        def on_train_epoch_end(self, *_: Any) -> None:
            self.seconds.append(clock() - self.begun)

    watch = Clock()
    root = tempfile.mkdtemp()  # lightning keeps its checkpoints there
    estimator = DeepAREstimator(
        freq={"MS": "ME", "QS": "QE", "YS": "YE"}.get(freq, freq),
        prediction_length=horizon,
        context_length=context,
        lr=options.rate,
        batch_size=options.batch[0],
        num_batches_per_epoch=50,
        num_feat_dynamic_real=len(batch.related),
        num_feat_static_cat=len(metadata.categories),
        num_feat_static_real=len(metadata.numbers),
        cardinality=[len(set(column)) + 1 for column in metadata.categories.values()] or None,
        trainer_kwargs={
            "max_epochs": epochs,
            "accelerator": "gpu" if options.device.startswith("cuda") else "cpu",
            "callbacks": [watch],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "default_root_dir": root,
        },
    )
    data = entries(batch, metadata, freq, horizon)
    for entry in data:  # in training related series end with the target
        if "feat_dynamic_real" in entry:
            entry["feat_dynamic_real"] = entry["feat_dynamic_real"][:, : len(entry["target"])]
    predictor = estimator.train(data)
    return 50 * options.batch[0] / statistics.median(watch.seconds), predictor


def read(dataset: Dataset) -> tuple[SeriesBatch, ItemMetadata, FloatArray]:
    """The series with related series and metadata, and the actuals [N, H]."""
    history, future = dataset.history(), dataset.future()
    groups = {key: frame for key, frame in history.groupby(dataset.key, observed=True)}
    freq = dataset.info["frequency"]
    grid = pd.tseries.frequencies.to_offset({"nominal D": "D"}.get(freq, freq))
    together = dataset.info.get("forecast_start") == "global"
    last = history["timestamp"].max()
    actuals = {key: frame for key, frame in future.groupby(dataset.key, observed=True)}
    keys = [key for key in groups if key in actuals]
    arrays, starts, index, actual = [], [], [], []
    for key in keys:
        frame = groups[key].set_index("timestamp")["target"]
        days = pd.date_range(frame.index.min(), last if together else frame.index.max(), freq=grid)
        arrays.append(frame.reindex(days).to_numpy(dtype=float))
        starts.append(days[0].to_datetime64())
        whole = pd.date_range(days[0], periods=len(days) + dataset.horizon, freq=grid)
        index.append(whole)
        held = actuals[key].set_index("timestamp")["target"].reindex(whole[len(days) :])
        actual.append(held.to_numpy(dtype=float))
    related: dict[str, list[FloatArray]] = {}
    if dataset.has("related"):
        table = pd.read_parquet(dataset.folder / "related.parquet")
        names = [c for c in table.columns if c not in (*dataset.key, "timestamp") and c in dataset.known]
        for name in dataset.key:
            if name in table:
                table[name] = table[name].astype(str)
        by = [name for name in dataset.key if name in table]
        parts = {key: frame.set_index("timestamp") for key, frame in table.groupby(by, observed=True)}
        for name in names:
            related[name] = [
                parts[tuple(part_of(key, dataset.key, by))][name].astype(float).reindex(days).to_numpy()
                for key, days in zip(keys, index, strict=True)
            ]
    categories: dict[str, list[str | None]] = {}
    numbers: dict[str, FloatArray] = {}
    if dataset.has("items"):
        items = pd.read_parquet(dataset.folder / "items.parquet")
        by = [name for name in dataset.key if name in items]
        for name in by:
            items[name] = items[name].astype(str)
        table = items.set_index(by)
        for name in table.columns:
            if table[name].dtype.kind == "f":
                place = table.index if isinstance(table.index, pd.MultiIndex) else [(key,) for key in table.index]
                known = dict(zip(place, table[name], strict=True))
                numbers[name] = np.array([known.get(tuple(part_of(key, dataset.key, by)), np.nan) for key in keys])
                continue
            values = {key if isinstance(key, tuple) else (key,): str(v) for key, v in table[name].items()}
            categories[name] = [values.get(tuple(part_of(key, dataset.key, by))) for key in keys]
    for name in dataset.info.get("dimensions", []):
        categories[name] = [str(part_of(key, dataset.key, [name])[0]) for key in keys]
    if dataset.info.get("dimensions"):
        categories["item_id"] = [str(part_of(key, dataset.key, ["item_id"])[0]) for key in keys]
    batch = SeriesBatch.from_arrays(
        arrays,
        starts,
        freq,
        keys=["/".join(map(str, key)) for key in keys],
        related=related,
        known_in_future=list(related),
    )
    return batch, ItemMetadata(categories, numbers), np.stack(actual)


def part_of(key: tuple[Any, ...], names: list[str], wanted: list[str]) -> list[Any]:
    return [key[names.index(name)] for name in wanted]


def score(quantiles: FloatArray, actual: FloatArray) -> float:
    """Mean weighted quantile loss over the levels."""
    error = actual[:, :, None] - quantiles
    level = np.array(LEVELS)
    return float(
        np.nansum(2 * np.maximum(level * error, (level - 1) * error)) / np.nansum(np.abs(actual)) / len(LEVELS)
    )


def accuracy(dataset: Dataset, options: argparse.Namespace) -> None:
    batch, metadata, actual = read(dataset)
    size = options.batch[0]
    given = {"epochs": options.epochs, "likelihood": options.likelihood, "learning_rate": options.rate}
    settings = Settings(**{**given, "batch_size": size, **options.settings})
    per_epoch = settings.batches_per_epoch * settings.batch_size
    print(f"{dataset.name}: {len(batch)} series, {settings.epochs} epochs of {per_epoch} windows", flush=True)
    rows: list[tuple[str, float, float, float]] = []
    goal = -math.inf
    if not options.no_gluonts:
        begun = clock()
        freq = {"nominal D": "D"}.get(dataset.info["frequency"], dataset.info["frequency"])
        context = settings.context(dataset.horizon)
        _, judge = gluonts_training(batch, metadata, freq, dataset.horizon, context, options.epochs, options)
        trained = clock() - begun
        forecasts = judge.predict(entries(batch, metadata, freq, dataset.horizon))
        quantiles = np.stack([np.stack([f.quantile(q) for q in LEVELS], axis=1) for f in forecasts])
        goal = score(quantiles, actual)
        rows.append(("gluonts", goal, trained, clock() - begun - trained))
    begun, away, reached = clock(), 0.0, None
    facts = Facts.learn(batch, metadata, dataset.horizon, settings)
    trainer = Trainer(SeriesSet.of(batch, facts, metadata, device=options.device), facts, settings, seed=1)
    for _ in trainer.run():
        now = clock()
        if options.chase and reached is None:
            own = trainer.model().predict(batch, dataset.horizon, LEVELS, metadata)
            if score(own.quantiles, actual) <= goal:
                reached = now - begun - away
        away += clock() - now
    model: DeepAR = trainer.model()
    trained = clock() - begun - away
    result = model.predict(batch, dataset.horizon, LEVELS, metadata)
    rows.append(("almanac", score(result.quantiles, actual), trained, clock() - begun - away - trained))
    for name, loss, fit_seconds, seconds in rows:
        print(f"  {name:<10} mean wQL {loss:.4f}   trained in {fit_seconds:7.1f} s   forecast in {seconds:6.1f} s")
    print(f"  almanac: {facts.likelihood}, {trainer.epoch} epochs")
    if options.chase:
        told = "not reached" if reached is None else f"{reached:.2f} s, {rows[0][2] / reached:.1f} times as fast"
        print(f"  time to the wQL of gluonts: {told}")
    print("  " + json.dumps({"set": dataset.name, **{name: round(loss, 5) for name, loss, *_ in rows}}), flush=True)


if __name__ == "__main__":
    main()
