"""The schema of the table `forgotten`."""

from __future__ import annotations

from udfs.layout import Column, TableSchema


def forgotten_schema() -> TableSchema:
    """A row is a series, or all series of an item, that sources must not bring back."""
    columns = (
        ("key_hash", "string", "SHA-256 of the leading parts of the key"),
        ("parts", "int", "how many parts"),
        ("forgotten_at", "timestamp", "when"),
    )
    return TableSchema(
        "forgotten", tuple(Column(*column, nullable=False) for column in columns), primary_key=("key_hash", "parts")
    )
