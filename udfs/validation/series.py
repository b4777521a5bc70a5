"""The second pass of `validate`: a row of facts a series, and the rules over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from udfs.check import Cleaner, Counts
from udfs.cleaning import REASON, group_columns
from udfs.config import Config
from udfs.errors import InputError
from udfs.grid import period_ordinal
from udfs.roles import Role
from udfs.validation.facts import (
    flagged,
    items_facts,
    kept_related,
    kept_target,
    related_facts,
    summary,
    target_facts,
)
from udfs.validation.flags import item_flags, key_flags, related_flags, series_rows, target_flags
from udfs.validation.rules import Finding, finding, findings_of
from udfs.validation.selectors import (
    columns_of,
    evidence,
    holiday_flags,
    item_findings,
    selector_findings,
    series_columns,
    where_findings,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_KNOWN = "#known"
Kept = Callable[[Role], "DataFrame | None"]


@dataclass(frozen=True)
class SeriesPass:
    """What is checked. end: ordinal of the common end. kept: rows of the lake that an ingest keeps, by role. items,
    where: selectors to look up."""

    config: Config
    frequency: Frequency
    end: int
    cleaners: Sequence[Cleaner]
    counts: Counts
    kept: Kept
    items: Sequence[str] = ()
    where: str | None = None

    def run(self, refusals: Sequence[DataFrame]) -> tuple[list[Finding], int, int | None]:
        """Findings (of `refusals` too), the number of series and the ordinal of the first observation of all."""
        from pyspark.sql import functions as F

        roles = {each.role.name: each.role for each in self.cleaners}
        others = {name: role for name, role in roles.items() if name != "target"}
        facts = {each.role.name: self._facts(each) for each in self.cleaners}
        facts |= {name: facts[name].persist() for name in others}
        series = series_rows(facts["target"], others, facts).persist()
        try:
            span = series.agg(F.min("first").alias("first"), F.count(F.lit(1)).alias("n")).first()
            assert span is not None
            found = self._findings(series, others, facts, refusals, span["first"], int(span["n"]))
            return found, int(span["n"]), span["first"]
        finally:
            for frame in (series, *(facts[name] for name in others)):
                frame.unpersist()

    def _facts(self, each: Cleaner) -> DataFrame:
        from pyspark.sql import functions as F

        role = each.role
        rows = each.marked().where(F.col(REASON).isNull())
        if self.counts.rejected(role.name).get("duplicate"):
            torn = each.groups().where("`#ambiguous`").select(*group_columns(role))
            rows = rows.join(torn, group_columns(role), "left_anti")
        kept = self.kept(role)
        if role.kind == "items":
            rows = rows.select(*role.key, *role.values)
            return items_facts(rows if kept is None else rows.unionByName(kept.select(*rows.columns)), role)
        ordinal = period_ordinal(self.frequency, F.col("timestamp"))
        if role.kind == "target":
            bounds = self.config.bounds
            old = None if kept is None else kept_target(kept, ordinal, role)
            return target_facts(rows, old, role, (bounds.lower, bounds.upper))
        return related_facts(rows, None if kept is None else kept_related(kept, ordinal, role), role, self.end)

    def _findings(
        self,
        series: DataFrame,
        others: Mapping[str, Role],
        facts: Mapping[str, DataFrame],
        refusals: Sequence[DataFrame],
        start: int | None,
        n_series: int,
    ) -> list[Finding]:
        from pyspark.sql import functions as F

        config = self.config
        found: list[Finding] = []
        columns = series_columns(config, others)
        over_series = target_flags(config, self.frequency, self.end, start)
        for role in others.values():
            over_series += related_flags(config, role, self.end) if role.kind == "related" else item_flags(role)
        over_series += evidence(config, columns, config.key, self.items)
        try:
            over_series += holiday_flags(config, series.sparkSession, columns)
        except InputError as error:
            found.append(finding(config, "cannot_be_read", "holidays.calendar", detail=str(error)))
        flags = [*refusals, flagged(series, config.key, over_series)]
        for name, role in others.items():
            known = self._known(series, others, facts, role)
            over_keys = key_flags(role, F.col(_KNOWN).isNotNull())
            if role.kind == "items":
                over_keys += evidence(config, columns_of(role), role.key, self.items)
            flags.append(flagged(facts[name].join(known, list(role.key), "left"), role.key, over_keys))
        rows = summary(flags).collect()
        found += findings_of(config, rows, n_series)
        found += selector_findings(config, rows, columns)
        found += item_findings(config, rows, self.items)
        if self.where is not None:
            whole = [facts[n] for n, role in others.items() if role.kind == "items" and role.key == config.key]
            found += where_findings(config, series, whole, self.where)
        return found

    def _known(
        self, series: DataFrame, others: Mapping[str, Role], facts: Mapping[str, DataFrame], role: Role
    ) -> DataFrame:
        """The keys of a role that the target (for related series: or metadata) has, each once."""
        from pyspark.sql import functions as F

        known = [series.select(*role.key)]
        if role.kind == "related":
            items = [(n, r) for n, r in others.items() if r.kind == "items" and set(role.key) <= set(r.key)]
            known += [facts[n].select(*role.key) for n, _ in items]
        rows = reduce(lambda a, b: a.unionByName(b), known)
        return (rows if len(known) == 1 and role.key == self.config.key else rows.distinct()).withColumn(
            _KNOWN, F.lit(True)
        )
