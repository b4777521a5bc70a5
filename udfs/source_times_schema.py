"""The table `source_times`: when the target's raw rows begin and end."""

from __future__ import annotations

from udfs.layout import TableSchema, optional, required


def source_times_schema() -> TableSchema:
    """One row a source of the target; kept where `ingest.partial_periods` drops any."""
    return TableSchema(
        "source_times",
        (
            required("source", "string", "file or table of the target"),
            required("first_time", "timestamp_ntz", "earliest raw time of its target rows, on the grid's clock"),
            required("last_time", "timestamp_ntz", "latest raw time"),
            optional("step", "string", "step that most series had when it was read; NULL where none could tell"),
        ),
        primary_key=("source",),
    )
