"""A run that a program asks for: the same as `raysearch run`."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack

from rich.console import Console

from raysearch.backend.resources import Resources
from raysearch.backend.search_callback import SearchCallback
from raysearch.pipeline.request import Request
from raysearch.pipeline.run import run as run_studies
from raysearch.pipeline.study import Study
from raysearch.storage import place
from raysearch.study.folder import study_name

RESOURCES = {
    "gpus_per_trial": "gpus",
    "cpus_per_trial": "cpus",
    "concurrent": "concurrent",
    "workers_per_trial": "workers",
}
"""Options of a run that say what a trial holds, and what `Resources` calls them."""


class RunOptions(TypedDict, total=False):
    """Options of a run, by the names of the flags of `raysearch run`.

    Attributes:
        out: folder of the results; "runs" by default.
        name: of the study's folder; the machine type by default.
        space: space file; by default the one of the machine type, else the default space.
        time_budget: in s.
        warm_start: studies, or folders of some, whose best configurations are tried first.
        final: run the final test on the test IDs.
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
    time_budget: float
    gpu_hours: float
    warm_start: Sequence[str | PathLike[str]]
    channel: int
    ground_truth: str | PathLike[str]
    allow_defects: bool
    keep_checkpoints: bool
    fresh: bool
    final: bool
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
        machine: target machine type.
        callbacks: told of the search.
        options: see `RunOptions`.

    Returns:
        The study, with its winner.

    Raises:
        UserError: bad input; nothing was written.
        NoResultError: no trial has a score.
        StoppedError: the search was interrupted.
    """
    # By their types; a name that is not known is refused below.
    given: dict[str, Any] = dict(options)
    command = _command(data, machine, given)
    quiet, out = given.pop("quiet", False), place(str(given.pop("out", "runs")))
    held = {RESOURCES[key]: given.pop(key) for key in RESOURCES if key in given}
    if "space" in given:
        given["space"] = Path(given["space"])
    if "ground_truth" in given:
        given["ground_truth"] = place(str(given["ground_truth"]))
    given["warm_start"] = tuple(place(str(folder)) for folder in given.get("warm_start", ()))
    request = Request(place(str(data)), out, Resources(**held), command=command, **given)
    run_studies(request, [machine], Console(quiet=quiet), callbacks)
    return Study(str(out / study_name(machine, request.name, several=False)))


def _command(data: object, machine: str, options: dict[str, Any]) -> str:
    """Return the call as text, for study.json and the ledger."""
    named = {"machine": machine, **options}
    return f"raysearch.run({str(data)!r}, {', '.join(f'{k}={v!r}' for k, v in named.items())})"
