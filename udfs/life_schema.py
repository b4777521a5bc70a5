"""Tables about the life of items."""

from __future__ import annotations

from udfs.layout import RUN, Layout, TableSchema, key_columns, optional, required


def successors_schema(layout: Layout) -> TableSchema:
    """What each series inherits, nearest predecessor first."""
    return TableSchema(
        "successors",
        (
            *key_columns(layout),
            required("position", "int", "1 is the predecessor, 2 its predecessor, …"),
            required("predecessor", "string", "item whose history stands in front"),
            required("scale", "double", "what the history is multiplied by, the links between together"),
            required(
                "scale_from", "string", "given, overlap, season, level or none: what the link's scale is made of"
            ),
            required("scale_periods", "int", "periods of the successor that the scale was learnt from, 0 where given"),
            optional("switch_date", "timestamp_ntz", "label of the first period that is not inherited, where given"),
            required("mapping", "string", "digest of the table that linked them"),
            required("bucket", "int", "storage bucket of the successor"),
        ),
        primary_key=(*layout.key, "position"),
    )


def phase_out_schema() -> TableSchema:
    """The decline before an end that a run learnt from ended items."""
    return TableSchema(
        "phase_out",
        (
            RUN,
            required("segment", "string", "segment of the series, empty for that of all items"),
            required("periods_to_end", "int", "0 is the last period of a life"),
            required("factor", "double", "what sales are there, of their level before; shrunk"),
            required("n_items", "bigint", "ended items behind it"),
        ),
        primary_key=("run_id", "segment", "periods_to_end"),
    )
