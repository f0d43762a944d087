"""The best trials of a search, trained again with further seeds: so that luck does not win."""

from collections.abc import Sequence
from dataclasses import replace

from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists


def best_trials(records: Sequence[Record], top: int) -> list[Record]:
    """The trials of the search with the highest validation scores, each encoder once.

    Args:
        records: of the study, finalists' included.
        top: how many, at most.
    """
    scored = [
        (best.val_score or 0.0, record)
        for record in records
        if record.state is State.COMPLETE
        and record.proposal.rerun_of is None
        and (best := record.best) is not None
    ]
    scored.sort(key=lambda found: (-found[0], found[1].proposal.number))
    encoders: dict[str, Record] = {}
    for _, record in scored:
        encoders.setdefault(record.encoder, record)
    return list(encoders.values())[:top]


def reruns(
    records: Sequence[Record],
    known: Sequence[Proposal],
    finalists: Finalists,
    seed: int,
    rivals: int = 0,
) -> list[Proposal]:
    """List the trainings that the finalists still lack.

    One seed for all of them, the best trial's first, then the next seed: a run that a budget ends
    in between has finalists that compare.

    Args:
        records: of the study.
        known: everything that was given out.
        finalists: how many there are, and with how many seeds.
        seed: of the study; the further ones follow on it.
        rivals: trials of the search that are still at work. Each may displace one finalist, so
            only the places above are certain, and only their first further seed is listed.
    """
    top = max(0, finalists.top - rivals)
    last = min(finalists.seeds, 2) if rivals else finalists.seeds
    given = {(proposal.rerun_of, proposal.seed) for proposal in known}
    number = 1 + max((proposal.number for proposal in known), default=-1)
    seeds = [(seed + k) % 2**32 for k in range(1, last)]
    best = [record.proposal for record in best_trials(records, top)]
    missing = [(one, new) for new in seeds for one in best if (one.number, new) not in given]
    return [
        replace(one, number=number + k, seed=new, rerun_of=one.number, origin="")
        for k, (one, new) in enumerate(missing)
    ]
