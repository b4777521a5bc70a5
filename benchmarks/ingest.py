"""How fast raw rows become a lake, and what a day's rows cost on top of it.

    python benchmarks/ingest.py [--series 1000000] [--points 100] [--increment 1] [--days 1]

Rows as they come, all series of a day beside each other, in Parquet files; read, checked, aggregated, packed and
profiled in one ingest with a driver of 2 GB, and then, day by day, one more file with `--increment` points of every
series. Core-seconds count all processes. Memory is looked at once a second: the most that the JVM held resident, and
the most that all Python workers held together (shared pages of forked workers counted once).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from spark_job import Usage, used

FIRST_DAY = np.datetime64("2023-01-01", "us")
FILE_ROWS = 5_000_000


def write_rows(folder: Path, name: str, n_series: int, first: int, days: int) -> int:
    """Parquet of some days of every series; returns the bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = pa.array([f"item_{i:07d}" for i in range(n_series)])
    rng = np.random.default_rng(first)
    per_file = max(1, FILE_ROWS // n_series)
    total = 0
    for begin in range(first, first + days, per_file):
        path = folder / f"{name}-{begin:05d}.parquet"
        schema = pa.schema([("item_id", pa.string()), ("timestamp", pa.timestamp("us")), ("target", pa.float64())])
        with pq.ParquetWriter(path, schema) as writer:
            for day in range(begin, min(begin + per_file, first + days)):
                label = np.full(n_series, FIRST_DAY + np.timedelta64(day, "D"))
                values = np.round(100 + 20 * np.sin(day * 2 * np.pi / 7) + 10 * rng.standard_normal(n_series), 2)
                writer.write_table(pa.table([names, pa.array(label), pa.array(values)], schema=schema))
        total += path.stat().st_size
    return total


def main() -> None:
    """Generate, ingest, ingest again, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--increment", type=int, default=1, help="points of every series in an increment")
    parser.add_argument("--days", type=int, default=1, help="increments")
    parser.add_argument("--buckets", type=int, default=64)
    parser.add_argument("--folder", help="where the rows and the lake go; by default a temporary folder")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()

    from jobs.ingest import ingest
    from udfs.config import load_config
    from udfs.session import open_session

    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        raw = folder / "raw"
        size = write_rows(raw, "history", arguments.series, 0, arguments.points)
        settings = {
            "dataset_group": "benchmark",
            "frequency": "D",
            "horizon": 28,
            "data": {"target": {"path": str(raw), "format": "parquet"}},
            "models": {"naive": {}},
            "lake": {"path": str(folder / "lake"), "buckets": arguments.buckets},
            "spark": {
                "master": f"local[{arguments.cores},4]",
                "conf": {
                    "spark.driver.memory": "2g",
                    "spark.local.dir": str(folder / "spill"),
                    "spark.sql.warehouse.dir": str(folder / "warehouse"),
                },
            },
        }
        spark = open_session(load_config(settings))
        rows = arguments.series * arguments.points
        out = sys.stdout
        out.write(f"{rows:,} rows of {arguments.series:,} series, {size / 2**20:,.0f} MB of Parquet\n")
        with used() as memory:
            ingest(settings, spark)
        whole = memory
        out.write(_line("whole", memory, rows) + "\n")
        first = arguments.points
        for day in range(arguments.days):
            write_rows(raw, "day", arguments.series, first, arguments.increment)
            first += arguments.increment
            with used() as memory:
                ingest(settings, spark)
            line = _line(f"day {day + 1}", memory, arguments.series * arguments.increment)
            shares = f"{memory.seconds / whole.seconds:.3f} of its time, {memory.cpu / whole.cpu:.3f} of its cores"
            out.write(f"{line}  {shares}\n")
        spark.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _line(title: str, memory: Usage, rows: int) -> str:
    speed = f"{memory.seconds:8.1f} s {rows / memory.seconds:10,.0f} rows/s {memory.cpu:8.1f} core-s"
    peaks = f"JVM {memory.jvm / 2**30:.2f} GB, Python workers {memory.workers / 2**30:.2f} GB"
    return f"{title:8} {speed}  peak memory: {peaks}"


if __name__ == "__main__":
    main()
