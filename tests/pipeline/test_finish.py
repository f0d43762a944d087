"""The end of a search: what stays of it on disk, and what the final test is run with again."""

import io
import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from rich.console import Console
from upath import UPath

from raysearch import storage
from raysearch.backend.resources import Share
from raysearch.backend.worker import run_worker_trial
from raysearch.data.dataset import TrialData
from raysearch.data.source import make_source
from raysearch.errors import DataError, MachineError, NoResultError, UserError
from raysearch.pipeline.final import repeat_final
from raysearch.pipeline.finish import SearchConclusion, finish_study
from raysearch.pipeline.prepare import create_study, study_lock
from raysearch.pipeline.request import Ending
from raysearch.report.progress import show_log
from raysearch.report.status import read_status, status_json
from raysearch.report.wording import format_score
from raysearch.scoring.inlier import InlierSpec
from raysearch.study.confidence import read_confidence
from raysearch.study.context import StudyContext, failed_record
from raysearch.study.ledger import read_ledger
from raysearch.study.records import Proposal
from raysearch.study.reference import read_reference, write_reference
from raysearch.study.scores import SCORES
from raysearch.study.space import Space
from raysearch.study.strategy import Strategy
from raysearch.study.winner import freeze_winner, read_frozen
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult
from tests.command import digests, table
from tests.files import put
from tests.tiny import TINY, VALIDATION_IDS, open_valve

SPACE = Space.model_validate(
    {
        "search": {
            "lr": 3e-3,
            "batch_size": [16, 32],
            "lambda": [1.0, 10.0],
            "inlier": {"gmm": [1], "none": []},
        },
        "fixed": TINY.model_dump() | {"epochs": 1},
        "strategy": {"trials": 4},
    }
)
WINNER, LOSER, OPEN, TWIN = (
    Proposal(0, Configuration(3e-3, 16, 1.0), InlierSpec("gmm", 1)),
    Proposal(1, Configuration(3e-3, 32, 1.0), InlierSpec("gmm", 1)),
    Proposal(2, Configuration(3e-3, 32, 10.0), InlierSpec("gmm", 1)),
    Proposal(
        3, Configuration(3e-3, 32, 10.0), InlierSpec("none", None)
    ),  # of the encoder of the one that is open
)


@pytest.fixture
def root(tmp_path: Path, demo_data: Path) -> Path:
    """A data set of one's own, to spoil files of."""
    return shutil.copytree(demo_data, tmp_path / "data", copy_function=os.link)


@pytest.fixture(scope="module")
def trained_winner(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """A study in which the winner has ended, the only trial that is really trained."""
    folder = tmp_path_factory.mktemp("winner") / "run"
    context = opening(demo_data, storage.to_path(folder)).context
    context.study.propose(WINNER)
    run_worker_trial(context, WINNER, Share(1, 1, 0, 1), lambda result: None)
    return folder


@dataclass(frozen=True)
class Begun:
    """A study and its recordings."""

    context: StudyContext
    data: TrialData


def opening(
    root: Path, folder: UPath, *, space: Space = SPACE, allow_defects: bool = False
) -> Begun:
    """A study in which nothing has happened yet."""
    source = make_source(root, "valve", VALIDATION_IDS, space.fixed, allow_defects=allow_defects)
    data = open_valve(root)
    context = StudyContext(folder, source, data.fingerprint, space)
    create_study(context, data, space_file="tiny.yaml", command="raysearch run")
    return Begun(context, data)


def ended(trained_winner: Path, root: Path, folder: UPath, *, allow_defects: bool = False) -> Begun:
    """A search in which one trial won, two ended otherwise, and one was not finished."""
    opened = opening(root, folder, allow_defects=allow_defects)
    context = opened.context
    for proposal in (WINNER, LOSER, OPEN, TWIN):
        context.study.propose(proposal)
        for name in ("best.safetensors", "error.txt"):
            if proposal is not WINNER:
                target = context.encoder(proposal)
                put(target / name, name)
    for path in trained_winner.rglob("*"):
        if path.parts[-2] == "records" or path.name == "best.safetensors":
            target = folder / path.relative_to(trained_winner).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for proposal in (LOSER, TWIN):
        context.study.add(failed_record(context, proposal, "here", "so", 1.0))
    return opened


def close(opened: Begun, **how: Any) -> None:
    conclusion = SearchConclusion(opened.context, opened.data)
    finish_study(conclusion, opened.context, opened.data, Ending("raysearch run", **how))


def test_only_what_is_still_needed_keeps_its_checkpoints(
    trained_winner: Path, root: Path, folder: UPath
) -> None:
    opened = ended(trained_winner, root, folder)
    context = opened.context

    def kept(proposal: Proposal) -> list[str]:
        encoder = context.encoder(proposal)
        return [path.name for path in storage.children(encoder)]

    close(opened, final=False, keep_checkpoints=True, report=False)
    both = ["best.safetensors", "error.txt"]
    assert [kept(p) for p in (WINNER, LOSER, OPEN, TWIN)] == [both[:1], both, both, both]
    close(opened, final=False, report=False)
    assert [kept(p) for p in (WINNER, LOSER, OPEN, TWIN)] == [both[:1], both[1:], both, both]
    assert len(context.study.records()) == 3


def test_the_final_test_waits_for_no_run_of_its_study(
    trained_winner: Path, root: Path, tmp_path: Path
) -> None:
    folder = storage.to_path(tmp_path / "run")
    close(ended(trained_winner, root, folder), final=True, report=False)
    again = Ending("raysearch final", reopen_test=True)
    with study_lock(folder), pytest.raises(UserError, match="another raysearch is running"):
        repeat_final(folder, None, again)
    assert not (folder / "final_test_2.csv").exists()


@pytest.mark.parametrize("allowed", [False, True])
def test_the_final_test_is_repeated_with_what_the_study_allowed(
    trained_winner: Path, root: Path, tmp_path: Path, allowed: bool
) -> None:
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder, allow_defects=allowed)
    close(opened, final=True, report=False)
    first = (folder / "final_test.csv").read_bytes()
    with pytest.raises(UserError, match=r"first opening, .*--reopen-test .*final_test_2\.csv"):
        repeat_final(folder, None, Ending("raysearch final"))
    again = Ending("raysearch final", reopen_test=True)
    spoilt = sorted((root / "eval_data/valve/source_test").glob("*.wav"))[0]
    spoilt.unlink()  # it is a link to the recording of all tests
    spoilt.write_bytes(b"garbage")
    if allowed:
        repeat_final(folder, None, again)
    else:
        with pytest.raises(DataError, match="test clips are defective"):
            repeat_final(folder, None, again)
    openings = read_ledger(folder, opened.context.study.manifest.started).openings
    assert [opening.command for opening in openings] == ["raysearch run", "raysearch final"]
    assert openings[1].has_result == allowed
    assert (folder / "final_test_2.csv").exists() == allowed
    assert (folder / "final_test.csv").read_bytes() == first


def test_another_winner_takes_nothing_from_the_final_test_of_the_one_before(
    trained_winner: Path, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder)
    close(opened, final=True, report=False)
    winner = read_frozen(folder)
    assert winner is not None
    evidence = (folder / "evidence" / "clips.csv").read_bytes()
    # As if another encoder had won at first.
    other = replace(winner, encoder="0" * 16, trial=7)
    freeze_winner(other, folder)
    ledger = folder / "test_ledger.jsonl"
    ledger.write_text(ledger.read_text().replace(winner.encoder, other.encoder))
    stale = folder / "evidence" / "wrong" / "9.flac"
    stale.write_bytes(b"of the one before")
    tested = {name: (folder / name).read_bytes() for name in ("final_test.csv", SCORES)}
    with caplog.at_level(logging.INFO, "raysearch"):
        close(opened, final=True)
    assert "--reopen-test tests the new winner, too, as opening 2" in caplog.text
    assert read_frozen(folder) == winner
    assert not stale.exists()
    assert (folder / "evidence" / "clips.csv").read_bytes() == evidence
    assert "of an earlier winner, trial 0" in (folder / "report.html").read_text("utf-8")
    assert not (folder / "final_test_2.csv").exists()
    close(opened, final=True, reopen_test=True)
    assert {name: (folder / name).read_bytes() for name in tested} == tested
    # The encoder is the same in truth.
    second = tested["final_test.csv"]
    assert (folder / "final_test_2.csv").read_bytes() == second
    assert (folder / "submission_2").is_dir()
    assert "the first of 2 openings" in (folder / "report.html").read_text("utf-8")
    before = ledger.read_text()
    close(opened, final=True, reopen_test=True)
    assert ledger.read_text() == before


def test_a_winner_below_the_reference_is_told_in_the_first_line(
    trained_winner: Path, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder)
    write_reference(InlierResult("mahalanobis", 0.1, 0.9999), folder)
    with caplog.at_level(logging.INFO, "raysearch"):
        close(opened, final=True)
    assert caplog.messages[0].endswith(", below the 0.9999 of the reference")
    assert caplog.messages[1].startswith("reference: 0.9999 with log-mel statistics and ")
    assert "reference on the same clips: " in caplog.text
    page = (folder / "report.html").read_text("utf-8")
    assert ", below the 0.9999 of the reference, log-mel statistics and " in page
    (*_, reference) = table(Path(str(folder / "trials.csv")))
    assert (reference["state"], reference["trial"]) == ("REFERENCE", "-1")
    assert reference["val_score"] == "0.9999"
    statuses = read_status(folder)
    assert status_json(statuses)["reference_score"] == 0.9999


def test_a_study_whose_trials_scored_no_reference_has_one_at_its_end(
    trained_winner: Path, root: Path, tmp_path: Path
) -> None:
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder)
    assert read_reference(folder) is None
    close(opened, final=False, report=False)
    written = read_reference(folder)
    assert written == read_reference(storage.to_path(trained_winner))
    assert written is not None
    assert written.val_score is not None


def test_an_unfinished_search_keeps_its_checkpoints_and_opens_no_test_id(
    trained_winner: Path, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder)
    with caplog.at_level(logging.INFO, "raysearch"):
        close(opened, final=True, is_finished=False, report=False)
    assert "no final test yet, as the search is not finished" in caplog.text
    assert not (folder / "test_ledger.jsonl").exists()
    assert (folder / "detector" / "detector.json").exists()
    assert (opened.context.encoder(LOSER) / "best.safetensors").exists()
    repeat_final(folder, None, Ending("raysearch final"))
    assert (folder / "final_test.csv").exists()


def test_a_winner_without_a_checkpoint_leaves_the_detector_of_the_one_before(
    trained_winner: Path, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder)
    close(opened, final=False, report=False)
    before = digests(Path(str(folder / "detector")))
    winner = read_frozen(folder)
    assert winner is not None
    freeze_winner(replace(winner, encoder="0" * 16), folder)
    opened.context.study.drop_checkpoints(winner.encoder)
    with caplog.at_level(logging.INFO, "raysearch"):
        close(opened, final=False, is_finished=False, report=False)
    assert "no detector of the best configuration yet: the checkpoint of trial 0" in caplog.text
    assert digests(Path(str(folder / "detector"))) == before
    with pytest.raises(UserError, match="trains it again"):
        close(opened, final=False, report=False)


def test_a_report_that_cannot_be_drawn_costs_no_result(
    trained_winner: Path, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder)
    (folder / "report.html").mkdir()
    with caplog.at_level(logging.INFO, "raysearch"):
        close(opened, final=True)
    assert "no report: IsADirectoryError" in caplog.text
    assert f"`raysearch report {folder}` tries again" in caplog.text
    assert (folder / "final_test.csv").exists()
    assert caplog.messages[-1] == f"everything is in {folder}/"


def test_the_table_has_every_record_that_the_winner_was_chosen_of(
    trained_winner: Path, root: Path, tmp_path: Path
) -> None:
    """One of them was written after the search ended, when the table was no longer updated."""
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder)
    assert not (folder / "trials.csv").exists()
    close(opened, final=False, report=False)
    rows = table(Path(str(folder / "trials.csv")))
    assert {row["trial"] for row in rows} == {"-1", "0", "1", "3"}
    assert not (folder / "report.html").exists()


def test_a_search_without_a_score_has_a_report_of_its_failures(
    trained_winner: Path, root: Path, tmp_path: Path
) -> None:
    folder = storage.to_path(tmp_path / "run")
    opened = ended(trained_winner, root, folder)
    for path in (folder / "records").iterdir():
        if path.name == "0000.json":
            path.unlink()
    with pytest.raises(NoResultError):
        close(opened, final=True)
    page = (folder / "report.html").read_text("utf-8")
    assert "Failed trials" in page
    assert "valve: no result yet" in page


# Finalists


@dataclass(frozen=True)
class Concluded:
    """A study of two configurations, each with two seeds."""

    opened: Begun
    out: str

    @property
    def path(self) -> UPath:
        return self.opened.context.folder

    def encoders(self, *numbers: int) -> set[str]:
        records = self.opened.context.study.records()
        return {records[number].encoder for number in numbers}

    @property
    def kept(self) -> set[str]:
        """Encoders that have checkpoints."""
        folders = storage.children(self.path / "encoders")
        return {path.name for path in folders if (path / "best.safetensors").exists()}

    def again(self) -> str:
        file = io.StringIO()
        with show_log(Console(file=file, width=400)):
            close(self.opened, final=True)
        return file.getvalue()


@pytest.fixture(scope="module")
def finalists(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Concluded:
    folder = storage.to_path(tmp_path_factory.mktemp("finalists") / "valve")
    strategy = {"trials": 2, "finalists": {"top": 2, "seeds": 2}}
    space = SPACE.model_copy(update={"strategy": Strategy.model_validate(strategy)})
    opened = opening(demo_data, folder, space=space)
    for number, (size, seed) in enumerate([(16, None), (32, None), (16, 1), (32, 1)]):
        of = None if seed is None else number - 2
        proposal = Proposal(number, Configuration(3e-3, size, 1.0), seed=seed, rerun_of=of)
        opened.context.study.propose(proposal)
        run_worker_trial(opened.context, proposal, Share(1, 1, 0, 1), lambda result: None)
    return replace(study := Concluded(opened, ""), out=study.again())


def validation_score(row: InlierResult) -> float:
    assert row.val_score is not None
    return row.val_score


def test_the_best_mean_is_frozen_with_its_better_encoder(finalists: Concluded) -> None:
    records = finalists.opened.context.study.records()
    scores = {
        (number, spec): [
            validation_score(row)
            for record in (records[number], records[number + 2])
            for row in record.rows
            if row.inlier == spec
        ]
        for number in (0, 1)
        for spec in ("gmm", "none")
    }
    (number, spec), best = max(scores.items(), key=lambda item: fmean(item[1]))
    winner = read_frozen(finalists.path)
    assert winner is not None
    assert (winner.configuration, winner.inlier.name) == (
        records[number].proposal.configuration,
        spec,
    )
    assert winner.seeds == 2
    assert winner.score == pytest.approx(fmean(best))
    assert winner.val_score == max(best)
    assert winner.std_score == pytest.approx(stdev(best))
    chosen = records[number + 2 * best.index(max(best))]
    assert (winner.trial, winner.encoder) == (chosen.proposal.number, chosen.encoder)
    assert winner.config(TINY.model_copy(update={"epochs": 1})).signature() == chosen.encoder
    assert winner.seed == chosen.seed
    assert finalists.kept == finalists.encoders(number, number + 2)


def test_how_sure_it_is_is_said(finalists: Concluded) -> None:
    winner, sure = read_frozen(finalists.path), read_confidence(finalists.path)
    assert winner is not None
    assert (sure.low, sure.lead_low) == (None, None)
    assert sure.missing == "too few clips for an interval: 6 normal, 6 anomalous"
    assert f"note: {sure.missing}\n" in finalists.out
    assert (len(sure.of), len(sure.against)) == (2, 2)
    assert sure.choices == 2 * 2
    assert sure.unselected is not None
    assert f"validation score {format_score(winner, sure)}" in finalists.out
    assert " over 2 seeds (too few clips for an interval: " in finalists.out
    other = {16: 32, 32: 16}[winner.configuration.batch_size or 0]
    noise = f"note: within noise of the second, lr 0.003, batch size {other}, λ 1, "
    assert (noise in finalists.out) == sure.is_noise
    assert ("within noise of the second" in sure.note) == sure.is_noise
    text = (finalists.path / "best_config.csv").read_text()
    assert text.count(sure.note) == 1


def test_concluding_again_changes_nothing_and_asks_no_encoder(finalists: Concluded) -> None:
    before = digests(Path(str(finalists.path)))
    # The second's encoders are gone: what is said of them was not measured again.
    assert finalists.again() == finalists.out.partition("  ID ")[0] + (
        f"report: {finalists.path}/report.html\neverything is in {finalists.path}/\n"
    )
    assert digests(Path(str(finalists.path))) == before


def test_who_wins_by_further_seeds_with_the_same_encoder_meets_the_test_ids_once(
    finalists: Concluded,
) -> None:
    path = Path(str(finalists.path))
    before = digests(path)
    winner = read_frozen(finalists.path)
    assert winner is not None
    freeze_winner(
        replace(winner, seeds=1, mean_score=winner.val_score, std_score=None), finalists.path
    )
    finalists.again()
    assert digests(path) == before


def test_a_folder_that_is_gone_is_not_made_anew(
    trained_winner: Path, root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    opened = ended(trained_winner, root, storage.to_path(folder))
    folder.rename(tmp_path / "unmounted")
    with pytest.raises(MachineError, match=r"study\.json is gone, .*the same command goes on"):
        close(opened, final=True)
    assert not folder.exists()
