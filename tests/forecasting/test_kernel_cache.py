"""A compiled kernel is made anew when one that it calls has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import forecasting
from forecasting import kernel_cache

CALLER = """
import numba
from forecasting.middle import (
    inner,
)

@numba.njit(cache=True)
def outer():
    return inner()
"""
MIDDLE = """
from forecasting import callee

inner = callee.inner
"""
CALLEE = """
import numba

@numba.njit(cache=True)
def inner():
    return {value}
"""
ASK = "from forecasting.caller import outer; print(outer(), sum(outer.stats.cache_hits.values()))"


def run(folder: Path) -> list[str]:
    """The answer of a fresh process, and how many kernels it found compiled."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_kernel_that_changes_changes_those_that_call_it(tmp_path: Path) -> None:
    """numba by itself would go on with the caller's old code."""
    package = tmp_path / "forecasting"
    package.mkdir()
    shutil.copy(Path(forecasting.__file__).with_name("kernel_cache.py"), package)
    (package / "__init__.py").write_text("import forecasting.kernel_cache\n")
    (package / "caller.py").write_text(CALLER)
    (package / "middle.py").write_text(MIDDLE)
    (package / "callee.py").write_text(CALLEE.format(value=1))
    assert run(tmp_path) == ["1", "0"]
    assert run(tmp_path) == ["1", "1"]
    (package / "callee.py").write_text(CALLEE.format(value=2))
    assert run(tmp_path) == ["2", "0"]
    assert run(tmp_path) == ["2", "1"]


def test_the_stamps_in_force_are_ours() -> None:
    assert kernel_cache.FOLLOWS_IMPORTS
    ets = Path(forecasting.__file__).parent / "models" / "ets"
    assert kernel_cache.stamp(ets / "rows.py") != kernel_cache.stamp(ets / "likelihood.py")
