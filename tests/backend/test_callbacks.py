"""What Tune tells of a search, handed to queues, callbacks and records: without a cluster."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from raysearch.backend import cluster
from raysearch.backend.background_import import BackgroundImport
from raysearch.backend.callbacks import (
    BudgetStopper,
    EventForwarder,
    PruningScheduler,
    errors_of_callbacks,
)
from raysearch.backend.connection import RayConnection, connect_to_ray
from raysearch.backend.resources import Cluster, Node, Resources, Share
from raysearch.backend.search_callback import CallbackList, SearchCallback, StudyProgress
from raysearch.errors import MachineError
from raysearch.search.budget import Budget
from raysearch.search.retries import ATTEMPTS
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.records import Proposal, Record, State
from raysearch.training.outcome import Epoch
from tests.records import complete, failed, row
from tests.search.queues import epoch, interrupt, make_queue, space

SHARE = Share(workers=1, cpus=1, gpus=0.5, concurrent=2)


@pytest.fixture(autouse=True)
def _session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for the errors that Tune keeps, without a Ray that runs."""
    session = "ray.train._internal.storage._get_ray_train_session_dir"
    monkeypatch.setattr(session, lambda: str(tmp_path / "session"))


class Notes(SearchCallback):
    """A callback that notes all it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def on_search_start(self, studies: Sequence[StudyProgress], budget: Budget) -> None:
        self.events.append(("search start", [study.name for study in studies], budget))

    def on_cluster_ready(self, cluster: Cluster, share: Share) -> None:
        self.events.append(("cluster ready", cluster.dashboard, share))

    def on_trial_start(self, study: str, proposal: Proposal) -> None:
        self.events.append(("trial start", study, proposal))

    def on_recordings_read(self, study: str, number: int, host: str, clips: int) -> None:
        self.events.append(("recordings read", study, number, host, clips))

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        self.events.append(("epoch end", study, number, epoch))

    def on_trial_restart(self, study: str, number: int, host: str, reason: str) -> None:
        self.events.append(("trial restart", study, number, host, reason))

    def on_trial_end(self, study: str, record: Record) -> None:
        self.events.append(("trial end", study, record))

    def on_warning(self, text: str) -> None:
        self.events.append(("warning", text))

    def on_step_end(self) -> None:
        self.events.append(("step end",))

    def on_search_end(self) -> None:
        self.events.append(("search end",))


@pytest.fixture
def dashboard() -> Future[str]:
    """The address of Ray's dashboard, which is still starting."""
    return Future()


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch, dashboard: Future[str]) -> Iterator[RayConnection]:
    """A cluster of one machine; whether one is there is the matter of other tests."""
    cluster_and_dashboard = (Cluster("", "", (Node(2),)), dashboard)
    monkeypatch.setattr(cluster, "connect", lambda address, **options: cluster_and_dashboard)
    monkeypatch.setattr(cluster, "disconnect", lambda: None)
    with connect_to_ray("", Resources()) as connection:
        yield connection


class Search:
    """A study, and what Tune would call while its trials run."""

    def __init__(self, folder: Path, connection: RayConnection, **strategy: object) -> None:
        self.folder = folder
        self.queue: TrialQueue = make_queue(folder / "valve", space(**strategy))
        self.queue.devices = SHARE.devices
        self.notes = Notes()
        self.imports = BackgroundImport(("this",))
        self.forwarder = EventForwarder(
            [self.queue], CallbackList([self.notes]), connection, SHARE, self.imports
        )

    def start(self) -> Trial:
        """The next trial, as Tune has it."""
        proposal = self.queue.next(())
        assert proposal is not None
        storage = StorageContext(
            str(self.folder), "tune", trial_dir_name=f"trial_{proposal.number:04d}"
        )
        Path(storage.trial_fs_path).mkdir(parents=True)
        config = proposal.to_tune(self.queue.name)
        return Trial("trial", config=config, storage=storage, stub=True)

    def report(self, trial: Trial, result: Mapping[str, Any]) -> None:
        self.forwarder.on_trial_result(0, [], trial, {"hostname": "there", **result})

    def record(self, trial: Trial) -> Record | None:
        return self.queue.study.record(trial.config["number"])


@pytest.fixture
def search(tmp_path: Path, connection: RayConnection) -> Search:
    return Search(tmp_path, connection)


def result(of: Epoch) -> dict[str, Any]:
    return {"hostname": "there", **asdict(of)}


def proposal(search: Search, trial: Trial) -> Proposal:
    return search.queue.proposals[int(trial.config["number"])]


# What callbacks are told


def test_the_cluster_is_told_once_with_the_first_trial(
    search: Search, dashboard: Future[str]
) -> None:
    search.forwarder.on_step_end(0, [])
    assert search.notes.events == [("step end",)]  # the dashboard has not started, nor has a trial
    trial = search.start()
    search.forwarder.on_trial_start(0, [], trial)
    dashboard.set_result("127.0.0.1:8265")
    search.forwarder.on_step_end(0, [])
    assert search.notes.events[1:] == [
        ("cluster ready", "", SHARE),
        ("trial start", "valve", proposal(search, trial)),
        ("step end",),
    ]


def test_a_dashboard_that_starts_before_the_first_trial_is_told_with_the_cluster(
    search: Search, dashboard: Future[str]
) -> None:
    dashboard.set_result("127.0.0.1:8265")
    search.forwarder.on_step_end(0, [])
    assert search.notes.events == [("cluster ready", "http://127.0.0.1:8265", SHARE), ("step end",)]


def test_epochs_and_recordings_are_told_as_they_come(search: Search) -> None:
    trial = search.start()
    search.report(trial, {"clips_read": 7})
    assert not search.imports.is_loaded("this")
    search.report(trial, result(epoch(1)))
    search.report(trial, {"state": "COMPLETE", "val_score": 0.5})
    assert search.notes.events == [
        ("recordings read", "valve", 0, "there", 7),
        ("epoch end", "valve", 0, epoch(1)),
    ]


def test_what_is_needed_later_is_imported_from_the_first_epoch_on(search: Search) -> None:
    with search.imports:
        search.report(search.start(), result(epoch(1)))
        assert search.imports._events["this"].wait(60)


def test_an_epoch_forgives_the_faults_before_it(search: Search) -> None:
    trial = search.start()
    search.forwarder.on_trial_error(0, [], trial)
    search.report(trial, {"clips_read": 7})
    assert len(search.forwarder.retries.failures) == 1
    search.report(trial, result(epoch(1)))
    assert search.forwarder.retries.failures == []


@pytest.mark.parametrize(
    ("fault", "reason", "host"),
    [
        (None, "its process died", "there"),
        ("The actor died.\n\tpid: 7", "its process died: The actor died.", "there"),
        (
            "Traceback\nraysearch.backend.failures.AttemptError: "
            '{"reason": "OSError: no space left", "host": "node7", "node": "ab"}',
            "OSError: no space left",
            "node7",
        ),
    ],
)
def test_a_lost_trial_is_told_with_its_host_and_reason_and_is_tried_again(
    search: Search, fault: str | None, reason: str, host: str
) -> None:
    trial = search.start()
    trial.run_metadata.last_result = {"hostname": "there"}
    if fault is not None:
        note(trial, fault)
    search.forwarder.on_trial_error(0, [], trial)
    assert search.notes.events == [("trial restart", "valve", 0, host, reason)]
    assert search.record(trial) is None
    assert search.queue.waiting == [proposal(search, trial)]
    assert search.forwarder.retries.pausing == {("valve", 0)}


def test_a_trial_that_always_fails_on_machines_is_left_to_the_next_run(search: Search) -> None:
    trial = search.start()
    for _ in range(ATTEMPTS):
        search.forwarder.on_trial_error(0, [], trial)
    assert search.notes.events[-1][0] == "warning"
    assert "failed 8 times in a row on machines" in search.notes.events[-1][1]
    assert search.queue.set_aside == {0: "its process died"}
    assert search.record(trial) is None


def test_a_machine_that_fails_one_trial_after_the_other_is_named_once(search: Search) -> None:
    trial = search.start()
    facts = '{"reason": "OSError: gone", "host": "bad", "node": "ab"}'
    note(trial, f"Traceback\nraysearch.backend.failures.AttemptError: {facts}")
    for _ in range(5):
        search.forwarder.on_trial_error(0, [], trial)
    warnings = [event[1] for event in search.notes.events if event[0] == "warning"]
    assert len(warnings) == 1
    assert warnings[0].startswith("bad failed 3 times in a row")
    avoided = search.forwarder.retries.avoid("valve", 1, ["ab", "cd"])
    assert avoided == ("ab",)


def test_a_machine_that_cannot_build_the_network_of_others_is_refused_alone(
    search: Search,
) -> None:
    good, bad = search.start(), search.start()
    search.report(good, result(epoch(1)))
    refusal = {"refused": "pretrained: there is no file w"}
    search.report(bad, refusal)
    assert search.forwarder.refusal is None
    bad.run_metadata.last_result = {"hostname": "bad", **refusal}
    search.forwarder.on_trial_complete(0, [], bad)
    assert search.notes.events[-1] == ("trial restart", "valve", 1, "bad", refusal["refused"])


def test_a_damaged_checkpoint_is_a_line(search: Search) -> None:
    search.report(search.start(), {"note": "last.safetensors is damaged"})
    assert search.notes.events == [("warning", "valve trial 0: last.safetensors is damaged")]


def note(trial: Trial, fault: str) -> None:
    """Leave the note of a fault as Tune does, in the folder of a trial."""
    trial.run_metadata.error_filename = "error.txt"  # type: ignore[assignment]
    assert trial.error_file is not None
    Path(trial.error_file).parent.mkdir(parents=True, exist_ok=True)
    Path(trial.error_file).write_text(f"Failure # 1 (occurred at noon)\n{fault}\n")


# Records


def test_the_record_that_a_trial_wrote_is_taken_when_it_ends(search: Search) -> None:
    trial = search.start()
    search.forwarder.on_trial_complete(0, [], trial)
    assert search.notes.events == []  # it wrote none: it will be started again
    record = complete(proposal(search, trial), row("gmm", 1, 0.75))
    search.queue.study.add(record)
    search.forwarder.on_trial_complete(0, [], trial)
    assert search.notes.events == [("trial end", "valve", record)]
    assert search.queue.records == {0: record}


def test_a_record_of_a_trial_whose_workers_were_ended_is_taken(search: Search) -> None:
    trial = search.start()
    record = failed(proposal(search, trial))
    search.queue.study.add(record)
    search.forwarder.on_trial_error(0, [], trial)
    assert search.notes.events == [("trial end", "valve", record)]


@pytest.fixture
def behind(tmp_path: Path, connection: RayConnection) -> tuple[Search, Trial]:
    """A trial that is worse at a rung than one before it."""
    search = Search(tmp_path, connection, scheduler="asha", grace=2)
    good, bad = search.start(), search.start()
    scheduler = PruningScheduler(search.forwarder, trials_stop_themselves=False)
    for number, score in ((1, None), (2, 0.9), (3, None), (4, 0.9)):
        decision = scheduler.on_trial_result(None, good, result(epoch(number, score)))
        assert decision == TrialScheduler.CONTINUE
    interrupt(search.queue, proposal(search, bad), [None, 0.1])
    assert not search.forwarder.should_prune(bad, result(epoch(1)))
    return search, bad


def test_a_trial_that_is_behind_is_recorded_and_stopped(behind: tuple[Search, Trial]) -> None:
    search, bad = behind
    scheduler = PruningScheduler(search.forwarder, trials_stop_themselves=False)
    assert scheduler.on_trial_result(None, bad, result(epoch(2, 0.1))) == TrialScheduler.STOP
    record = search.record(bad)
    assert record is not None
    assert (record.state, record.host, record.devices) == (State.PRUNED, "there", SHARE.devices)
    assert len(record.history) == 2
    # An epoch that was on its way meanwhile changes nothing.
    assert scheduler.on_trial_result(None, bad, result(epoch(3))) == TrialScheduler.CONTINUE
    assert search.record(bad) == record


def test_workers_of_one_trial_that_is_behind_end_by_themselves(
    behind: tuple[Search, Trial],
) -> None:
    search, bad = behind
    scheduler = PruningScheduler(search.forwarder, trials_stop_themselves=True)
    assert scheduler.on_trial_result(None, bad, result(epoch(2, 0.1))) == TrialScheduler.CONTINUE
    record = search.record(bad)
    assert record is not None
    assert record.state is State.PRUNED


def test_a_trial_whose_training_has_ended_may_as_well_be_scored(
    behind: tuple[Search, Trial],
) -> None:
    search, bad = behind
    (search.queue.context.encoder(proposal(search, bad)) / "last.safetensors").unlink()
    scheduler = PruningScheduler(search.forwarder, trials_stop_themselves=False)
    assert scheduler.on_trial_result(None, bad, result(epoch(2, 0.1))) == TrialScheduler.CONTINUE
    assert search.record(bad) is None


def test_a_report_without_an_epoch_stops_nothing(search: Search) -> None:
    scheduler = PruningScheduler(search.forwarder, trials_stop_themselves=False)
    trial = search.start()
    decision = scheduler.on_trial_result(None, trial, {"hostname": "there", "clips_read": 3})
    assert decision == TrialScheduler.CONTINUE
    assert search.queue.device_seconds == 0


# The end of a search


def test_a_search_ends_when_no_trial_can_be_trained(search: Search) -> None:
    ended = BudgetStopper([search.queue], Budget(), search.forwarder)
    assert not ended.stop_all()
    trial = search.start()
    refusal = {"refused": "there is no backbone nonet"}
    search.report(trial, refusal)
    assert search.forwarder.refusal == "there is no backbone nonet"
    assert ended.stop_all()
    assert not ended(trial.trial_id, refusal)  # no trial is ended by itself


def test_a_search_ends_when_its_devices_have_worked_long_enough(search: Search) -> None:
    epoch_hours = SHARE.devices * epoch(1).seconds / 3600
    ended = BudgetStopper([search.queue], Budget(gpu_hours=3.5 * epoch_hours), search.forwarder)
    trial = search.start()
    for number in range(1, 5):
        assert not ended.stop_all()
        search.forwarder.should_prune(trial, result(epoch(number)))
    assert ended.stop_all()


def test_a_callback_that_raises_is_reported_once_and_the_search_continues(search: Search) -> None:
    class Broken(SearchCallback):
        def on_step_end(self) -> None:
            raise ValueError("no such\nthing")

    broken, notes = Broken(), Notes()
    callbacks = CallbackList([broken, notes])
    callbacks.on_step_end()
    callbacks.on_step_end()
    warning = "Broken failed (ValueError: no such thing); the search continues"
    assert notes.events == [("warning", warning), ("step end",), ("step end",)]


def test_what_a_callback_raises_comes_through_tune() -> None:
    @errors_of_callbacks()
    def fit(error: Exception | None) -> None:
        try:
            if error is not None:
                raise error
        except MachineError:
            raise TuneError("Traceback ...")  # noqa: B904 - as Tune does
        raise TuneError("Trials did not complete")

    with pytest.raises(MachineError, match="is gone"):
        fit(MachineError("study.json is gone"))
    with pytest.raises(TuneError, match="did not complete"):
        fit(None)


def test_a_callback_may_stop_a_search_as_ctrl_c_does() -> None:
    class Impatient(SearchCallback):
        def on_step_end(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CallbackList([Impatient()]).on_step_end()


def test_a_callback_hears_what_it_overrides_and_nothing_else(search: Search) -> None:
    callbacks = CallbackList([SearchCallback()])
    names = [name for name in vars(SearchCallback) if name.startswith("on_")]
    assert set(names) == {name for name in vars(CallbackList) if name.startswith("on_")}
    trial = search.start()
    callbacks.on_trial_start("valve", proposal(search, trial))
    callbacks.on_epoch_end("valve", 0, epoch(1))
    assert search.notes.events == []


def test_a_search_leaves_nothing_in_the_pickles_of_tune(search: Search) -> None:
    scheduler = PruningScheduler(search.forwarder, trials_stop_themselves=False)
    for part in (
        search.forwarder,
        scheduler,
        BudgetStopper([search.queue], Budget(), search.forwarder),
    ):
        assert part.__getstate__() == {}
