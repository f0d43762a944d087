"""Status of a study, read from its folder."""

import json
import re
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from upath import UPath

from raysearch.errors import UserError
from raysearch.report.status import read_status, read_statuses, show, status_json
from raysearch.report.trials_file import TrialsFile
from raysearch.scoring.spec import InlierSpec
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.context import failed_record
from raysearch.study.locking import lock
from raysearch.study.winner import Winner, freeze_winner
from raysearch.training.configuration import Configuration
from tests.command import contents, table
from tests.files import put_checkpoint
from tests.records import as_written, complete, failed, make_manifest, row
from tests.search.queues import end, epoch, interrupt, make_queue, space


@pytest.fixture
def queue(tmp_path: Path) -> TrialQueue:
    """Queue of a finished, a failed, an interrupted and a new trial, with a trial to come."""
    searched = space(trials=5)
    queue = make_queue(tmp_path / "runs" / "valve", searched)
    queue.study.create(
        make_manifest(
            searched,
            data="/recordings",
            fingerprint=queue.context.fingerprint,
            started="2026-11-25T22:33:00+00:00",
        )
    )
    first, second, third, _ = (queue.next(()) for _ in range(4))
    assert first is not None
    assert second is not None
    assert third is not None
    queue.study.add(complete(first, row("gmm", 1, 0.7), row("lof", 4, 0.9), row("gmm", 2, None)))
    queue.study.add(failed(second))
    interrupt(queue, third, [None, 0.8, None])
    return queue


def shown(queue: TrialQueue) -> list[str]:
    """Lines on a terminal."""
    file = StringIO()
    show([read_status(queue.study.path)], Console(file=file, width=120))
    return file.getvalue().splitlines()


def test_counts_and_trials_follow_from_the_folder(queue: TrialQueue) -> None:
    facts = json.loads(json.dumps(status_json(read_status(queue.study.path))))
    assert facts["machine"] == "valve"
    assert (facts["state"], facts["started"]) == ("stopped", "2026-11-25T22:33:00+00:00")
    assert facts["trials"] == {
        "total": 5, "given_out": 4, "COMPLETE": 1, "PRUNED": 0, "FAIL": 1
    }  # fmt: skip
    assert [(trial["trial"], trial["epoch"]) for trial in facts["open"]] == [(2, 3), (3, 0)]
    assert [trial["val_score"] for trial in facts["open"]] == [0.8, None]
    best = facts["best"]
    assert (best["trial"], best["inlier"], best["p"], best["val_score"]) == (0, "lof", 4, 0.9)
    assert facts["device_seconds"] == pytest.approx(1.23456 + 2.0 + 30.0)


def test_epochs_of_a_shared_search_are_counted_over_its_machine_types(tmp_path: Path) -> None:
    """The encoder of the first machine type is trained, that of the second is not."""
    searched = space().model_copy(update={"validation_machines": ("fan", "valve")})
    queue = make_queue(tmp_path / "shared", searched, machine="shared")
    machines = {"fan": "0f", "valve": "0e"}
    manifest = make_manifest(searched, machine="shared", fingerprint="data", machines=machines)
    queue.study.create(manifest)
    proposal = queue.next(())
    assert proposal is not None
    source, epochs = queue.context.source, searched.fixed.epochs
    of_machines = tuple((replace(source, machine=m), f) for m, f in machines.items())
    fan, valve = replace(queue.context, machines=of_machines).parts
    for part, name, count in ((fan, "best", epochs), (valve, "last", 2)):
        facts = {"history": [asdict(epoch(n)) for n in range(1, count + 1)], "resumes": []}
        put_checkpoint(part.encoder(proposal) / f"{name}.safetensors", facts=facts)
    status = read_status(queue.study.path)
    assert [trial["epoch"] for trial in status_json(status)["open"]] == [epochs + 2]
    assert status.queue.epochs == 2 * epochs
    record = failed_record(status.queue.context, proposal, "host2", "the actor died", 1.0)
    assert record.device_seconds == 10.0 * (epochs + 2)


def test_ended_trials_are_told_as_the_table_has_them(queue: TrialQueue) -> None:
    study = queue.study
    TrialsFile(study.path, queue.space, study.records()).write()
    rows = table(Path(str(study.path / "trials.csv")))
    ended = status_json(read_status(study.path))["ended"]
    assert [trial["state"] for trial in ended] == ["COMPLETE", "FAIL"]
    for trial in ended:
        assert as_written(trial) in [{key: row[key] for key in trial} for row in rows]


def test_a_study_is_running_while_its_lock_is_held(queue: TrialQueue) -> None:
    with lock(queue.study.path):
        assert read_status(queue.study.path).state == "running"
    assert read_status(queue.study.path).state == "stopped"


def test_a_study_whose_winner_is_frozen_is_finished(tmp_path: Path, queue: TrialQueue) -> None:
    taken = list(queue.waiting) + [p for p in queue.proposals if p.number in (2, 3)]
    for proposal in taken:
        end(queue, proposal)
    last = queue.next(())
    assert last is not None
    end(queue, last, None)
    for record in queue.study.records():
        put_checkpoint(queue.study.encoder(record.encoder) / "best.safetensors")
    assert read_status(queue.study.path).state == "stopped"
    best = last.number
    winner = Winner(
        "valve",
        best,
        "0a1b",
        Configuration(0.001, 32, 10.0),
        InlierSpec("gmm", 4),
        0.81,
        0,
        "data",
        2,
        0.8,
        0.01,
    )
    freeze_winner(winner, queue.study.path)
    (queue.study.path / "final_test.csv").write_text(
        "machine,id,auc,pauc\nvalve,3,0.8,0.8\nvalve,4,0.6,0.6\nvalve,hmean,0.6857,0.6857\n"
    )
    status = read_status(queue.study.path)
    assert status.state == "finished"
    assert status_json(status)["winner"]["trial"] == best
    assert status_json(status)["final_score"] == pytest.approx(2 / (1 / 0.8 + 1 / 0.6))
    assert shown(queue)[2:] == [
        f"winner      0.8000 over 2 seeds  trial {best}: lr 0.001, batch size 32, λ 10, gmm p=4",
        "final test  0.6857",
    ]


def test_who_looks_changes_nothing(queue: TrialQueue, tmp_path: Path) -> None:
    before = contents(tmp_path)
    show([read_status(queue.study.path)], Console(file=StringIO()))
    assert contents(tmp_path) == before


def test_it_is_shown_as_the_live_view_has_it(queue: TrialQueue) -> None:
    head, times, best = shown(queue)
    assert head == "valve   0 running, 1 finished, 0 pruned, 1 failed of 5"
    assert re.fullmatch(r"stopped, begun 2026-11-2\d \d\d:\d\d, 0.01 device hours", times)
    assert best.startswith("best so far  0.9000  trial 0: lr ")
    with lock(queue.study.path):
        lines = shown(queue)
    assert lines[0].startswith("valve   2 running")
    assert [line.split()[0] for line in lines[2:5]] == ["trial", "2", "3"]
    assert "3/300" in lines[3]
    assert lines[3].split()[-2:] == ["30", "s"]


def test_studies_are_found_in_their_folder_or_as_it(queue: TrialQueue) -> None:
    folder = queue.study.path
    (folder.parent / "tune").mkdir()
    assert [status.queue.name for status in read_statuses(folder)] == [folder.name]
    assert [status.queue.name for status in read_statuses(folder.parent)] == [folder.name]


def test_no_study_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no study; `raysearch run` makes one"):
        read_statuses(UPath(tmp_path))


def test_a_study_of_another_version_is_refused_in_one_line(queue: TrialQueue) -> None:
    manifest = queue.study.manifest
    manifest.space["fixed"]["covariance"] = "full"
    queue.study.create(manifest)
    with pytest.raises(UserError, match=r"valve/study.json: fixed.covariance: ") as caught:
        read_status(queue.study.path)
    assert "\n" not in str(caught.value)
