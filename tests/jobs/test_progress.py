"""Progress: a bar in a terminal, few plain lines in a log."""

from __future__ import annotations

import io

from rich.console import Console

from jobs.progress import progress


def shown(*, terminal: bool, steps: list[tuple[int, int]]) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with progress("backtest", console) as update:
        for done, total in steps:
            update(done, total)
    return out.getvalue()


def test_a_log_gets_plain_lines_with_the_first_and_the_last() -> None:
    lines = shown(terminal=False, steps=[(0, 400), *((i, 400) for i in range(100, 400, 100)), (400, 400)]).splitlines()
    assert lines[0].startswith("backtest: 0 of 400 series")
    assert lines[-1].startswith("backtest: 400 of 400 series")
    assert len(lines) == 2, "nothing in between within ten seconds"
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_bar() -> None:
    text = shown(terminal=True, steps=[(0, 400), (400, 400)])
    assert "400/400" in text
    assert "backtest" in text
