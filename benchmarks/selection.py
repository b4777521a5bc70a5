"""What choosing costs beside the models: generated series through `backtest`, then `selection` alone.

    python benchmarks/selection.py [--series 20000] [--length 200] [--windows 3] [--horizon 28] [--models a,b] [--once]

Prints processor seconds (of the JVM, the driver and the Python workers) of the models on all windows, of choosing
(statistics, segment and series scores, ensemble weights, blending, calibration, their tables), and their ratio; and
of the metrics beside it. Each step is done twice and the second time counts, but for the models: the first pays for
the JVM's own compilation. `--once` leaves the second time out: for many series, where that is a small part.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from spark_job import generate, options, settings, used

MODELS = "naive,seasonal_naive,theta,ets,ces,mstl,npts,prophet,tsb,adida"


def main() -> None:
    """Generate, run, measure, print."""
    parser = options(__doc__, series=20_000, windows=3, buckets=4)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--once", action="store_true", help="measure each step's first time")
    arguments = parser.parse_args()
    models = arguments.models.split(",")

    from jobs.backtest import backtest
    from udfs.config import load_config
    from udfs.derive import derive_metrics, derive_selection
    from udfs.lake import Lake
    from udfs.session import open_session

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = load_config(settings(folder, arguments, models))
        spark = open_session(config)
        lake = Lake.of(spark, config)
        generate(lake, config, arguments.series, arguments.length)
        with used() as fitted:
            run = backtest(config, spark)
        times = 1 if arguments.once else 2
        for _ in range(times):
            with used() as chosen:
                derive_selection(lake, run.run_id, config)
        for _ in range(times):
            with used() as scored:
                derive_metrics(lake, run.run_id, config)
        sys.stdout.write(
            f"{arguments.series:,} series of {arguments.length} points, {arguments.windows} windows, horizon "
            f"{arguments.horizon}, {len(models)} models\n"
            f"models   {fitted.cpu:8.1f} s used, {run.core_seconds or 0.0:8.1f} s by the tasks' own clocks\n"
            f"choosing {chosen.cpu:8.1f} s used, {chosen.cpu / fitted.cpu:.1%} of the models', "
            f"{chosen.cpu / arguments.series * 1e6:,.0f} us a series, peak memory {chosen.peak / 2**30:.2f} GB\n"
            f"metrics  {scored.cpu:8.1f} s used, {scored.cpu / fitted.cpu:.1%}\n"
        )
        spark.stop()


if __name__ == "__main__":
    main()
