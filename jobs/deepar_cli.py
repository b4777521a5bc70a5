"""The verbs of the command line for the global model: `train-deepar` and `predict-deepar`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
) -> None:
    """Train the global model DeepAR+ on the lake's series; needs no Spark, and a GPU only where there is one."""
    from jobs.cli import guarded

    def action() -> None:
        import jobs.train_deepar as verb
        from jobs.tables import console

        options = {"before_backtests": before_backtests, "resume": resume}
        verb.render(verb.train(config, overrides=overrides or (), on_epoch=verb.epoch_lines(console()), **options))

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
) -> None:
    """Forecast every series of a run by the global model; needs no Spark."""
    from jobs.cli import guarded

    def action() -> None:
        import jobs.predict_deepar as verb
        from jobs.progress import progress
        from jobs.tables import console

        with progress("predict-deepar", console()) as update:
            found = verb.predict(
                config, overrides=overrides or (), model=model, run_id=run_id, backtest=backtest, predictor=predictor,
                on_progress=update,
            )  # fmt: skip
        verb.render(found)

    guarded(action)
