"""The rules of `validate`: what each finds, what it means and what to do.

They are the conditions on which jobs of Amazon Forecast failed after hours (related series and metadata) and what it
did in silence (its developer guide: dropped items, fills, sums of duplicates), and what else spoils a forecast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from udfs.cleaning import REASONS
from udfs.config import Config

Severity = Literal["error", "warning"]
FEW = 5
"""The service dropped items with fewer rows, without a word."""
EXAMPLES = 10


@dataclass(frozen=True)
class Rule:
    """meaning: what was found and what to do. unit: what is counted beside a series. fatal: an error. service: an
    error under `compat`, because the service's job failed."""

    meaning: str
    unit: str = ""
    fatal: bool = False
    service: bool = False


RULES: Mapping[str, Rule] = {
    "cannot_be_read": Rule("the source cannot be opened or lacks columns", fatal=True),
    "no_rows": Rule("the source has no rows; ingest refuses it", fatal=True),
    "no_usable_rows": Rule("every row is refused, so ingest stops; the reasons stand beside it", "rows", fatal=True),
    "too_many_refused": Rule(
        "more rows are refused than ingest.max_rejected_share allows, so ingest stops; mend the rows or raise the "
        "share", "rows", fatal=True,
    ),
    "no_series": Rule("a related source must name at least one series; name its columns or leave it out", fatal=True),
    "related_is_target": Rule(
        "a related series is read from the target's column; what is forecast must not foretell itself", fatal=True
    ),
    "unused_columns": Rule(
        "columns that the domain or schema knows and the config does not use; rows of the target are aggregated over "
        "them: name them in dimensions, series or attributes to keep them"
    ),
    "all_missing": Rule("no observation; forecast as zero and marked fallback: leave the series out", "rows"),
    "few_observations": Rule(
        f"fewer than {FEW} observations; the service dropped such items, here they are forecast by what so few can "
        "carry", "observations",
    ),
    "shorter_than_horizon": Rule("fewer observations than the horizon has steps", "observations"),
    "shorter_than_season": Rule("fewer observations than one season; no model can know the season", "observations"),
    "horizon_too_long": Rule(
        "the horizon is longer than a third of the history (the service's limit); shorten the horizon or bring more "
        "history", "periods of history",
    ),
    "all_zero": Rule("every observation is zero; if zero stands for missing, make it empty", "observations"),
    "constant": Rule("every observation is the same number; its forecast has no spread", "observations"),
    "below_lower_bound": Rule("observations lie below bounds.lower; returns or errors? Forecasts are cut there",
                              "values"),
    "above_upper_bound": Rule("observations lie above bounds.upper; forecasts are cut there", "values"),
    "ends_early": Rule("the series ends before the common end of the data", "points"),
    "gaps": Rule("periods without an observation between the first and the last", "points"),
    "starts_late": Rule("the series begins after the first period of all, and fill.target.front fills before it",
                        "points"),
    "duplicate_rows": Rule(
        "several rows of the same key and time; they are aggregated as the config says (the service summed them): "
        "remove them, or set aggregation none to refuse them", "extra rows",
    ),
    "related_missing": Rule(
        "a series of the target without any value; the service shrank to the series that had one, here it is forecast "
        "without the column", service=True,
    ),
    "related_unknown_key": Rule("keys that neither the target nor metadata have; their rows are refused", "rows"),
    "related_starts_late": Rule("begins after the target does", "periods", service=True),
    "related_ends_early": Rule("ends before the target's end", "periods", service=True),
    "related_ends_before_horizon": Rule(
        "known_in_future, but its values do not reach the last step of the horizon; bring them, set "
        "fill.related.NAME.future, or known_in_future to false", "steps", fatal=True,
    ),
    "related_gaps": Rule(
        "periods without a value between its first and its last; set fill.related.NAME.middle, or look whether its "
        "rows are coarser than the frequency", "periods", service=True,
    ),
    "related_future_unused": Rule(
        "values after the end of the target that are not used; set known_in_future if they are known when a forecast "
        "is made", "periods",
    ),
    "items_missing": Rule("a series without a row of metadata", service=True),
    "attribute_missing": Rule("a series whose metadata lack this attribute"),
    "items_unknown": Rule("metadata of keys that the target does not have; they are forecast as new items"),
    "unknown_segment_value": Rule("`where` names values that no series has; they match nothing"),
    "segment_matches_nothing": Rule("no series meets all conditions of this `where`"),
    "unknown_item_selected": Rule("--item names series that are not there", fatal=True),
    "where_matches_nothing": Rule("no series meets --where", fatal=True),
    "unknown_holiday_region": Rule(
        "neither a country nor a region of holidays.calendar; write it like US, UK or DE-BY, or add it there",
        fatal=True,
    ),
    **{reason: Rule(f"refused rows: {text}", "rows") for reason, text in REASONS.items() if reason != "unknown_item"},
}  # fmt: skip
_ORDER = {name: position for position, name in enumerate(RULES)}
_OVER_SERIES = frozenset(RULES) - frozenset(REASONS) - {"related_unknown_key", "items_unknown"}
_FILLED = {"related_gaps": "middle", "related_ends_early": "back", "related_ends_before_horizon": "future"}
"""Rule -> the part of `fill.related` that answers it."""


@dataclass(frozen=True)
class Finding:
    """A row of the report.

    table: target, related, items or config. place: as in the config. column: ours. series: how many series, keys or
    values are concerned, of `total` (None: not counted in series). count: the sum of `unit` over them. examples: the
    first ten, by key, with their own count where there is one. detail: what was found, and what to do.
    """

    severity: Severity
    table: str
    place: str
    column: str | None
    rule: str
    series: int | None
    total: int | None
    count: int | None
    unit: str
    examples: tuple[tuple[str, int | None], ...]
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        examples = [{"key": key, "count": n} for key, n in self.examples]
        return {**vars(self), "examples": examples}


def finding(
    config: Config,
    rule: str,
    place: str,
    column: str | None = None,
    *,
    series: int | None = None,
    total: int | None = None,
    count: int | None = None,
    examples: tuple[tuple[str, int | None], ...] = (),
    detail: str = "",
) -> Finding:
    """A row of the report; severity and words come from the rule and the config."""
    known = RULES[rule]
    kind = place.split(".")[1].partition("[")[0] if place.startswith("data.") else "config"
    fill = _fill_words(config, rule, column)
    filled = fill is not None and fill != "nan" and rule in _FILLED
    severe = (known.fatal or (known.service and config.compat is not None)) and not filled
    words = [known.meaning, *([detail] if detail else []), *_consequence(config, rule, fill)]
    return Finding(
        severity="error" if severe else "warning",
        table=kind,
        place=place,
        column=column,
        rule=rule,
        series=series,
        total=total,
        count=count if known.unit else None,
        unit=known.unit,
        examples=examples if known.unit else tuple((key, None) for key, _ in examples),
        detail="; ".join(words).replace("NAME", column or "NAME"),
    )


def _fill_words(config: Config, rule: str, column: str | None) -> str | None:
    """The fill rule that decides what becomes of what was found; None where none does."""
    target = config.fill.target
    if rule == "ends_early" and config.forecast_start == "global":
        return str(target.back)
    if rule in ("gaps", "starts_late"):
        return str(target.middle if rule == "gaps" else target.front)
    if rule in _FILLED and column is not None:
        own = config.fill.related.get(column)
        return "nan" if own is None else str(getattr(own, _FILLED[rule]))
    return None


def _consequence(config: Config, rule: str, fill: str | None) -> list[str]:
    """What becomes of what was found, in words."""
    if rule == "ends_early" and config.forecast_start == "per_series":
        return ["forecast_start is per_series, so it is forecast from its own end"]
    if fill is None:
        return []
    name = {"ends_early": "fill.target.back", "gaps": "fill.target.middle", "starts_late": "fill.target.front"}
    key = name.get(rule) or f"fill.related.NAME.{_FILLED[rule]}"
    return [f"{key} is nan, so they stay missing" if fill == "nan" else f"{key} fills them: {fill}"]


def findings_of(config: Config, rows: Iterable[Any], n_series: int | None) -> Iterator[Finding]:
    """Summed flags as rows of the report. n_series: series of the target, which rules over series are counted in."""
    for row in rows:
        if row["rule"] not in RULES:
            continue
        over_series = row["rule"] in _OVER_SERIES and (
            row["rule"] != "duplicate_rows" or row["place"] == "data.target"
        )
        yield finding(
            config,
            row["rule"],
            row["place"],
            row["column"] or None,
            series=int(row["n"]),
            total=n_series if over_series else None,
            count=None if row["amount"] is None else int(row["amount"]),
            examples=tuple((e["label"], e["amount"]) for e in row["examples"]),
        )


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first; then by place in the config, rule and column."""
    places = ("target", "related", "items", "config")
    return tuple(
        sorted(
            findings,
            key=lambda f: (f.severity != "error", places.index(f.table), f.place, _ORDER[f.rule], f.column or ""),
        )
    )
