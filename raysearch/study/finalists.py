"""Finalists: the best trials of a search, trained again with further seeds."""

from collections.abc import Sequence
from dataclasses import replace

from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists


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
        and record.proposal.rerun_of is None
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
