"""What a trial's process does: from a proposal to its record."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from upath import UPath

from raysearch.backend import worker
from raysearch.backend.resources import Share
from raysearch.backend.worker import run_worker_trial
from raysearch.data.dataset import TrialData, open_data
from raysearch.data.source import Source, make_source
from raysearch.errors import MachineError
from raysearch.scoring.inlier import InlierSpec
from raysearch.storage import remove_tree
from raysearch.study.context import StudyContext, failed_record, pruned_record
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal, Record, State
from raysearch.training.configuration import Configuration
from raysearch.training.state import read_progress
from raysearch.training.weights import file_hashes
from tests.records import make_manifest, make_space
from tests.tiny import TINY, VALIDATION_IDS

SPECS = (InlierSpec("gmm", 1), InlierSpec("gmm", 64), InlierSpec("none", None))
SHARE = Share(workers=1, cpus=1, gpus=0, concurrent=1)
PROPOSAL = Proposal(3, Configuration(3e-3, 16, 10.0))
Reports = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _restored_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # What a trial sets in its process is put back.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def context(demo_data: Path, tmp_path: Path) -> StudyContext:
    options = TINY.model_copy(update={"epochs": 2})
    source = make_source(demo_data, "valve", VALIDATION_IDS, options)
    study = StudyFolder(UPath(tmp_path / "study"))
    study.create(make_manifest())
    inliers: dict[str, object] = {"gmm": [1, 64], "none": []}
    space = make_space(inlier=inliers, strategy={"seed": 5, "scheduler": "none"})
    fixed = space.model_copy(update={"fixed": options})
    return StudyContext(study.path, source, open_data(source).fingerprint, fixed)


def with_rung(context: StudyContext) -> StudyContext:
    """The same, with a rung after the first of two epochs."""
    asha = context.space.strategy.model_copy(update={"scheduler": "asha", "grace": 1})
    return replace(context, space=context.space.model_copy(update={"strategy": asha}))


def run(context: StudyContext, proposal: Proposal = PROPOSAL) -> tuple[Record | None, Reports]:
    reports: Reports = []
    run_worker_trial(context, proposal, SHARE, reports.append)
    return StudyFolder(context.folder).record(proposal.number), reports


def forbidden(_: object) -> None:
    raise AssertionError("a trial that has its record was run")


def test_a_trial_leaves_one_complete_record(context: StudyContext) -> None:
    record, reports = run(context)
    assert record is not None
    assert record.state is State.COMPLETE
    assert record.proposal == PROPOSAL
    assert record.encoder == context.config(PROPOSAL).signature()
    assert (record.epochs, record.seed, record.error) == (2, 5, "")
    assert [(row.inlier, row.p) for row in record.rows] == [(s.name, s.p) for s in SPECS]
    assert [bool(row.error) for row in record.rows] == [False, True, False]
    assert len(record.history) == 2
    assert record.best_epoch in (1, 2)
    assert record.val_loss == min(epoch.val_loss for epoch in record.history)
    assert record.host
    assert [path.name for path in (context.folder / "records").iterdir()] == ["0003.json"]
    assert [line.get("epoch") for line in reports] == [1, 2, None]
    assert [line.get("timesteps_total") for line in reports] == [1, 2, None]
    assert reports[0]["val_loss"] == record.history[0].val_loss
    assert record.best is not None
    assert reports[-1] == {"state": "COMPLETE", "val_score": record.best.val_score}


def test_a_damaged_reference_costs_no_trial(context: StudyContext) -> None:
    (context.folder / "reference.json").write_text("{")
    record, _ = run(context)
    assert record is not None
    assert record.state is State.COMPLETE
    assert (context.folder / "reference.json").read_text() == "{"


def test_the_threads_of_a_trial_are_its_cpus(context: StudyContext) -> None:
    # One that is refused at once: training on more threads than cores is slow.
    with pytest.raises(MachineError):
        run_worker_trial(
            replace(context, fingerprint="another"), PROPOSAL, Share(1, 3, 0, 1), lambda _: None
        )
    assert torch.get_num_threads() == 3


def test_a_diverged_trial_leaves_a_failed_record_with_its_reason(context: StudyContext) -> None:
    wild = replace(PROPOSAL, configuration=Configuration(1e30, 16, 10.0))
    record, reports = run(context, wild)
    assert record is not None
    assert record.state is State.FAIL
    assert record.error == "TrialError: the loss diverged (not finite) in epoch 1"
    assert record.rows == ()
    assert record.history == ()
    assert record.best is None
    assert record.best_epoch is None
    assert reports == [{"state": "FAIL", "val_score": None}]
    error = StudyFolder(context.folder).encoder(record.encoder) / "error.txt"
    assert "Traceback" in error.read_text()


def test_a_trial_that_has_its_record_is_not_run(context: StudyContext) -> None:
    run(context)
    path = context.folder / "records" / "0003.json"
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    remove_tree(context.folder / "encoders")
    run_worker_trial(context, PROPOSAL, SHARE, forbidden)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, written)
    assert not (context.folder / "encoders").exists()


def test_a_failed_trial_is_not_tried_again(context: StudyContext) -> None:
    wild = replace(PROPOSAL, configuration=Configuration(1e30, 16, 10.0))
    run(context, wild)
    run_worker_trial(context, wild, SHARE, forbidden)


def test_a_sampled_inlier_model_is_the_only_one_that_is_judged(context: StudyContext) -> None:
    first, reports = run(context, replace(PROPOSAL, inlier=InlierSpec("gmm", 1)))
    assert first is not None
    assert [(row.inlier, row.p) for row in first.rows] == [("gmm", 1)]
    assert len(reports) == 3
    # Another inlier model on the same encoder: it is loaded, not trained.
    second, reports = run(context, replace(PROPOSAL, number=4, inlier=InlierSpec("none", None)))
    assert second is not None
    assert [(row.inlier, row.p) for row in second.rows] == [("none", None)]
    assert second.encoder == first.encoder
    assert second.history == first.history
    assert [line.get("state") for line in reports] == ["COMPLETE"]


def test_rungs_are_told_with_the_score_so_far(context: StudyContext) -> None:
    record, reports = run(with_rung(context))
    assert record is not None
    assert [line.get("val_score") for line in reports[:2]] == [record.history[0].val_score, None]
    assert 0 < reports[0]["val_score"] <= 1
    rerun = replace(PROPOSAL, number=4, seed=6, rerun_of=3)
    finalist, reports = run(with_rung(context), rerun)
    assert finalist is not None
    assert (finalist.seed, finalist.encoder != record.encoder) == (6, True)
    assert [line["val_score"] for line in reports[:2]] == [None, None]


def test_an_encoder_of_another_trial_brings_no_scores_of_its_rungs(context: StudyContext) -> None:
    context = with_rung(context)
    first, _ = run(context, replace(PROPOSAL, inlier=InlierSpec("gmm", 1)))
    second, _ = run(context, replace(PROPOSAL, number=4, inlier=InlierSpec("none", None)))
    assert first is not None
    assert second is not None
    assert first.history[0].val_score is not None
    assert [epoch.val_score for epoch in second.history] == [None, None]


def test_what_a_trial_held_is_recorded(context: StudyContext) -> None:
    together = Share(workers=1, cpus=1, gpus=0.0, concurrent=1)
    assert together.devices == 1.0
    assert replace(together, workers=3).devices == 3.0
    assert replace(together, gpus=0.25).devices == 0.25
    assert replace(together, gpus=1.0, workers=2).devices == 2.0
    record, _ = run(context)
    assert record is not None
    assert record.device_seconds == record.train_seconds + record.score_seconds > 0


def test_a_stopped_trial_leaves_no_record_and_resumes(context: StudyContext) -> None:
    def stop(result: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker_trial(context, PROPOSAL, SHARE, stop)
    assert StudyFolder(context.folder).record(3) is None
    record, reports = run(context)
    assert record is not None
    assert record.resumes == (1,)
    assert [line.get("epoch") for line in reports] == [2, None]


def test_other_recordings_than_the_search_began_with_are_the_machines(
    context: StudyContext,
) -> None:
    with pytest.raises(MachineError, match="other recordings than the search began with"):
        run(replace(context, fingerprint="another"))
    assert StudyFolder(context.folder).record(3) is None


def test_a_machine_without_the_recordings_fails_and_not_its_trial(context: StudyContext) -> None:
    gone = replace(context, source=replace(context.source, root=context.folder / "away"))
    with pytest.raises(MachineError, match=r"no data set: .*away is not a folder"):
        run(gone)
    assert StudyFolder(context.folder).record(3) is None
    record, _ = run(context)
    assert record is not None
    assert record.state is State.COMPLETE


def test_a_process_reads_the_data_set_of_each_of_its_studies_once(
    context: StudyContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = replace(context.source, machine="fan")
    folder = StudyFolder(UPath(tmp_path / "fan"))
    folder.create(make_manifest())
    fan = replace(
        context, folder=folder.path, source=source, fingerprint=open_data(source).fingerprint
    )
    read: list[str] = []

    def note(source: Source, on_clips: Callable[[int], None]) -> TrialData:
        read.append(source.machine)
        return open_data(source, on_clips)

    monkeypatch.setattr(worker, "_opened", {})
    monkeypatch.setattr(worker, "open_data", note)
    for number, study in enumerate((context, fan, context, fan)):
        record, _ = run(study, replace(PROPOSAL, number=number))
        assert record is not None
        assert record.state is State.COMPLETE
    assert read == ["valve", "fan"]


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
def test_a_damaged_checkpoint_costs_its_training_and_not_the_trial(
    context: StudyContext, name: str
) -> None:
    def stop(result: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker_trial(context, PROPOSAL, SHARE, stop)
    damaged = context.encoder(PROPOSAL) / name
    damaged.write_bytes(damaged.read_bytes()[:-100])
    record, reports = run(context)
    assert record is not None
    assert (record.state, record.resumes) == (State.COMPLETE, ())
    assert reports[0] == {"note": f"{damaged} is damaged, so its training starts anew"}
    assert [line.get("epoch") for line in reports[1:]] == [1, 2, None]


def test_a_checkpoint_that_the_storage_does_not_deliver_is_kept(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*_: object) -> bytes:
        raise OSError(116, "Stale file handle")

    folder = context.encoder(PROPOSAL)
    folder.mkdir(parents=True)
    (folder / "last.safetensors").write_bytes(b"not delivered")
    monkeypatch.setattr("raysearch.storage.read_part", stale)
    with pytest.raises(OSError, match="Stale file handle"):
        run(context)
    assert (folder / "last.safetensors").exists()
    assert StudyFolder(context.folder).record(3) is None


def test_a_pruned_trial_has_the_epochs_of_its_checkpoint(context: StudyContext) -> None:
    def stop(result: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker_trial(context, PROPOSAL, SHARE, stop)
    record = pruned_record(context, PROPOSAL, "host2", 0.5)
    assert record is not None
    assert record.state is State.PRUNED
    assert [epoch.epoch for epoch in record.history] == [1]
    assert (record.best_epoch, record.val_loss) == (1, record.history[0].val_loss)
    assert record.train_seconds == record.history[0].seconds
    assert (record.best, record.host, record.devices) == (None, "host2", 0.5)
    # Its record stands: it is not run again.
    assert StudyFolder(context.folder).add(record)
    run_worker_trial(context, PROPOSAL, SHARE, forbidden)


def test_a_trial_whose_training_has_ended_is_not_pruned(context: StudyContext) -> None:
    run(context)
    assert pruned_record(context, PROPOSAL, "host2", 0.5) is None


def test_a_trial_that_cannot_say_it_itself_is_recorded_as_failed(context: StudyContext) -> None:
    record = failed_record(context, PROPOSAL, "host2", "the actor died", 2.0)
    assert (record.state, record.host, record.error) == (State.FAIL, "host2", "the actor died")
    assert record.encoder == context.config(PROPOSAL).signature()
    assert record.device_seconds == 0


def test_what_a_failed_trial_took_is_known(context: StudyContext) -> None:
    def stop(result: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker_trial(context, PROPOSAL, SHARE, stop)
    seconds = sum(epoch.seconds for epoch in read_progress(context.encoder(PROPOSAL))[0])
    record = failed_record(context, PROPOSAL, "host2", "the actor died", 2.0)
    assert record.device_seconds == 2 * seconds > 0


def test_what_is_no_fault_of_the_trial_is_left_to_be_tried_again(context: StudyContext) -> None:
    (context.folder / "encoders").write_text("in the way")
    with pytest.raises(OSError, match="encoders"):
        run_worker_trial(context, PROPOSAL, SHARE, lambda _: None)
    assert StudyFolder(context.folder).record(3) is None


def test_a_share_of_a_gpu_that_torch_cannot_use_is_refused(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"cannot use the GPU of .*nvidia-smi"):
        run_worker_trial(context, PROPOSAL, replace(SHARE, gpus=0.5), lambda _: None)
    assert StudyFolder(context.folder).record(3) is None


def test_a_share_without_a_gpu_sees_none(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(MachineError):
        run_worker_trial(replace(context, fingerprint="another"), PROPOSAL, SHARE, lambda _: None)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_the_end_of_gpu_memory_is_told_with_the_batch_size(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    # While it scores, after training; training itself is in test_train.py.
    monkeypatch.setattr("raysearch.training.trial.fit_embeddings", full)
    record, _ = run(context)
    assert record is not None
    assert record.state is State.FAIL
    assert record.error.startswith("out of GPU memory at batch size 16: OutOfMemoryError: CUDA")


def test_a_network_that_no_trial_can_train_is_told_and_is_no_trials_failure(
    context: StudyContext,
) -> None:
    options = context.options.model_copy(update={"n_mels": 2000})
    reports: Reports = []
    space = context.space.model_copy(update={"fixed": options})
    run_worker_trial(replace(context, space=space), PROPOSAL, SHARE, reports.append)
    assert [list(report) for report in reports] == [["refused"]]
    assert reports[0]["refused"].startswith("n_mels=2000 is too many for n_fft=")
    assert StudyFolder(context.folder).record(3) is None
    assert not (context.folder / "encoders").exists()


def test_weights_that_were_replaced_during_a_search_are_refused(
    context: StudyContext, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"of the beginning")
    options = context.options.model_copy(update={"pretrained": str(weights)})
    space = context.space.model_copy(update={"fixed": options})
    by_path = replace(context, space=space)
    context = replace(by_path, files=file_hashes([options]))
    assert context.config(PROPOSAL).signature() != by_path.config(PROPOSAL).signature()
    weights.write_bytes(b"of another training")
    reports: Reports = []
    run_worker_trial(context, PROPOSAL, SHARE, reports.append)
    assert reports[0]["refused"].startswith(
        f"{weights} holds other weights than when the search was begun (sha256 "
    )
    assert StudyFolder(context.folder).record(3) is None


def test_a_trial_of_a_replaced_study_leaves_no_record(context: StudyContext) -> None:
    study = StudyFolder(context.folder)

    def replace_study(_: object) -> None:
        study.create(make_manifest().model_copy(update={"started": "2031-01-01T00:00:00+00:00"}))

    run_worker_trial(context, PROPOSAL, SHARE, replace_study)
    assert study.records() == []
