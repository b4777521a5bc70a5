"""The optima of statsforecast's CES on generated and real series: python tests/golden/make_ces.py

One row a series and form. Columns: series (its number in `series()` of tests/forecasting/models/ces_series.py), form,
alpha_0, alpha_1, beta_0, beta_1 and sse, the sum of squared errors at them. Made with statsforecast 2.1.1.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "forecasting" / "models"))

from ces_series import SEASON, series  # noqa: E402


def main() -> None:
    """Write ces.csv."""
    from statsforecast.ces import cesmodel

    with (HERE / "ces.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["series", "form", "alpha_0", "alpha_1", "beta_0", "beta_1", "sse"])
        for i, y in enumerate(series()):
            for form in "NSPF":
                fit = cesmodel(y, SEASON, form, None, None, None, None, 3)
                values = [fit["par"][key] for key in ("alpha_0", "alpha_1", "beta_0", "beta_1")]
                row = [*values, np.sum(fit["residuals"] ** 2)]
                out.writerow([i, form, *(f"{v:.10g}" for v in row)])


if __name__ == "__main__":
    main()
