"""The schema of the table `calibration`."""

from __future__ import annotations

from udfs.layout import RUN, TableSchema
from udfs.layout import optional as _c
from udfs.layout import required as _required


def calibration_schema() -> TableSchema:
    """A row is an interval and block of steps of a segment."""
    return TableSchema(
        "calibration",
        (
            RUN,
            _required("segment", "string", "series that are calibrated together"),
            _required("interval", "string", "nominal coverage of a symmetric pair of quantiles, per cent"),
            _required("first_step", "int", "first step of the block"),
            _required("last_step", "int", "its last step"),
            _required(
                "adjustment", "double", "what both ends move by, in widths of the row's interval nearest to 80 %"
            ),
            _required("adjustments", "array<double>", "the same for multiples of the nominal misses, from 1/3 to 3"),
            _required("n_points", "bigint", "backtest points behind it"),
            _c("coverage_before", "double", "share of them inside before"),
            _c("coverage_after", "double", "inside when each window is calibrated by the others"),
        ),
        primary_key=("run_id", "segment", "interval", "first_step"),
        partition_by=("run_id",),
    )
