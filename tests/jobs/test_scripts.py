"""Every verb as a file of its own, the way spark-submit runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERBS = [
    "run", "ingest", "backtest", "select", "forecast", "evaluate", "export", "query", "plot", "describe", "register",
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_runs_as_a_file_from_anywhere(verb: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{verb}.py"), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{verb}.py {verb}" in done.stdout or f"{verb} [OPTIONS]" in done.stdout
