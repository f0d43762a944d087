"""Thresholds of a detector, set anew from the scores of normal training clips that it keeps."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from upath import UPath

from raysearch.config import id_order
from raysearch.errors import UserError, first_line
from raysearch.scoring.threshold import gamma_threshold
from raysearch.storage import write_text
from raysearch.study.bundle import NORMAL_SCORES, read_normal_scores
from raysearch.study.bundle_checks import check_facts
from raysearch.study.folder import StudyFolder
from raysearch.study.locking import BusyError, lock
from raysearch.study.stored import DAMAGE

DEPTH = 4
"""Folders above a detector in which its run may be: RUN/detector, RUN/machines/fan/detector."""


@dataclass(frozen=True)
class Change:
    """A threshold that was set anew.

    Attributes:
        before: earlier threshold.
        after: threshold from now on.
        above: normal training clips that score above it.
        clips: number of these clips.
        quantile: share of healthy recordings expected below it.
    """

    id: str
    before: float
    after: float
    above: int
    clips: int
    quantile: float

    @property
    def note(self) -> str:
        """Remark on a quantile that the clips are too few for; else empty."""
        if self.clips * (1 - self.quantile) >= 1:
            return ""
        return f"{self.clips} clips are few for this quantile"


def find_detector(folder: UPath) -> UPath:
    """Return the folder of a detector, given itself or by the folder of its run.

    Raises:
        UserError: there is no detector.
    """
    for each in (folder, folder / "detector"):
        if (each / "detector.json").is_file():
            return each
    tested = sorted(path.parent for path in folder.glob("machines/*/detector"))
    hint = (
        f"name a test machine of the shared search: {tested[0]}" if tested else "a run writes one"
    )
    raise UserError(f"{folder} holds no detector (no detector.json); {hint}")


def set_thresholds(
    detector: UPath, quantile: float, ids: Sequence[str] | None = None
) -> list[Change]:
    """Set thresholds of a detector at a quantile of its normal scores, see `gamma_threshold`.

    Only `detector.json` is written, whole or not at all; results of an earlier final test stay.

    Args:
        detector: folder of the detector.
        quantile: share of healthy recordings below a threshold, in (0, 1).
        ids: product IDs; None takes all.

    Returns:
        A change for each product ID.

    Raises:
        UserError: the quantile or an ID is not valid, the detector keeps no normal scores, or the
            run that it lies in is under way.
    """
    if not 0 < quantile < 1:
        raise UserError(f"quantile {quantile:g}: expected a share between 0 and 1, such as 0.99")
    with _run_lock(detector):
        return _set_thresholds(detector, quantile, ids)


@contextmanager
def _run_lock(detector: UPath) -> Iterator[None]:
    """Lock the run that a detector lies in: a run that is under way may write the detector anew."""
    above = list(detector.absolute().parents)[:DEPTH]
    runs = [folder for folder in above if StudyFolder(folder).exists()]
    if not runs:
        yield
        return
    try:
        with lock(runs[0], timeout=1):
            yield
    except BusyError as error:
        raise UserError(
            f"another raysearch is running {runs[0]}, which may write its detector anew; wait for "
            "its end"
        ) from error


def _set_thresholds(detector: UPath, quantile: float, ids: Sequence[str] | None) -> list[Change]:
    facts = _read_facts(detector / "detector.json")
    chosen = list(facts["thresholds"]) if ids is None else list(ids)
    for identity in chosen:
        if identity not in facts["thresholds"]:
            known = ", ".join(sorted(facts["thresholds"], key=id_order))
            raise UserError(f"ID {identity} is not one of {known}; see --id")
    changes = [
        _change(facts, identity, scores, quantile)
        for identity, scores in _normal_scores(detector, chosen).items()
    ]
    facts["thresholds"] |= {change.id: change.after for change in changes}
    facts["quantiles"] = facts.get("quantiles", {}) | dict.fromkeys(chosen, quantile)
    write_text(detector / "detector.json", json.dumps(facts, indent=2) + "\n")
    return changes


def _read_facts(path: UPath) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
        check_facts(facts)
    except DAMAGE as error:
        raise UserError(f"{path}: damaged or of another version: {first_line(error)}") from error
    return facts


def _normal_scores(detector: UPath, ids: Sequence[str]) -> dict[str, Sequence[float]]:
    scores = read_normal_scores(detector)
    if missing := [identity for identity in ids if not scores.get(identity)]:
        raise UserError(
            f"{detector} keeps no scores of normal clips of ID {missing[0]} ({NORMAL_SCORES}), as "
            "it is of an earlier version; delete its folder and repeat the command of its run"
        )
    return {identity: scores[identity] for identity in ids}


def _change(
    facts: dict[str, Any], identity: str, scores: Sequence[float], quantile: float
) -> Change:
    values = np.array(scores)
    after = gamma_threshold(values, quantile)
    above = int((values > after).sum())
    return Change(identity, facts["thresholds"][identity], after, above, len(scores), quantile)
