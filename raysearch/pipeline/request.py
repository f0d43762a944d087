"""Request of a run, made by the command line or a program."""

from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from raysearch.backend.resources import Resources
from raysearch.storage import AnyPath


@dataclass(frozen=True)
class Ending:
    """Options of a run about its end.

    Attributes:
        command: as it was typed, for the ledger.
        final: run the final test of the winner.
        report: draw report.html.
        keep_checkpoints: of the trials that did not win.
        reopen_test: run the final test of a new winner though another one was tested before.
        is_finished: False if a budget or failures stopped the search: the test IDs stay closed.
        failures: number and reasons of the trials that failed on machines; empty without one.
    """

    command: str
    final: bool = True
    report: bool = True
    keep_checkpoints: bool = False
    reopen_test: bool = False
    is_finished: bool = True
    failures: str = ""


@dataclass(frozen=True)
class Request:
    """Options of a run; None takes the value of the space file or of the machine.

    Attributes:
        channel: of the recordings, from 0.
        name: of the run's folder.
        shared: search one configuration on all validation machines of the space.
        time_budget: in s.
        gpu_hours: of all studies together.
        warm_start: studies, or folders of studies, whose best configurations are tried first.
        address: of the Ray cluster to join; empty starts Ray on this machine.
        dashboard: start Ray's dashboard with Ray on this machine.
        insecure: start Ray on this machine without a token.
        retry_failed: train the failed trials of the study again.
        report: draw report.html.
        keep_checkpoints: of the trials that did not win.
        reopen_test: run the final test of a new winner though another one was tested before.
        command: as it was typed, for study.json and the ledger.
    """

    data: AnyPath
    out: UPath
    resources: Resources
    space: Path | None = None
    trials: int | None = None
    epochs: int | None = None
    seed: int | None = None
    channel: int | None = None
    name: str | None = None
    ground_truth: AnyPath | None = None
    time_budget: float | None = None
    gpu_hours: float | None = None
    warm_start: tuple[UPath, ...] = ()
    allow_defects: bool = False
    fresh: bool = False
    retry_failed: bool = False
    final: bool = True
    address: str = ""
    dashboard: bool = True
    insecure: bool = False
    report: bool = True
    keep_checkpoints: bool = False
    reopen_test: bool = False
    command: str = ""
    shared: bool = False

    @property
    def ending(self) -> Ending:
        """Options of the end of each study."""
        return Ending(
            self.command, self.final, self.report, self.keep_checkpoints, self.reopen_test
        )

    @property
    def start(self) -> dict[str, bool]:
        """Options of a Ray that is started on this machine."""
        return {"dashboard": self.dashboard, "insecure": self.insecure}
