"""The final test of a shared search, on machine types that the search never read.

Test clips are opened by final_test.py alone; here is what several machine types have in common: one
line of the ledger before the first clip is read, and one result over all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from raysearch.data.source import Source
from raysearch.detector import Detector
from raysearch.storage import make_folder
from raysearch.study.context import StudyContext
from raysearch.study.final_test import score_test_clips, testable_clips
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
from raysearch.training.combined import machine_key


@dataclass(frozen=True)
class UnseenMachine:
    """A test machine with the detector that the frozen configuration gives for it.

    Attributes:
        source: of its recordings.
        detector: trained on its training clips.
        reference: detector without a training; None if it cannot be fitted.
    """

    source: Source
    detector: Detector
    reference: Detector | None = None

    @property
    def name(self) -> str:
        """Machine type."""
        return self.source.machine


def shared_final_test(
    winner: Winner,
    machines: Sequence[UnseenMachine],
    context: StudyContext,
    *,
    request: FinalRequest,
    on_clips: Callable[[int], None] | None = None,
) -> FinalTest:
    """Score the test clips of the test machines with the frozen configuration.

    Writes the files that `final_test` writes, with product IDs `machine/ID`, into the folder of the
    shared search. No clip is opened unless every test machine has some.

    Args:
        winner: frozen configuration.
        machines: test machines.
        context: of the study.
        request: of the test.
        on_clips: called with the number of newly scored clips.

    Returns:
        The result; empty if a test machine has no test clips.

    Raises:
        DataError: more than 1 % of a machine type's test clips are defective, and defects are not
            allowed.
    """
    folder, number, ids = context.folder, request.opening, context.space.test_ids
    clips = {each.name: testable_clips(each.source, each.detector, ids) for each in machines}
    if missing := [name for name, chosen in clips.items() if not chosen]:
        return FinalTest(remarks=(f"no final test: there are no test clips of {missing[0]}",))
    facts = {
        "command": request.command,
        "test_ids": list(context.space.test_keys),
        "clips": sum(map(len, clips.values())),
    }
    study = context.study.manifest.started
    note_opening(folder, study, number, facts, winner)
    scores: dict[str, list[FinalScore]] = {}
    remarks: list[str] = []
    for each in machines:
        scores[each.name], problems = score_test_clips(
            clips[each.name], each.detector, each.source, ids, on_clips
        )
        remarks += [f"{each.name}: {problem}" for problem in problems]
    result = _write_results(scores, winner, context, number, machines[0].detector.parameters)
    against: dict[str, list[FinalScore]] = {}
    for each in machines:
        if each.reference is not None:
            lenient = replace(each.source, allow_defects=True)
            against[each.name], _ = score_test_clips(clips[each.name], each.reference, lenient, ids)
    if len(against) == len(machines):
        judged = judge(_keyed(against), context.space.test_keys)
        if judged.areas:
            write_final(folder / numbered(FINAL_FILE, number), winner.machine, judged)
        result = replace(result, reference=judged.score)
    note_result(folder, study, number, result)
    return replace(result, remarks=tuple(remarks))


def _keyed(scores: dict[str, list[FinalScore]]) -> list[FinalScore]:
    """Return the scores of all machine types, with product IDs `machine/ID`."""
    return [
        replace(score, id=machine_key(machine, score.id))
        for machine, part in scores.items()
        for score in part
    ]


def _write_results(
    by_machine: dict[str, list[FinalScore]],
    winner: Winner,
    context: StudyContext,
    number: int,
    parameters: int,
) -> FinalTest:
    """Write all files of an opening, from the scores of its clips; return their result."""
    folder, test_ids = context.folder, context.space.test_keys
    submission = folder / numbered("submission", number)
    make_folder(submission, below=folder)
    for machine, part in by_machine.items():
        write_submission(submission, machine, part)
    record = context.study.record(winner.trial)
    rows = record.rows if record is not None else ()
    row = next((row for row in rows if row.spec == winner.inlier), None)
    options = winner.config(context.space.fixed).options
    write_meta(submission, winner, [options], row, parameters=parameters)
    scores = _keyed(by_machine)
    write_scores(folder / numbered(SCORES, number), scores)
    result = judge(scores, test_ids)
    if result.areas:
        write_final(folder / numbered(FINAL, number), winner.machine, result)
    official = judge_domains(scores, test_ids)
    if official is not None:
        write_official(folder / numbered(OFFICIAL, number), winner.machine, official)
    return replace(result, official=official)
