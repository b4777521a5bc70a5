"""Which run the reading verbs read, when they were not told."""

from __future__ import annotations

from udfs import runs
from udfs.errors import InputError
from udfs.lake import Lake
from udfs.runs import Run


def run_to_read(lake: Lake, run_id: str | None) -> Run:
    """The run of that id, else the published one. Raises InputError where there is none."""
    if run_id is not None:
        return runs.get(lake, run_id)
    for run in runs.newest(lake):
        if run.published:
            return run
    raise InputError("no run is published in this lake yet; run `almanac run` (or `almanac forecast`), or name a run")
