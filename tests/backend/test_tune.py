"""What Tune is handed: trials as configurations that travel, until the queue is at its end."""

from pathlib import Path

import pytest
from ray.tune import Tuner
from ray.tune.experiment import Trial
from ray.tune.impl.tuner_internal import TunerInternal

from raysearch.backend.background_import import BackgroundImport
from raysearch.backend.callbacks import BudgetStopper, EventForwarder
from raysearch.backend.connection import RayConnection
from raysearch.backend.resources import Cluster, Node, Resources, Share
from raysearch.backend.search_callback import CallbackList
from raysearch.backend.tensorboard import TensorBoard
from raysearch.backend.tune import DRIVER_CPUS, _gpu_part, _Searcher, _tuner, trial_resources
from raysearch.scoring.spec import InlierSpec
from raysearch.search.budget import Budget
from raysearch.search.retries import Retries
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.records import Proposal
from raysearch.training.configuration import Configuration
from tests.search.queues import end, make_queue, space

ALONE = Share(workers=1, cpus=1, gpus=0.0, concurrent=1)


def test_trials_are_handed_out_as_plain_configurations(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space(trials=1))
    searcher = _Searcher([queue], ALONE, Retries(1))
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    [proposal] = queue.proposals
    assert config == {"study": "valve", "number": 0, **proposal.configuration.to_dict()}
    assert Proposal.from_tune(config) == proposal
    # Nothing to do just now is not the end.
    assert searcher.suggest("b") is None
    end(queue, proposal)
    searcher.on_trial_complete("a")
    assert searcher.suggest("b") == "FINISHED"


def test_a_study_that_is_over_has_nothing_to_hand_out(tmp_path: Path) -> None:
    before = make_queue(tmp_path / "valve", space(trials=1))
    proposal = before.next(())
    assert proposal is not None
    end(before, proposal)
    again = make_queue(tmp_path / "valve", space(trials=1))
    assert _Searcher([again], ALONE, Retries(1)).suggest("a") == "FINISHED"


def test_every_part_of_a_proposal_comes_through() -> None:
    proposal = Proposal(
        7,
        Configuration(1e-3, 32, 10.0),
        InlierSpec("gmm", 4),
        seed=3,
        rerun_of=1,
        origin="fan trial 2",
    )
    config = proposal.to_tune("valve")
    assert config["lambda"] == 10.0
    assert None not in config.values()
    assert Proposal.from_tune(config) == proposal
    plain = Proposal(0, Configuration(1e-3, 32, 10.0))
    assert Proposal.from_tune(plain.to_tune("valve")) == plain


def tuner(share: Share, *queues: TrialQueue) -> Tuner:
    """Tune's part of a search that is never started."""
    later = BackgroundImport(())
    connection = RayConnection("", Resources())
    forwarder = EventForwarder(queues, CallbackList([]), connection, share, later)
    stopper = BudgetStopper(queues, Budget(), forwarder)
    return _tuner(queues, forwarder, stopper, TensorBoard(later), None)


def internal(tuner: Tuner) -> TunerInternal:
    assert tuner._local_tuner is not None
    return tuner._local_tuner


@pytest.mark.parametrize(
    ("share", "cpus", "gpus"),
    [
        (Share(workers=1, cpus=2, gpus=0.25, concurrent=3), 2, 0.25),
        # Its workers hold what it asked for.
        (Share(workers=2, cpus=2, gpus=1.0, concurrent=1), DRIVER_CPUS, 0),
    ],
)
def test_a_trial_holds_its_share_and_not_that_of_its_workers(
    tmp_path: Path, share: Share, cpus: float, gpus: float
) -> None:
    made = internal(tuner(share, make_queue(tmp_path / "valve", space())))
    resources = made.converted_trainable._resources({})  # type: ignore[union-attr]
    assert resources.head_cpus == cpus
    assert resources.required_resources == {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    assert made._tune_config.max_concurrent_trials == share.concurrent
    # A process that waits for its workers cannot be reused.
    assert made._tune_config.reuse_actors is (share.workers == 1)
    failure_config = made.get_run_config().failure_config
    assert failure_config is not None
    assert failure_config.max_failures == 0  # `Retries` starts a trial again
    avoiding = trial_resources(share, {"avoid": ["ab", "cd"]})
    assert avoiding.bundles == resources.bundles
    assert avoiding._kwargs == {"bundle_label_selector": [{"ray.io/node-id": "!in(ab,cd)"}]}
    assert avoiding != resources  # so a process on an avoided machine is not reused


def test_what_tune_writes_lies_beside_the_studies_that_it_searches(tmp_path: Path) -> None:
    share = Share(workers=1, cpus=1, gpus=0.0, concurrent=1)
    valve, fan = (make_queue(tmp_path / name, space(), name) for name in ("valve", "fan"))
    trial = Trial("trial", config={"study": "valve", "number": 7}, stub=True)
    for queues, folder, name in (
        ([valve], tmp_path / "valve", "trial_0007"),
        ([valve, fan], tmp_path, "valve_0007"),
    ):
        made = internal(tuner(share, *queues))
        run, tune_config = made.get_run_config(), made._tune_config
        assert (run.storage_path, run.name) == (str(folder), "tune")
        assert tune_config.trial_dirname_creator is not None
        assert tune_config.trial_dirname_creator(trial) == name
        assert tune_config.trial_name_creator is not None
        assert tune_config.trial_name_creator(trial) == "valve_0007"


def test_nothing_is_gpu_part_where_there_is_no_gpu(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space())
    assert _gpu_part([queue], Cluster("", "", (Node(2), Node(4)))) is None
