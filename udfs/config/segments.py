"""What series are told apart by, beside their key and metadata: facts that `series` keeps of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from forecasting.demand import DEMAND_CLASSES
from forecasting.lifecycle import STATES

LIFECYCLE, DEMAND_CLASS = "lifecycle", "demand_class"
KINDS: Mapping[str, tuple[str, ...]] = {
    LIFECYCLE: STATES,
    DEMAND_CLASS: DEMAND_CLASSES,
}
"""Column -> what it can say."""


def condition_problems(conditions: Mapping[str, tuple[str, ...]], known: Iterable[str]) -> Iterator[str]:
    """What is wrong with the conditions of a segment. known: key and metadata columns."""
    columns = {*known, *KINDS}
    unknown = [c for c in conditions if c not in columns]
    if unknown:
        yield f"no key or metadata column {unknown}, and neither {' nor '.join(KINDS)}"
    for name, kinds in KINDS.items():
        wrong = [value for value in conditions.get(name, ()) if value not in kinds]
        if wrong:
            yield f"{name} is never {wrong}; expected one of {', '.join(kinds)}"
