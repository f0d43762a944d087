"""Flags of the commands: names, help and parsers."""

import math
import os
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from raysearch.errors import UserError, printable

LONGEST_NAME = 200
"""Most bytes of --name: file systems keep 255, and files are named after a run."""


def _short_name(name: str | None) -> str | None:
    """Return the name of a run.

    Raises:
        UserError: no file system keeps it.
    """
    if len(os.fsencode(name or "")) > LONGEST_NAME:
        raise UserError(f"--name {name}: too long, more than {LONGEST_NAME} bytes; shorten it")
    return name


Data = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the data set: a path, s3://... or gs://...",
        envvar="RAYSEARCH_DATA",
        show_envvar=True,
    ),
]
Out = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the results: a path, s3://... or gs://...",
        envvar="RAYSEARCH_OUT",
        show_envvar=True,
    ),
]
Machine = Annotated[
    list[str],
    typer.Option(
        metavar="TYPE",
        help="Machine type; again for more, or `all`: they share the GPUs fairly.",
        show_default=False,
    ),
]
Machines = Annotated[
    list[str] | None,
    typer.Option(
        "--machine",
        metavar="TYPE",
        help="Machine type; again for more.",
        show_default="all of the data set",
    ),
]
Space = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Space file. Default: search_spaces/<machine>.yaml or default.yaml, of this "
        "folder, else as shipped.",
        show_default=False,
    ),
]
Trials = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Trials in all.", show_default="space file")
]
Epochs = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Epochs of a trial.", show_default="space file"),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, max=2**32 - 1, help="Seed of everything.", show_default="space file"
    ),
]
Concurrent = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Trials at once.", show_default="what fits")
]
GpusPerTrial = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|auto",
        help="GPUs of a trial; 0.25 packs four on one, 2 trains on two together, `auto` measures "
        "how many fit on one.",
        show_default="1 if there",
    ),
]
WorkersPerTrial = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, help="Processes that train one trial together, on CPUs or a GPU each."
    ),
]
CpusPerTrial = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="CPUs of a trial.", show_default="an even share"),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Stop the search after this time: 90s, 30m, 2h, 1d. The same command resumes.",
        show_default=False,
    ),
]
GpuHours = Annotated[
    float | None,
    typer.Option(
        metavar="HOURS",
        help="Stop the search after this many GPU hours (without GPUs: hours of worker processes), "
        "earlier runs included.",
        show_default=False,
    ),
]
WarmStart = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN",
        help="Try the best configurations of another run first, or of all runs in a folder: "
        "runs/fan, runs, s3://... Again for more.",
        show_default=False,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the run's folder.",
        show_default="machine type",
        callback=_short_name,
    ),
]
Channel = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, help="Channel to listen to, from 0.", show_default="mean of all"
    ),
]
GroundTruth = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Folder of the ground-truth CSVs.", show_default="beside the data"
    ),
]
AllowDefects = Annotated[
    bool, typer.Option("--allow-defects", help="Accept over 1 % of defective files.")
]
Shared = Annotated[
    bool,
    typer.Option(
        "--shared",
        help="Search one configuration for the validation_machines of the space file together.",
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete the run's earlier results and start anew.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Train the failed trials of the run again.")
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        envvar="RAY_ADDRESS",
        help="Ray cluster to join, as HOST:PORT; `local` for this machine alone.",
        show_default="the one this machine is part of",
    ),
]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        help="Cluster file of `ray up`: run there, as a job that outlives this terminal.",
        show_default=False,
    ),
]
KeepCheckpoints = Annotated[
    bool,
    typer.Option("--keep-checkpoints", help="Keep the checkpoints of trials that did not win."),
]
Dashboard = Annotated[
    bool,
    typer.Option(
        "--dashboard/--no-dashboard",
        help="Ray's dashboard, of a Ray that is started here; without it a run starts sooner.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Start Ray here without a token: every user of this machine can run code as you.",
    ),
]
ReopenTest = Annotated[
    bool,
    typer.Option(
        "--reopen-test",
        help="Run the final test again for a new winner, into final_test_2.csv, ...",
    ),
]
NoFinal = Annotated[bool, typer.Option("--no-final", help="Skip the final test.")]
NoReport = Annotated[
    bool,
    typer.Option("--no-report", help="Draw no report.html; `raysearch report` draws it later."),
]


def parse_gpus(text: str | None) -> float | Literal["auto"] | None:
    """Parse --gpus-per-trial.

    Raises:
        UserError: the value is neither a number nor `auto`.
    """
    if text is None:
        return None
    if text == "auto":
        return "auto"
    with suppress(ValueError):
        if 0 <= (number := float(text)) < math.inf:
            return number
    raise UserError(f"--gpus-per-trial {text}: expected a number such as 1, 0.25 or 2, or auto")


def parse_budgets(time: str | None, hours: float | None) -> dict[str, float | None]:
    """Parse --time-budget and --gpu-hours into the options of a request.

    Raises:
        UserError: a value is no budget.
    """
    return {"time_budget": parse_time(time), "gpu_hours": parse_hours(hours)}


def parse_hours(number: float | None) -> float | None:
    """Parse --gpu-hours.

    Raises:
        UserError: the value is not positive or not finite.
    """
    if number is not None and not 0 < number < math.inf:
        raise UserError(f"--gpu-hours {number:g}: expected a number above 0, such as 40 or 0.5")
    return number


def parse_time(text: str | None) -> float | None:
    """Parse --time-budget and return s.

    Raises:
        UserError: the value is no time span, or an empty time span.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        raise UserError(f"--time-budget {text}: expected a number and s, m, h or d, such as 2h")
    if float(match[1]) == 0:
        raise UserError(f"--time-budget {text}: no trial can run in no time")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def parse_alarm_rate(text: str | None) -> float | None:
    """Parse --calibrate; None for f1.

    Raises:
        UserError: the value is neither f1 nor a share.
    """
    if text in (None, "f1"):
        return None
    with suppress(ValueError):
        if 0 <= (rate := float(text or "")) < 1:
            return rate
    raise UserError(f"--calibrate {text}: expected f1, or a share of false alarms such as 0.02")


def typed_command() -> str:
    """Return the command as typed, without logins, for study.json and the ledger."""
    from raysearch.errors import redact

    return shlex.join(map(redact, [os.path.basename(sys.argv[0]), *sys.argv[1:]]))


def echo(value: object) -> None:
    """Print a text or a path whose name may hold control characters."""
    typer.echo(printable(str(value)))
