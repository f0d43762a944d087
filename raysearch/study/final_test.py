"""The final test of a frozen configuration: the only reader of the test IDs.

Each opening adds a line to `test_ledger.jsonl` before a test clip is read, see ledger.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from upath import UPath

from raysearch.config import id_order
from raysearch.data.ground_truth import read_ground_truth, read_ground_truth_domains
from raysearch.data.index import Clip, read_index
from raysearch.data.source import Source
from raysearch.detector import Detector
from raysearch.errors import DataError
from raysearch.storage import make_folder
from raysearch.study.context import StudyContext
from raysearch.study.ledger import FinalRequest, note_opening, note_result, numbered
from raysearch.study.official import OFFICIAL, judge_domains, write_official
from raysearch.study.reference import FINAL_FILE
from raysearch.study.scores import (
    FINAL,
    SCORES,
    FinalScore,
    FinalTest,
    judge,
    write_final,
    write_scores,
)
from raysearch.study.submission import write_meta
from raysearch.study.submission import write_scores as write_submission
from raysearch.study.winner import Winner


def final_test(
    winner: Winner,
    detector: Detector,
    context: StudyContext,
    *,
    request: FinalRequest,
    reference: Detector | None = None,
    on_clips: Callable[[int], None] | None = None,
) -> FinalTest:
    """Score the test clips of the test IDs with the frozen configuration.

    Writes `submission/` in the official format, `final_test.csv` by ID, `final_scores.csv` by clip
    and, of clips of both domains, `official_scores.csv`; the names of a further opening are
    numbered. The ledger has a line before and after.

    Args:
        winner: frozen configuration.
        detector: of the frozen configuration.
        context: of the study; the root and the ground truth of its source are read.
        request: of the test.
        reference: detector without a training, scored on the same clips.
        on_clips: called with the number of newly scored clips.

    Returns:
        The result; empty if there are no test clips of the test IDs.

    Raises:
        DataError: more than 1 % of the test clips are defective, and defects are not allowed.
    """
    source, folder, test_ids = context.source, context.folder, context.space.test_ids
    testable = testable_clips(source, detector, test_ids)
    if not testable:
        return FinalTest(remarks=("no final test: there are no test clips of the test IDs",))
    number, study = request.opening, context.study.manifest.started
    facts = {
        "command": request.command,
        "test_ids": list(test_ids),
        "clips": len(testable),
    }
    note_opening(folder, study, number, facts, winner)
    scores, remarks = score_test_clips(testable, detector, source, test_ids, on_clips)
    result = _write_results(scores, winner, detector, context, number)
    if reference is not None:
        lenient = replace(source, allow_defects=True)
        against = judge(score_test_clips(testable, reference, lenient, test_ids)[0], test_ids)
        if against.areas:
            write_final(folder / numbered(FINAL_FILE, number), winner.machine, against)
        result = replace(result, reference=against.score)
    note_result(folder, study, number, result)
    return replace(result, remarks=remarks)


def testable_clips(source: Source, detector: Detector, test_ids: Sequence[str]) -> list[Clip]:
    """List the test clips of the product IDs that a detector knows, by their names alone."""
    domain = source.test_domain or source.domain
    clips = read_index(source.root, domain=domain).test(source.machine, test_ids)
    return [clip for clip in clips if clip.id in detector.thresholds]


def score_test_clips(
    clips: Sequence[Clip],
    detector: Detector,
    source: Source,
    test_ids: Sequence[str],
    on_clips: Callable[[int], None] | None = None,
) -> tuple[list[FinalScore], tuple[str, ...]]:
    """Open the test clips of a machine type and their labels; the ledger has a line before.

    Args:
        clips: result of `testable_clips`.
        detector: of the frozen configuration.
        source: of the recordings.
        test_ids: product IDs of the clips.
        on_clips: called with the number of newly scored clips.

    Returns:
        Scores of all clips by product ID, and remarks about defective clips.

    Raises:
        DataError: more than 1 % of the clips are defective, and defects are not allowed.
    """
    truth = source.ground_truth or source.root
    labels = read_ground_truth(truth, source.machine, test_ids)
    domains = read_ground_truth_domains(truth, source.machine, test_ids)
    clips = [
        replace(clip, domain=domains.get((clip.id, clip.name), clip.domain))
        if clip.domain == "unknown"
        else clip
        for clip in clips
    ]
    values, errors = _score(clips, detector, source.allow_defects, on_clips)
    scores = _final_scores(clips, values, errors, detector, labels)
    return scores, _remarks(errors, len(clips))


def _write_results(
    scores: Sequence[FinalScore],
    winner: Winner,
    detector: Detector,
    context: StudyContext,
    number: int,
) -> FinalTest:
    """Write all files of an opening, from the scores of its clips; return their result."""
    folder, machine = context.folder, winner.machine
    submission = folder / numbered("submission", number)
    make_folder(submission, below=folder)
    write_submission(submission, machine, scores)
    _write_meta(submission, winner, detector, context)
    write_scores(folder / numbered(SCORES, number), scores)
    result = judge(scores, context.space.test_ids)
    if result.areas:
        write_final(folder / numbered(FINAL, number), machine, result)
    official = judge_domains(scores, context.space.test_ids)
    if official is not None:
        write_official(folder / numbered(OFFICIAL, number), machine, official)
    return replace(result, official=official)


def _score(
    clips: Sequence[Clip],
    detector: Detector,
    allow_defects: bool,
    on_clips: Callable[[int], None] | None,
) -> tuple[dict[Clip, float], dict[Clip, str]]:
    """Return the scores of clips, and the reasons for those that have none.

    Raises:
        DataError: more than 1 % are defective, the limit of a search's stores.
    """
    scores, errors = {}, {}
    for clip in clips:
        try:
            scores[clip], _ = detector.score_file(clip.path, clip.id)
        except DataError as error:
            errors[clip] = str(error)
        if on_clips is not None:
            on_clips(1)
    if len(errors) > 0.01 * len(clips) and not allow_defects:
        problem = _problem(errors, len(clips))
        raise DataError(f"{problem}; give them the worst score with --allow-defects")
    return scores, errors


def _problem(errors: Mapping[Clip, str], total: int) -> str:
    first = next(iter(errors.values()))
    return f"{len(errors)} of {total} test clips are defective, the first {first}"


def _remarks(errors: Mapping[Clip, str], total: int) -> tuple[str, ...]:
    return (f"{_problem(errors, total)}; scored as the worst",) if errors else ()


def _final_scores(
    clips: Sequence[Clip],
    values: Mapping[Clip, float],
    errors: Mapping[Clip, str],
    detector: Detector,
    labels: Mapping[tuple[str, str], int],
) -> list[FinalScore]:
    """Return the scores of all clips; a clip that cannot be read has the highest of its ID.

    A machine whose recording cannot be read is worth a look, and every list of the clips is
    complete: that of the submission, too.
    """
    worst: dict[str, float] = {}
    for clip in clips:
        above = float(np.nextafter(detector.thresholds[clip.id], np.inf))
        worst[clip.id] = max(worst.get(clip.id, above), values.get(clip, above))
    ordered = sorted(clips, key=lambda clip: id_order(clip.id))
    return [
        FinalScore(
            clip.id,
            clip.key,
            clip.domain,
            clip.label if clip.label is not None else labels.get((clip.id, clip.name)),
            score := values.get(clip, worst[clip.id]),
            threshold := detector.thresholds[clip.id],
            int(score > threshold),
            errors.get(clip, ""),
        )
        for clip in ordered
    ]


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
