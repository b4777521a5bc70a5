"""The schema of the table `events`."""

from __future__ import annotations

from udfs.layout import Layout, TableSchema, key_columns, required


def events_schema(layout: Layout) -> TableSchema:
    """A row is an abrupt change in the history that a run's forecast saw (`forecasting.abrupt`)."""
    return TableSchema(
        "events",
        (
            required("run_id", "string", "run that found it"),
            *key_columns(layout),
            required("timestamp", "timestamp_ntz", "label of its first period"),
            required("until", "timestamp_ntz", "label of the last period of a surge, else the same"),
            required("kind", "string", "level_shift, outlier or surge"),
            required("size", "double", "level after less before; of the others the (mean) value less expected"),
            required("sign", "int", "1 up, -1 down"),
            required("score", "double", "size in noise scales of the series, without the sign"),
            required("bucket", "int", "storage bucket"),
        ),
        primary_key=("run_id", *layout.key, "timestamp", "kind"),
        partition_by=("run_id", "bucket"),
        checks={"known_kind": "kind IN ('level_shift', 'outlier', 'surge')"},
    )
