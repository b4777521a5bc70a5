"""What the kernels of a fit share: the series, and buffers allocated once a batch."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray

BLOCK = 8  # rows of derivatives gathered before the matrix of products is touched
DRIFT, D_LEVEL, D_SLOPE, STEP, TRIAL, START, SMALL, BOX, NATURAL = range(BLOCK, BLOCK + 9)  # more rows of Work.lanes


class Series(NamedTuple):
    """What is fitted: values [>= n] on a scale of about 1, n points, n_obs of them observed, season length m.

    The first and the last of the n points are observed.
    """

    y: FloatArray
    n: int
    n_obs: int
    m: int


class Work(NamedTuple):
    """Buffers that are allocated once and used for every series; W is at least the number of parameters plus 4."""

    matrices: FloatArray  # [3, W, W] products of two points, and what a step is solved from
    lanes: FloatArray  # [BLOCK + 9, W] BLOCK rows, then the vectors named below
    season: FloatArray  # [m, W] derivatives of the seasonal terms
    history: FloatArray  # [longest + 2 m] seasonal terms, then the response of the mean to the first of them
    region: FloatArray  # [2 m + 12] scratch of the admissible region


@numba.njit(cache=True)
def workspace(longest: int, m: int) -> Work:
    """Buffers for series of at most `longest` points with seasons of at most m."""
    w = max((m + 13) // 4 * 4, 24)
    return Work(
        np.zeros((3, w, w)),
        np.zeros((BLOCK + 9, w)),
        np.zeros((m, w)),
        np.zeros(longest + 2 * m),
        np.zeros(2 * m + 12),
    )
