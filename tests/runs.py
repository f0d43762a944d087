"""Hand-made folders of runs, for tests of reports."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from upath import UPath

from raysearch.report.clips.media import write_misclassified
from raysearch.report.clips.misclassified import MisclassifiedClip
from raysearch.report.clips.shown import Part, ShownClip, write_clips
from raysearch.scoring.spec import InlierSpec
from raysearch.study.confidence import UNJUDGED, Confidence, write_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import note_opening, note_result
from raysearch.study.ranking import rank
from raysearch.study.records import Proposal, Record, State
from raysearch.study.scores import FINAL, FinalScore, judge, write_final, write_scores
from raysearch.study.space import Space
from raysearch.study.winner import Winner, choose_winner, freeze_winner, read_frozen
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import Epoch
from tests.detectors import make_detector
from tests.records import complete, failed, make_manifest, make_space, row

HOSTILE = "</script><b>&'\"clip.wav"
"""A file name with HTML that must stay text."""


def history(epochs: int, *rungs: int) -> tuple[Epoch, ...]:
    """Return epochs with falling losses, with scores at the rungs."""
    return tuple(
        Epoch(e, 1 / e, 0.5 / e, 0.5 / e, 0.9 / e, 0.4 / e, 0.5 / e, 1e-3, 1.5, 0.5 + 0.01 * e)
        if e in rungs
        else Epoch(e, 1 / e, 0.5 / e, 0.5 / e, 0.9 / e, 0.4 / e, 0.5 / e, 1e-3, 1.5)
        for e in range(1, epochs + 1)
    )


def records(count: int = 8) -> list[Record]:
    """Return completed trials, a pruned and a failed one, and two finalists' seeds."""
    rng = np.random.default_rng(0)
    trials: list[Record] = []
    for number in range(count):
        lr, size = float(10 ** rng.uniform(-4, -2)), int(rng.choice([32, 64, 128]))
        proposal = Proposal(number, Configuration(lr, size, float(rng.choice([0.1, 1.0, 10.0]))))
        base = 0.55 + 0.02 * number
        rows = [
            row(name, p, round(base + float(rng.uniform(-0.03, 0.03)), 4))
            for name, p in (
                ("gmm", 1),
                ("gmm", 2),
                ("gmm", 4),
                ("lof", 4),
                ("lof", 8),
                ("none", None),
            )
        ]
        record = complete(
            proposal, *rows, history=history(4), best_epoch=4, train_seconds=6.0 + number
        )
        if number == 3:
            record = replace(
                record, state=State.PRUNED, rows=(), history=history(2, 2), best_epoch=None
            )
        trials.append(failed(proposal, HOSTILE) if number == 5 else record)
    if count > 6:
        for position, first in enumerate((count - 1, count - 2)):
            proposal = replace(
                trials[first].proposal, number=count + position, seed=1, rerun_of=first
            )
            trials.append(
                replace(
                    trials[first], proposal=proposal, seed=1, encoder=f"encoder{count + position}"
                )
            )
    return trials


def begin(folder: UPath, space: Space | None = None, **changes: Any) -> StudyFolder:
    """Create a study without ended trials."""
    study = StudyFolder(folder)
    study.create(make_manifest(space or make_space(strategy={"trials": 8}), **changes))
    return study


def add(study: StudyFolder, ended: Sequence[Record]) -> None:
    """Add ended trials."""
    for record in ended:
        study.propose(record.proposal)
        study.add(record)


def conclude(study: StudyFolder, machine: str = "valve") -> None:
    """Freeze the best configuration."""
    ranking = rank(study.records())
    assert ranking is not None
    freeze_winner(choose_winner(machine, "f" * 64, ranking), study.path)
    note = "within noise of the second"
    write_confidence(Confidence((), (), 0.6, 0.75, -0.01, 0.03, note), study.path)


def final_scores(ids: Sequence[str] = "345", labelled: bool = True) -> list[FinalScore]:
    """Return scores, higher for anomalous clips."""
    rng = np.random.default_rng(1)
    scores: list[FinalScore] = []
    for product_id in ids:
        for number in range(40):
            label = number % 2
            score = float(rng.normal(label, 0.8))
            name = f"section_0{product_id}_{number:04d}.wav"
            known_label = label if labelled else None
            scores.append(
                FinalScore(product_id, name, "source", known_label, score, 1.0, int(score > 1))
            )
    return scores


def take_final_test(study: StudyFolder, scores: Sequence[FinalScore]) -> None:
    """Write the files of a final test."""
    ids = list(dict.fromkeys(score.id for score in scores))
    result = judge(scores, ids)
    write_final(study.path / FINAL, "valve", result)
    write_scores(study.path / "final_scores.csv", scores)
    frozen = read_frozen(study.path) or Winner(
        "valve", 0, "e0", Configuration(1e-3, 32, 1.0), InlierSpec("gmm", 1), 0.7, 0, "f" * 64
    )
    facts = {"command": "raysearch run", "test_ids": ids, "clips": len(scores)}
    started = study.manifest.started
    note_opening(study.path, started, 1, facts, frozen)
    note_result(study.path, started, 1, result)


def shown_clips() -> list[ShownClip]:
    """Return clips of all parts; the first is anomalous, with a low score and a hostile name."""
    rng = np.random.default_rng(2)
    clips: list[ShownClip] = []
    for part, machines in (
        (Part.VALIDATION, ["valve"]),
        (Part.HELD_OUT, ["valve"]),
        (Part.OTHER, ["fan", "pump"]),
    ):
        for number in range(30):
            label = int(part is Part.VALIDATION and number % 2 == 0)
            position = rng.normal(label, 1, 2)
            score = None if part is Part.OTHER else float(rng.normal(label, 0.3))
            name = HOSTILE if not clips else f"{part}_{number:04d}.wav"
            clips.append(
                ShownClip(
                    machines[number % len(machines)],
                    str(number % 3),
                    name,
                    part,
                    label,
                    -1.0 if not clips else score,
                    None if score is None else 0.7,
                    float(position[0]),
                    float(position[1]),
                )
            )
    return clips


def explain(study: StudyFolder) -> None:
    """Write the clips of a report."""
    clips = shown_clips()
    misclassified = MisclassifiedClip("0", HOSTILE, 1, -1.0, 0.7, 19, 20, 1.0, 50.0, 7800.0)
    rng = np.random.default_rng(3)
    wave = (3000 * rng.normal(size=16000)).astype(np.int16)
    write_misclassified(
        study.path, [misclassified, replace(misclassified, label=0)], [wave, wave], make_detector()
    )
    write_clips(study.path, clips)


def unjudged(folder: UPath) -> StudyFolder:
    """Create the finished study of a configuration without validation labels."""
    space = make_space(strategy={"trials": 1}, inlier={"gmm": [1]})
    study = begin(folder, space.model_copy(update={"validation_ids": ()}))
    proposal = Proposal(0, Configuration(1e-3, 32, 1.0))
    add(study, [complete(proposal, row("gmm", 1, None), history=history(4), best_epoch=4)])
    conclude(study)
    write_confidence(Confidence(missing=UNJUDGED, note=UNJUDGED), folder)
    write_clips(folder, [clip for clip in shown_clips() if clip.part is not Part.VALIDATION])
    return study
