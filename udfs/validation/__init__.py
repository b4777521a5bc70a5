"""All rules over all series, checked before any fit, as one report."""

from udfs.validation.checking import ValidationReport, validate_sources
from udfs.validation.rules import Finding

__all__ = ["Finding", "ValidationReport", "validate_sources"]
