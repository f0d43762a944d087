"""Folders of runs that never ran: hand-made results, for tests of what is drawn of them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from upath import UPath

from raysearch.config import Configuration
from raysearch.report.clips.media import write_misclassified
from raysearch.report.clips.misclassified import MisclassifiedClip
from raysearch.report.clips.shown import Part, ShownClip, write_clips
from raysearch.scoring.metrics import machine_score
from raysearch.storage import append_line, write_text
from raysearch.study.confidence import Confidence, write_confidence
from raysearch.study.final_test import FinalScore
from raysearch.study.folder import StudyFolder
from raysearch.study.ranking import rank
from raysearch.study.records import Proposal, Record, State
from raysearch.study.scores import write_scores
from raysearch.study.space import Space
from raysearch.study.winner import choose_winner, freeze_winner
from raysearch.training.outcome import Epoch
from tests.detectors import make_detector
from tests.records import complete, failed, make_manifest, make_space, row

HOSTILE = "</script><b>&'\"clip.wav"
"""A file name that must stay a text."""


def history(epochs: int, *rungs: int) -> tuple[Epoch, ...]:
    """Losses that fall."""
    return tuple(
        Epoch(e, 1 / e, 0.5 / e, 0.5 / e, 0.9 / e, 0.4 / e, 0.5 / e, 1e-3, 1.5, 0.5 + 0.01 * e)
        if e in rungs
        else Epoch(e, 1 / e, 0.5 / e, 0.5 / e, 0.9 / e, 0.4 / e, 0.5 / e, 1e-3, 1.5)
        for e in range(1, epochs + 1)
    )


def records(count: int = 8) -> list[Record]:
    """Trials that were finished, one of them pruned and one failed, and two finalists' seeds."""
    rng, found = np.random.default_rng(0), []
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
        one = complete(
            proposal, *rows, history=history(4), best_epoch=4, train_seconds=6.0 + number
        )
        if number == 3:
            one = replace(one, state=State.PRUNED, rows=(), history=history(2, 2), best_epoch=None)
        found.append(failed(proposal, HOSTILE) if number == 5 else one)
    if count > 6:
        for place, of in enumerate((count - 1, count - 2)):
            again = replace(found[of].proposal, number=count + place, seed=1, rerun_of=of)
            found.append(
                replace(found[of], proposal=again, seed=1, encoder=f"encoder{count + place}")
            )
    return found


def begin(folder: UPath, space: Space | None = None, **changes: Any) -> StudyFolder:
    """A study in which nothing has ended."""
    study = StudyFolder(folder)
    study.create(make_manifest(space or make_space(strategy={"trials": 8}), **changes))
    return study


def add(study: StudyFolder, ended: Sequence[Record]) -> None:
    """Lets trials end."""
    for record in ended:
        study.propose(record.proposal)
        study.add(record)


def conclude(study: StudyFolder, machine: str = "valve") -> None:
    """Freezes the best configuration."""
    ranking = rank(study.records())
    assert ranking is not None
    freeze_winner(choose_winner(machine, "f" * 64, ranking), study.path)
    note = "within noise of the second"
    write_confidence(Confidence((), (), 0.6, 0.75, -0.01, 0.03, note), study.path)


def final_scores(ids: Sequence[str] = "345", labelled: bool = True) -> list[FinalScore]:
    """Scores in which anomalies lie higher."""
    rng, found = np.random.default_rng(1), []
    for identity in ids:
        for number in range(40):
            label = number % 2
            score = float(rng.normal(label, 0.8))
            name = f"section_0{identity}_{number:04d}.wav"
            given = label if labelled else None
            found.append(FinalScore(identity, name, "source", given, score, 1.0, int(score > 1)))
    return found


def take_final_test(study: StudyFolder, scores: Sequence[FinalScore]) -> None:
    """The final test, as it leaves the folder."""
    ids = list(dict.fromkeys(score.id for score in scores))
    own = {i: [score for score in scores if score.id == i] for i in ids}
    found = machine_score(
        {i: np.array([score.label for score in own[i]]) for i in ids},
        {i: np.array([score.score for score in own[i]]) for i in ids},
    )
    lines = [f"valve,{i},{auc!r},{pauc!r}" for i, (auc, pauc) in found.per_id.items()]
    write_text(study.path / "final_test.csv", "\n".join(["machine,id,auc,pauc", *lines, ""]))
    write_scores(study.path / "final_scores.csv", scores)
    entry = {"time": "2026-11-25T11:00:00+00:00", "command": "raysearch run", "test_ids": ids}
    append_line(study.path / "test_ledger.jsonl", json.dumps(entry | {"clips": len(scores)}))


def shown_clips() -> list[ShownClip]:
    """Clips of all parts; the first is an anomaly that scores low, and has a hostile name."""
    rng, found = np.random.default_rng(2), []
    for part, machines in (
        (Part.VALIDATION, ["valve"]),
        (Part.HELD_OUT, ["valve"]),
        (Part.OTHER, ["fan", "pump"]),
    ):
        for number in range(30):
            label = int(part is Part.VALIDATION and number % 2 == 0)
            place = rng.normal(label, 1, 2)
            score = None if part is Part.OTHER else float(rng.normal(label, 0.3))
            name = HOSTILE if not found else f"{part}_{number:04d}.wav"
            found.append(
                ShownClip(
                    machines[number % len(machines)],
                    str(number % 3),
                    name,
                    part,
                    label,
                    -1.0 if not found else score,
                    None if score is None else 0.7,
                    float(place[0]),
                    float(place[1]),
                )
            )
    return found


def explain(study: StudyFolder) -> None:
    """Gathers what a report shows of single clips."""
    clips = shown_clips()
    wrong = MisclassifiedClip("0", HOSTILE, 1, -1.0, 0.7, 19, 20, 1.0, 50.0, 7800.0)
    rng = np.random.default_rng(3)
    wave = (3000 * rng.normal(size=16000)).astype(np.int16)
    write_misclassified(study.path, [wrong, replace(wrong, label=0)], [wave, wave], make_detector())
    write_clips(study.path, clips)
