"""The schemas of what cold start leaves behind: its donors, and whom each item was forecast from."""

from __future__ import annotations

from udfs.layout import RUN, Layout, TableSchema, optional, required

NEIGHBOUR = "neighbour_"
"""Before the key columns of a neighbour."""


def cold_pool_schema(layout: Layout) -> TableSchema:
    """A row is a donor of a run."""
    return TableSchema(
        "cold_pool",
        (
            RUN,
            required("donor", "int", "its position among the donors of the run"),
            *(required(name, "string", "key of the donor") for name in layout.key),
            required("used", "boolean", "whether it has history enough to be forecast from"),
            optional("level", "double", "mean of its latest season"),
        ),
        primary_key=("run_id", "donor"),
        partition_by=("run_id",),
    )


def neighbours_schema(layout: Layout) -> TableSchema:
    """A row is an item that was forecast by cold start and one of its neighbours."""
    return TableSchema(
        "neighbours",
        (
            RUN,
            *(required(name, "string", "key of the item that was forecast") for name in layout.key),
            required("rank", "int", "1 is the nearest"),
            *(required(NEIGHBOUR + name, "string", "key of the neighbour") for name in layout.key),
            required("weight", "double", "its share in shape and spread; those of an item sum to 1"),
        ),
        primary_key=("run_id", *layout.key, "rank"),
        partition_by=("run_id",),
    )
