"""Commands on the results of runs."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from raysearch.cli.cluster import status_on_cluster
from raysearch.cli.options import (
    ClusterFile,
    Fresh,
    NoFinal,
    NoReport,
    Out,
    ReopenTest,
    echo,
    typed_command,
)
from raysearch.errors import UserError

if TYPE_CHECKING:
    from upath import UPath

Run = Annotated[str, typer.Argument(help="Folder of a run, such as runs/valve.")]


# The imports of each command take seconds; paths are validated before.


def _run(text: str) -> "UPath":
    """Return the folder of a run.

    Raises:
        UserError: the folder holds no study.
    """
    from raysearch.storage import to_path

    folder = to_path(text)
    if not (folder / "study.json").is_file():
        raise UserError(f"{folder} holds no study (no study.json); `raysearch run` makes one")
    return folder


def _runs(text: str, what: str = "study") -> "UPath":
    """Return the folder of a run, or of several.

    Raises:
        UserError: neither the folder nor a folder in it holds a study; `what` names it.
    """
    from raysearch.storage import children, to_path

    folder = to_path(text)
    if not any((path / "study.json").is_file() for path in (folder, *children(folder))):
        raise UserError(f"{folder} holds no {what}; `raysearch run` makes one")
    return folder


def final(
    run: Run,
    data: Annotated[
        str | None, typer.Option(help="Folder of the data set.", show_default="the run's")
    ] = None,
    reopen_test: ReopenTest = False,
) -> None:
    """Run the final test of a run's frozen configuration, if it was not run yet.

    The ledger has a line for each opening of the test IDs; a further one needs --reopen-test.
    """
    folder = _run(run)
    from raysearch.pipeline.final import repeat_final
    from raysearch.pipeline.request import Ending
    from raysearch.report.live import show_on_console
    from raysearch.storage import to_path

    with show_on_console() as (_, bars):
        ending = Ending(typed_command(), reopen_test=reopen_test)
        repeat_final(folder, to_path(data) if data else None, ending, bars)


def ensemble(
    runs: Annotated[
        list[str], typer.Argument(help="Folders of finished runs on the same recordings.")
    ],
    weights: Annotated[
        Literal["equal", "validation"],
        typer.Option(help="Weights of the runs: all equal, or chosen on the validation IDs."),
    ] = "equal",
    data: Annotated[
        str | None, typer.Option(help="Folder of the data set.", show_default="the runs'")
    ] = None,
    out: Out = "runs",
    name: Annotated[
        str | None,
        typer.Option(help="Name of the ensemble's folder.", show_default="ensemble-<machine>"),
    ] = None,
    fresh: Fresh = False,
    no_final: NoFinal = False,
    reopen_test: ReopenTest = False,
    no_report: NoReport = False,
) -> None:
    """Combine finished runs to an ensemble, and test it once.

    Its score is the average of theirs, standardised by normal training clips. It is a run like
    others, with a report, a detector that scores recordings, and a final test.

    Example: raysearch ensemble runs/valve runs/valve-serial --weights validation
    """
    folders = [_run(run) for run in runs]
    from raysearch.pipeline.ensemble import EnsembleRequest, make_ensemble, plan_ensemble
    from raysearch.pipeline.request import Ending
    from raysearch.report.live import show_on_console
    from raysearch.storage import to_path

    planned = plan_ensemble(folders, to_path(out), name, weights)
    ending = Ending(
        typed_command(), final=not no_final, report=not no_report, reopen_test=reopen_test
    )
    request = EnsembleRequest(planned, ending, to_path(data) if data else None, fresh)
    with show_on_console() as (_, bars):
        make_ensemble(request, bars)


def status(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Folders of runs, or of several.",
            show_default="runs; on a cluster the latest",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a study and line, for programs.")
    ] = False,
    cluster: ClusterFile = None,
) -> None:
    """Show the status of runs: running trials, counts, the best so far.

    Reads the folders only, so it works at any time and on any machine that reaches them.

    Example: raysearch status runs/valve --json
    """
    if cluster is not None:
        status_on_cluster(cluster, runs or [], as_json=as_json)
    import json

    from rich.console import Console

    from raysearch.report.status import read_statuses, show, status_json
    from raysearch.storage import to_path

    statuses = [status for run in runs or ["runs"] for status in read_statuses(to_path(run))]
    if not as_json:
        show(statuses, Console())
    else:
        for each in statuses:
            typer.echo(json.dumps(status_json(each)))


def compare(
    first: Annotated[str, typer.Argument(help="Folder of a run, such as runs/valve.")],
    second: Annotated[str, typer.Argument(help="Another, of the same machine type.")],
) -> None:
    """Compare two runs: configurations, costs, and scores on the same clips.

    The difference has a 95 % interval over other clips, the same for both. An interval around 0 is
    within noise. A detector is one seed: nothing follows for its configuration.

    Example: raysearch compare runs/valve runs/valve-wide
    """
    folders = _run(first), _run(second)
    from rich.console import Console

    from raysearch.report.compare import compare as compare_runs
    from raysearch.report.compare import show

    show(compare_runs(*folders), Console())


def verify(
    run: Run,
    data: Annotated[
        str | None, typer.Option(help="Folder of the data set.", show_default="the run's")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of torch.", show_default="the run's"),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, help="Largest difference of a score, and of a loss as a part of it."),
    ] = 0.01,
) -> None:
    """Train the winner of a run again, and say by how much its figures differ.

    Same seed, same configuration, in a temporary folder. Only validation figures are compared: the
    test IDs stay closed. On the same machine with the same threads, the CPU repeats each bit; where
    figures differ, so do threads, processor or versions, which are listed. Exit code 1 beyond the
    tolerance.

    Example: raysearch verify runs/valve
    """
    folder = _run(run)
    from raysearch.pipeline.verify import describe
    from raysearch.pipeline.verify import verify as verify_run
    from raysearch.report.live import show_on_console
    from raysearch.storage import to_path

    with show_on_console() as (_, bars):
        verification = verify_run(folder, to_path(data) if data else None, threads, bars)
    for line in describe(verification, tolerance):
        echo(line)
    if not verification.holds(tolerance):
        raise typer.Exit(1)


def export(out: Out = "runs") -> None:
    """Write the tables over all runs.

    best_configs and results as csv, md and tex, studies.parquet for programs.
    """
    folder = _runs(out, "finished study")
    from raysearch.report.tables import export as write_tables

    for path in write_tables(folder):
        echo(path)


def report(
    folder: Annotated[
        str,
        typer.Argument(
            help="Folder of a run, or of several: a path, s3://... or gs://...",
            envvar="RAYSEARCH_OUT",
            show_envvar=True,
        ),
    ] = "runs",
) -> None:
    """Draw report.html of a run, or of every run of a folder and one over all of them.

    A page is one file that needs no network, neither recordings nor a GPU: mail it, print it.
    `raysearch run` draws it at its end; during a run this draws what is known so far.

    Example: raysearch report runs/valve
    """
    folders = _runs(folder)
    from raysearch.report.html.overview import write_reports

    for path in write_reports(folders):
        echo(path)


def dashboard(
    run: Run,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1.")] = 8080,
) -> None:
    """Serve optuna-dashboard on a run's study, on 127.0.0.1 only, also while it is searched."""
    folder = _run(run)
    from raysearch.search.dashboard import serve
    from raysearch.study.folder import StudyFolder

    journal = StudyFolder(folder).fetch_journal()
    if journal is None:
        raise UserError(f"{run} holds no study.journal; `raysearch run` makes one")

    try:
        serve(journal, port, lambda address: echo(f"{run}: {address} until Ctrl-C"))
    except KeyboardInterrupt:
        raise typer.Exit from None
