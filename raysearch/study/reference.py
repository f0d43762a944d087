"""The reference of a study: a score that takes no training, which a winner should exceed.

reference.json holds the statistics of the log-mel spectrogram (method `baseline`) judged by their
Mahalanobis distance, on the validation IDs of the study.
"""

import json
from dataclasses import asdict
from typing import Any

from upath import UPath

from raysearch.storage import create_once
from raysearch.study.scores import read_final
from raysearch.study.stored import MADE_AGAIN, checked, read_json
from raysearch.training.outcome import InlierResult

FILE, FINAL_FILE = "reference.json", "reference_test.csv"
NAME = "log-mel statistics and Mahalanobis distance, untrained"


def write_reference(row: InlierResult, folder: UPath) -> None:
    """Write the reference of a study, unless it has one."""
    content = (json.dumps(asdict(row), indent=2) + "\n").encode()
    create_once(folder / FILE, content)


def has_reference(folder: UPath) -> bool:
    """Return True if a study has a reference, which may be damaged: a trial needs none."""
    return (folder / FILE).is_file()


def read_reference(folder: UPath) -> InlierResult | None:
    """Read the reference of a study; None if it has none yet.

    Raises:
        UserError: `reference.json` is damaged.
    """
    if not has_reference(folder):
        return None
    return read_json(folder / FILE, _row, MADE_AGAIN)


def _row(content: dict[str, Any]) -> InlierResult:
    return checked(InlierResult(**content))


def reference_score(folder: UPath) -> float | None:
    """Return the validation score of the reference; None without one."""
    row = read_reference(folder)
    return None if row is None else row.val_score


def final_reference(folder: UPath) -> float | None:
    """Return the score of the reference in the final test; None without one."""
    return read_final(folder / FINAL_FILE).score
