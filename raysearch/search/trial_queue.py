"""The order of a study's trials: interrupted ones, new proposals, and the finalists.

A queue is independent of Ray, and can be rebuilt from the study's folder at any time.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raysearch.search.dimensions import is_exhausted
from raysearch.search.warm_start import best_starts, merge_starts, paper_start
from raysearch.study.context import StudyContext, pruned_record
from raysearch.study.finalists import awaits_promotions, is_lost, promotions, reruns, restoration
from raysearch.study.folder import series
from raysearch.study.ranking import rank, trials_since_best
from raysearch.study.records import Proposal, Record, State, StudyTrials
from raysearch.study.space import Space
from raysearch.study.winner import is_built
from raysearch.training.outcome import Epoch
from raysearch.training.state import damaged_checkpoint, is_trained, read_progress

if TYPE_CHECKING:
    from raysearch.search.sampler import Sampler


class TrialQueue:
    """The queue of a study's trials."""

    def __init__(
        self, context: StudyContext, trials: StudyTrials, sampler: "Sampler | None" = None
    ) -> None:
        """Resume a study.

        Args:
            context: of the study.
            trials: of the study so far.
            sampler: built from these trials; None for a read-only queue, which needs no Optuna.
        """
        self.context, self._sampler = context, sampler
        self.study = context.study
        self.proposals = list(trials.proposals)
        self.records = {record.proposal.number: record for record in trials.records}
        self.devices = 1.0
        """Devices per trial; set when the search starts."""
        self.searched = sum(proposal.rerun_of is None for proposal in self.proposals)
        """Number of configurations that the sampler has proposed."""
        self.next_number = 1 + max((p.number for p in self.proposals), default=-1)
        self.waiting = [p for p in self.proposals if p.number not in self.records]
        self.running: dict[int, float] = {}
        """Number of a running trial -> seconds of its epochs."""
        self.set_aside: dict[int, str] = {}
        """Number of a trial that failed on machines and that this run does not try again -> why."""
        self.exhausted = is_exhausted(self.space, {p.key for p in trials.searched})
        self.ended_seconds = sum(record.device_seconds for record in self.records.values())
        self._restored: dict[int, list[Proposal]] = {}
        self._earlier = len(self.proposals)
        self.pruned: list[Proposal] = []
        for proposal in self.waiting:
            # The pruner must record the rungs of interrupted trials. The search may have stopped
            # before a trial was pruned at its last epoch.
            history, _ = read_progress(context.encoder(proposal))
            prunes = [self.report(proposal.number, epoch) for epoch in history]
            if prunes and prunes[-1]:
                self.pruned.append(proposal)
        if sampler is not None and self.space.strategy.warm_start == "paper":
            sampler.enqueue([paper_start(context.source.machine)])

    @property
    def sampler(self) -> "Sampler":
        """Sampler of the study."""
        assert self._sampler is not None, "this queue is read-only"
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
    def series(self) -> str:
        """Name that the study shares with those of other machine types."""
        return series(self.name, self.context.source.machine)

    @property
    def epochs(self) -> int:
        """Epochs per trial, over all machine types of a shared search."""
        return self.context.options.epochs * (len(self.space.validation_machines) or 1)

    def warm_start(self, finished: Sequence["TrialQueue"]) -> None:
        """Start from the best configurations of finished studies of other machine types.

        Interrupted trials that the pruner rejects at their last rung are pruned here.
        """
        for proposal in self.pruned:
            record = pruned_record(self.context, proposal, "", self.devices)
            if record is not None:
                self.study.add(record)
                self.waiting.remove(proposal)
                self.tell(record)
        starts = [best_starts(list(queue.records.values()), queue.name) for queue in finished]
        self.sampler.enqueue(merge_starts(starts))

    def next(self, busy: Collection[str], pausing: Collection[int] = ()) -> Proposal | None:
        """Return the proposal to start next; it has been written to disk.

        Args:
            busy: signatures of the encoders of this study's running trials.
            pausing: numbers of the trials that wait for their next attempt.

        Returns:
            None if no trial can start now; see `is_finished`.
        """
        for index, proposal in enumerate(self.waiting):
            # With `inlier: sample` two trials may want one encoder: the second loads it later.
            is_busy = self.context.config(proposal).signature() in busy
            if not is_busy and proposal.number not in pausing:
                self.running.setdefault(proposal.number, 0.0)
                return self.waiting.pop(index)
        proposed = self._propose()
        if proposed is None:
            return None
        self.study.propose(proposed)
        self.proposals.append(proposed)
        self.searched += proposed.rerun_of is None
        self.next_number = proposed.number + 1
        self.waiting.append(proposed)
        if self.context.config(proposed).signature() in busy:
            return None
        return self.next(busy, pausing)

    def retry(self, proposal: Proposal) -> None:
        """Put a trial back that failed on a machine; it comes before all others."""
        self.waiting.insert(0, proposal)

    def put_aside(self, proposal: Proposal, reason: str) -> None:
        """Leave a trial to the next run, since it failed on machines too often in this one."""
        self.set_aside[proposal.number] = reason
        self.ended_seconds += self.devices * self.running.pop(proposal.number, 0.0)

    @property
    def is_over(self) -> bool:
        """True if this run has no trial left to start or to wait for."""
        if self.waiting or self.running or self.stop_reason is None:
            return False
        return self._further() is None

    @property
    def is_finished(self) -> bool:
        """True if no run has a trial left to start or to wait for."""
        return not self.set_aside and self.is_over

    def report(self, number: int, epoch: Epoch) -> bool:
        """Report an epoch of a trial.

        Returns:
            True if the trial should be pruned.
        """
        self.running[number] = self.running.get(number, 0.0) + epoch.seconds
        sampler = self._sampler
        return sampler is not None and number in sampler.open and sampler.report(number, epoch)

    def tell(self, record: Record) -> None:
        """Report the record of a trial."""
        number = record.proposal.number
        self.running.pop(number, None)
        if number not in self.records:
            self.records[number] = record
            self.ended_seconds += record.device_seconds
        self.sampler.tell(record)

    @property
    def device_seconds(self) -> float:
        """Device seconds of the study so far, including unfinished trials."""
        return self.ended_seconds + self.devices * sum(self.running.values())

    @property
    def _all_proposed(self) -> bool:
        """True if no result can lead to a further proposal, as a reset of patience can."""
        return self.exhausted or self.searched >= self.space.strategy.trials

    @property
    def stop_reason(self) -> str | None:
        """Stop reason of the search; None while configurations are proposed."""
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
        """Expected number of trials, including finalists."""
        searched = self.searched if self.stop_reason else self.space.strategy.trials
        reruns = len(self.proposals) - self.searched
        finalists = self.space.finalists
        if finalists is None or reruns:
            return searched + reruns + len(self._promotions()) + len(self._reruns())
        return searched + min(finalists.top, searched) * (finalists.seeds - 1)

    def _propose(self) -> Proposal | None:
        if self.stop_reason is None:
            proposal = self.sampler.ask(self.next_number)
            if proposal is not None:
                return proposal
            self.exhausted = True
        return self._further()

    def _further(self) -> Proposal | None:
        """Return the next training after the search itself; None if none can start now."""
        running = 0 if self._sampler is None else len(self._sampler.open)
        if running and not self._all_proposed:
            return None
        if not running and (promoted := self._promotions()):
            return promoted[0]
        # Trials that run may be pruned, and promoted.
        finalists, may_prune = self.space.finalists, running and self.space.rungs
        if finalists and awaits_promotions(self._ordered, self.proposals, finalists, may_prune):
            return None
        if reruns := self._reruns(running):
            return reruns[0]
        # A restoration that was set aside has no record, so it would be proposed again.
        if self.running or self.set_aside:
            return None
        return next(iter(self._restorations()), None)

    @property
    def _ordered(self) -> list[Record]:
        """Records by number."""
        return [self.records[number] for number in sorted(self.records)]

    def _promotions(self) -> list[Proposal]:
        """List the promoted trials that are still to be proposed; see `promotions`."""
        finalists = self.space.finalists
        return [] if finalists is None else promotions(self._ordered, self.proposals, finalists)

    def _reruns(self, running: int = 0) -> list[Proposal]:
        """List the finalists' trainings that are still to be proposed; see `reruns`."""
        finalists = self.space.finalists
        if finalists is None:
            return []
        return reruns(self._ordered, self.proposals, finalists, self.context.seed, running)

    def _restorations(self) -> list[Proposal]:
        """List the training of the winner's encoder if its checkpoint was deleted.

        A search that ended keeps the checkpoints of its winner alone; further trials or seeds may
        let another one win.
        """
        count = len(self.records)
        if count not in self._restored:
            self._restored = {count: self._restoration()}
        return self._restored[count]

    def _restoration(self) -> list[Proposal]:
        ranking = rank(self._ordered)
        # Of a shared search no validation encoder is needed after the search.
        if ranking is None or self.space.is_shared:
            return []
        best, base = ranking.winner.best, ranking.winner.proposal
        encoder = best.record.encoder
        if is_trained(folder := self.study.encoder(encoder)) and not damaged_checkpoint(folder):
            return []
        is_done = is_built((encoder, ranking.winner.inlier), self.study.path)
        if is_done or is_lost(base, self.proposals[self._earlier :]):
            return []
        if State.FAIL in (r.state for r in self.records.values() if r.encoder == encoder):
            return []
        return [restoration(base, self.next_number, best.seed)]


def read_queue(context: StudyContext) -> TrialQueue:
    """Read the state of a study into a read-only queue."""
    return TrialQueue(context, context.study.trials())


def resume_queue(context: StudyContext, journal: Path | None) -> TrialQueue:
    """Read the state of a study to resume it.

    Args:
        context: of the study.
        journal: see `Sampler`; None writes no journal.
    """
    from raysearch.search.sampler import Sampler

    trials = context.study.trials()
    sampler = Sampler(context.space, journal, trials.searched, trials.records)
    return TrialQueue(context, trials, sampler)
