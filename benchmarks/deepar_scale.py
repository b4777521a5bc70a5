"""The GPU job at scale: train-deepar and predict-deepar on a generated lake of daily sales whose law is known.

    python benchmarks/deepar_scale.py --series 100000                            # two CPU cores
    python benchmarks/deepar_scale.py --series 1000000 --device cuda --batch 4096 --price 4.0

Every series has a level and a weekly season by its category, a price known ahead with elasticity -1.5, and
negative-binomial noise, as counts. The lake is written as Spark lays it out, without Spark, a part at a time; the jobs
run as a user runs them, in this process. Printed: seconds and peak memory by step, windows a second, dollars at
`--price` an hour, and mean wQL on the horizon beside the law's own quantiles (nothing can be better) and a seasonal
naive forecast (the value of a week before for all levels). Needs torch, safetensors and deltalake.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from cases import LEVELS
from deepar import score
from scipy import stats

from forecasting.batch import FloatArray
from jobs.predict_deepar import predict
from jobs.train_deepar import epoch_lines, train
from udfs.arrow import ragged_lists
from udfs.config import Config, load_config
from udfs.delta_files import open_table, read_files
from udfs.schemas import SCHEMA_VERSION

HORIZON, BUCKETS, CATEGORIES = 28, 16, 20
AT_ONCE = 50_000
SCORED = 10_000
START = datetime(2024, 1, 1)
ELASTICITY, DISPERSION = -1.5, 0.3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batches", type=int, default=50, help="batches an epoch")
    parser.add_argument("--batch", type=int, default=128, help="windows a batch")
    parser.add_argument("--rate", type=float, default=5e-3, help="learning rate")
    parser.add_argument("--samples", type=int, default=100, help="sample paths a series")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--price", type=float, default=0.10, help="dollars an hour for the machine")
    parser.add_argument("--at-once", type=int, help="deepar.series_at_once; all unless given")
    parser.add_argument("--train-only", action="store_true", help="leave predict-deepar out")
    parser.add_argument("--lake", type=Path, help="folder of the lake; a temporary one that is removed unless given")
    return parser.parse_args()


@dataclass(frozen=True)
class Sales:
    """Some series with their law. target: counts [N, T]. price: [N, T + H]. mean: of all periods, [N, T + H]."""

    names: list[str]
    category: list[str]
    target: FloatArray
    price: FloatArray
    mean: FloatArray
    actual: FloatArray


def sales(first: int, n: int, length: int) -> Sales:
    """Series `first` to `first + n`, the same whoever asks for them."""
    rng = np.random.default_rng([11, first])
    t = np.arange(length + HORIZON)
    kind = rng.integers(CATEGORIES, size=n)
    of_kind = np.random.default_rng(12)
    level = np.exp(of_kind.normal(2.5, 0.7, CATEGORIES)[kind] + rng.normal(0, 0.5, n))
    week = of_kind.dirichlet(np.full(7, 3.0), CATEGORIES) * 7
    offered = rng.random((n, 1 + len(t) // 7)) < 0.2
    price = np.repeat(np.where(offered, 0.75, 1.0), 7, axis=1)[:, : len(t)]
    mean = level[:, None] * week[kind][:, t % 7] * price**ELASTICITY
    shape = 1 / DISPERSION
    made = rng.negative_binomial(shape, shape / (shape + mean)).astype(np.float64)
    return Sales(
        names=[f"item{i:07}" for i in range(first, first + n)],
        category=[f"c{k:02}" for k in kind],
        target=made[:, :length],
        price=price * np.round(rng.uniform(1, 50, n), 2)[:, None],
        mean=mean,
        actual=made[:, length:],
    )


def config_of(folder: Path, options: argparse.Namespace) -> Config:
    return load_config(
        {
            "dataset_group": "sales",
            "frequency": "D",
            "horizon": HORIZON,
            "quantiles": list(LEVELS),
            "data": {
                "target": {"path": str(folder / "none")},
                "related": [{"path": str(folder / "none"), "series": {"price": {"known_in_future": True}}}],
                "items": [{"path": str(folder / "none"), "attributes": ["category"]}],
            },
            "models": {"naive": {}},
            "lake": {"path": str(folder / "lake"), "buckets": BUCKETS},
            "deepar": {
                "epochs": options.epochs,
                "batches_per_epoch": options.batches,
                "batch_size": options.batch,
                "learning_rate": options.rate,
                "max_learning_rate_decays": 4,
                "early_stopping_patience": 3,
                "num_samples": options.samples,
                "likelihood": "negative-binomial",
                "device": options.device,
                "series_at_once": options.at_once,
            },
        }
    )


def parts(options: argparse.Namespace) -> Iterator[Sales]:
    for first in range(0, options.series, AT_ONCE):
        yield sales(first, min(AT_ONCE, options.series - first), options.length)


def write_lake(config: Config, options: argparse.Namespace) -> None:
    from deltalake import write_deltalake

    lake = str(config.lake.path)
    kinds = pa.array(range(BUCKETS), pa.int32())
    for part in parts(options):
        n = len(part.names)
        columns: dict[str, Any] = {
            "item_id": pa.array(part.names),
            "segment": pa.array(np.zeros(n, np.int32)),
            "start": pa.array([START] * n, pa.timestamp("us")),
            "n": pa.array(np.full(n, options.length, np.int32)),
            "target": lists(part.target),
            "related": pa.StructArray.from_arrays([lists(part.price)], ["price"]),
            "metadata": pa.StructArray.from_arrays([pa.array(part.category)], ["category"]),
            "lifecycle": pa.array(["active"] * n),
            "profile": pa.StructArray.from_arrays([pa.array(["erratic"] * n)], ["demand_class"]),
            "bucket": kinds.take(pa.array(np.arange(n) % BUCKETS)),
        }
        write_deltalake(f"{lake}/series", pa.table(columns), mode="append", partition_by=["bucket"])
    identity = {
        "dataset_group": ["sales"],
        "frequency": ["D"],
        "dimensions": pa.array([[]], pa.list_(pa.string())),
        "buckets": pa.array([BUCKETS], pa.int32()),
        "schema_version": pa.array([SCHEMA_VERSION], pa.int32()),
    }
    write_deltalake(f"{lake}/lake", pa.table(identity))
    decided = {
        "run_id": ["first"],
        "horizon": pa.array([HORIZON], pa.int32()),
        "quantiles": pa.array([list(LEVELS)], pa.list_(pa.float64())),
    }
    write_deltalake(f"{lake}/runs", pa.table(decided))


def lists(values: FloatArray) -> pa.ListArray:
    """A list for each row of [N, T]."""
    n, length = values.shape
    return ragged_lists(values.ravel(), np.arange(n + 1) * length)


def accuracy(config: Config, options: argparse.Namespace) -> dict[str, float]:
    """Over the first series: ours, by the law, and by the same day of the week before."""
    truth = next(parts(options))
    names = truth.names[:SCORED]
    table = open_table(str(config.lake.path), "results_deepar")
    assert table is not None
    found: dict[str, FloatArray] = {}
    for rows in read_files(table, ["item_id", "quantiles"]):
        rows = rows.filter(pa.compute.is_in(rows.column("item_id"), pa.array(names)))
        held = rows.column("quantiles").to_pylist()
        found |= {
            name: np.reshape(q, (HORIZON, -1)) for name, q in zip(rows["item_id"].to_pylist(), held, strict=True)
        }
    n, shape = len(names), 1 / DISPERSION
    mean, actual = truth.mean[:n, options.length :], truth.actual[:n]
    lawful = np.stack([stats.nbinom.ppf(q, shape, shape / (shape + mean)) for q in LEVELS], axis=2)
    week = truth.target[:n, -7:][:, np.arange(HORIZON) % 7]
    return {
        "almanac": score(np.stack([found[name] for name in names]), actual),
        "the law itself": score(lawful, actual),
        "seasonal naive": score(np.repeat(week[:, :, None], len(LEVELS), axis=2), actual),
    }


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    folder = options.lake or Path(tempfile.mkdtemp())
    config = config_of(folder, options)
    seconds: dict[str, float] = {}

    def done(step: str, begun: float) -> None:
        seconds[step] = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{step:<14}{seconds[step]:9.1f} s   memory up to here {peak:6.2f} GB", flush=True)

    try:
        if not (folder / "lake").exists():
            begun = time.perf_counter()
            write_lake(config, options)
            done("write lake", begun)
        from rich.console import Console

        begun = time.perf_counter()
        trained = train(config, on_epoch=epoch_lines(Console()))
        done("train-deepar", begun)
        row = trained.row
        print(f"training itself {row['seconds']:.1f} s, {row['windows_per_second']:,.0f} windows a second")
        if options.train_only:
            return
        begun = time.perf_counter()
        answer = predict(config, predictor="first", run_id="scale")
        done("predict-deepar", begun)
        print(f"{options.series:,} series of {options.length} points on {row['device']}: {dict(answer.rows)}")
        if row["device"] == "cuda":
            print(
                f"device memory, at most {torch.cuda.max_memory_allocated() / 2**30:.2f} GB in use, "
                f"{torch.cuda.max_memory_reserved() / 2**30:.2f} GB taken ({torch.cuda.get_device_name()})"
            )
        dollars = (seconds["train-deepar"] + seconds["predict-deepar"]) / 3600 * options.price
        print(
            f"both jobs: {dollars:.4f} dollars at {options.price} an hour, {dollars / options.series * 1000:.7f} per "
            f"1,000 series of {HORIZON} periods"
        )
        found = accuracy(config, options)
        print("mean wQL: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    finally:
        if options.lake is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
