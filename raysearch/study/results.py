"""Results of a study, read from its folder alone."""

from dataclasses import dataclass
from functools import cached_property

from upath import UPath

from raysearch.study.confidence import Confidence, read_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import Ledger, check_files, read_ledger
from raysearch.study.manifest import Manifest
from raysearch.study.ranking import Candidate, Ranking, rank
from raysearch.study.records import Record, State
from raysearch.study.reference import final_reference, reference_score
from raysearch.study.scores import (
    FINAL,
    SCORES,
    FinalScore,
    FinalTest,
    read_final,
    read_scores,
)
from raysearch.study.space import Space, check_space
from raysearch.study.winner import Winner, choose_winner, read_frozen


@dataclass(frozen=True)
class Results:
    """Results of a study.

    Attributes:
        proposed: number of trials proposed.
        frozen: the frozen configuration; None before the run has ended.
        final: result of the first opening of the test IDs; empty without one.
        scores: clips of this opening; empty for a run of a version without them.
        ledger: openings of the test IDs.
        reference: validation score of the reference; None without one.
        final_reference: its score in the final test; None likewise.
    """

    folder: UPath
    manifest: Manifest
    space: Space
    records: tuple[Record, ...]
    proposed: int
    ranking: Ranking | None
    frozen: Winner | None
    confidence: Confidence
    final: FinalTest
    scores: tuple[FinalScore, ...]
    ledger: Ledger
    reference: float | None
    final_reference: float | None

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
        return [
            record
            for record in self.searched
            if record.state is State.COMPLETE and record.best and record.best.val_score is not None
        ]

    @property
    def final_score(self) -> float | None:
        """Harmonic mean of all AUCs and pAUCs of the first opening of the test IDs."""
        return self.final.score

    @property
    def final_note(self) -> str:
        """Limits of the final score, see `final_note`; empty if there are none."""
        return final_note(self.final, self.ledger, self.frozen)

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
    ledger = read_ledger(folder, manifest.started)
    check_files(folder, ledger)
    return Results(
        folder,
        manifest,
        check_space(manifest.space, str(folder / "study.json")),
        records,
        len(study.proposals()),
        rank(records),
        read_frozen(folder),
        read_confidence(folder),
        read_final(folder / FINAL),
        tuple(read_scores(folder / SCORES)),
        ledger,
        reference_score(folder),
        final_reference(folder),
    )


def final_note(final: FinalTest, ledger: Ledger, frozen: Winner | None) -> str:
    """Return the limits of a final score, for the places where it stands; empty if none.

    Args:
        final: result of the first opening.
        ledger: of the study.
        frozen: its frozen configuration.
    """
    notes = [final.note] if final.note else []
    if ledger.earlier:
        times = "once" if ledger.earlier == 1 else f"{ledger.earlier} times"
        notes.append(f"the test IDs were opened {times} before this study")
    openings = ledger.openings
    if openings and frozen is not None and openings[0].winner.detector != frozen.detector:
        notes.append(f"of an earlier winner, trial {openings[0].winner.trial}")
    if len(openings) > 1:
        notes.append(f"the first of {len(openings)} openings")
    return "; ".join(notes)
