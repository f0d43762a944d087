"""The final test of a frozen configuration: the only reader of the test IDs.

Each final test adds a line to `test_ledger.jsonl` before it reads a test clip.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from upath import UPath

from raysearch.config import id_order
from raysearch.data.index import Clip, read_ground_truth, read_index
from raysearch.detector import Detector
from raysearch.errors import DataError
from raysearch.scoring.metrics import MachineScore, harmonic_mean, machine_score
from raysearch.storage import append_line, write_text
from raysearch.study.context import StudyContext
from raysearch.study.folder import LEDGER
from raysearch.study.scores import FinalScore, write_scores
from raysearch.study.submission import Scores, write_meta
from raysearch.study.submission import write_scores as write_submission
from raysearch.study.winner import Winner


@dataclass(frozen=True)
class FinalResult:
    """The result of a final test.

    Attributes:
        score: AUC and pAUC by test ID; None if no ID has both kinds of labelled clips.
        remarks: reasons why clips or IDs were not tested.
    """

    score: MachineScore | None
    remarks: tuple[str, ...]


def final_test(
    winner: Winner,
    detector: Detector,
    context: StudyContext,
    *,
    command: str,
    on_clips: Callable[[int], None] | None = None,
) -> FinalResult:
    """Score the test clips of the test IDs with the frozen configuration.

    Writes `submission/` in the official format, `final_test.csv` by ID and `final_scores.csv` by
    clip.

    Args:
        winner: frozen configuration.
        detector: of the frozen configuration.
        context: of the study; the root and the ground truth of its source are read.
        command: for the ledger.
        on_clips: called with the number of newly scored clips.

    Raises:
        DataError: more than 1 % of the test clips are defective, and defects are not allowed.
    """
    source, folder, test_ids = context.source, context.folder, context.space.test_ids
    clips = read_index(source.root, domain=source.domain).test(winner.machine, test_ids)
    testable = [clip for clip in clips if clip.id in detector.thresholds]
    if not testable:
        return FinalResult(None, ("no final test: there are no test clips of the test IDs",))
    _append_to_ledger(context, winner, len(testable), command)
    scores, remarks = _score(testable, detector, source.allow_defects, on_clips)
    write_submission(folder / "submission", winner.machine, detector.thresholds, scores)
    _write_meta(folder / "submission", winner, detector, context)
    labels = read_ground_truth(source.ground_truth or source.root, winner.machine, test_ids)
    _write_scores(folder / "final_scores.csv", detector, scores, labels)
    result = score_test_clips(scores, labels, test_ids)
    if result.score is not None:
        _write_result(folder / "final_test.csv", winner.machine, result.score)
    return replace(result, remarks=(*remarks, *result.remarks))


def _score(
    clips: Sequence[Clip],
    detector: Detector,
    allow_defects: bool,
    on_clips: Callable[[int], None] | None,
) -> tuple[Scores, list[str]]:
    """Score clips; defective ones are left out with a remark.

    Raises:
        DataError: more than 1 % are defective, the limit of a search's stores.
    """
    scores: dict[str, list[tuple[Clip, float]]] = {}
    defects = []
    for clip in clips:
        try:
            score, _ = detector.score_file(clip.path, clip.id)
        except DataError as error:
            defects.append(str(error))
        else:
            scores.setdefault(clip.id, []).append((clip, score))
        if on_clips is not None:
            on_clips(1)
    if not defects:
        return scores, []
    problem = f"{len(defects)} of {len(clips)} test clips are defective, the first {defects[0]}"
    if len(defects) > 0.01 * len(clips) and not allow_defects:
        raise DataError(f"{problem}; leave them out with --allow-defects")
    return scores, [f"{problem}; left out"]


def score_test_clips(
    scores: Scores,
    labels: Mapping[tuple[str, str], int],
    test_ids: Sequence[str],
) -> FinalResult:
    """Compute AUC and pAUC per test ID from clip scores and labels.

    Args:
        scores: product ID -> clips and their anomaly scores.
        labels: (product ID, file name) -> label, for clips without a label in the name.
        test_ids: all test IDs.
    """
    truth, values, remarks = {}, {}, []
    for identity in test_ids:
        rows = scores.get(identity, [])
        labelled = [
            (label, score) for clip, score in rows if (label := _label(clip, labels)) is not None
        ]
        if not rows:
            remarks.append(f"ID {identity}: no test clips")
        elif not labelled:
            remarks.append(f"ID {identity}: no labels; scores are in submission/")
        elif len({label for label, _ in labelled}) == 1:
            remarks.append(f"ID {identity}: labelled clips are all of one kind")
        else:
            truth[identity] = np.array([label for label, _ in labelled])
            values[identity] = np.array([score for _, score in labelled])
    return FinalResult(machine_score(truth, values) if truth else None, tuple(remarks))


def _label(clip: Clip, labels: Mapping[tuple[str, str], int]) -> int | None:
    return clip.label if clip.label is not None else labels.get((clip.id, clip.name))


def _append_to_ledger(context: StudyContext, winner: Winner, clips: int, command: str) -> None:
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "test_ids": list(context.space.test_ids),
        "clips": clips,
        "frozen": winner.to_json(),
    }
    append_line(context.folder / LEDGER, json.dumps(entry))


def _write_meta(folder: UPath, winner: Winner, detector: Detector, context: StudyContext) -> None:
    """Write the meta information of the submission."""
    record = context.study.record(winner.trial)
    rows = record.rows if record is not None else ()
    space = context.space
    members = [space.member(name).fixed for name in space.members]
    write_meta(
        folder,
        winner,
        members or [winner.config(space.fixed).options],
        next((row for row in rows if row.spec == winner.inlier), None),
        parameters=detector.parameters,
    )


def _write_scores(
    path: UPath, detector: Detector, scores: Scores, labels: Mapping[tuple[str, str], int]
) -> None:
    final_scores = []
    for identity, rows in scores.items():
        threshold = detector.thresholds[identity]
        for clip, score in rows:
            label = _label(clip, labels)
            decision = int(score > threshold)
            final_scores.append(
                FinalScore(identity, clip.name, clip.domain, label, score, threshold, decision)
            )
    write_scores(path, final_scores)


def _write_result(path: UPath, machine: str, score: MachineScore) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["machine", "id", "auc", "pauc"])
    for identity in sorted(score.per_id, key=id_order):
        auc, pauc = score.per_id[identity]
        writer.writerow([machine, identity, repr(auc), repr(pauc)])
    aucs, paucs = zip(*score.per_id.values(), strict=True)
    writer.writerow([machine, "hmean", repr(harmonic_mean(aucs)), repr(harmonic_mean(paucs))])
    write_text(path, text.getvalue())
