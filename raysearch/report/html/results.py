"""All that the folder of a run tells, read once. Nothing but the folder is needed."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from upath import UPath

from raysearch.config import id_order
from raysearch.report.clips.misclassified import MisclassifiedClip, read_misclassified
from raysearch.report.clips.shown import ShownClip, read_clips
from raysearch.scoring.metrics import harmonic_mean
from raysearch.study.confidence import Confidence, read_confidence
from raysearch.study.folder import LEDGER, StudyFolder
from raysearch.study.manifest import Manifest
from raysearch.study.ranking import Candidate, Ranking, rank
from raysearch.study.records import Record, State
from raysearch.study.scores import FinalScore, read_scores
from raysearch.study.space import Space, check_space
from raysearch.study.winner import Winner, choose_winner, read_frozen


@dataclass(frozen=True)
class Areas:
    """AUC and pAUC of a test ID."""

    id: str
    auc: float
    pauc: float


@dataclass(frozen=True)
class Results:
    """What is known of a study.

    Attributes:
        given: trials that were given out.
        held: the frozen configuration, if the run came to its end.
        final: of the final test, by ID; empty if there was none.
        scores: of its single clips; empty for a run from before they were kept.
        openings: lines of the ledger.
        clips: what the winner makes of validation clips.
        wrong: those that it judges worst wrong, with sound and picture.
    """

    folder: UPath
    manifest: Manifest
    space: Space
    records: tuple[Record, ...]
    given: int
    ranking: Ranking | None
    held: Winner | None
    confidence: Confidence
    final: tuple[Areas, ...]
    scores: tuple[FinalScore, ...]
    openings: tuple[dict[str, Any], ...]
    clips: tuple[ShownClip, ...]
    wrong: tuple[tuple[MisclassifiedClip, bytes, bytes], ...]

    @property
    def machine(self) -> str:
        """Target machine type."""
        return self.manifest.machine

    @cached_property
    def winner(self) -> Winner | None:
        """The frozen configuration; while there is none, the best so far."""
        if self.held is not None or self.ranking is None:
            return self.held
        return choose_winner(self.machine, self.manifest.fingerprint, self.ranking)

    @cached_property
    def is_current(self) -> bool:
        """Whether the records still rank the winner first."""
        if self.winner is None or self.ranking is None:
            return False
        leader = choose_winner(self.machine, self.manifest.fingerprint, self.ranking)
        return leader.detector == self.winner.detector

    @property
    def second(self) -> Candidate | None:
        """The configuration that the winner is compared with."""
        return self.ranking.second if self.ranking is not None and self.is_current else None

    @property
    def searched(self) -> list[Record]:
        """Trials of the search itself, without the finalists' further seeds."""
        return [record for record in self.records if record.proposal.rerun_of is None]

    @property
    def scored(self) -> list[Record]:
        """Those of them that have scores."""
        return [r for r in self.searched if r.state is State.COMPLETE and r.best is not None]

    @property
    def final_score(self) -> float | None:
        """Harmonic mean of all AUCs and pAUCs of the test IDs."""
        values = [value for one in self.final for value in (one.auc, one.pauc)]
        return harmonic_mean(values) if values else None

    def record(self, number: int) -> Record | None:
        """The record of a trial."""
        return next((r for r in self.records if r.proposal.number == number), None)


def read_results(folder: UPath) -> Results:
    """Reads the folder of a run.

    Raises:
        UserError: it holds no study, or one that this version cannot read.
    """
    study = StudyFolder(folder)
    manifest = study.manifest
    records = tuple(study.records())
    return Results(
        folder,
        manifest,
        check_space(manifest.space, str(folder / "study.json")),
        records,
        len(study.proposals()),
        rank(records),
        read_frozen(folder),
        read_confidence(folder),
        tuple(_final(folder / "final_test.csv")),
        tuple(read_scores(folder / "final_scores.csv")),
        tuple(_openings(folder / LEDGER)),
        tuple(read_clips(folder)),
        tuple(read_misclassified(folder)),
    )


def _final(path: UPath) -> list[Areas]:
    if not path.is_file():
        return []
    rows = csv.DictReader(io.StringIO(path.read_text("utf-8")))
    found = [Areas(r["id"], float(r["auc"]), float(r["pauc"])) for r in rows if r["id"] != "hmean"]
    return sorted(found, key=lambda one: id_order(one.id))


def _openings(path: UPath) -> Sequence[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
