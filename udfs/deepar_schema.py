"""The schemas of what is asked of a global model beside its forecasts: impacts of its features, and scenarios."""

from __future__ import annotations

from udfs.layout import Layout, TableSchema, key_columns, quantile_columns
from udfs.layout import optional as _c
from udfs.layout import required as _required

_RUN = _required("run_id", "string", "run whose series were read")
_MODEL = _required("model_id", "string", "the model that was asked")


def impacts_schema(layout: Layout) -> TableSchema:
    """A row is a feature and a series, or a feature over all series of the run."""
    key = (_c(c.name, c.type, f"{c.comment}; NULL in the total") for c in key_columns(layout))
    return TableSchema(
        "impacts",
        (
            _RUN,
            _MODEL,
            _required("scope", "string", "item, or total: over all series of the run"),
            *key,
            _required("feature", "string", "related series, metadata column, holiday or calendar feature"),
            _required("kind", "string", "related, metadata, holiday or calendar"),
            _required("effect", "double", "what it adds to the mean forecast, per period, in the unit of the data"),
            _required("size", "double", "mean absolute change of the forecast by it / mean absolute forecast"),
        ),
        primary_key=("run_id", "scope", *layout.key, "feature", "kind"),
        partition_by=("run_id",),
    )


def scenarios_schema(layout: Layout) -> TableSchema:
    """A row is a period of a series' forecast in a scenario, the baseline among them."""
    return TableSchema(
        "scenarios",
        (
            _RUN,
            _MODEL,
            _required("scenario", "string", "name of the what-if; baseline: by the related series as they are"),
            *key_columns(layout),
            _required("step", "int", "1 is the first period after the end"),
            _required("timestamp", "timestamp_ntz", "label of the period"),
            _c("mean", "double", "expected value"),
            *quantile_columns(layout),
        ),
        primary_key=("run_id", "scenario", *layout.key, "step"),
        partition_by=("run_id",),
    )
