"""Function that Tune runs for each trial, in a separate process on any node."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray import tune

from raysearch.backend.failures import located, located_failures, selector
from raysearch.backend.resources import Share
from raysearch.study.context import StudyContext
from raysearch.study.records import Proposal

RunTrial = Callable[[StudyContext, Proposal, Share, Callable[[dict[str, Any]], None]], None]
"""Signature of `run_worker_trial`."""


def run_tune_trial(
    config: dict[str, Any], parameters: tuple[Mapping[str, StudyContext], Share, RunTrial | None]
) -> None:
    """Run a trial from its proposal to its record.

    Args:
        config: the proposal, see `Proposal.to_tune`.
        parameters: context of each study, a trial's share of the cluster, and a function to call
            instead of `run_worker_trial`.

    Raises:
        AttemptError: the machine or the storage failed; the trial can resume elsewhere.
    """
    with located_failures():
        _run(config, *parameters)


def _run(
    config: dict[str, Any],
    contexts: Mapping[str, StudyContext],
    share: Share,
    run_trial: RunTrial | None,
) -> None:
    context, proposal = contexts[config["study"]], Proposal.from_tune(config)
    # The driver imports this module, and needs neither torch nor Ray Train.
    if share.workers > 1:
        with _paused_garbage_collection():
            from raysearch.backend.multi_worker import train_with_workers

        name = tune.get_context().get_trial_id()
        train_with_workers(context, proposal, share, name, selector(config))
        return
    if run_trial is not None:
        run_trial(context, proposal, share, located(tune.report))
        return
    with _paused_garbage_collection():
        import raysearch.model.backbone  # noqa: F401 - an encoder is built of it
        from raysearch.backend.worker import run_worker_trial

    run_worker_trial(context, proposal, share, located(tune.report))


@contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Pause garbage collection in this block: it takes a tenth of the time of imports.

    Later collections skip the imported objects, too.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
