"""Confidence in the winner of a shared search, from an encoder for each machine type."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from upath import UPath

from raysearch.data.dataset import TrialData, open_data
from raysearch.data.source import make_source
from raysearch.scoring.metrics import ClipScores
from raysearch.study.confidence import Confidence
from raysearch.study.context import StudyContext
from raysearch.study.ranking import Ranking, rank
from raysearch.study.records import Proposal, Record
from raysearch.study.resampling import resample_scores
from raysearch.study.selection import unselected_score
from raysearch.study.shared_confidence import Parts, measure_shared_confidence
from raysearch.study.space import check_space
from raysearch.training.combined import combine_clips
from raysearch.training.configuration import Configuration
from raysearch.training.network import new_encoder
from raysearch.training.train import load_trained
from raysearch.training.trial import score_validation_clips
from tests.files import put_checkpoint
from tests.records import SPACE, complete, row
from tests.tiny import TEN, VALIDATION_IDS

MACHINES = ("valve", "fan")


def trial(number: int, score: float, of: int | None = None) -> Record:
    lr = 1e-3 * (1 + (number if of is None else of))
    seed = None if of is None else number
    proposal = Proposal(number, Configuration(lr, 16, 1.0), seed=seed, rerun_of=of)
    return complete(proposal, row("lof", 4, score))


RECORDS = (trial(0, 0.8), trial(1, 0.7), trial(2, 0.78, 0), trial(3, 0.72, 1))


@pytest.fixture(scope="module")
def recordings(demo_data: Path) -> list[TrialData]:
    sources = [make_source(demo_data, machine, VALIDATION_IDS, TEN) for machine in MACHINES]
    return [open_data(source) for source in sources]


@pytest.fixture
def parts(tmp_path: Path, demo_data: Path, recordings: list[TrialData]) -> Parts:
    """Write an untrained encoder of each trial and machine type."""
    space = check_space({**SPACE, "fixed": TEN.model_dump()}, "x")
    made = []
    for data in recordings:
        source = make_source(demo_data, data.machine, VALIDATION_IDS, TEN)
        context = StudyContext(UPath(tmp_path), source, data.fingerprint, space)
        for record in RECORDS:
            torch.manual_seed(record.proposal.number)
            tensors = new_encoder(TEN, len(data.ids), pretrained=False).state_dict()
            path = context.encoder(record.proposal) / "best.safetensors"
            put_checkpoint(path, tensors, {"history": [], "resumes": []})
        made.append((context, data))
    return made


@pytest.fixture
def ranking() -> Ranking:
    ranking = rank(RECORDS)
    assert ranking is not None
    return ranking


def scores_of(parts: Parts, *numbers: int) -> list[ClipScores]:
    """Score the validation clips of all machine types with the encoders of some trials."""
    runs = []
    for number in numbers:
        record, scores = RECORDS[number], {}
        for context, data in parts:
            proposal = record.proposal
            folder = context.encoder(proposal)
            encoder = load_trained(context.options, len(data.ids), folder).encoder
            scores[data.machine] = score_validation_clips(
                record.rows[0].spec, encoder, context.config(proposal), data
            )
        runs.append(combine_clips(scores))
    return runs


def lose(parts: Parts, number: int) -> None:
    context, _ = parts[-1]
    (context.encoder(RECORDS[number].proposal) / "best.safetensors").unlink()


def forbidden(count: int) -> None:
    raise AssertionError("an encoder was used")


def test_the_best_two_are_scored_on_the_clips_of_all_machine_types(
    parts: Parts, ranking: Ranking
) -> None:
    counts: list[int] = []
    confidence = measure_shared_confidence(ranking, Confidence(), parts, counts.append)
    assert counts == [1] * 8
    assert [encoder for encoder, *_ in confidence.of] == ["encoder0", "encoder2"]
    assert [encoder for encoder, *_ in confidence.against] == ["encoder1", "encoder3"]
    assert (confidence.choices, confidence.unselected) == (2, unselected_score(ranking.tried))
    expected = resample_scores(scores_of(parts, 0, 2), scores_of(parts, 1, 3))
    assert confidence == replace(
        expected,
        of=confidence.of,
        against=confidence.against,
        choices=confidence.choices,
        unselected=confidence.unselected,
    )
    # The result of the same encoders is read, although they may be deleted.
    for rest in (parts, ()):
        assert measure_shared_confidence(ranking, confidence, rest, forbidden) == confidence


@pytest.mark.parametrize(("lost", "of", "against"), [(3, 2, 0), (2, 0, 0)])
def test_deleted_encoders_score_nothing(
    parts: Parts, ranking: Ranking, lost: int, of: int, against: int
) -> None:
    lose(parts, lost)
    counts: list[int] = []
    confidence = measure_shared_confidence(ranking, Confidence(), parts, counts.append)
    assert len(counts) == len(MACHINES) * of
    assert (len(confidence.of), len(confidence.against)) == (of, against)
    assert measure_shared_confidence(ranking, confidence, parts, forbidden) == confidence


def test_a_single_seed_has_no_rival(parts: Parts) -> None:
    ranking = rank(RECORDS[:2])
    assert ranking is not None
    counts: list[int] = []
    confidence = measure_shared_confidence(ranking, Confidence(), parts, counts.append)
    assert (len(counts), len(confidence.of), confidence.against) == (2, 1, ())
    old = replace(confidence, rule=1)
    assert measure_shared_confidence(ranking, old, parts, counts.append) == confidence
    assert len(counts) == 4
