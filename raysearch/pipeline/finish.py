"""The end of a run: the winner is frozen, becomes a detector, and meets the test IDs once.

What embeds clips and what draws is imported when it is needed, which takes seconds: a run that has
come to its end before needs little of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console
from upath import UPath

from raysearch.data.dataset import TrialData, open_data, source_of
from raysearch.errors import NoResultError, UserError, named
from raysearch.report.clips.shown import evidence_folder, has_evidence
from raysearch.report.progress import progress, say
from raysearch.report.tables import score_words, write_best
from raysearch.report.trials_file import TrialsFile
from raysearch.report.wording import count, settings
from raysearch.storage import Place, place, remove_tree
from raysearch.study.confidence import Confidence, read_confidence, write_confidence
from raysearch.study.context import StudyContext
from raysearch.study.manifest import read_manifest
from raysearch.study.ranking import Ranking, rank, shortcomings
from raysearch.study.records import Record
from raysearch.study.resampling import measure
from raysearch.study.space import Space
from raysearch.study.winner import Winner, choose, freeze, frozen

if TYPE_CHECKING:
    from raysearch.detector import Detector
    from raysearch.study.final_test import FinalResult

Loading: TypeAlias = "Callable[[], Detector]"
"""The winner's detector, loaded or built when it is asked for."""


def conclude(
    context: StudyContext,
    data: TrialData,
    *,
    final: bool,
    command: str,
    console: Console,
    report: bool = True,
    keep_checkpoints: bool = False,
) -> None:
    """Writes best configuration and detector, and runs the final test if it has not been run.

    Args:
        context: of the study.
        data: recordings of the search.
        final: whether the test IDs may be opened.
        command: for the ledger.
        console: for progress and result.
        report: draw report.html.
        keep_checkpoints: leave those of the other trials, which only take space from here on.

    Raises:
        NoResultError: there is nothing to conclude from.
    """
    folder, records = context.folder, context.study.records()
    # A trial that a budget ended may have written its record when nobody listened any more.
    TrialsFile(folder, context.space.validation_ids, records).write()
    ranking = rank(records)
    if ranking is None:
        if report:
            draw(folder, console)
        raise NoResultError(_fruitless(records))
    winner = choose(context.source.machine, context.fingerprint, ranking)
    detector = _settle(winner, context, data)
    confidence, notes = _doubt(ranking, context, data, records, console)
    context.study.publish_journal()
    if not keep_checkpoints:
        _drop_losers(ranking, context, records)
    _announce(winner, confidence, notes, context, console)
    if final and not (folder / "final_test.csv").exists():
        _test(winner, detector, context, command, console)
    _gather(winner, detector, data, folder, console)
    if report:
        draw(folder, console)
    say(console, f"everything is in {folder}/")


def repeat_final(folder: UPath, data: Place | None, command: str, console: Console) -> None:
    """Repeats the final test of a run's frozen configuration.

    Args:
        folder: of the run.
        data: folder of the data set; None takes the one of the run.
        command: for the ledger.
        console: for progress and result.

    Raises:
        UserError: there is no frozen configuration, or other recordings than it was chosen on.
    """
    manifest = read_manifest(folder)
    winner = frozen(folder)
    if winner is None:
        raise UserError(f"{folder} has no frozen configuration yet; let its run end first")
    space, truth = Space.model_validate(manifest.space), manifest.ground_truth
    source = source_of(
        data or place(manifest.data),
        winner.machine,
        space.validation_ids,
        space.fixed,
        ground_truth=place(truth) if truth else None,
        allow_defects=manifest.allow_defects,
    )
    recordings = open_data(source)
    if recordings.fingerprint != winner.data:
        raise UserError(f"{source.root}: not the recordings that {folder} was searched on")
    detector = _built(winner, space, recordings, folder)
    context = StudyContext(folder, source, recordings.fingerprint, space)
    _test(winner, detector, context, command, console)
    _gather(winner, detector, recordings, folder, console)
    draw(folder, console)


def draw(folder: UPath, console: Console, write: Callable[[UPath], UPath] | None = None) -> None:
    """Draws a report; the results stand, whatever becomes of the picture.

    Args:
        folder: of a run, or of several.
        console: for where it is, or why it is not.
        write: that draws it; None draws that of a run.
    """
    try:
        if write is None:
            from raysearch.report.html.page import write_report

            write = write_report
        path = write(folder)
    except Exception as error:
        say(console, f"no report: {named(error)}; `raysearch report {folder}` tries again")
    else:
        say(console, f"report: {path}")


def _gather(
    winner: Winner, detector: Loading, data: TrialData, folder: UPath, console: Console
) -> None:
    """Gathers what the report shows of single clips, unless the folder has it; as `draw`."""
    if has_evidence(folder):
        return
    try:
        from raysearch.report.clips.collect import gather

        with progress(console, "looking at single clips", None) as advance:
            gather(detector(), data, winner.seed, folder, advance)
    except Exception as error:
        say(console, f"the report has to do without single clips: {named(error)}")


def _fruitless(records: Sequence[Record]) -> str:
    if not records:
        return "no trial has ended yet; give the search more time"
    found = {r.error or next((row.error for row in r.rows), "") for r in records}
    reasons = "; ".join(sorted(found - {""})) or "all were given up"
    return f"none of {len(records)} trials has a score: {reasons}"[:400]


def _settle(winner: Winner, context: StudyContext, data: TrialData) -> Loading:
    """Freezes the winner and builds its detector, unless that is what the folder holds."""
    folder = context.folder
    place = folder / "detector"
    held = frozen(folder)
    if held is not None and held.detector == winner.detector and (place / "detector.json").exists():
        # It may have been trained with further seeds meanwhile, or have others to compare with.
        if held != winner:
            freeze(winner, folder)
        return _loaded(place)
    # What another configuration had brought must not stand beside the name of this one.
    for name in ("final_test.csv", "final_scores.csv", "confidence.json"):
        (folder / name).unlink(missing_ok=True)
    for stale in (folder / "submission", evidence_folder(folder), place):
        remove_tree(stale)
    freeze(winner, folder)
    return _built(winner, context.space, data, folder)


def _loaded(place: UPath) -> Loading:
    @cache
    def load() -> "Detector":
        from raysearch.detector import load_detector

        return load_detector(place)

    return load


def _built(winner: Winner, space: Space, data: TrialData, folder: UPath) -> Loading:
    from raysearch.detector import save_detector
    from raysearch.pipeline.fit_detector import build_detector

    detector = build_detector(winner, space.fixed, data, folder)
    save_detector(detector, folder / "detector")
    return lambda: detector


def _doubt(
    ranking: Ranking,
    context: StudyContext,
    data: TrialData,
    records: Sequence[Record],
    console: Console,
) -> tuple[Confidence, list[str]]:
    """How sure the winner is, and all that a reader must know of it, a line each."""
    folder, second = context.folder, ranking.second
    known = read_confidence(folder)
    with progress(console, "resampling the validation clips", None) as advance:
        found = measure(ranking, known, context.options, data, context.study, advance)
    notes = [ranking.winner.best.row.remark]
    if second is not None and found.is_noise:
        notes.append(f"within noise of the second, {settings(second)}")
    notes += shortcomings(ranking, records, context.space.finalists)
    notes = [note for note in notes if note]
    found = replace(found, note="; ".join(notes))
    if found != known:
        write_confidence(found, folder)
    return found, notes


def _drop_losers(ranking: Ranking, context: StudyContext, records: Sequence[Record]) -> None:
    """Deletes the checkpoints that neither the winner nor a trial yet to be finished needs."""
    ended = {record.proposal.number for record in records}
    needed, useless = {one.record.encoder for one in ranking.winner.trainings}, set[str]()
    for proposal in context.study.proposals():
        signature = context.config(proposal).signature()
        (useless if proposal.number in ended else needed).add(signature)
    for signature in sorted(useless - needed):
        context.study.drop_checkpoints(signature)


def _announce(
    winner: Winner,
    confidence: Confidence,
    notes: Sequence[str],
    context: StudyContext,
    console: Console,
) -> None:
    write_best(context.folder, winner, confidence, context.space)
    score = score_words(winner, confidence)
    what = f"best configuration of {winner.machine}: {settings(winner)}"
    say(console, f"{what}; validation score {score}")
    for note in notes:
        say(console, f"note: {note}")


def _test(
    winner: Winner, detector: Loading, context: StudyContext, command: str, console: Console
) -> None:
    from raysearch.study.final_test import final_test

    with progress(console, "final test", None) as advance:
        result = final_test(
            winner,
            detector(),
            context.source,
            context.space.test_ids,
            context.folder,
            command=command,
            on_clips=advance,
        )
    _say_final(result, winner, console)


def _say_final(result: "FinalResult", winner: Winner, console: Console) -> None:
    for remark in result.remarks:
        say(console, remark)
    if result.score is None:
        say(console, "no final test was possible")
        return
    for identity, (auc, pauc) in result.score.per_id.items():
        say(console, f"  ID {identity}: AUC {auc:.4f}, pAUC {pauc:.4f}")
    ids = count(len(result.score.per_id), "ID")
    say(
        console,
        f"final test of {winner.machine}: harmonic mean {result.score.hmean:.4f} over {ids} that "
        "the search never saw",
    )
