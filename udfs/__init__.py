"""Where Spark meets the models: the session, the lake, Arrow batches and SQL functions."""

from __future__ import annotations

from typing import Any

__all__ = ["register"]


def __getattr__(name: str) -> Any:
    """`udfs.register(spark)`, loaded when it is asked for: the rest of this package stays quick to import."""
    if name == "register":
        from udfs.functions import register

        return register
    raise AttributeError(f"module 'udfs' has no attribute {name!r}")
