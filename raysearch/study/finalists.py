"""Finalists: the best trials of a search, trained again with further seeds.

Of a short search the pruner leaves too few trials to choose from. The best pruned ones are then
promoted: trained on from their checkpoints, as trials of their own. A winner whose checkpoint
is gone is restored: trained again with its seed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists

PROMOTED = "since few trials came to their end"
"""Origin of a promoted trial."""

PER_FINALIST = 3
"""Trials that are trained to their end for each finalist."""

RESTORED = "since its checkpoint was deleted"
"""Origin of a training that restores the checkpoint of a winner."""
RESTORATIONS = 2
"""Trainings with which a run restores a checkpoint; a disk that keeps none loses each."""


def is_choice(proposal: Proposal) -> bool:
    """Return True for a trial of the search or a promoted one; False for a further seed."""
    return proposal.rerun_of is None or proposal.origin == PROMOTED


def best_trials(records: Sequence[Record], top: int) -> list[Record]:
    """Return the trials of the search with the highest validation scores, each encoder once.

    Args:
        records: of the study, including finalists.
        top: largest number of trials.
    """
    scored = [
        (best.val_score or 0.0, record)
        for record in records
        if record.state is State.COMPLETE
        and is_choice(record.proposal)
        and (best := record.best) is not None
    ]
    scored.sort(key=lambda pair: (-pair[0], pair[1].proposal.number))
    encoders: dict[str, Record] = {}
    for _, record in scored:
        encoders.setdefault(record.encoder, record)
    return list(encoders.values())[:top]


def reruns(
    records: Sequence[Record],
    proposals: Sequence[Proposal],
    finalists: Finalists,
    seed: int,
    running: int = 0,
) -> list[Proposal]:
    """List the trainings that the finalists still lack.

    Ordered by seed, then by rank of the trial, so that finalists stay comparable if a budget stops
    the run in between.

    Args:
        records: of the study.
        proposals: all proposals of the study so far.
        finalists: numbers of finalists and of seeds.
        seed: of the study; further seeds count up from it.
        running: number of running trials of the search. Each may displace one finalist, so only
            the ranks above are certain, and only their first further seed is listed.
    """
    top = max(0, finalists.top - running)
    last = min(finalists.seeds, 2) if running else finalists.seeds
    proposed = {(proposal.rerun_of, proposal.seed) for proposal in proposals}
    number = 1 + max((proposal.number for proposal in proposals), default=-1)
    seeds = [(seed + k) % 2**32 for k in range(1, last)]
    best = [record.proposal for record in best_trials(records, top)]
    missing = [
        (base, further)
        for further in seeds
        for base in best
        if (base.number, further) not in proposed
    ]
    return [
        replace(base, number=number + k, seed=further, rerun_of=base.number, origin="")
        for k, (base, further) in enumerate(missing)
    ]


def awaits_promotions(
    records: Sequence[Record],
    proposals: Sequence[Proposal],
    finalists: Finalists,
    may_prune: object,
) -> bool:
    """Return True if the finalists cannot be chosen yet, since too few trials came to their end.

    Args:
        records: of the study.
        proposals: all proposals of the study so far.
        finalists: numbers of finalists and of seeds.
        may_prune: true if trials of the search run that may be pruned.
    """
    enough = PER_FINALIST * finalists.top
    if len(best_trials(records, enough)) >= enough:
        return False
    ended = {record.proposal.number for record in records}
    return bool(may_prune) or any(
        proposal.origin == PROMOTED and proposal.number not in ended for proposal in proposals
    )


def promotions(
    records: Sequence[Record], proposals: Sequence[Proposal], finalists: Finalists
) -> list[Proposal]:
    """List the pruned trials that are to be trained to their end, the best first.

    A function of proposals and records alone, so that a resumed search promotes the same trials.

    Args:
        records: of the study, all trials of the search among them.
        proposals: all proposals of the study so far.
        finalists: numbers of finalists and of seeds.

    Returns:
        Proposals; none once a finalist was proposed, since the choice is made.
    """
    reruns_of = [proposal for proposal in proposals if proposal.rerun_of is not None]
    if any(not is_choice(proposal) for proposal in reruns_of):
        return []
    ended = {record.proposal.number for record in records}
    enough = PER_FINALIST * finalists.top
    best = best_trials(records, enough)
    missing = enough - len(best) - sum(p.number not in ended for p in reruns_of)
    taken = {proposal.rerun_of for proposal in reruns_of}
    encoders = {record.encoder for record in best}
    pruned = [
        record
        for record in records
        if record.state is State.PRUNED
        and record.proposal.number not in taken
        and record.encoder not in encoders
    ]
    pruned.sort(key=lambda record: (*_rank_at_rung(record), record.proposal.number))
    number = 1 + max((proposal.number for proposal in proposals), default=-1)
    return [
        replace(
            record.proposal,
            number=number + k,
            seed=record.seed,
            rerun_of=record.proposal.number,
            origin=PROMOTED,
        )
        for k, record in enumerate(pruned[: max(0, missing)])
    ]


def restoration(base: Proposal, number: int, seed: int) -> Proposal:
    """Return the trial that trains the winner's encoder again, since its checkpoint is gone.

    Args:
        base: proposal of the winner.
        number: of the trial.
        seed: of the winner's training.
    """
    return replace(base, number=number, seed=seed, rerun_of=base.number, origin=RESTORED)


def is_lost(base: Proposal, proposals: Iterable[Proposal]) -> bool:
    """Return True if the proposals of this run restored a winner's checkpoint often enough."""
    restored = [p for p in proposals if (p.rerun_of, p.origin) == (base.number, RESTORED)]
    return len(restored) >= RESTORATIONS


def _rank_at_rung(record: Record) -> tuple[int, float]:
    """Return the key of a pruned trial: the later rung first, then the higher score at the rung."""
    scores = [epoch.val_score for epoch in record.history if epoch.val_score is not None]
    return -len(record.history), -(scores[-1] if scores else 0.0)
