"""Nested values of which the floats need only be near."""

from __future__ import annotations

from typing import Any

import pytest


def nearly(value: Any, rel: float = 1e-6) -> Any:
    """The same with every float in it replaced by what compares equal to floats near it."""
    if isinstance(value, dict):
        return {name: nearly(part, rel) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(nearly(part, rel) for part in value)
    return pytest.approx(value, rel=rel, abs=1e-12, nan_ok=True) if isinstance(value, float) else value
