"""The kernels alone beside the public libraries, in one table.

Each benchmark is a module with `measure() -> list[Timing]`; one that has only `main()` prints for itself.

taskset -c 0 python benchmarks/kernels.py [--only npts]
"""

from __future__ import annotations

import argparse
import importlib

from timings import Timing, print_timings

BENCHMARKS = ("ets", "npts")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the kernels beside the public libraries, on one core.")
    parser.add_argument("--only", choices=BENCHMARKS, help="one model's benchmark")
    only = parser.parse_known_args()[0].only  # `make bench` hands the Spark job's arguments to both
    rows: list[Timing] = []
    for name in [only] if only else BENCHMARKS:
        module = importlib.import_module(name)  # lazily, so that one model's judges need not be there for another
        if hasattr(module, "measure"):
            rows += module.measure()
        else:
            module.main()
    print_timings(rows, "Kernels beside the public libraries, core time per series")


if __name__ == "__main__":
    main()
