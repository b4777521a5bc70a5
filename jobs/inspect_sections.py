"""The sections of the page of `inspect`: what each says, its tables and histograms."""

from __future__ import annotations

from forecasting.resolution import LENGTHS, MONTH_US
from jobs.inspect_beside import events, metadata, related, rules, successors
from jobs.inspect_histograms import charts, histogram_of
from jobs.inspect_pictures import pictures
from jobs.inspect_words import (
    CLASSES,
    FINE,
    FOR_SPORADIC,
    LOOK,
    NOTE,
    SPORADIC,
    STATES,
    Section,
    count,
    counted,
    digits,
    in_order,
    level_of,
    share,
    step_words,
)
from jobs.markup import Markup, joined, name, table, tag
from udfs.cleaning import REASONS
from udfs.config.variants import competing_models
from udfs.inspection import Inspection
from udfs.validation import ValidationReport


def sections_of(facts: Inspection, report: ValidationReport | None) -> tuple[Section, ...]:
    """All sections in order. report: of `validate`, where it was asked for."""
    made = (_data, _frequency, _life, _history, _demand, _shape, _gaps, related, metadata, successors, events)
    found = [section for make in made if (section := make(facts)) is not None]
    return (*found, pictures(facts), rules(report))


# --- where the data come from ---


def _data(facts: Inspection) -> Section:
    rows, refused = sum(r.rows for r in facts.sources), sum(r.rows for r in facts.refused)
    n = sum(r.sources for r in facts.sources)
    said = f"{count(rows, 'row')} of {count(n, 'source')} were read; "
    if refused:
        worst = facts.refused[0]
        said += f"{share(refused, rows)} ({refused:,}) were refused, most often because "
        said += f"{REASONS.get(worst.reason, worst.reason)} ({worst.rows:,})."
    else:
        said += "none was refused."
    roles = [
        (r.role, f"{r.sources:,}", f"{r.rows:,}", f"{r.rejected:,}", share(r.rejected, r.rows)) for r in facts.sources
    ]
    body = [table(("read for", ">sources", ">rows", ">refused", ">share"), roles)] if roles else []
    if facts.refused:
        reasons = [
            (r.reason, REASONS.get(r.reason, ""), *counted(r.rows, refused, strong=True)) for r in facts.refused
        ]
        body += [tag("h3", "Why rows were refused"), table(("reason", "meaning", "", ">rows", ">share"), reasons)]
        body += [
            _example_rows(facts),
            tag("p", "All of them are in the table ", tag("code", "rejects"), ", as they were read."),
        ]
    level = level_of(refused / max(rows, 1), 0, 0.01)
    return Section("data", "Where the data come from", level, said, joined(body))


def _example_rows(facts: Inspection) -> Markup:
    cells = [
        (r.reason, f"{role}, {source.rpartition('/')[2]}", tag("code", row))
        for r in facts.refused
        for role, source, row in r.examples
    ]
    return tag(
        "details", tag("summary", "Up to three refused rows of each reason"), table(("reason", "from", "row"), cells)
    )


# --- how often ---


def _frequency(facts: Inspection) -> Section | None:
    steps, grid = facts.steps, facts.grid
    if steps is None:
        return None
    own = grid.months * MONTH_US if grid.months else grid.step_us
    total = sum(steps.series.values())
    same = sum(n for step, n in steps.series.items() if LENGTHS.get(step, 0) == own)
    coarser = sum(n for step, n in steps.series.items() if LENGTHS.get(step, 0) > own)
    rule, level = facts.config.ingest.frequency_check, FINE
    if not total:
        said = f"The grid is {grid.name}; no series has rows enough to tell whether its points come that often."
    elif coarser > (1 - rule.min_share) * total:
        said = (
            f"The grid is {grid.name}, and {share(coarser, total)} of the series come less often; "
            "set frequency to the step of the data, or their gaps stay missing or are filled."
        )
        level = LOOK
    else:
        said = f"{share(same, total)} of the series that can tell have points as often as the grid {grid.name} says."
    if steps.points and steps.rows > 1.05 * steps.points:
        by = facts.config.data.target.aggregation
        said += f" A point is {digits(steps.rows / steps.points)} rows on average, put together by {by}."
    told = [(step_words(step), *counted(n, total)) for step, n in steps.series.items()]
    asked = f" One in {steps.asked} series was asked." if steps.asked > 1 else ""
    body = [table(("points come every", "", ">series", ">share"), told)] if told else []
    body.append(
        tag(
            "p",
            "A step is the coarsest usual one on whose grid all points of a series lie; gaps do not matter." + asked,
            class_="quiet",
        )
    )
    return Section("frequency", "How often points come", level, said, joined(body))  # fmt: skip


# --- life ---


def _life(facts: Inspection) -> Section:
    total, states, config = facts.extent.n_series, facts.lifecycle, facts.config
    life = config.lifecycle
    ended, new = states.get("ended", 0), states.get("new", 0)
    silence = config.forecast_start == "global" or life.zero_is_silence
    if not ended:
        said, level = "No series has ended.", FINE
    else:
        fate = {
            "ended": "they are forecast as zero"
            if silence
            else "those whose end date has passed are forecast as zero",
            "end_date": "those whose end date has passed are forecast as zero, the others as ever",
            "never": "they are forecast by the models all the same",
        }[life.zero_after]
        said, level = f"{share(ended, total)} of the series ({ended:,}) have stopped selling; {fate}.", NOTE
    if new:
        said += f" {share(new, total)} ({new:,}) are new: they have less than a season of history."
        level = NOTE
    rows = [(s, STATES.get(s, ""), *counted(n, total)) for s, n in in_order(states, STATES)]
    told = [(s, name(who), why) for s, _ in in_order(states, STATES) for who, why in facts.state_examples.get(s, ())]
    body = [table(("state", "meaning", "", ">series", ">share"), rows)]
    if told:
        body.append(
            tag("details", tag("summary", "Examples and their reasons"), table(("state", "series", "reason"), told))
        )
    return Section("life", "Which series are alive", level, said, joined(body))


def _history(facts: Inspection) -> Section:
    total, sums, horizon = facts.extent.n_series, facts.totals, facts.config.horizon
    season = facts.grid.season_length
    found = histogram_of(facts, "n_obs")
    if found is None:
        said = "No series has an observation; bring a history."
        return Section("history", "How long the histories are", LOOK, said, joined([]))
    said = f"The median series has {digits(found.median)} observations."
    short = sums.n_under_horizon
    if short:
        said += f" {share(short, total)} ({short:,}) have fewer than the {horizon} steps that are to be forecast."
    if sums.n_under_season and season > 1:
        said += (
            f" {share(sums.n_under_season, total)} have less than a season ({season} periods): nobody knows theirs."
        )
    if sums.n_empty:
        said += f" {count(sums.n_empty, 'series', 'series')} without any observation: known from metadata alone."
    level = level_of(short / total, 0, 0.25)
    return Section("history", "How long the histories are", level, said, charts(facts, "n_obs"))


# --- demand ---


def _demand(facts: Inspection) -> Section:
    total, classes = facts.extent.n_series, facts.classes
    sporadic = sum(classes.get(kind, 0) for kind in SPORADIC)
    models = {m.partition("+")[0] for models in competing_models(facts.config) for m in models}
    level = FINE
    if sporadic:
        said = f"{share(sporadic, total)} of the series sell in some periods only (intermittent or lumpy)"
        if models & FOR_SPORADIC:
            said += "; the config has models for these."
        else:
            said += "; the config has no model made for these, such as tsb or adida."
            level = level_of(sporadic / total, 0, 0.1)
    else:
        said = "No series is intermittent or lumpy: what sells, sells in most periods."
    erratic = classes.get("erratic", 0)
    if erratic:
        said += f" {share(erratic, total)} sell in very different amounts (erratic): expect wide intervals."
    if classes.get("none"):
        said += f" {share(classes['none'], total)} never sold anything."
    rows = [(kind, CLASSES.get(kind, ""), *counted(n, total)) for kind, n in in_order(classes, CLASSES)]
    body = [table(("class", "meaning", "", ">series", ">share"), rows)]
    if len(facts.lifecycle) > 1:
        body.append(tag("details", tag("summary", "By lifecycle"), _crossed(facts)))
    body.append(charts(facts, "adi", "cv2", "zero_share"))
    return Section("demand", "What kinds of demand there are", level, said, joined(body))


def _crossed(facts: Inspection) -> Markup:
    kinds = [kind for kind, _ in in_order(facts.classes, CLASSES)]
    rows = [
        (state, *(f"{facts.classes_by_state[state].get(kind, 0):,}" for kind in kinds))
        for state, _ in in_order(facts.lifecycle, STATES)
    ]
    return table(("state", *(f">{kind}" for kind in kinds)), rows)


def _shape(facts: Inspection) -> Section | None:
    seasonal, trend = histogram_of(facts, "seasonal_strength"), histogram_of(facts, "trend_strength")
    if seasonal is None and trend is None:
        return None
    said = ""
    if seasonal is not None:
        strong = "a clear" if seasonal.median >= 0.6 else "a visible" if seasonal.median >= 0.3 else "hardly any"
        said = f"The typical series has {strong} season of {facts.grid.season_length} periods"
        said += f" (median strength {digits(seasonal.median)})."
    if trend is not None:
        strong = "a strong" if trend.median >= 0.6 else "a weak" if trend.median >= 0.3 else "hardly any"
        said += f" It has {strong} trend (median strength {digits(trend.median)})."
    body = []
    if facts.cycles:
        cycle = next(iter(facts.cycles))
        said += f" The cycle that is strongest most often has {count(cycle, 'period')}."
        rows = [(count(cycle, "period"), *counted(n, facts.extent.n_series)) for cycle, n in facts.cycles.items()]
        body.append(table(("strongest cycle", "", ">series", ">share"), rows))
    body.append(charts(facts, "seasonal_strength", "trend_strength", "spectral_entropy"))
    return Section("shape", "Trend, season and noise", FINE, said.strip(), joined(body))


# --- gaps ---


def _gaps(facts: Inspection) -> Section:
    sums, periods = facts.totals, facts.periods
    inside = sums.n_obs + sums.n_missing
    said = f"{share(sums.n_missing, inside)} of the periods between a series' first and last value have none"
    body: list[Markup] = []
    level = level_of(sums.n_missing / max(inside, 1), 0, 0.2)
    if periods is None:
        said += ", and stay missing: nothing in the config fills, masks or closes any." if sums.n_missing else "."
    else:
        total = periods.observed + periods.filled + periods.masked + periods.closed + periods.missing
        said += f". Of all periods that a model sees, {share(periods.filled, total)} are filled by the config's rules"
        said += f", {share(periods.masked, total)} masked" if facts.config.fill.mask else ""
        said += f", {share(periods.closed, total)} closed" if facts.config.opening is not None else ""
        said += "."
        if periods.filled > 0.5 * total:
            said, level = said + " Models would learn more from the fill than from the data.", LOOK
        what = (
            ("observed", "a value of the data", periods.observed, None),
            ("filled", "by fill rules, or inherited from a predecessor", periods.filled, periods.n_filled),
            ("masked", "a value that is no observation, such as a stock-out", periods.masked, periods.n_masked),
            ("closed", "not open; forecasts are zero there", periods.closed, periods.n_closed),
            ("missing", "no value, and models see none", periods.missing, None),
        )
        rows = [(k, why, *counted(n, total), "" if s is None else f"{s:,}") for k, why, n, s in what]
        body.append(table(("periods", "meaning", "", ">periods", ">share", ">series"), rows))
        if facts.config.opening is not None:
            steps = facts.config.horizon * facts.extent.n_series
            body.append(tag("p", f"{share(periods.closed_steps, steps)} of the steps to be forecast are closed."))
        if not periods.holidays:
            body.append(tag("p", "Closed holidays are not counted yet: the first run freezes their dates."))
    body.append(charts(facts, "missing_share"))
    return Section("gaps", "What is missing, filled, masked and closed", level, said, joined(body))
