"""Progress of long work: a bar in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

OnProgress = Callable[[int, int], None]
_LINE_SECONDS = 10.0


@contextmanager
def progress(title: str, console: Console) -> Iterator[OnProgress]:
    """A callback `(series done, of all)` that shows count, rate and time left while the block runs."""
    if console.is_terminal:
        with _bar(title, console) as update:
            yield update
    else:
        yield _lines(title, console)


@contextmanager
def _bar(title: str, console: Console) -> Iterator[OnProgress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("series  {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(title, total=None, rate="")

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, rate=_rate(done, time.monotonic() - started))

        yield update


def _lines(title: str, console: Console) -> OnProgress:
    started = time.monotonic()
    printed = -_LINE_SECONDS

    def update(done: int, total: int) -> None:
        nonlocal printed
        elapsed = time.monotonic() - started
        if elapsed - printed < _LINE_SECONDS and done < total:
            return
        printed = elapsed
        left = elapsed * (total - done) / done if done else 0.0
        tail = f", {left:,.0f} s left" if 0 < done < total else ""
        console.print(f"{title}: {done:,} of {total:,} series, {_rate(done, elapsed)}{tail}", highlight=False)

    return update


def _rate(done: int, seconds: float) -> str:
    return f"{done / seconds:,.0f}/s" if done and seconds > 0 else ""
