"""Proposals: distinct, exhaustive, and the same after every interruption."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from raysearch.scoring.spec import InlierSpec
from raysearch.search.optuna_backend import TPE_BEST, TPE_LATEST
from raysearch.search.sampler import Sampler
from raysearch.search.warm_start import WarmStart
from raysearch.study.records import Proposal, Record, State
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import Epoch
from tests.records import complete, failed, make_space, row

SAMPLERS = ("tpe", "gp", "cmaes", "random", "qmc")
QUICK = [name for name in SAMPLERS if name != "gp"]
MODES = ("sweep", "sample", "methods")

GP_TRIALS = 13
"""Trials of a search with a Gaussian process, which costs most; its model starts after ten."""
METHODS = {
    "method": ["serial", "proposed", "serial_aam"],
    "mixup": ["constant", "off"],
    "aam_margin": {"low": 0.1, "high": 0.6},
}
"""Searched options of the mode `methods`; two have an effect with one method only."""
CONDITIONAL = ("tpe", "gp", "random", "grid")
"""Samplers that can choose inlier models, too."""
KINDS = [(s, m) for s in (*SAMPLERS, "grid") for m in MODES if m == "sweep" or s in CONDITIONAL]


def objective(proposal: Proposal) -> float:
    """Return a score with a single optimum, which depends on all dimensions."""
    encoder, inlier = proposal.configuration, proposal.inlier
    assert encoder.lr is not None
    assert encoder.batch_size is not None
    options = dict(encoder.options)
    methods = {"proposed": 0.0, "serial_aam": -0.1, "serial": -0.2}
    return (
        0.9
        + methods[str(options.get("method", "proposed"))]
        + 0.05 * (options.get("mixup") == "off")
        - 0.1 * abs(math.log10(encoder.lr) + 3)
        - 0.001 * abs(encoder.batch_size - 64)
        - 0.05 * abs(math.log10(encoder.lam or 1.0))
        + 0.01 * (inlier is not None and inlier.name == "gmm")
        - 0.002 * (inlier.p or 0 if inlier else 0)
    )


def epoch(number: int, score: float, *, loss: float = 0.5, lam: float = 1.0) -> Epoch:
    """Make an epoch at a rung, whose machine and product loss are half of `loss` each."""
    half = loss / 2
    total = half + lam * half
    return Epoch(number, total, half, half, total, half, half, 1e-3, 1.0, score)


def end(proposal: Proposal) -> Record:
    """End the trial of a proposal; every fifth fails."""
    if proposal.number % 5 == 3:
        return failed(proposal)
    inlier = proposal.inlier or InlierSpec("gmm", 1)
    return complete(proposal, row(inlier.name, inlier.p, objective(proposal)))


@dataclass
class Search:
    """A search with two concurrent trials, which may be interrupted at any step."""

    space: Space
    folder: Path
    proposals: list[Proposal] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def sampler(self) -> Sampler:
        return Sampler(self.space, self.folder / "study.journal", self.proposals, self.records)

    def run(self, trials: int, *, interrupted: bool) -> list[Proposal]:
        sampler = self.sampler()
        for step in range(trials):
            if interrupted:
                sampler = self.sampler()
            proposal = sampler.ask()
            if proposal is None:
                break
            self.proposals.append(proposal)
            waiting = [p for p in self.proposals if p.number not in self.ended]
            if len(waiting) > 1:
                # Trials may end out of order.
                record = end(waiting[-1] if proposal.number % 2 else waiting[0])
                if interrupted and step % 3 == 0:
                    sampler = self.sampler()
                self.records.append(record)
                sampler.tell(record)
        return self.proposals

    @property
    def ended(self) -> set[int]:
        return {record.proposal.number for record in self.records}


def space(sampler: str, mode: str, **search: object) -> Space:
    inlier = "sample" if mode == "sample" else "sweep"
    if mode == "methods":
        search |= METHODS if sampler != "grid" else METHODS | {"aam_margin": [0.1, 0.5]}
    return make_space(strategy={"sampler": sampler, "inlier": inlier, "seed": 7}, **search)


@pytest.mark.parametrize(("sampler", "mode"), KINDS)
def test_an_interrupted_search_proposes_the_same(tmp_path: Path, sampler: str, mode: str) -> None:
    settings = space(sampler, mode, lr=[1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    runs = []
    trials = 18 if sampler != "gp" else GP_TRIALS
    for interrupted in (False, True):
        folder = tmp_path / str(interrupted)
        folder.mkdir()
        runs.append(Search(settings, folder).run(trials, interrupted=interrupted))
    assert runs[0] == runs[1]
    assert [proposal.number for proposal in runs[0]] == list(range(trials))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_follow_from_the_seed(tmp_path: Path, sampler: str) -> None:
    first = []
    for seed in (0, 0, 1):
        settings = make_space(strategy={"sampler": sampler, "seed": seed})
        seeded = Sampler(settings, tmp_path / "study.journal")
        first.append([seeded.ask() for _ in range(3)])
    assert first[0] == first[1] != first[2]


def exhaust(settings: Space, folder: Path) -> list[Proposal]:
    search = Search(settings, folder)
    return search.run(1000, interrupted=False)


@pytest.mark.parametrize("sampler", [*QUICK, "grid"])
def test_a_finite_space_is_exhausted_without_repeats(tmp_path: Path, sampler: str) -> None:
    settings = space(sampler, "sweep", lr=[1e-3, 3e-3, 1e-2])
    proposals = exhaust(settings, tmp_path)
    assert len(proposals) == len({proposal.key for proposal in proposals}) == 3 * 3 * 3
    assert {p.inlier for p in proposals} == {None}


@pytest.mark.parametrize("sampler", [name for name in CONDITIONAL if name != "gp"])
def test_the_same_when_inlier_models_are_sampled(tmp_path: Path, sampler: str) -> None:
    settings = space(sampler, "sample", lr=[1e-3], batch_size=[32], **{"lambda": [0.1, 1.0]})
    proposals = exhaust(settings, tmp_path)
    expected = {
        (Configuration(1e-3, 32, lam), spec) for lam in (0.1, 1.0) for spec in settings.search.specs
    }
    assert len(expected) == 12
    assert len(proposals) == 12
    assert {proposal.key for proposal in proposals} == expected


def test_a_space_of_one_configuration_is_tried_once(tmp_path: Path) -> None:
    settings = space("tpe", "sweep", lr=1e-3, batch_size=32, **{"lambda": 1})
    sampler = Sampler(settings, tmp_path / "study.journal")
    assert sampler.ask() == Proposal(0, Configuration(1e-3, 32, 1.0))
    assert sampler.ask() is None


@pytest.mark.parametrize("sampler", QUICK)
def test_an_endless_space_never_repeats(tmp_path: Path, sampler: str) -> None:
    proposals = Search(space(sampler, "sweep"), tmp_path).run(40, interrupted=False)
    assert len({proposal.key for proposal in proposals}) == 40
    assert all(1e-4 <= (proposal.configuration.lr or 0) <= 1e-2 for proposal in proposals)
    assert {proposal.configuration.batch_size for proposal in proposals} <= {32, 64, 128}


def test_a_failed_trial_is_not_tried_again(tmp_path: Path) -> None:
    settings = space("tpe", "sweep", lr=[1e-3, 1e-2], batch_size=[32], **{"lambda": [1.0]})
    sampler = Sampler(settings, tmp_path / "study.journal")
    first = sampler.ask()
    assert first is not None
    sampler.tell(failed(first))
    second = sampler.ask()
    assert second is not None
    assert second.key != first.key
    assert sampler.ask() is None


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("log", [False, True])
def test_a_range_of_batch_sizes_gives_even_sizes_within_it(
    tmp_path: Path, sampler: str, log: bool
) -> None:
    settings = space(sampler, "sweep", batch_size={"low": 8, "high": 64, "log": log})
    trials = 30 if sampler != "gp" else GP_TRIALS
    proposals = Search(settings, tmp_path).run(trials, interrupted=False)
    sizes = [proposal.configuration.batch_size or 0 for proposal in proposals]
    assert all(size % 2 == 0 and 8 <= size <= 64 for size in sizes)
    assert len(set(sizes)) > 5


@pytest.mark.parametrize(
    "sizes", [{"low": 8, "high": 12}, {"low": 8, "high": 12, "log": True}], ids=["even", "log"]
)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_range_of_few_batch_sizes_is_exhausted(
    tmp_path: Path, sampler: str, sizes: dict[str, object]
) -> None:
    settings = space(sampler, "sweep", lr=[1e-3, 1e-2], batch_size=sizes, **{"lambda": [1.0]})
    proposals = exhaust(settings, tmp_path)
    assert {(p.configuration.lr, p.configuration.batch_size) for p in proposals} == {
        (lr, size) for lr in (1e-3, 1e-2) for size in (8, 10, 12)
    }
    assert len(proposals) == 6


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_p_belongs_to_its_inlier_model(tmp_path: Path, sampler: str) -> None:
    settings = space(sampler, "sample")
    trials = 20 if sampler != "gp" else GP_TRIALS
    proposals = Search(settings, tmp_path).run(trials, interrupted=False)
    specs = {(spec.name, spec.p) for spec in settings.search.specs}
    assert {(p.inlier.name, p.inlier.p) for p in proposals if p.inlier} <= specs
    assert {p.inlier.name for p in proposals if p.inlier} == {"gmm", "lof", "none"}
    for trial in mirrored(tmp_path):
        inlier = trial.params["inlier"]
        assert [n for n in trial.params if n.startswith("p_")] == (
            [] if inlier == "none" else [f"p_{inlier}"]
        )


def test_tpe_learns_from_results(tmp_path: Path) -> None:
    early, late = [], []
    for seed in range(4):  # a single search may have lucky early trials
        settings = make_space(strategy={"sampler": "tpe", "seed": seed})
        scores = [objective(p) for p in Search(settings, tmp_path).run(50, interrupted=False)]
        early += scores[:10]
        late += scores[25:]
    assert sum(late) / len(late) > sum(early) / len(early) + 0.02


def test_the_best_method_is_found(tmp_path: Path) -> None:
    for seed in range(3):
        strategy = {"sampler": "tpe", "seed": seed}
        search = Search(make_space(strategy=strategy, **METHODS), tmp_path)
        search.run(40, interrupted=False)
        best = max(search.proposals, key=objective)
        assert dict(best.configuration.options) == {"method": "proposed", "mixup": "off"}
        late = [dict(p.configuration.options) for p in search.proposals[20:]]
        assert sum(options["method"] == "proposed" for options in late) > len(late) / 2


def test_a_configuration_has_only_what_its_method_has(tmp_path: Path) -> None:
    proposals = Search(space("tpe", "methods"), tmp_path).run(30, interrupted=False)
    names = {
        (dict(p.configuration.options)["method"], *sorted(p.configuration.to_dict()))
        for p in proposals
    }
    assert names == {
        ("proposed", "batch_size", "lambda", "lr", "method", "mixup"),
        ("serial", "batch_size", "lr", "method"),
        ("serial_aam", "aam_margin", "batch_size", "lr", "method"),
    }


@pytest.mark.parametrize("sampler", ["cmaes", "qmc"])
def test_a_sampler_of_numbers_is_refused_for_choices(sampler: str) -> None:
    with pytest.raises(ValidationError, match=f"sampler {sampler} needs numbers, search.method"):
        space(sampler, "methods")


def propose_after(tmp_path: Path, scores: Sequence[float]) -> Proposal | None:
    """Return the proposal after trials of the same configurations with these scores."""
    drawn = Search(space("random", "sweep"), tmp_path).run(len(scores), interrupted=False)
    records = [complete(p, row("gmm", 1, s)) for p, s in zip(drawn, scores, strict=True)]
    return Sampler(space("tpe", "sweep"), tmp_path / "study.journal", drawn, records).ask()


def test_of_many_trials_tpe_reads_the_latest_and_the_best(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = list(rng.uniform(0.3, 0.6, TPE_LATEST + 2 * TPE_BEST))
    # The best trials come before the latest ones.
    scores[:TPE_BEST] = rng.uniform(0.8, 0.9, TPE_BEST)
    baseline = propose_after(tmp_path, scores)
    forgotten = scores.copy()
    forgotten[TPE_BEST : 2 * TPE_BEST] = rng.uniform(0.3, 0.6, TPE_BEST)
    assert propose_after(tmp_path, forgotten) == baseline
    worse = scores.copy()
    worse[:TPE_BEST] = rng.uniform(0.3, 0.6, TPE_BEST)
    assert propose_after(tmp_path, worse) != baseline


def test_of_few_trials_tpe_reads_all(tmp_path: Path) -> None:
    scores = list(np.random.default_rng(0).uniform(0.3, 0.9, TPE_LATEST))
    proposals = {propose_after(tmp_path, [first, *scores[1:]]) for first in (0.1, 0.95)}
    assert len(proposals) == 2


# The journal


def mirrored(folder: Path) -> Sequence[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    (study,) = optuna.get_all_study_summaries(storage)
    assert study.study_name == folder.name
    loaded = optuna.load_study(study_name=folder.name, storage=storage)
    assert loaded.direction == optuna.study.StudyDirection.MAXIMIZE
    return loaded.get_trials()


@pytest.mark.parametrize("mode", MODES)
def test_optuna_reads_the_study_in_the_journal(tmp_path: Path, mode: str) -> None:
    search = Search(space("tpe", mode), tmp_path)
    search.run(12, interrupted=False)
    trials = mirrored(tmp_path)
    records = {record.proposal.number: record for record in search.records}
    assert [trial.number for trial in trials] == list(range(12))
    for trial, proposal in zip(trials, search.proposals, strict=True):
        values = proposal.configuration.to_dict()
        assert {name: trial.params[name] for name in values} == values
        record = records.get(proposal.number)
        if record is None:
            assert trial.state is TrialState.RUNNING
        elif record.state is State.FAIL:
            assert trial.state is TrialState.FAIL
        else:
            assert trial.state is TrialState.COMPLETE
            assert trial.value == objective(proposal)
    assert {trial.state for trial in trials} >= {
        TrialState.RUNNING,
        TrialState.FAIL,
        TrialState.COMPLETE,
    }


def test_the_journal_is_written_anew_from_the_records(tmp_path: Path) -> None:
    search = Search(space("tpe", "sweep"), tmp_path)
    search.run(8, interrupted=False)
    before = [(t.state, t.value, t.params) for t in mirrored(tmp_path)]
    (tmp_path / "study.journal").write_text("damaged")
    search.sampler()
    assert [(t.state, t.value, t.params) for t in mirrored(tmp_path)] == before


def test_what_rungs_compare_is_mirrored_for_dashboards(tmp_path: Path) -> None:
    sampler, _ = pruning(tmp_path)
    for number, score in enumerate((0.6, 0.7, 0.8, 0.9), 1):
        sampler.report(1, epoch(number, score))
    first, second = mirrored(tmp_path)[:2]
    assert first.intermediate_values == {}
    assert second.intermediate_values == {2: 0.7}


def test_the_first_result_of_a_trial_stands(tmp_path: Path) -> None:
    sampler = Sampler(space("tpe", "sweep"), tmp_path / "study.journal")
    proposal = sampler.ask()
    assert proposal is not None
    sampler.tell(complete(proposal, row("gmm", 1, 0.7)))
    sampler.tell(complete(proposal, row("gmm", 1, 0.9)))
    assert [trial.value for trial in mirrored(tmp_path)] == [0.7]


def test_the_value_of_a_trial_is_its_best_row(tmp_path: Path) -> None:
    sampler = Sampler(space("tpe", "sweep"), tmp_path / "study.journal")
    proposal = sampler.ask()
    assert proposal is not None
    rows = [row("gmm", 1, 0.6), row("gmm", 4, None, "too few"), row("lof", 4, 0.8)]
    sampler.tell(complete(proposal, *rows))
    assert [trial.value for trial in mirrored(tmp_path)] == [0.8]


def test_a_trial_whose_models_all_failed_has_no_value(tmp_path: Path) -> None:
    sampler = Sampler(space("tpe", "sweep"), tmp_path / "study.journal")
    proposal = sampler.ask()
    assert proposal is not None
    sampler.tell(complete(proposal, row("gmm", 4, None, "too few")))
    assert [(t.state, t.value) for t in mirrored(tmp_path)] == [(TrialState.FAIL, None)]


def test_a_trial_without_validation_labels_has_no_value_and_did_not_fail(tmp_path: Path) -> None:
    sampler = Sampler(space("tpe", "sweep"), tmp_path / "study.journal")
    proposal = sampler.ask()
    assert proposal is not None
    sampler.tell(complete(proposal, row("gmm", 4, None)))
    assert [(t.state, t.value) for t in mirrored(tmp_path)] == [(TrialState.PRUNED, None)]


EPOCHS = 40


def pruning(folder: Path, **strategy: object) -> tuple[Sampler, list[Proposal]]:
    """Make a sampler whose trials are pruned unless they are the best at epochs 2, 6 and 18."""
    sampler = Sampler(pruning_space(**strategy), folder / "study.journal")
    proposals = [proposal for _ in range(4) if (proposal := sampler.ask())]
    return sampler, proposals


def pruning_space(**strategy: object) -> Space:
    settings = {"sampler": "random", "scheduler": "asha", "grace": 2, "seed": 7} | strategy
    plain = make_space(strategy=settings)
    return plain.model_copy(update={"fixed": plain.fixed.model_copy(update={"epochs": EPOCHS})})


def history(scores: Sequence[float]) -> tuple[Epoch, ...]:
    return tuple(epoch(number, score) for number, score in enumerate(scores, 1))


def test_a_trial_is_pruned_at_a_rung_with_better_scores(
    tmp_path: Path,
) -> None:
    sampler, _ = pruning(tmp_path)
    assert [sampler.report(0, e) for e in history((0.5, 0.7, 0.8))] == [False, False, False]
    # Only the score at the rung counts.
    assert [sampler.report(1, e) for e in history((0.9, 0.6))] == [False, True]
    assert [sampler.report(2, e) for e in history((0.1, 0.8, 0.1))] == [False, False, False]


def test_by_loss_rungs_compare_trials_of_different_lambda(tmp_path: Path) -> None:
    sampler, _ = pruning(tmp_path, metric="loss")
    sampler.report(0, epoch(2, 0.0, loss=0.5, lam=1.0))
    better = epoch(2, 0.0, loss=0.4, lam=100.0)
    assert better.val_loss > 0.5
    assert not sampler.report(1, better)
    assert sampler.report(2, epoch(2, 1.0, loss=0.6))


def test_an_epoch_without_a_score_decides_nothing(tmp_path: Path) -> None:
    sampler, _ = pruning(tmp_path)
    sampler.report(0, epoch(2, 0.9))
    assert not sampler.report(1, replace(epoch(2, 0.1), val_score=None))
    assert mirrored(tmp_path)[1].intermediate_values == {}


def test_an_epoch_that_is_repeated_counts_once(tmp_path: Path) -> None:
    sampler, _ = pruning(tmp_path)
    sampler.report(0, epoch(2, 0.7))
    assert not sampler.report(0, epoch(2, 0.1))
    assert not sampler.report(1, epoch(2, 0.8))
    assert mirrored(tmp_path)[0].intermediate_values == {2: 0.7}


def test_a_pruned_trial_stays_pruned_and_rungs_outlive_the_sampler(
    tmp_path: Path,
) -> None:
    sampler, proposals = pruning(tmp_path)
    best, worse = history((0.5, 0.8)), history((0.5, 0.6))
    for number, epochs in ((0, best), (1, worse)):
        for result in epochs:
            sampler.report(number, result)
    pruned = Record(proposals[1], State.PRUNED, "abc", EPOCHS, 0, "host", history=worse)
    sampler.tell(pruned)
    before = mirrored(tmp_path)[1]
    assert (before.state, before.value) == (TrialState.PRUNED, 0.6)
    ended = complete(proposals[0], row("gmm", 1, 0.8))
    records = [replace(ended, history=best), pruned]
    resumed = Sampler(pruning_space(), tmp_path / "study.journal", proposals, records)
    assert [t.state for t in mirrored(tmp_path)][:2] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert mirrored(tmp_path)[1].intermediate_values == {2: 0.6}
    assert sorted(resumed.open) == [2, 3]
    assert resumed.report(2, epoch(2, 0.7))  # the rung holds 0.8
    assert not resumed.report(3, epoch(2, 0.9))


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_every_scheduler_prunes_the_worst_of_many_and_keeps_the_best(
    tmp_path: Path, scheduler: str
) -> None:
    settings = pruning_space(scheduler=scheduler)
    sampler = Sampler(settings, tmp_path / "study.journal")
    pruned = set()
    for number in range(12):
        proposal = sampler.ask()
        assert proposal is not None
        score = 0.9 - 0.05 * number
        for step in range(1, EPOCHS):
            if sampler.report(number, epoch(step, score)):
                pruned.add(number)
                sampler.tell(Record(proposal, State.PRUNED, "a", EPOCHS, 0, "host"))
                break
        else:
            sampler.tell(complete(proposal, row("gmm", 1, score)))
    assert 0 not in pruned
    assert 11 in pruned


def test_without_a_scheduler_no_trial_is_pruned(tmp_path: Path) -> None:
    sampler, _ = pruning(tmp_path, scheduler="none")
    sampler.report(0, epoch(1, 0.9))
    assert not any(sampler.report(1, epoch(number, 0.1)) for number in range(1, 9))


# Starts


def test_starts_come_first_once_and_moved_into_the_space(tmp_path: Path) -> None:
    settings = space("tpe", "sweep", lr=[1e-3, 1e-2])
    starts = [
        WarmStart(Configuration(1.2e-3, 60, 3.3), "runs/fan trial 3"),
        WarmStart(Configuration(1e-3, 64, 10.0), "the same again"),
        WarmStart(Configuration(1.0, 500, 0.0), "paper"),
    ]
    sampler = Sampler(settings, tmp_path / "study.journal")
    sampler.enqueue(starts)
    proposed = [proposal for _ in range(3) if (proposal := sampler.ask())]
    assert proposed[:2] == [
        Proposal(0, Configuration(1e-3, 64, 10.0), origin="runs/fan trial 3"),
        Proposal(1, Configuration(1e-2, 128, 0.1), origin="paper"),
    ]
    assert proposed[2].origin == ""
    resumed = Sampler(settings, tmp_path / "study.journal", proposed[:1])
    resumed.enqueue(starts)
    assert [resumed.ask(), resumed.ask()] == proposed[1:]


def test_a_start_brings_its_inlier_model_where_that_is_sampled(tmp_path: Path) -> None:
    sampler = Sampler(space("tpe", "sample"), tmp_path / "study.journal")
    sampler.enqueue(
        [
            WarmStart(Configuration(1e-3, 64, 1.0), "a", InlierSpec("ocsvm", 0.5)),
            WarmStart(Configuration(1e-3, 64, 1.0), "b", InlierSpec("gmm", 3)),
        ]
    )
    first = sampler.ask()
    assert first is not None
    assert (first.inlier, first.origin) == (InlierSpec("gmm", 4), "b")
