"""The verbs of the command line for the global model: `tune-deepar`, `train-deepar` and `predict-deepar`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="YAML file of the configuration.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Change one key: section.key=value. Repeatable.")]


def train_deepar(
    config: ConfigFile,
    overrides: Overrides = None,
    before_backtests: Annotated[
        bool, typer.Option("--before-backtests", help="See only what the earliest backtest window sees.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    tuned: Annotated[
        str | None, typer.Option("--tuned", help="The tuning (tune-deepar) whose best setting is used.")
    ] = None,
) -> None:
    """Train the global model DeepAR+ on the lake's series; needs no Spark, and a GPU only where there is one.

    Several GPUs: torchrun --nproc-per-node N jobs/train_deepar.py --config FILE
    """
    from jobs.cli import guarded

    def action() -> None:
        import jobs.train_deepar as verb
        from jobs.tables import console

        lines = verb.epoch_lines(console())
        found = verb.train(
            config,
            overrides=overrides or (),
            before_backtests=before_backtests,
            resume=resume,
            tuned=tuned,
            on_epoch=lines,
        )
        if found.first:
            verb.render(found)

    guarded(action)


def tune_deepar(
    config: ConfigFile,
    overrides: Overrides = None,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Id of the tuning; made up unless given.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the tuning, or the newest one of this config.")
    ] = False,
) -> None:
    """Search settings of the global model DeepAR+ before training it; needs no Spark."""
    from jobs.cli import guarded

    def action() -> None:
        import jobs.tune_deepar as verb
        from jobs.tables import console

        lines = verb.trial_lines(console())
        verb.render(verb.tune(config, overrides=overrides or (), run_id=run_id, resume=resume, on_trial=lines))

    guarded(action)


def predict_deepar(
    config: ConfigFile,
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option("--model", help="A model id or folder; by default the newest.")] = None,
    run_id: Annotated[str | None, typer.Option("--run-id", help="The run to join; by default the newest.")] = None,
    backtest: Annotated[bool, typer.Option("--backtest", help="The run's backtest windows too.")] = False,
    predictor: Annotated[
        str | None,
        typer.Option("--predictor", help="Forecast today's data for a later `forecast --predictor` of this run."),
    ] = None,
    impacts: Annotated[
        bool, typer.Option("--impacts", help="Instead of forecasts: what each feature adds to them, into `impacts`.")
    ] = False,
    scenarios: Annotated[
        Path | None,
        typer.Option("--scenarios", help="Instead of forecasts: those of the what-ifs of a file, into `scenarios`."),
    ] = None,
) -> None:
    """Forecast every series of a run by the global model; needs no Spark."""
    from jobs.cli import guarded

    def action() -> None:
        from jobs.progress import progress
        from jobs.tables import console

        ask, render = _question(backtest, predictor, impacts, scenarios)
        with progress("predict-deepar", console()) as update:
            found = ask(config, overrides=overrides or (), model=model, run_id=run_id, on_progress=update)
        render(found)

    guarded(action)


def _question(
    backtest: bool, predictor: str | None, impacts: bool, scenarios: Path | None
) -> tuple[Callable[..., Any], Callable[[Any], None]]:
    """What answers, and what prints the answer."""
    from udfs.errors import InputError

    if backtest + impacts + (predictor is not None) + (scenarios is not None) > 1:
        raise InputError("--backtest, --predictor, --impacts and --scenarios are four questions; ask one at a time")
    if impacts:
        from jobs import deepar_impacts

        return deepar_impacts.explain, deepar_impacts.render
    if scenarios is not None:
        from jobs import deepar_scenarios

        return partial(deepar_scenarios.imagine, scenarios=scenarios), deepar_scenarios.render
    import jobs.predict_deepar as plain

    return partial(plain.predict, backtest=backtest, predictor=predictor), plain.render
