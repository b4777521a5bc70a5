"""The names of quantile levels, as they stand in columns."""

from __future__ import annotations


def percent(share: float) -> str:
    """A share in per cent, for a name: "10" for 0.1, "2_5" for 0.025."""
    return f"{round(share * 100, 8):.8f}".rstrip("0").rstrip(".").replace(".", "_")


def quantile_column(level: float) -> str:
    """The column of a quantile: p10 for 0.1, p2_5 for 0.025."""
    return "p" + percent(level)


def quantile_level(column: str) -> float:
    """The level of a quantile column: 0.025 for p2_5."""
    return round(float(column[1:].replace("_", ".")) / 100, 10)
