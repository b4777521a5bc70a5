"""What is in a lake's data, in numbers: what the page of `almanac inspect` tells."""

from udfs.inspection.facts import Inspection, inspect_lake

__all__ = ["Inspection", "inspect_lake"]
