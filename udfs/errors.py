"""The errors a person can mend, with the exit code each ends a job with."""

from __future__ import annotations

DONE, FAILED, BAD_INPUT, THRESHOLD_PASSED = 0, 1, 2, 3


class AlmanacError(Exception):
    """Base: a message that says what was got, what was expected and what to do. Raised to the user without a trace."""

    exit_code = FAILED


class InputError(AlmanacError):
    """Usage, config or input is wrong; nothing was changed."""

    exit_code = BAD_INPUT


class ThresholdError(AlmanacError):
    """The job did its work, and a threshold of the config was passed."""

    exit_code = THRESHOLD_PASSED


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library says, its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
