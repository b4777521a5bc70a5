"""The verbs of the command line that look into a lake and keep it in order: `inspect`, `optimize` and `forget`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="YAML file of the configuration.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Change one key: section.key=value. Repeatable.")]


def optimize(
    config: ConfigFile,
    retain_hours: Annotated[
        float, typer.Option("--retain-hours", help="Files of older versions stay so long.", min=0)
    ] = 168,
    force: Annotated[bool, typer.Option("--force", help="Retain less than a week, or than the longest run.")] = False,
    overrides: Overrides = None,
) -> None:
    """Pack series again from their pieces, put small files together, remove the files of old versions."""
    from jobs.cli import guarded

    def action() -> None:
        import jobs.optimize as verb

        verb.render(verb.optimize(config, retain_hours=retain_hours, force=force, overrides=overrides or ()))

    guarded(action)


def forget(
    config: ConfigFile,
    item: Annotated[
        str, typer.Option("--item", help="Key parts joined by '/'; the first ones for all that begin so.")
    ],
    allow_again: Annotated[bool, typer.Option("--allow-again", help="Sources may bring it back.")] = False,
    erase: Annotated[
        bool, typer.Option("--vacuum", help="Remove the bytes too: all older versions of the tables go.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
    overrides: Overrides = None,
) -> None:
    """Delete everything of an item from every table, and keep it out."""
    from jobs.cli import guarded

    def action() -> None:
        import jobs.forget as verb

        found = verb.forget(
            config, item, allow_again=allow_again, erase=erase, dry_run=dry_run, overrides=overrides or ()
        )
        verb.render(found)

    guarded(action)


def inspect(
    config: ConfigFile,
    out: Annotated[Path, typer.Option("--out", help="The page, an .html file.")] = Path("data_report.html"),
    rules: Annotated[
        bool, typer.Option("--validate", help="Read the sources again and check every rule of `validate` too.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """What is in the data, as one HTML page: gaps, kinds of demand, ended items, series that stick out."""
    from jobs.cli import guarded

    def action() -> None:
        import jobs.inspect as verb

        verb.render(verb.inspect(config, out=out, rules=rules, overrides=overrides or ()))

    guarded(action)
