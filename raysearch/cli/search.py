"""Commands that search: run, and reproduce for the paper's tables."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raysearch.backend.resources import Resources
from raysearch.cli.cluster import run_on_cluster
from raysearch.cli.data import need_data
from raysearch.cli.joining import ray_options
from raysearch.cli.options import (
    Address,
    AllowDefects,
    Channel,
    ClusterFile,
    Concurrent,
    CpusPerTrial,
    Dashboard,
    Data,
    Epochs,
    Fresh,
    GpuHours,
    GpusPerTrial,
    GroundTruth,
    Insecure,
    KeepCheckpoints,
    Machine,
    Machines,
    Name,
    NoFinal,
    NoReport,
    Out,
    ReopenTest,
    RetryFailed,
    Seed,
    Shared,
    Space,
    TimeBudget,
    Trials,
    WarmStart,
    WorkersPerTrial,
    echo,
    parse_budgets,
    parse_gpus,
    typed_command,
)
from raysearch.cli.surroundings import check_cache, check_texts, explanation
from raysearch.errors import MachineError, StoppedError, describe

if TYPE_CHECKING:
    from upath import UPath

    from raysearch.pipeline.request import Request
    from raysearch.storage import AnyPath
    from raysearch.study.systems import Target


def run(
    machine: Machine,
    data: Data = "data",
    out: Out = "runs",
    space: Space = None,
    trials: Trials = None,
    epochs: Epochs = None,
    seed: Seed = None,
    concurrent: Concurrent = None,
    gpus_per_trial: GpusPerTrial = None,
    workers_per_trial: WorkersPerTrial = 1,
    cpus_per_trial: CpusPerTrial = None,
    address: Address = None,
    dashboard: Dashboard = True,
    insecure: Insecure = False,
    cluster: ClusterFile = None,
    time_budget: TimeBudget = None,
    gpu_hours: GpuHours = None,
    warm_start: WarmStart = None,
    name: Name = None,
    shared: Shared = False,
    channel: Channel = None,
    ground_truth: GroundTruth = None,
    allow_defects: AllowDefects = False,
    keep_checkpoints: KeepCheckpoints = False,
    fresh: Fresh = False,
    retry_failed: RetryFailed = False,
    no_final: NoFinal = False,
    reopen_test: ReopenTest = False,
    no_report: NoReport = False,
) -> None:
    """Search the best configuration for a machine type, and test it once.

    The same command again resumes. With --cluster it runs on a cluster.

    Example: raysearch run --machine valve --data data --trials 50
    """
    budgets, gpus = parse_budgets(time_budget, gpu_hours), parse_gpus(gpus_per_trial)
    if cluster is not None:
        return run_on_cluster(cluster, sys.argv[1:])
    request = _request(
        (data, out, ground_truth),
        resources=Resources(gpus, cpus_per_trial, concurrent, workers_per_trial),
        space=space,
        trials=trials,
        epochs=epochs,
        seed=seed,
        channel=channel,
        name=name,
        **budgets,
        warm_start=tuple(_to_path(folder) for folder in warm_start or ()),
        **ray_options(address, dashboard, insecure),
        keep_checkpoints=keep_checkpoints,
        allow_defects=allow_defects,
        **{"fresh": fresh, "retry_failed": retry_failed, "shared": shared},
        final=not no_final,
        reopen_test=reopen_test,
        report=not no_report,
    )
    _run(request, machine)


def reproduce(
    target: Annotated[
        Literal["table1", "table2", "table3", "figure3"],
        typer.Argument(help="Table or figure of Kuroyanagi et al. 2022."),
    ],
    machine: Machines = None,
    data: Data = "data",
    out: Out = "runs",
    space: Space = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Repetitions of each search, with other seeds.")
    ] = 1,
    trials: Trials = None,
    epochs: Epochs = None,
    concurrent: Concurrent = None,
    gpus_per_trial: GpusPerTrial = None,
    workers_per_trial: WorkersPerTrial = 1,
    cpus_per_trial: CpusPerTrial = None,
    address: Address = None,
    dashboard: Dashboard = True,
    insecure: Insecure = False,
    cluster: ClusterFile = None,
    time_budget: TimeBudget = None,
    gpu_hours: GpuHours = None,
    channel: Channel = None,
    ground_truth: GroundTruth = None,
    allow_defects: AllowDefects = False,
    fresh: Fresh = False,
    no_report: NoReport = False,
) -> None:
    """Search the systems of a table or a figure of the paper, and write it, theirs beside ours.

    table1: best configurations. table2: four systems. table3: ablations. figure3: embeddings.
    They share their studies in the folder of the results. The same command again resumes.

    Example: raysearch reproduce table2 --data data --out runs/paper --seeds 3
    """
    gpus = parse_gpus(gpus_per_trial)
    if cluster is not None:
        return run_on_cluster(cluster, sys.argv[1:])
    request = _request(
        (data, out, ground_truth),
        resources=Resources(gpus, cpus_per_trial, concurrent, workers_per_trial),
        space=space,
        trials=trials,
        epochs=epochs,
        channel=channel,
        **parse_budgets(time_budget, gpu_hours),
        **ray_options(address, dashboard, insecure),
        allow_defects=allow_defects,
        fresh=fresh,
        report=not no_report,
    )
    _reproduce(target, request, machine or ["all"], seeds)


def _reproduce(target: "Target", request: "Request", machines: list[str], seeds: int) -> None:
    from raysearch.pipeline.reproduce import reproduce as reproduce_target
    from raysearch.report.live import show_on_console

    types = _machine_types(machines, request.data)
    try:
        with show_on_console() as (view, bars):
            paths = reproduce_target(target, request, types, seeds, [view], bars)
    except KeyboardInterrupt:
        raise StoppedError("stopped; the same command resumes from here") from None
    except OSError as error:
        raise _storage_error(error) from error
    for path in paths:
        if path.suffix == ".md":
            typer.echo(path.read_text("utf-8"))
        echo(path)


def _request(paths: tuple[str, str, str | None], **options: Any) -> "Request":
    """Build a request.

    Args:
        paths: folders of the recordings, which must exist, of the results, and of the ground truth.
        options: others of the request.
    """
    data, out, ground_truth = paths
    from raysearch.pipeline.request import Request

    folder = _to_path(data)
    need_data(folder)
    check_texts(sys.argv)
    check_cache()
    return Request(
        folder,
        _to_path(out),
        ground_truth=_to_path(ground_truth) if ground_truth else None,
        command=typed_command(),
        **options,
    )


def _to_path(text: str) -> "UPath":
    from raysearch.storage import to_path

    return to_path(text)


def _run(request: "Request", machines: list[str]) -> None:
    from raysearch.pipeline.plan import check_shared

    if request.shared:
        check_shared(machines, has_start=bool(request.warm_start))
    from raysearch.pipeline.run import run as run_studies
    from raysearch.pipeline.shared import run_shared
    from raysearch.report.live import show_on_console

    try:
        with show_on_console() as (view, bars):
            if request.shared:
                run_shared(request, [view], bars)
                return
            run_studies(request, _machine_types(machines, request.data), [view], bars)
    except KeyboardInterrupt:
        raise StoppedError("stopped; the same command resumes from here") from None
    except OSError as error:
        raise _storage_error(error) from error


def _storage_error(error: OSError) -> MachineError:
    """Make the error of a run whose storage failed, such as a full disk."""
    reason = explanation(error) or describe(error)
    return MachineError(f"{reason}; the same command goes on once that is mended")


def _machine_types(machines: list[str], data: "AnyPath") -> list[str]:
    if "all" not in machines:
        return list(dict.fromkeys(machines))
    from raysearch.data.index import read_index

    return read_index(data).machines
