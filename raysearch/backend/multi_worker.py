"""A trial that several workers train together, on one machine or many, by Ray Train."""

from collections.abc import Mapping
from typing import Any

import ray.train
from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from raysearch.backend.environment import TRAIN, environment, tune_storage
from raysearch.backend.failures import AttemptError, located, located_failures
from raysearch.backend.process_group import ClosedTorchConfig
from raysearch.backend.resources import Share
from raysearch.backend.worker import run_worker_trial
from raysearch.study.context import StudyContext
from raysearch.study.records import Proposal

SLACK = 0.1
"""Part of a CPU that each worker leaves free, so that the drivers fit beside the workers."""


def train_with_workers(
    context: StudyContext,
    proposal: Proposal,
    share: Share,
    name: str,
    selector: Mapping[str, str],
) -> None:
    """Run a trial on its workers; rank 0 writes the record.

    Args:
        context: of the study.
        proposal: of the trial.
        share: of the cluster that the workers hold.
        name: unique name of the trial.
        selector: labels of the machines on which workers may start; empty for all.

    Raises:
        AttemptError: a worker failed, and says where.
        TrainingFailedError: a worker was lost.
    """
    worker_resources = {"CPU": share.cpus - SLACK} | ({"GPU": share.gpus} if share.gpus else {})
    storage, filesystem = tune_storage(context.folder / "tune")
    trainer = TorchTrainer(
        _worker,
        torch_config=ClosedTorchConfig(),
        train_loop_config={"context": context, "proposal": proposal, "share": share},
        scaling_config=ScalingConfig(
            num_workers=share.workers,
            use_gpu=share.gpus > 0,
            resources_per_worker=worker_resources,
            # Ray's types are those of an earlier class.
            label_selector=dict(selector) or None,  # type: ignore[call-arg]
        ),
        run_config=RunConfig(
            name=f"workers-{name}",
            storage_path=storage,
            storage_filesystem=filesystem,
            # Tune restarts the trial.
            failure_config=FailureConfig(max_failures=0),
            # Ray calls it a callback, its types do not.
            callbacks=[TuneReportCallback()],  # type: ignore[list-item,no-untyped-call]
        ),
    )
    try:
        with environment(TRAIN):
            trainer.fit()
    except TrainingFailedError as error:
        # A worker may have recorded why the trial cannot be finished.
        record = context.study.record(proposal.number)
        if record is None:
            workers = getattr(error, "worker_failures", {}).values()
            raise next((e for e in workers if isinstance(e, AttemptError)), error) from error
        tune.report({"state": str(record.state)})


def _worker(config: dict[str, Any]) -> None:
    with located_failures():
        report = located(ray.train.report)
        run_worker_trial(config["context"], config["proposal"], config["share"], report)
