"""The command line: `almanac VERB --config conf/X.yaml [--set a.b=value]…`, and its exit codes.

0 done, 1 failed, 2 usage, config or input, 3 done with a threshold passed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jobs import deepar_cli, upkeep_cli
from udfs.errors import DONE, FAILED, AlmanacError, InputError, ThresholdError, first_line

app = typer.Typer(
    name="almanac",
    help="Batch forecasting of millions of item series on Spark, with everything in Delta tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="YAML file of the configuration.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Change one key: section.key=value. Repeatable.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="The run; by default the newest that fits.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the newest unfinished run of this configuration.")]
Where = Annotated[str | None, typer.Option("--where", help="Only series that meet a SQL condition on key columns.")]
Items = Annotated[
    list[str] | None, typer.Option("--item", help="Only this series: key parts joined by '/'. Repeatable.")
]


Refit = Annotated[
    str | None,
    typer.Option("--refit", help="full, warm or never: whether fits start from an earlier run's parameters."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Time a sample; print core-hours and cost; write nothing.")]


def guarded(action: Callable[[], Any]) -> None:
    """Run an action and end the process with its exit code; an error of the user's is a sentence, not a trace."""
    errors = Console(stderr=True)
    try:
        action()
        code = DONE
    except AlmanacError as error:
        errors.print(f"almanac: {error}", markup=False, highlight=False, soft_wrap=True)
        code = error.exit_code
    except KeyboardInterrupt:
        errors.print("almanac: interrupted; run again with --resume to continue", markup=False)
        code = FAILED
    except Exception as error:
        if os.environ.get("ALMANAC_DEBUG"):
            raise
        said = first_line(error)[:500]
        errors.print(f"almanac: {type(error).__name__}: {said}", markup=False, highlight=False, soft_wrap=True)
        errors.print("almanac: set ALMANAC_DEBUG=1 to see the whole trace", markup=False)
        code = FAILED
    sys.exit(code)


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    where: Where = None,
    item: Items = None,
    run_id: RunId = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    refit: Refit = None,
) -> None:
    """The whole pipeline: ingest, backtest, select, forecast, publish."""
    changes = _with_refit(overrides, refit)

    def action() -> None:
        if dry_run:
            from jobs import estimate

            estimate.render(estimate.estimate(config, overrides=changes, where=where, only=item))
            return
        import jobs.run as verb

        report = verb.run(config, overrides=changes, where=where, only=item, run_id=run_id, resume=resume)
        verb.render(report)
        if report.threshold is not None:
            raise report.threshold

    guarded(action)


@app.command()
def ingest(config: ConfigFile, overrides: Overrides = None) -> None:
    """Read the sources, check every row, aggregate to the frequency, pack one row a series."""

    def action() -> None:
        import jobs.ingest as verb

        verb.render(verb.ingest(config, overrides=overrides or ()))

    guarded(action)


@app.command()
def validate(
    config: ConfigFile,
    overrides: Overrides = None,
    where: Annotated[str | None, typer.Option("--where", help="A condition that must meet a series.")] = None,
    item: Annotated[
        list[str] | None, typer.Option("--item", help="A series that must be there: key parts joined by '/'.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the report too: a .json or .csv file.")] = None,
) -> None:
    """Check the data against every rule, before any fit; write nothing. Exit code 3 where there are errors."""

    def action() -> None:
        import jobs.validate as verb

        report = verb.validate(config, overrides=overrides or (), where=where, only=item, out=out)
        verb.render(report)
        if report.errors:
            raise ThresholdError(f"validate found {len(report.errors)} errors; mend them before `almanac ingest`")

    guarded(action)


@app.command()
def tune(config: ConfigFile, overrides: Overrides = None, run_id: RunId = None, resume: Resume = False) -> None:
    """Search the models' hyperparameters on a sample of series per segment, for the next backtests."""

    def action() -> None:
        import jobs.tune as verb
        from jobs.progress import progress
        from jobs.tables import console

        with progress("tune", console()) as update:
            found = verb.tune(config, overrides=overrides or (), run_id=run_id, resume=resume, on_progress=update)
        verb.render(found)

    guarded(action)


@app.command()
def backtest(
    config: ConfigFile,
    overrides: Overrides = None,
    where: Where = None,
    item: Items = None,
    run_id: RunId = None,
    resume: Resume = False,
) -> None:
    """Run every model of each series on the backtest windows."""

    def action() -> None:
        import jobs.backtest as verb
        from jobs.progress import progress
        from jobs.tables import console

        out = console()
        with progress("backtest", out) as update:
            done = verb.backtest(
                config, overrides=overrides or (), where=where, items=item, run_id=run_id, resume=resume,
                on_progress=update,
            )  # fmt: skip
        out.print(f"Backtests of run {done.run_id} are done; next: almanac select", highlight=False)

    guarded(action)


@app.command()
def select(config: ConfigFile, overrides: Overrides = None, run_id: RunId = None) -> None:
    """Metrics from the backtests, and the best model of each series."""

    def action() -> None:
        import jobs.select as verb

        verb.render(verb.select(config, overrides=overrides or (), run_id=run_id))

    guarded(action)


@app.command()
def forecast(
    config: ConfigFile,
    overrides: Overrides = None,
    where: Where = None,
    item: Items = None,
    run_id: RunId = None,
    model: Annotated[
        str | None, typer.Option("--model", help="One model for all series, instead of the choice.")
    ] = None,
    predictor: Annotated[
        str | None,
        typer.Option("--predictor", help="The run whose selection and calibration are applied to today's data."),
    ] = None,
    refit: Refit = None,
) -> None:
    """Forecast every series by its chosen model and publish the run."""

    def action() -> None:
        import jobs.forecast as verb
        from jobs.progress import progress
        from jobs.tables import console

        out = console()
        with progress("forecast", out) as update:
            done = verb.forecast(
                config, overrides=_with_refit(overrides, refit), where=where, items=item, run_id=run_id, model=model,
                predictor=predictor, on_progress=update,
            )  # fmt: skip
        out.print(f"Forecasts of run {done.run_id} are published", highlight=False)
        if done.counts.get("no_deepar_forecast"):
            out.print(
                f"{done.counts['no_deepar_forecast']} series that were given deepar are without its forecast: the next"
                " best stand in (`no_deepar_forecast` in the view `ledger`); run `almanac predict-deepar` first",
                highlight=False,
            )
        for how, series in sorted(done.counts.items()):
            if how.startswith("refit_"):
                named = how.removeprefix("refit_").replace("_", " ")
                out.print(f"refit {named}: {series} models of series", highlight=False)

    guarded(action)


@app.command()
def evaluate(config: ConfigFile, overrides: Overrides = None, run_id: RunId = None) -> None:
    """Score stored forecasts against actuals that have arrived since."""

    def action() -> None:
        import jobs.evaluate as verb

        verb.render(verb.evaluate(config, overrides=overrides or (), run_id=run_id))

    guarded(action)


@app.command()
def export(
    config: ConfigFile,
    out: Annotated[Path, typer.Option("--out", help="Folder for part files, or one file with --single.")],
    what: Annotated[str, typer.Option("--what", help="forecasts, backtest or accuracy.")] = "forecasts",
    form: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
    single: Annotated[bool, typer.Option("--single", help="One file.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    overrides: Overrides = None,
    run_id: RunId = None,
) -> None:
    """Write forecasts, backtests or their accuracy as files, in the layouts of Amazon Forecast's exports."""

    def action() -> None:
        import jobs.export as verb

        options: dict[str, Any] = {"form": form, "single": single, "overwrite": overwrite, "run_id": run_id}
        verb.render(verb.export(config, str(out), overrides=overrides or (), what=what, **options))  # type: ignore[arg-type]

    guarded(action)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="A SELECT over tables and views.")],
    config: ConfigFile,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    limit: Annotated[int, typer.Option("--limit", help="Rows of a table.", min=1)] = 50,
    overrides: Overrides = None,
) -> None:
    """Print the answer to a SELECT."""

    def action() -> None:
        import jobs.query as verb

        if form not in ("table", "csv", "json"):
            raise InputError(f"--format is {form!r}; expected table, csv or json")
        verb.render(verb.query(config, sql, overrides=overrides or ()), form, limit)  # type: ignore[arg-type]

    guarded(action)


@app.command()
def leaderboard(
    config: ConfigFile,
    metric: Annotated[str, typer.Option("--metric", help="What models are ranked by, such as MASE.")] = "mean_wQL",
    segment: Annotated[
        str | None, typer.Option("--segment", help="A metadata column: a board for each of its values.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw accuracy over cost: a PNG, SVG or PDF.")] = None,
    overrides: Overrides = None,
    run_id: RunId = None,
) -> None:
    """What each model of a run buys: accuracy beside cost, and the Pareto front of both."""

    def action() -> None:
        import jobs.leaderboard as verb

        if form not in ("table", "csv", "json"):
            raise InputError(f"--format is {form!r}; expected table, csv or json")
        options: dict[str, Any] = {"metric": metric, "segment": segment, "plot": picture, "run_id": run_id}
        verb.render(verb.leaderboard(config, overrides=overrides or (), **options), form)  # type: ignore[arg-type]

    guarded(action)


@app.command()
def plot(
    config: ConfigFile,
    item: Annotated[str, typer.Option("--item", help="The series: key parts joined by '/'.")],
    out: Annotated[Path, typer.Option("--out", help="The picture, a PNG, SVG or PDF.")],
    step: Annotated[
        int | None, typer.Option("--step", help="One step's whole distribution instead of the fan.")
    ] = None,
    overrides: Overrides = None,
    run_id: RunId = None,
) -> None:
    """Draw a series' history and forecast fan, or the distribution of one step."""

    def action() -> None:
        import jobs.plot as verb
        from jobs.tables import console

        made = verb.plot(config, item, out, step=step, run_id=run_id, overrides=overrides or ())
        console().print(f"Picture: {made}", highlight=False, soft_wrap=True)

    guarded(action)


@app.command()
def describe(
    config: ConfigFile,
    overrides: Overrides = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw kinds of demand: a PNG, SVG or PDF.")] = None,
) -> None:
    """What is in the lake: tables, series, refused rows, runs."""

    def action() -> None:
        import jobs.describe as verb

        verb.render(verb.describe(config, overrides=overrides or ()))
        if picture is not None:
            from jobs.plot import render

            render(verb.draw(config, picture, overrides=overrides or ()))

    guarded(action)


@app.command()
def register(
    config: ConfigFile,
    overrides: Overrides = None,
    catalog: Annotated[str | None, typer.Option("--catalog", help="By default the session's own.")] = None,
    schema: Annotated[str | None, typer.Option("--schema", help="By default the dataset group's name.")] = None,
    wheel: Annotated[
        str | None, typer.Option("--wheel", help="Almanac's wheel in a volume, for functions in Unity Catalog.")
    ] = None,
    execute: Annotated[bool, typer.Option("--run", help="Run the SQL instead of printing it.")] = False,
) -> None:
    """The SQL that makes tables, views and functions known to a catalog."""

    def action() -> None:
        import jobs.register as verb

        place: dict[str, Any] = {"catalog": catalog, "schema": schema, "wheel": wheel}
        made = verb.register(config, overrides=overrides or (), run=execute, **place)
        verb.render(made)

    guarded(action)


app.command()(upkeep_cli.inspect)
app.command()(upkeep_cli.optimize)
app.command()(upkeep_cli.forget)
app.command()(deepar_cli.tune_deepar)
app.command()(deepar_cli.train_deepar)
app.command()(deepar_cli.predict_deepar)


def _with_refit(overrides: list[str] | None, refit: str | None) -> list[str]:
    return [*(overrides or ()), *(() if refit is None else (f"refit={refit}",))]


def main(verb: str | None = None) -> None:
    """Entry of the console script, and of `spark-submit jobs/VERB.py` with its verb."""
    app(args=None if verb is None else [verb, *sys.argv[1:]])


if __name__ == "__main__":
    main()
