"""The table `runs`: a run is made, found again, brought up to date, finished and published."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from udfs.config import Config, resolved_json
from udfs.config.load import config_hash
from udfs.errors import InputError
from udfs.lake import Lake, as_json
from udfs.work import RunPlan

RUNNING, FINISHED, FAILED = "running", "finished", "failed"


@dataclass(frozen=True)
class Run:
    """A row of `runs`."""

    run_id: str
    state: str
    published: bool
    config: str
    config_hash: str
    code_version: str
    seed: int
    horizon: int
    quantiles: tuple[float, ...]
    plan: RunPlan
    input_versions: Mapping[str, int]
    started_at: datetime
    finished_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    core_seconds: float | None = None
    cost_per_1000_forecasts: float | None = None

    @property
    def series_version(self) -> int:
        """The version of `series` that all work of the run reads."""
        return int(self.input_versions["series"])


def new_run_id() -> str:
    """A run id that sorts by time: UTC to the second and a random end."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def code_version() -> str:
    """The installed version of almanac."""
    try:
        return metadata.version("almanac")
    except metadata.PackageNotFoundError:
        return "unknown"


def new_run(config: Config, plan: RunPlan, input_versions: Mapping[str, int], run_id: str | None = None) -> Run:
    """A run that begins now; nothing is written."""
    return Run(
        run_id=run_id or new_run_id(),
        state=RUNNING,
        published=False,
        config=resolved_json(config),
        config_hash=config_hash(config),
        code_version=code_version(),
        seed=config.seed,
        horizon=config.horizon,
        quantiles=config.quantiles,
        plan=plan,
        input_versions=dict(input_versions),
        started_at=datetime.now(),
    )


def create(lake: Lake, run: Run) -> None:
    """Write a new run."""
    lake.ensure("runs")
    lake.append_once("runs", lake.rows("runs", [_record(run)]), f"runs/{run.run_id}")


def update(lake: Lake, run: Run) -> None:
    """Write a run over its old row."""
    lake.replace("runs", lake.rows("runs", [_record(run)]), {"run_id": run.run_id})


def finish(lake: Lake, run: Run, state: str = FINISHED) -> Run:
    """Write the run with its end."""
    done = replace(run, state=state, finished_at=datetime.now())
    update(lake, done)
    return done


def publish(lake: Lake, run_id: str) -> None:
    """Make this run the only published one, in one commit. Raises InputError for an unknown run."""
    from pyspark.sql import functions as F

    rows = lake.read("runs").where(F.col("published") | (F.col("run_id") == run_id)).collect()
    records = [row.asDict() | {"published": row["run_id"] == run_id} for row in rows]
    if all(record["run_id"] != run_id for record in records):
        raise InputError(f"there is no run {run_id!r} in this lake")
    lake.replace("runs", lake.rows("runs", records), {"run_id": [record["run_id"] for record in records]})


def get(lake: Lake, run_id: str) -> Run:
    """The run of that id. Raises InputError when there is none."""
    run = find(lake, run_id)
    if run is None:
        raise InputError(f"there is no run {run_id!r} in this lake; `almanac describe` lists the runs")
    return run


def find(lake: Lake, run_id: str) -> Run | None:
    """The run of that id, None when there is none."""
    found = _runs(lake, {"run_id": run_id})
    return found[0] if found else None


def newest(lake: Lake, digest: str | None = None) -> list[Run]:
    """Runs, newest first; of one config where its digest is given."""
    return _runs(lake, {} if digest is None else {"config_hash": digest})


def unfinished(lake: Lake, config: Config, where: str | None, items: Sequence[str] | None) -> Run | None:
    """The newest unfinished run of this config with the same limits, for `--resume`."""
    for run in newest(lake, config_hash(config)):
        if run.state != FINISHED and same_limits(run, where, items):
            return run
    return None


def same_limits(run: Run, where: str | None, items: Sequence[str] | None) -> bool:
    """Whether a run was begun with these limits."""
    return (run.plan.where, run.plan.items) == (where, None if items is None else tuple(dict.fromkeys(items)))


def _runs(lake: Lake, equal: Mapping[str, str]) -> list[Run]:
    from pyspark.sql import functions as F

    if not lake.exists("runs"):
        return []
    rows = lake.read("runs")
    for column, value in equal.items():
        rows = rows.where(F.col(column) == value)
    return [_run(row.asDict()) for row in rows.orderBy(F.desc("started_at"), F.desc("run_id")).collect()]


def _record(run: Run) -> dict[str, Any]:
    return vars(run) | {
        "plan": as_json(run.plan.as_dict()),
        "quantiles": list(run.quantiles),
        "input_versions": dict(run.input_versions),
        "counts": dict(run.counts),
    }


def _run(row: dict[str, Any]) -> Run:
    return Run(
        **row
        | {
            "plan": RunPlan.from_dict(json.loads(row["plan"])),
            "quantiles": tuple(row["quantiles"]),
            "counts": row["counts"] or {},
        }
    )


def replaced(lake: Lake, run: Run, **changes: Any) -> Run:
    """The run with some fields changed, written."""
    changed = replace(run, **changes)
    update(lake, changed)
    return changed
