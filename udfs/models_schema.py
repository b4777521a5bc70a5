"""The schema of the table `models`: the global models that were trained."""

from __future__ import annotations

from udfs.layout import TableSchema
from udfs.layout import optional as _c
from udfs.layout import required as _required


def models_schema() -> TableSchema:
    """A row is a trained model; its weights are in `folder`."""
    return TableSchema(
        "models",
        (
            _required("model_id", "string", "the model"),
            _required("model", "string", "model family: deepar"),
            _required("folder", "string", "model folder: weights, settings, scalers, vocabulary"),
            _required("digest", "string", "SHA-256 of the folder's manifest, checked before the model is used"),
            _required("trained_at", "timestamp", "when"),
            _required("series_version", "bigint", "version of `series` that it was trained on"),
            _required("code_version", "string", "version of almanac"),
            _required("frequency", "string", "time grid"),
            _required("horizon", "int", "the longest that it forecasts"),
            _c("trained_to", "timestamp_ntz", "label of the last period that training may have seen"),
            _required("left_out", "int", "periods at the end that it has not seen, for honest backtests; 0: none"),
            _required("settings", "string", "settings, JSON"),
            _required("metrics", "map<string, double>", "best held-out loss, last training loss, epochs, windows"),
            _required("n_series", "bigint", "series in the training set"),
            _required("n_observations", "bigint", "observations that it has seen"),
            _required("windows_per_second", "double", "training windows a second, over all of the training"),
            _required("seconds", "double", "time of the training"),
            _required("device", "string", "where it was trained"),
        ),
        primary_key=("model_id",),
    )
