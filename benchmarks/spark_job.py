"""The whole Spark job, Delta to Delta: generated series through `backtest` with a model that costs almost nothing.

    python benchmarks/spark_job.py [--series 100000] [--length 200] [--windows 2] [--horizon 28] [--model naive]

Prints series per second; core-microseconds per series, model and window, used (processor time of the JVM, the driver
and the Python workers) and held (wall time by cores); the memory of all of them together. Beside it the bare Arrow
pass: the same packed rows through mapInArrow, their mean written to a Delta table. The first job in a session also
pays for the JVM's own warm-up.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Usage:
    """What a block used. seconds: wall. cpu: processor seconds of the process tree. peak, jvm, workers: bytes resident
    at once, of all, of the JVM and of the Python workers, shared pages counted once (proportional set size)."""

    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    jvm: int = 0
    workers: int = 0

    def look(self) -> None:
        """Take the memory of the tree into the peaks."""
        now = {process: resident(process) for process in tree()}
        jvm = sum(size for process, size in now.items() if is_java(process))
        total, own = sum(now.values()), now.get(os.getpid(), 0)
        self.peak, self.jvm = max(self.peak, total), max(self.jvm, jvm)
        self.workers = max(self.workers, total - jvm - own)


def tree() -> list[int]:
    """This process and all that came from it."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [os.getpid()]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += parents.get(process, [])
    return found


def cpu_seconds() -> float:
    """Processor seconds of the tree, ended children included."""
    total = 0
    for process in tree():
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(f) for f in fields[11:15])
    return total / TICK


def resident(process: int) -> int:
    """Bytes of memory of a process; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def is_java(process: int) -> bool:
    """Whether a process is a JVM."""
    try:
        return Path(f"/proc/{process}/comm").read_text().strip() == "java"
    except OSError:
        return False


@contextmanager
def used() -> Iterator[Usage]:
    """Measure a block; memory is looked at once a second."""
    usage, stop = Usage(), threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            usage.look()

    watcher = threading.Thread(target=watch, daemon=True)
    started, before = time.perf_counter(), cpu_seconds()
    watcher.start()
    try:
        yield usage
    finally:
        usage.seconds, usage.cpu = time.perf_counter() - started, cpu_seconds() - before
        stop.set()
        watcher.join()


def options(text: str | None, series: int, windows: int, buckets: int) -> argparse.ArgumentParser:
    """What a benchmark of generated series is asked: their number and length, windows, horizon, buckets."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=series)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--windows", type=int, default=windows)
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--buckets", type=int, default=buckets)
    return parser


def settings(folder: Path, arguments: argparse.Namespace, models: Sequence[str]) -> dict[str, object]:
    """The configuration of the benchmark."""
    return {
        "dataset_group": "benchmark",
        "frequency": "D",
        "horizon": arguments.horizon,
        "data": {"target": {"path": "not_read"}},
        "models": {model: {} for model in models},
        "backtest": {"windows": arguments.windows},
        "lake": {"path": str(folder / "lake"), "buckets": arguments.buckets},
        "spark": {"conf": {"spark.driver.memory": "2g", "spark.sql.warehouse.dir": str(folder / "warehouse")}},
    }


def generate(lake: object, config: object, n_series: int, length: int) -> None:
    """The table `series` as ingest leaves it: seasonal series with noise, a row each."""
    from pyspark.sql import functions as F

    from udfs.lake import Lake

    assert isinstance(lake, Lake)
    lake.identify(config, "D")  # type: ignore[arg-type]
    lake.ensure("series")
    ids = lake.spark.range(n_series)
    day = F.sequence(F.lit(0), F.lit(length - 1))
    seed = F.xxhash64("id")
    noise = F.transform(day, lambda t: F.pmod(F.xxhash64(seed, t), F.lit(1000)) / 1000.0)
    rows = ids.select(
        F.format_string("item_%07d", "id").alias("item_id"),
        F.lit(0).alias("segment"),
        F.lit("2023-01-01").cast("timestamp_ntz").alias("start"),
        F.lit(length).alias("n"),
        F.zip_with(day, noise, lambda t, e: 100 + 20 * F.sin(t * (2 * np.pi / 7)) + 10 * e).alias("target"),
        F.lit("active").alias("lifecycle"),
    )
    profile = F.struct(
        F.lit(length).alias("n_obs"),
        F.lit(0).alias("n_missing"),
        F.lit(0).alias("n_zero"),
        F.lit(100.0).alias("mean"),
        F.lit("2023-07-19").cast("timestamp_ntz").alias("last_observed"),
    )
    rows = rows.withColumn("profile", profile).withColumn("bucket", lake.bucket(config.lake.buckets))  # type: ignore[attr-defined]
    lake.replace("series", rows.repartition("bucket"), {})


def bare_pass(lake: object, folder: Path) -> None:
    """Read the packed rows, hand them to Python, write one number each."""
    from udfs.lake import Lake

    assert isinstance(lake, Lake)

    def averaged(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            column = batch.column(1)
            offsets = column.offsets.to_numpy()
            means = np.add.reduceat(column.values.to_numpy(), offsets[:-1]) / np.diff(offsets)
            yield pa.RecordBatch.from_arrays([batch.column(0), pa.array(means)], names=["item_id", "mean"])

    rows = lake.read("series").select("item_id", "target").mapInArrow(averaged, "item_id string, mean double")
    rows.write.format("delta").mode("overwrite").save(str(folder / "bare"))


def main() -> None:
    """Generate, warm up, measure, print."""
    parser = options(__doc__, series=100_000, windows=2, buckets=16)
    parser.add_argument("--model", default="naive")
    arguments = parser.parse_args()

    from jobs.backtest import backtest
    from udfs.config import load_config
    from udfs.lake import Lake
    from udfs.session import open_session

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = load_config(settings(folder, arguments, [arguments.model]))
        spark = open_session(config)
        lake = Lake.of(spark, config)
        generate(lake, config, arguments.series, arguments.length)
        bare_pass(lake, folder)  # the first pass starts the workers
        with used() as bare:
            bare_pass(lake, folder)
        with used() as cold:
            backtest(config, spark)
        with used() as warm:
            run = backtest(config, spark)
        cores = spark.sparkContext.defaultParallelism
        sys.stdout.write(
            f"{arguments.series:,} series of {arguments.length} points, {arguments.windows} windows, "
            f"horizon {arguments.horizon}, model {arguments.model}, {cores} cores\n"
        )
        for title, usage, windows in (
            ("bare Arrow pass", bare, 1),
            ("job, first", cold, arguments.windows),
            ("job, second", warm, arguments.windows),
        ):
            rows = arguments.series * windows
            sys.stdout.write(
                f"{title:16} {usage.seconds:6.1f} s  {arguments.series / usage.seconds:9,.0f} series/s  core-us per "
                f"series, model and window: {usage.cpu / rows * 1e6:6.1f} used, "
                f"{usage.seconds * cores / rows * 1e6:6.1f} held  peak memory {usage.peak / 2**30:.2f} GB\n"
            )
        sys.stdout.write(f"core-seconds by the tasks' own clocks: {run.core_seconds}\n")
        spark.stop()


if __name__ == "__main__":
    main()
