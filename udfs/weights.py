"""A column of weights, model -> weight, as a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray


def dense_weights(column: pa.Array, models: Sequence[str]) -> FloatArray:
    """float64 [N, M]: each row's weight of each of `models`; 0 for one that it does not name, and for a NULL row."""
    out = np.zeros((len(column), len(models)))
    offsets = column.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    keys, items = column.keys.slice(first, last - first), column.items.slice(first, last - first)
    if not len(keys):
        return out
    encoded = keys.dictionary_encode()
    place = {name: i for i, name in enumerate(models)}
    code = np.array([place.get(name, -1) for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    model = code[encoded.indices.to_numpy(zero_copy_only=False)]
    row = np.repeat(np.arange(len(column)), np.diff(offsets))
    known = model >= 0
    out[row[known], model[known]] = items.to_numpy(zero_copy_only=False)[known]
    return out
