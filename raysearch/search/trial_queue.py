"""What the trials of a study are, in which order: left open, proposed, and the finalists.

It knows no scheduler, and holds nothing that the study's folder does not tell again.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raysearch.search.dimensions import is_exhausted
from raysearch.search.warm_start import best_starts, merge_starts, paper_start
from raysearch.study.context import StudyContext, pruned
from raysearch.study.finalists import reruns
from raysearch.study.records import KnownTrials, Proposal, Record, State
from raysearch.study.space import Space
from raysearch.training.outcome import Epoch
from raysearch.training.state import unfinished

if TYPE_CHECKING:
    from raysearch.search.sampler import Sampler


class TrialQueue:
    """Hands out the trials of one study."""

    def __init__(
        self, context: StudyContext, known: KnownTrials, sampler: "Sampler | None" = None
    ) -> None:
        """Resume a study where it stands.

        Args:
            context: of the study.
            known: its trials so far.
            sampler: that knows them; None to look at the study only, which needs no Optuna.
        """
        self.context, self._sampler = context, sampler
        self.study = context.study
        self.proposals = list(known.proposals)
        self.records = {record.proposal.number: record for record in known.records}
        self.devices = 1.0
        """Of a trial; set by who runs them."""
        self.searched = sum(proposal.rerun_of is None for proposal in self.proposals)
        """Configurations that the sampler has proposed."""
        self.next_number = 1 + max((p.number for p in self.proposals), default=-1)
        self.waiting = [p for p in self.proposals if p.number not in self.records]
        self.running: dict[int, float] = {}
        """Number of a trial -> seconds that its epochs took."""
        self.exhausted = is_exhausted(self.space, {p.key for p in known.searched})
        self.spent = sum(record.device_seconds for record in self.records.values())
        self.pruned: list[Proposal] = []
        for proposal in self.waiting:
            # The pruner must know the rungs that they have behind them; what it says of the last
            # epoch nobody may have heard.
            history, _ = unfinished(context.encoder(proposal))
            verdicts = [self.report(proposal.number, epoch) for epoch in history]
            if verdicts and verdicts[-1]:
                self.pruned.append(proposal)
        if sampler is not None and self.space.strategy.warm_start == "paper":
            sampler.enqueue([paper_start(context.source.machine)])

    @property
    def sampler(self) -> "Sampler":
        """What proposes its trials."""
        assert self._sampler is not None, "this study is only looked at"
        return self._sampler

    @property
    def space(self) -> Space:
        """Space of the study."""
        return self.context.space

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.context.name

    @property
    def epochs(self) -> int:
        """Of a trial."""
        return self.context.options.epochs

    def warm_start(self, finished: Sequence["TrialQueue"]) -> None:
        """Begins where studies of other machine types, which ended meanwhile, found something.

        Trials that were interrupted at a rung, at which they are behind, end here.
        """
        for proposal in self.pruned:
            record = pruned(self.context, proposal, "", self.devices)
            if record is not None:
                self.study.add(record)
                self.waiting.remove(proposal)
                self.tell(record)
        found = [best_starts(list(a.records.values()), a.name) for a in finished]
        self.sampler.enqueue(merge_starts(found))

    def next(self, busy: Collection[str]) -> Proposal | None:
        """What to start now; it was noted on disk.

        Args:
            busy: signatures of encoders that trials of this study are at work on.

        Returns:
            None if there is nothing, now or at all (see `over`).
        """
        for place, proposal in enumerate(self.waiting):
            # With `inlier: sample` two trials may want one encoder: the second loads it later.
            if self.context.config(proposal).signature() not in busy:
                self.running.setdefault(proposal.number, 0.0)
                return self.waiting.pop(place)
        proposed = self._propose()
        if proposed is None:
            return None
        self.study.propose(proposed)
        self.proposals.append(proposed)
        self.searched += proposed.rerun_of is None
        self.next_number = proposed.number + 1
        self.waiting.append(proposed)
        return self.next(busy) if self.context.config(proposed).signature() not in busy else None

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to start or to wait for."""
        if self.waiting or self.running or self.stop_reason is None:
            return False
        return not self._reruns()

    def report(self, number: int, epoch: Epoch) -> bool:
        """Takes an epoch of a trial.

        Returns:
            Whether the trial should be given up.
        """
        self.running[number] = self.running.get(number, 0.0) + epoch.seconds
        sampler = self._sampler
        return sampler is not None and number in sampler.open and sampler.report(number, epoch)

    def tell(self, record: Record) -> None:
        """Takes the record of a trial."""
        number = record.proposal.number
        self.running.pop(number, None)
        if number not in self.records:
            self.records[number] = record
            self.spent += record.device_seconds
        self.sampler.tell(record)

    @property
    def device_seconds(self) -> float:
        """What the study cost so far, its unfinished trials included."""
        return self.spent + self.devices * sum(self.running.values())

    @property
    def _all_given(self) -> bool:
        """Whether no trial at work can bring about another, as one that ends patience can."""
        return self.exhausted or self.searched >= self.space.strategy.trials

    @property
    def stop_reason(self) -> str | None:
        """Why no more configurations are proposed; None while some are."""
        strategy = self.space.strategy
        if self.searched >= strategy.trials:
            return f"{strategy.trials} trial" + "s" * (strategy.trials != 1)
        if self.exhausted:
            return "everything in the space was tried"
        if (
            strategy.patience
            and trials_since_best(list(self.records.values())) >= strategy.patience
        ):
            return f"no better score in {strategy.patience} trials"
        return None

    @property
    def total(self) -> int:
        """Trials that it will have, as far as is known."""
        asked = self.searched if self.stop_reason else self.space.strategy.trials
        given = len(self.proposals) - self.searched
        finalists = self.space.finalists
        if finalists is None or given:
            return asked + given + len(self._reruns())
        return asked + min(finalists.top, asked) * (finalists.seeds - 1)

    def _propose(self) -> Proposal | None:
        if self.stop_reason is None:
            proposal = self.sampler.ask(self.next_number)
            if proposal is not None:
                return proposal
            self.exhausted = True
        rivals = len(self.sampler.open)
        if rivals and not self._all_given:
            return None
        return next(iter(self._reruns(rivals)), None)

    def _reruns(self, rivals: int = 0) -> list[Proposal]:
        """List the finalists that were not given out yet; see `reruns`."""
        finalists = self.space.finalists
        if finalists is None:
            return []
        records = [self.records[number] for number in sorted(self.records)]
        return reruns(records, self.proposals, finalists, self.context.seed, rivals)


def read_queue(context: StudyContext) -> TrialQueue:
    """Read how a study stands; nothing is asked of the result that would change the folder."""
    return TrialQueue(context, context.study.known())


def resume_queue(context: StudyContext, journal: Path | None) -> TrialQueue:
    """Read how a study stands, to resume it.

    Args:
        context: of the study.
        journal: see `Sampler`; with None nothing is written.
    """
    from raysearch.search.sampler import Sampler

    known = context.study.known()
    sampler = Sampler(context.space, journal, known.searched, known.records)
    return TrialQueue(context, known, sampler)


def trials_since_best(records: Sequence[Record]) -> int:
    """Trials since the best one, by number; those that failed do not count."""
    since, best = 0, float("-inf")
    for record in sorted(records, key=lambda r: r.proposal.number):
        if record.state is State.FAIL or record.proposal.rerun_of is not None:
            continue
        row = record.best
        if record.state is State.COMPLETE and row is not None and (row.val_score or 0.0) > best:
            since, best = 0, row.val_score or 0.0
        else:
            since += 1
    return since
