"""The exceptions of raysearch.

UserError             bad input: one line, exit code 2
├── DataError         a data set that is missing, defective or unfit for its use
└── DamageError       a file of a run that is damaged, or was written by another version
TrialError            a trial that cannot be finished; recorded, and the search continues
└── MemoryLimitError  a trial whose GPU has too little memory left
MachineError          machines or storage that failed, exit code 1; the same command goes on
NoResultError         a study without a single score, exit code 1
StoppedError          a run that the user stopped, exit code 130

The functions prepare texts from elsewhere for one line of a message.
"""

import re

# A secret may hold / and @, so a login ends with the last @. Before the first / of an address
# without a login stands a host or a bucket; a port is taken for a secret if an @ follows.
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?=[^\s/]*[:@])\S*@")
_SECRET_VALUE = re.compile(r"(?i)([?&][^\s=&]*(?:secret|token|passw|key)[^\s=&]*=)[^\s&'\"]+")


class UserError(ValueError):
    """Bad input. The message is one line: the file, key or value, the problem, what to do."""


class DataError(UserError):
    """A data set that is missing, defective or unfit for its use."""


class DamageError(UserError):
    """A file of a run that is damaged, or was written by another version."""


class TrialError(RuntimeError):
    """A trial that cannot be finished, for example because its loss diverged."""


class MemoryLimitError(TrialError):
    """A trial whose GPU has too little memory left for its batch size."""


class MachineError(RuntimeError):
    """Machines or storage that failed, and not the trials. The message says how to go on."""


class NoResultError(RuntimeError):
    """A study without a single score. The message gives the reasons of its trials."""


class StoppedError(Exception):
    """A run that the user stopped. The message says how to resume it."""


def one_line(error: object) -> str:
    """Return the text of an error, or the text itself, on one line."""
    return " ".join(str(error).split())


def printable(text: str) -> str:
    """Return a text with its control characters written out, which a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def describe(error: Exception) -> str:
    """Return an error as Python shows it, on one line: its class and its text."""
    return one_line(f"{type(error).__name__}: {error}")


def first_line(error: Exception) -> str:
    """Return the first line of a third-party error, at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def redact(text: str) -> str:
    """Return a text, such as a command, with the logins of all its addresses hidden.

    Rather too much is hidden than a part of a secret.
    """
    return _SECRET_VALUE.sub(r"\1***", _LOGIN.sub(r"\1***@", text))
