"""The only module that knows Ray: a search as a Tune run.

Tune schedules; the study's records decide. Each trial writes its own record where it ends, the
searcher asks `Sampler` and reads records back, so nothing of Tune's state is needed to resume.
"""

import os
import signal
import socket
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from raysearch.audio.dataset import Source
from raysearch.config import Options
from raysearch.errors import UserError
from raysearch.score.inlier import InlierSpec
from raysearch.search.sampler import Sampler
from raysearch.search.study import Proposal, Record, State, StudyFolder

# Set before ray is imported, which reads them then.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
from filelock import FileLock
from ray import tune
from ray.tune import Callback, RunConfig
from ray.tune.logger import TBXLoggerCallback
from ray.tune.search import Searcher


@dataclass(frozen=True)
class Resources:
    """What one trial holds and how many run at once.

    Attributes:
        gpus: of a trial, a fraction to pack several on one GPU; None takes one where there are
            GPUs.
        cpus: of a trial; None divides the CPUs.
        concurrent: trials at once; None takes what fits.
    """

    gpus: float | None = None
    cpus: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True)
class Job:
    """What every trial of a study shares; small, since it travels to each node."""

    folder: Path
    source: Source
    fingerprint: str
    options: Options
    inliers: tuple[InlierSpec, ...]
    seed: int


class View(Protocol):
    """Somebody who watches a search."""

    def cluster(self, dashboard: str, concurrent: int) -> None:
        """The search begins."""

    def started(self, proposal: Proposal) -> None:
        """A trial was given out."""

    def epoch(self, number: int, result: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""

    def finished(self, record: Record) -> None:
        """A trial ended."""

    def tick(self) -> None:
        """Time has passed."""


@contextmanager
def cluster() -> Iterator[str]:
    """Joins the Ray cluster of `$RAY_ADDRESS`, else starts one on this machine.

    Yields:
        Address of the dashboard, empty if there is none.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address:
        context = ray.init(address=address, logging_level="error", log_to_driver=False)
    else:
        # Without a network Ray would probe for an address to call its own.
        context = ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            dashboard_host="127.0.0.1",
            include_dashboard=True,
            logging_level="error",
            log_to_driver=False,
        )
    try:
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""
    finally:
        ray.shutdown()


def check_gpus(resources: Resources) -> None:
    """Refuses GPUs that this machine does not have, before anything is started.

    Raises:
        UserError: more were asked for than there are.
    """
    if resources.gpus and not os.environ.get("RAY_ADDRESS"):
        import torch

        _refuse_gpus(resources.gpus, torch.cuda.device_count())


def _refuse_gpus(asked: float, there: float) -> None:
    if asked > there:
        have = "no GPU" if not there else f"{there:g} GPU" + ("" if there == 1 else "s")
        raise UserError(
            f"--gpus-per-trial {asked:g}: this machine has {have}; leave the flag out to train "
            "on what there is"
        )


def fit(resources: Resources) -> tuple[float, int, int]:
    """Fits a trial's resources to the cluster.

    Returns:
        GPUs and CPUs of a trial, trials at once.

    Raises:
        UserError: the cluster can never run such a trial.
    """
    have = ray.cluster_resources()
    gpus_there, cpus_there = have.get("GPU", 0.0), int(have.get("CPU", 1))
    gpus = resources.gpus if resources.gpus is not None else min(1.0, gpus_there)
    _refuse_gpus(gpus, gpus_there)
    if gpus > 1 and gpus != int(gpus):
        raise UserError(f"--gpus-per-trial {gpus:g}: more than one GPU must be a whole number")
    slots = int(gpus_there / gpus) if gpus else cpus_there
    wanted = min(slots, resources.concurrent or slots)
    cpus = resources.cpus or max(1, cpus_there // max(1, wanted))
    if cpus > cpus_there:
        raise UserError(f"--cpus-per-trial {cpus}: there are {cpus_there} CPUs here")
    return gpus, cpus, max(1, min(wanted, cpus_there // cpus))


def search(
    job: Job,
    sampler: Sampler,
    trials: int,
    resources: Resources,
    view: View,
    *,
    time_budget: float | None = None,
) -> bool:
    """Runs trials until the study has as many as were asked for.

    Args:
        job: what all trials share.
        sampler: of the study, with what was tried so far.
        trials: of the study in all, earlier ones included.
        resources: of a trial.
        view: told of everything.
        time_budget: seconds after which running trials are stopped.

    Returns:
        Whether it came to its end; False if it was interrupted.

    Raises:
        UserError: the cluster cannot run such a trial.
    """
    study = StudyFolder(job.folder)
    with cluster() as dashboard:
        gpus, cpus, concurrent = fit(resources)
        view.cluster(dashboard, concurrent)
        searcher = _Searcher(study, sampler, trials)
        trainable = tune.with_resources(
            tune.with_parameters(_trial, job=job, cpus=cpus), {"cpu": cpus, "gpu": gpus}
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=trials,
                max_concurrent_trials=concurrent,
                time_budget_s=time_budget,
                reuse_actors=True,
                trial_dirname_creator=_folder_name,
            ),
            run_config=RunConfig(
                name="tune",
                storage_path=str(job.folder.absolute()),
                failure_config=tune.FailureConfig(max_failures=3),
                callbacks=[_Relay(study, sampler, view), TBXLoggerCallback()],
                verbose=0,
            ),
        )
        with _interrupts() as interrupted:
            tuner.fit()
    return not interrupted


def _folder_name(trial: Any) -> str:
    return f"trial_{trial.config['number']:04d}"


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Notes Ctrl-C while Tune, whose handler stops the trials, gets it as well."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield seen
    except KeyboardInterrupt:
        seen.append(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


class _Stateless:
    """Leaves nothing in the pickles that Tune writes of its parts: records are the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Searcher(_Stateless, Searcher):  # type: ignore[misc]
    """Hands out first what an interrupted run left open, then what the sampler proposes."""

    def __init__(self, study: StudyFolder, sampler: Sampler, trials: int) -> None:
        super().__init__(metric="val_score", mode="max")
        self.study, self.sampler, self.trials = study, sampler, trials
        self.waiting = [p for p in study.proposals() if p.number in sampler.open]
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self.waiting:
            proposal = self.waiting.pop(0)
        else:
            if self.sampler.next_number >= self.trials:
                return str(Searcher.FINISHED)
            asked = self.sampler.ask()
            if asked is None:
                return str(Searcher.FINISHED)
            proposal = asked
            self.study.propose(proposal)
        self.numbers[trial_id] = proposal.number
        return {"number": proposal.number, "proposal": asdict(proposal)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        record = self.study.record(self.numbers[trial_id])
        if record is not None:
            self.sampler.tell(record)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: records and proposals are the state."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a study is rebuilt from its records")


class _Relay(_Stateless, Callback):  # type: ignore[misc]
    """Passes Tune's events on to the view, and records trials whose process died."""

    def __init__(self, study: StudyFolder, sampler: Sampler, view: View) -> None:
        self.study, self.sampler, self.view = study, sampler, view

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.view.started(Proposal(**trial.config["proposal"]))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["number"]
        if "epoch" in result and number in self.sampler.open:
            self.sampler.report(number, result["epoch"], result["val_loss"])
            self.view.epoch(number, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self.study.record(trial.config["number"])
        if record is not None:
            self.view.finished(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        error = str(trial.get_error() or "its process died").strip().splitlines()[-1]
        job_record = Record(
            Proposal(**trial.config["proposal"]), State.FAIL, "", 0, 0, "", error=error
        )
        self.study.add(job_record)
        record = self.study.record(number)
        assert record is not None
        self.sampler.tell(record)
        self.view.finished(record)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.view.tick()


def _trial(config: dict[str, Any], job: Job, cpus: int) -> None:
    """The trainable: runs in a process of its own, on any node."""
    # Imported here: the driver needs neither torch nor a GPU.
    import torch

    from raysearch.audio.dataset import open_data
    from raysearch.config import TrialConfig
    from raysearch.train import Epoch
    from raysearch.trial import run_trial

    torch.set_num_threads(cpus)
    study, proposal = StudyFolder(job.folder), Proposal(**config["proposal"])
    if study.record(proposal.number) is not None:
        return
    trial = TrialConfig(
        machine=job.source.machine,
        data=job.fingerprint,
        lr=proposal.lr,
        batch_size=proposal.batch_size,
        lam=proposal.lam,
        seed=job.seed,
        options=job.options,
    )
    signature = trial.signature()
    inliers = (InlierSpec(proposal.inlier, proposal.p),) if proposal.inlier else job.inliers

    def report(epoch: Epoch) -> None:
        tune.report({**asdict(epoch), "timesteps_total": epoch.epoch})

    facts: dict[str, Any] = {
        "proposal": proposal,
        "encoder": signature,
        "epochs": job.options.epochs,
        "seed": job.seed,
        "host": socket.gethostname(),
    }
    folder = study.encoder(signature)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        data = open_data(job.source)
        # With `inlier: sample` two trials may want one encoder: the second waits and loads it.
        with FileLock(folder / "lock"):
            result = run_trial(trial, data, inliers, report, folder)
    except Exception as error:  # Whatever it is, the search goes on and says it.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        (folder / "error.txt").write_text(traceback.format_exc())
        study.add(Record(state=State.FAIL, error=reason, **facts))
        tune.report({"state": str(State.FAIL)})
        return
    record = Record(state=State.COMPLETE, **facts, **vars(result))
    study.add(record)
    best = record.best
    tune.report({"state": str(State.COMPLETE), "val_score": best.val_score if best else None})
