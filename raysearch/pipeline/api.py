"""Functions for programs and notebooks: a run as by `raysearch run`, and a single training."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack

from raysearch.backend.resources import Resources
from raysearch.backend.search_callback import SearchCallback
from raysearch.data.dataset import open_data
from raysearch.data.source import make_source
from raysearch.pipeline.plan import check_shared
from raysearch.pipeline.request import Request
from raysearch.pipeline.run import run as run_studies
from raysearch.pipeline.shared import run_shared
from raysearch.pipeline.study import Study
from raysearch.report.live import show_on_console
from raysearch.storage import to_path
from raysearch.study.folder import study_name
from raysearch.study.machines import SHARED
from raysearch.study.space import Space
from raysearch.study.space_files import find_space, load_space
from raysearch.training.configuration import Configuration, TrialConfig
from raysearch.training.outcome import Epoch, TrialResult
from raysearch.training.weights import file_hashes

RESOURCES = {
    "gpus_per_trial": "gpus",
    "cpus_per_trial": "cpus",
    "concurrent": "concurrent",
    "workers_per_trial": "workers",
}
"""Options of a run about the resources of a trial -> their fields in `Resources`."""


class RunOptions(TypedDict, total=False):
    """Options of a run, by the names of the flags of `raysearch run`.

    Attributes:
        out: folder of the results; "runs" by default.
        name: of the study's folder; the machine type by default.
        space: space file; by default the one of the machine type, else the default space.
        trials: number of configurations to try, instead of the space file's.
        epochs: of a trial, instead of the space file's.
        seed: of the sampler and the trials, instead of the space file's.
        gpus_per_trial: 1, 2, a part such as 0.25, or "auto".
        cpus_per_trial: CPUs of each worker of a trial.
        workers_per_trial: processes that train a trial together.
        concurrent: largest number of trials at once.
        address: of the Ray cluster to join; by default Ray is started on this machine.
        dashboard: start Ray's dashboard on this machine.
        insecure: start Ray on this machine without a token.
        time_budget: in s; trials stopped by the budget resume on the next call.
        gpu_hours: hours of all trials together.
        warm_start: studies, or folders of studies, whose best configurations are tried first.
        shared: with `machine="all"`, search one configuration on all validation machines of the
            space file, and test it on its test machines.
        channel: of the recordings, from 0; by default the mean of all channels.
        ground_truth: folder of the labels of the evaluation data.
        allow_defects: leave out defective recordings, however many.
        keep_checkpoints: keep the checkpoints of the trials that did not win.
        fresh: delete the study that is in the folder.
        retry_failed: train the failed trials of the study again.
        final: run the final test on the test IDs.
        reopen_test: run the final test of a new winner though another one was tested before.
        report: draw report.html.
        quiet: print nothing.
    """

    out: str | PathLike[str]
    name: str
    space: str | PathLike[str]
    trials: int
    epochs: int
    seed: int
    gpus_per_trial: float | str
    cpus_per_trial: int
    workers_per_trial: int
    concurrent: int
    address: str
    dashboard: bool
    insecure: bool
    time_budget: float
    gpu_hours: float
    warm_start: Sequence[str | PathLike[str]]
    shared: bool
    channel: int
    ground_truth: str | PathLike[str]
    allow_defects: bool
    keep_checkpoints: bool
    fresh: bool
    retry_failed: bool
    final: bool
    reopen_test: bool
    report: bool
    quiet: bool


def run(
    data: str | PathLike[str],
    *,
    machine: str,
    callbacks: Sequence[SearchCallback] = (),
    **options: Unpack[RunOptions],
) -> Study:
    """Search the best configuration for a machine type, and test it once.

    The same call again resumes, as `raysearch run` does.

    Args:
        data: folder of the recordings, or s3://... or gs://...
        machine: target machine type; "all" with `shared=True`.
        callbacks: receive the events of the search.
        options: see `RunOptions`.

    Returns:
        The study, with its winner.

    Raises:
        UserError: bad input; nothing was written.
        NoResultError: no trial has a score.
        StoppedError: the search was interrupted.
        MachineError: trials failed on machines; the same call tries them again.
    """
    # Any: `Request` refuses an unknown name below.
    fields: dict[str, Any] = dict(options)
    command = _command(data, machine, fields)
    quiet, out = fields.pop("quiet", False), to_path(str(fields.pop("out", "runs")))
    resources = Resources(**{RESOURCES[key]: fields.pop(key) for key in RESOURCES if key in fields})
    if "space" in fields:
        fields["space"] = Path(fields["space"])
    if "ground_truth" in fields:
        fields["ground_truth"] = to_path(str(fields["ground_truth"]))
    fields["warm_start"] = tuple(to_path(str(folder)) for folder in fields.get("warm_start", ()))
    request = Request(to_path(str(data)), out, resources, command=command, **fields)
    if request.shared:
        check_shared([machine], has_start=bool(request.warm_start))
    with show_on_console(quiet=quiet) as (view, bars):
        if request.shared:
            run_shared(request, [view, *callbacks], bars)
        else:
            run_studies(request, [machine], [view, *callbacks], bars)
    name = SHARED if request.shared else machine
    return Study(str(out / study_name(name, request.name, several=False)))


def run_trial(
    configuration: Configuration,
    data: str | PathLike[str],
    *,
    machine: str,
    folder: str | PathLike[str],
    space: str | PathLike[str] | Space | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> TrialResult:
    """Train one encoder and score every inlier model on its embeddings, without Ray.

    The same call again resumes an interrupted training, and loads a finished encoder.

    Args:
        configuration: hyperparameters of the encoder.
        data: folder of the recordings, or s3://... or gs://...
        machine: target machine type.
        folder: of checkpoints; each encoder has a folder of its signature in it.
        space: space file, or a space: its `fixed` options, inlier models, validation IDs and seed
            are used; by default the space file of the machine type, else the default.
        on_epoch: receives each epoch.

    Returns:
        Validation scores of every inlier model, and the epochs.

    Raises:
        UserError: bad input.
        TrialError: training diverged, or needs more memory than there is.
    """
    # Now: torch takes seconds to import.
    from raysearch.training.network import check_network
    from raysearch.training.trial import run_trial as train_and_score

    if not isinstance(space, Space):
        space = load_space(find_space(machine, Path(space) if space else None))
    options = space.fixed.replace(dict(configuration.options))
    check_network(options)
    recordings = open_data(make_source(to_path(str(data)), machine, space.validation_ids, options))
    config = TrialConfig(
        machine=machine,
        data=recordings.fingerprint,
        configuration=configuration,
        seed=space.strategy.seed,
        options=options,
        files=file_hashes([options]),
    )
    encoder = to_path(str(folder)) / config.signature()
    return train_and_score(config, recordings, space.search.specs, on_epoch, encoder)


def _command(data: object, machine: str, options: dict[str, Any]) -> str:
    """Return the call as text, for study.json and the ledger."""
    keywords = {"machine": machine, **options}
    return f"raysearch.run({str(data)!r}, {', '.join(f'{k}={v!r}' for k, v in keywords.items())})"
