"""All table schemas of the lake, with their primary keys. Needs no Spark: the GPU job shares them.

Types are Spark's DDL spellings, in lower case. What depends on the user's data (key, related series, metadata,
quantiles) comes from the `Layout`.
"""

from __future__ import annotations

from collections.abc import Sequence

from udfs.calibration_schema import calibration_schema
from udfs.cold_schema import cold_pool_schema, neighbours_schema
from udfs.deepar_schema import impacts_schema, scenarios_schema
from udfs.events_schema import events_schema
from udfs.layout import BUCKET, RUN, Layout, TableSchema, key_columns, quantile_columns
from udfs.layout import optional as _c
from udfs.layout import required as _required
from udfs.life_schema import phase_out_schema, successors_schema
from udfs.metrics_schema import metrics_schema
from udfs.models_schema import models_schema
from udfs.results_schema import RESULTS_DEEPAR, results_deepar_schema, results_schema
from udfs.source_times_schema import source_times_schema
from udfs.tuning_schema import tuning_schema
from udfs.upkeep_schema import forgotten_schema

__all__ = ["BASELINE", "RESULTS_DEEPAR", "SCHEMA_VERSION", "Layout", "TableSchema", "table_schemas"]

SCHEMA_VERSION = 1
BASELINE = "baseline"


_SOURCE = _required("source", "string", "file or table the row came from")


def _lake() -> TableSchema:
    return TableSchema(
        "lake",
        (
            _required("dataset_group", "string", "name of the data in this lake"),
            _required("frequency", "string", "time grid, in the spelling of forecasting.frequency"),
            _required("dimensions", "array<string>", "forecast dimensions, in key order"),
            _required("buckets", "int", "storage buckets"),
            _required("schema_version", "int", "version of these schemas"),
            _required("created_at", "timestamp", "when the lake was made"),
        ),
        primary_key=("dataset_group",),
    )


def _sources() -> TableSchema:
    return TableSchema(
        "sources",
        (
            _required("role", "string", "target, related:<position> or items:<position>"),
            _SOURCE,
            _required("sequence", "int", "order of first arrival; decides first and last between sources"),
            _required("fingerprint", "string", "changes when the content does"),
            _required("mapping", "string", "digest of the part of the config that decided how it was read"),
            _required("n_rows", "bigint", "rows read"),
            _required("n_rejected", "bigint", "rows refused"),
            _required("ingested_at", "timestamp", "when"),
            _c("last_period", "timestamp_ntz", "of a target: label of the last period with a row"),
        ),
        primary_key=("role", "source"),
    )


def _target(layout: Layout) -> TableSchema:
    return TableSchema(
        "target",
        (
            *key_columns(layout),
            _required("timestamp", "timestamp_ntz", "label of the period"),
            _c("target", "double", "the source's part of the period's value, aggregated; NULL is missing"),
            _required("n_rows", "bigint", "rows with a value behind it: the weight of a mean"),
            _SOURCE,
            BUCKET,
        ),
        primary_key=(*layout.key, "timestamp", "source"),
        partition_by=("bucket",),
        checks={"target_finite": "target IS NULL OR abs(target) < 1e300"},  # no cast: Delta computes it row by row
        properties={"delta.dataSkippingStatsColumns": "timestamp"},  # by key nothing can be skipped, and they cost
    )


def _related(layout: Layout) -> TableSchema:
    series = tuple(_c(n, "struct<value: double, n: bigint>", "value and the rows behind it") for n in layout.related)
    return TableSchema(
        "related",
        (
            *key_columns(layout, _c),
            *(_c(n, "string", "metadata column that the row is keyed by") for n in layout.joined),
            _required("timestamp", "timestamp_ntz", "label of the period"),
            *series,
            _required("role", "string", "related:<position> in the config"),
            _SOURCE,
        ),
        primary_key=("role", *layout.related_key, "timestamp", "source"),
        partition_by=("role",),
    )


def _items(layout: Layout) -> TableSchema:
    attributes = tuple(_c(n, "string", "metadata") for n in layout.attributes)
    return TableSchema(
        "items",
        (
            *key_columns(layout, _c),
            *attributes,
            _required("role", "string", "items:<position> in the config"),
            _SOURCE,
        ),
        primary_key=("role", *layout.key, "source"),
        partition_by=("role",),
    )


def _holidays() -> TableSchema:
    return TableSchema(
        "holidays",
        (
            _c("country", "string", "two-letter code; NULL for feasts and a calendar of one's own"),
            _c("subdivision", "string", "state or province; NULL for the whole country"),
            _c("region", "string", "region of a calendar of one's own; NULL where it holds for all"),
            _required("date", "date", "the day"),
            _required("name", "string", "English name; moving feasts under one name in all countries"),
            _c("version", "string", "version of the package that the date was taken from"),
            _required("source", "string", "holidays (the package), feasts, or where the calendar was read"),
        ),
        primary_key=("source", "country", "subdivision", "region", "date", "name"),
    )


def _rejects() -> TableSchema:
    return TableSchema(
        "rejects",
        (
            _required("role", "string", "target, related:<position> or items:<position>"),
            _SOURCE,
            _required("reason", "string", "reason code"),
            _required("row", "string", "the row as read, as JSON"),
            _required("rejected_at", "timestamp", "when"),
        ),
        primary_key=(),
    )


def _series(layout: Layout) -> TableSchema:
    related = ", ".join(f"{name}: array<double>" for name in layout.related)
    metadata = ", ".join(f"{name}: string" for name in layout.attributes)
    extra = []
    if related:
        extra.append(_c("related", f"struct<{related}>", "from the series' start through the last known value"))
    if metadata:
        extra.append(_c("metadata", f"struct<{metadata}>", "item metadata"))
    return TableSchema(
        "series",
        (
            *key_columns(layout),
            _required("segment", "int", "piece of the history, joined on read in this order"),
            _required("start", "timestamp_ntz", "label of the first period of the piece"),
            _required("n", "int", "periods of the piece"),
            _required("target", "array<double>", "one value a period, NaN is missing; empty without history"),
            *extra,
            _required("lifecycle", "string", "new, active, dormant, ended or returning"),
            _required("profile", PROFILE_TYPE, "facts about the whole series"),
            BUCKET,
        ),
        primary_key=(*layout.key, "segment"),
        partition_by=("bucket",),
        checks={"length": "n = size(target)"},
    )


PROFILE = {
    "n_obs": "int",
    "n_missing": "int",
    "n_zero": "int",
    "mean": "double",
    "last_observed": "timestamp_ntz",
    "adi": "double",
    "cv2": "double",
    "demand_class": "string",
    "trend_strength": "double",
    "seasonal_strength": "double",
    "spectral_entropy": "double",
    "dominating_periods": "array<double>",
    "lifecycle_reason": "string",
}
"""Fields of `series.profile`: counts, from `adi` on what `forecasting.profiles` defines, NULL where undefined, and why
the lifecycle is what it is."""
PROFILE_TYPE = f"struct<{', '.join(f'{name}: {kind}' for name, kind in PROFILE.items())}>"


def _parameters(layout: Layout) -> TableSchema:
    return TableSchema(
        "parameters",
        (
            RUN,
            *key_columns(layout),
            _required("model", "string", "model family"),
            _required("hyperparameters", "string", "digest of hyperparameters and regressors"),
            _required("season_length", "int", "periods in the season of the fit"),
            _required("fitted_start", "timestamp_ntz", "label of the first period that the fit saw"),
            _required("fitted_end", "timestamp_ntz", "label of the last one"),
            _required("n_obs", "bigint", "observations that it saw"),
            _required("status", "string", "ok or timeout: a fit that had to be helped out is not kept"),
            _required("reason", "string", "the model's own, empty for none"),
            _required("names", "array<string>", "names of the parameters"),
            _required("parameters", "array<double>", "the fitted parameters, NaN where a series has none such"),
            _required("states", "array<double>", "the states after the last period"),
            BUCKET,
        ),
        primary_key=("run_id", *layout.key, "model"),
        partition_by=("run_id", "bucket"),
    )


def _components(layout: Layout) -> TableSchema:
    return TableSchema(
        "components",
        (
            RUN,
            *key_columns(layout),
            _required("model", "string", "model family"),
            _required("component", "string", "level, trend, a season, a regressor, a holiday or remainder"),
            _required("start", "timestamp_ntz", "label of the first value"),
            _required("forecast_start", "timestamp_ntz", "label of the first value that is a forecast"),
            _required("values", "array<double>", "a value a period, history and then horizon"),
            BUCKET,
        ),
        primary_key=("run_id", *layout.key, "model", "component"),
        partition_by=("run_id", "bucket"),
    )


def _selection(layout: Layout) -> TableSchema:
    return TableSchema(
        "selection",
        (
            RUN,
            *key_columns(layout),
            _required("model", "string", "the chosen model, or `ensemble` for several"),
            _c("weights", "map<string, double>", "model -> weight, sum 1"),
            _c("segment", "string", "series among which the models competed"),
            _required("metric", "string", "what the choice went by"),
            _c("score", "double", "summed loss over the windows of the model with the largest weight"),
            _c("runner_up", "string", "the next best"),
            _c("margin", "double", "by how much the runner-up is worse, relative"),
            _required("reason", "string", "why this one"),
            _c("factors", "array<double>", "per interval, the multiple of its segment's misses that is aimed at"),
            BUCKET,
        ),
        primary_key=("run_id", *layout.key),
        partition_by=("run_id",),
    )


def _forecasts(layout: Layout) -> TableSchema:
    return TableSchema(
        "forecasts",
        (
            RUN,
            _required("scenario", "string", f"{BASELINE}, or the name of a what-if"),
            *key_columns(layout),
            _required("step", "int", "1 is the first period after the end"),
            _required("timestamp", "timestamp_ntz", "label of the period"),
            _required("model", "string", "model family"),
            _c("mean", "double", "expected value"),
            *quantile_columns(layout),
            _c("plan_quantile", "double", "level to plan with: under / (under + over) of the costs of error"),
            _c("plan", "double", "the value to plan with: the quantile at that level"),
            _c("lifecycle", "string", "what the item's life made of the step: ended, not_started, phase_out; or NULL"),
            BUCKET,
        ),
        primary_key=("run_id", "scenario", *layout.key, "step"),
        partition_by=("run_id", "scenario", "bucket"),
    )


def _runs() -> TableSchema:
    return TableSchema(
        "runs",
        (
            RUN,
            _required("state", "string", "running, finished or failed"),
            _required("published", "boolean", "whether forecasts_latest shows it; one at most"),
            _required("config", "string", "the whole resolved config, JSON"),
            _required("config_hash", "string", "digest of what changes a result"),
            _required("code_version", "string", "version of almanac"),
            _required("seed", "bigint", "run seed"),
            _required("horizon", "int", "steps"),
            _required("quantiles", "array<double>", "levels, in the order of the results"),
            _required("plan", "string", "the cut into work units per stage, JSON"),
            _required("input_versions", "map<string, bigint>", "Delta versions read"),
            _required("started_at", "timestamp", "when"),
            _c("finished_at", "timestamp", "when"),
            _c("counts", "map<string, bigint>", "series, rows by status, rejects"),
            _c("core_seconds", "double", "time of the model tasks"),
            _c("cost_per_1000_forecasts", "double", "US dollars, from core_seconds and the config's price"),
        ),
        primary_key=("run_id",),
        checks={"known_state": "state IN ('running', 'finished', 'failed')"},
    )


def table_schemas(layout: Layout) -> dict[str, TableSchema]:
    """Every table of the lake, by name."""
    tables = (
        _lake(),
        _sources(),
        source_times_schema(),
        _target(layout),
        _related(layout),
        _items(layout),
        _holidays(),
        _rejects(),
        _series(layout),
        results_schema(layout),
        _parameters(layout),
        _components(layout),
        _selection(layout),
        calibration_schema(),
        events_schema(layout),
        _forecasts(layout),
        metrics_schema(layout),
        cold_pool_schema(layout),
        neighbours_schema(layout),
        _runs(),
        tuning_schema(),
        successors_schema(layout),
        phase_out_schema(),
        forgotten_schema(),
        models_schema(),
        results_deepar_schema(layout),
        impacts_schema(layout),
        scenarios_schema(layout),
    )
    return {table.name: table for table in tables}


def struct_fields(kind: str) -> Sequence[str]:
    """The field names of a struct type of these schemas."""
    return [part.split(":")[0].strip() for part in kind.removeprefix("struct<").removesuffix(">").split(", ")]
