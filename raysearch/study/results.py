"""Results of a study, read from its folder alone."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from upath import UPath

from raysearch.config import id_order
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
    """Results of a study.

    Attributes:
        proposed: number of trials proposed.
        frozen: the frozen configuration; None before the run has ended.
        final: AUC and pAUC of the final test, by ID; empty without a final test.
        scores: clips of the final test; empty for a run of a version without them.
        openings: lines of the ledger.
    """

    folder: UPath
    manifest: Manifest
    space: Space
    records: tuple[Record, ...]
    proposed: int
    ranking: Ranking | None
    frozen: Winner | None
    confidence: Confidence
    final: tuple[Areas, ...]
    scores: tuple[FinalScore, ...]
    openings: tuple[dict[str, Any], ...]

    @property
    def machine(self) -> str:
        """Target machine type."""
        return self.manifest.machine

    @cached_property
    def winner(self) -> Winner | None:
        """The frozen configuration, or the best so far."""
        if self.frozen is not None or self.ranking is None:
            return self.frozen
        return choose_winner(self.machine, self.manifest.fingerprint, self.ranking)

    @property
    def method(self) -> str:
        """Method of the winner; of the space as long as there is none."""
        fixed = self.space.fixed
        return (fixed if self.winner is None else self.winner.config(fixed).options).method

    @cached_property
    def is_current(self) -> bool:
        """True if the records still rank the winner first."""
        if self.winner is None or self.ranking is None:
            return False
        leader = choose_winner(self.machine, self.manifest.fingerprint, self.ranking)
        return leader.detector == self.winner.detector

    @property
    def second(self) -> Candidate | None:
        """The second configuration of the ranking, to compare with the winner."""
        return self.ranking.second if self.ranking is not None and self.is_current else None

    @property
    def searched(self) -> list[Record]:
        """Trials of the search, without the finalists' further seeds."""
        return [record for record in self.records if record.proposal.rerun_of is None]

    @property
    def scored(self) -> list[Record]:
        """Completed trials of the search that have a score."""
        return [r for r in self.searched if r.state is State.COMPLETE and r.best is not None]

    @property
    def final_score(self) -> float | None:
        """Harmonic mean of all AUCs and pAUCs of the test IDs."""
        values = [value for areas in self.final for value in (areas.auc, areas.pauc)]
        return harmonic_mean(values) if values else None

    def record(self, number: int) -> Record | None:
        """Return the record of a trial; None without a record."""
        return next((r for r in self.records if r.proposal.number == number), None)


def read_results(folder: UPath) -> Results:
    """Read the folder of a run.

    Raises:
        UserError: the folder holds no study, or this version cannot read the study.
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
    )


def _final(path: UPath) -> list[Areas]:
    if not path.is_file():
        return []
    rows = csv.DictReader(io.StringIO(path.read_text("utf-8")))
    final = [
        Areas(row["id"], float(row["auc"]), float(row["pauc"]))
        for row in rows
        if row["id"] != "hmean"
    ]
    return sorted(final, key=lambda areas: id_order(areas.id))


def _openings(path: UPath) -> Sequence[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
