"""The exceptions of raysearch.

UserError             bad input: one line, exit code 2
└── DataError         a data set that is missing, defective or unfit for the question
TrialError            a trial that failed for a reason worth recording; the search goes on
NoResultError         a study without a single score, exit code 1
StoppedError          a run that the user stopped, exit code 130
"""


class UserError(ValueError):
    """Bad input. The message is one line that names file, key or value and the way out."""


class DataError(UserError):
    """A data set that is missing, defective or unfit for what was asked of it."""


class TrialError(RuntimeError):
    """A trial that cannot be finished, for example because its loss diverged."""


class NoResultError(RuntimeError):
    """No trial of a study has a score. The message gives their reasons."""


class StoppedError(Exception):
    """The user stopped a run. The message says how to go on."""


def one_line(error: object) -> str:
    """Return the text of an error, or the text itself, on one line."""
    return " ".join(str(error).split())


def named(error: Exception) -> str:
    """Return an error as Python shows it, on one line: its class and its text."""
    return one_line(f"{type(error).__name__}: {error}")


def brief(error: Exception) -> str:
    """Return the first line of a third-party error, at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
