"""The shape of the code: imports point one way, modules stay small, nothing is a drawer for everything."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"forecasting": set(), "udfs": {"forecasting"}, "jobs": {"forecasting", "udfs"}}
MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    outward = imported(path) & (ROOMS.keys() - {room} - ROOMS[room])
    assert not outward, f"{room} must not import {outward}"
    if room == "forecasting":
        assert not imported(path) & {"pyspark", "delta", "deltalake"}
        assert "torch" not in imported(path) or path.parent.name == "deepar", "executors and most users have no torch"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_are_one_idea(path: Path) -> None:
    assert path.stem not in {"utils", "helpers", "common"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_schemas_need_no_spark() -> None:
    assert not imported(ROOT / "udfs" / "schemas.py") & {"pyspark", "delta"}
