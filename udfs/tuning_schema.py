"""The schema of the table `hpo_trials`."""

from __future__ import annotations

from udfs.layout import Column, TableSchema


def tuning_schema() -> TableSchema:
    """A row is a setting that a tuning has tried for a segment and model."""
    columns = (
        ("run_id", "string", "tuning that made the row"),
        ("segment", "string", "name of the segment in the config, empty for the series that none matches"),
        ("model", "string", "model whose hyperparameters were searched"),
        ("trial", "int", "0 is the configured setting"),
        ("hyperparameters", "string", "all that were given, JSON"),
        ("n_series", "int", "series that settings are judged on"),
        ("loss", "double", "mean scaled quantile loss of what was searched on; of deepar mean wQL"),
        ("loss_held_out", "double", "of what was held out: the configured setting and the best one only"),
        ("evaluations", "bigint", "likelihood passes spent; of deepar steps of training"),
        ("seconds", "double", "core-seconds spent"),
        ("state", "string", "complete, pruned (the budget or better trials ended it) or failed"),
        ("reason", "string", "why it is not complete, or which trial it repeats; empty for none"),
        (
            "chosen",
            "boolean",
            "the setting to use, one at most: it gained on what was held out too; of deepar the best",
        ),
        ("digest", "string", "digest of what of the config must be the same for the setting to be used"),
        ("config_hash", "string", "digest of the config, of the section tuning too: what --resume goes by"),
        ("series_version", "bigint", "version of `series` that was read"),
        ("started_at", "timestamp", "when the tuning began"),
        ("curve", "array<double>", "of deepar: loss after each stage of training; NULL for other models"),
    )
    return TableSchema(
        "hpo_trials",
        tuple(Column(*column, nullable=column[0] in ("loss", "loss_held_out", "curve")) for column in columns),
        primary_key=("run_id", "segment", "model", "trial"),
        checks={"known_state": "state IN ('complete', 'pruned', 'failed')"},
    )
