"""The command line: `almanac VERB --config conf/X.yaml [--set a.b=value]…`, and its exit codes.

0 done, 1 failed, 2 usage, config or input, 3 done with a threshold passed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from udfs.errors import DONE, FAILED, AlmanacError

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
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
        errors.print(f"almanac: {type(error).__name__}: {first_line}", markup=False, highlight=False, soft_wrap=True)
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Time a sample, print hours and cost, write nothing.")] = False,
) -> None:
    """The whole pipeline: ingest, backtest, select, forecast, publish."""
    if dry_run:
        from jobs.estimate import estimate, render_estimate

        guarded(lambda: render_estimate(estimate(config, overrides=overrides or ())))
    from jobs.run import render
    from jobs.run import run as action

    options: dict[str, Any] = {"where": where, "items": item, "run_id": run_id, "resume": resume}
    guarded(lambda: render(action(config, overrides=overrides or (), **options)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry of the console script and of `spark-submit jobs/VERB.py`."""
    app(args=list(arguments) if arguments is not None else None)


if __name__ == "__main__":
    main()
