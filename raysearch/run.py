"""One run: recordings in, a tested best configuration out; the same call again resumes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from upath import UPath

from raysearch.audio.dataset import TrialData, source_of
from raysearch.conclusion import conclude
from raysearch.errors import StoppedError
from raysearch.network import check_network
from raysearch.opening import Opened, alone, begin, check_recordings, read_recordings
from raysearch.report.live import LiveView
from raysearch.report.progress import say
from raysearch.report.tables import write_trials
from raysearch.search.cluster import check_address
from raysearch.search.resources import Resources, check_gpus
from raysearch.search.sampler import Sampler
from raysearch.search.space import Space, find_space, load_space
from raysearch.search.study import Record
from raysearch.search.tuning import search
from raysearch.search.worker import Job
from raysearch.storage import Place


@dataclass(frozen=True)
class Request:
    """What the command line asked for; None leaves it to the space file or the machine.

    Attributes:
        channel: of the recordings, from 0.
        name: of the run's folder.
        time_budget: in s.
        address: of the Ray cluster to join; empty starts one on this machine.
        keep_checkpoints: of the trials that did not win.
        command: as it was typed, for study.json and the ledger.
    """

    data: Place
    out: UPath
    resources: Resources
    space: Path | None = None
    trials: int | None = None
    epochs: int | None = None
    seed: int | None = None
    channel: int | None = None
    name: str | None = None
    ground_truth: Place | None = None
    time_budget: float | None = None
    allow_defects: bool = False
    fresh: bool = False
    final: bool = True
    address: str = ""
    keep_checkpoints: bool = False
    command: str = ""


def run(request: Request, machine: str, console: Console) -> None:
    """Runs or resumes the study of one machine type and writes all that comes out of it.

    Raises:
        UserError: bad input; nothing was written.
        StoppedError: by Ctrl-C.
        NoResultError: every trial failed.
    """
    path = find_space(machine, request.space)
    space = _override(load_space(path), request)
    source = source_of(
        request.data,
        machine,
        space.validation_ids,
        space.fixed,
        ground_truth=request.ground_truth,
        allow_defects=request.allow_defects,
    )
    clips = check_recordings(source, space)
    check_gpus(request.resources, request.address)
    check_address(request.address)
    check_network(space.fixed)
    folder = request.out / (request.name or machine)
    with alone(folder):
        data = read_recordings(source, clips, console)
        say(console, f"{machine}: {_summary(data)}; space {path}")
        for defect in data.defects:
            say(console, f"left out: {defect.path}: {defect.reason}")
        opened = begin(
            folder,
            space=space,
            space_file=path,
            source=source,
            data=data,
            command=request.command,
            fresh=request.fresh,
        )
        _search(opened, request, console)
        conclude(
            opened,
            final=request.final,
            keep_checkpoints=request.keep_checkpoints,
            command=request.command,
            console=console,
        )


def _override(space: Space, request: Request) -> Space:
    fixed: dict[str, Any] = {"epochs": request.epochs, "channel": request.channel}
    strategy: dict[str, Any] = {"trials": request.trials, "seed": request.seed}
    return space.model_copy(
        update={
            "fixed": space.fixed.model_copy(update=_given(fixed)),
            "strategy": space.strategy.model_copy(update=_given(strategy)),
        }
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _summary(data: TrialData) -> str:
    others = sum(len(store.clips) for store in data.others)
    return (
        f"{len(data.target.clips)} training clips of {len(data.ids)} IDs, {others} of "
        f"{len(data.others)} other machine types, {len(data.validation.clips)} validation clips"
    )


def _search(opened: Opened, request: Request, console: Console) -> None:
    study, space = opened.study, opened.space
    records, proposals, trials = study.records(), study.proposals(), space.strategy.trials
    sampler = Sampler(space, study.journal, proposals, records)
    write_trials(study.path, records, space.validation_ids)
    if len(records) >= trials:
        return
    if proposals:
        say(console, f"resuming: {len(records)} of {trials} trials are done")
    job = Job(
        study.path.absolute(),
        opened.source,
        opened.data.fingerprint,
        space.fixed,
        space.search.specs,
        space.strategy.seed,
    )
    with _Recorder(opened, console, records) as view:
        ended = search(
            job,
            sampler,
            trials,
            request.resources,
            view,
            address=request.address,
            time_budget=request.time_budget,
        )
    write_trials(study.path, study.records(), space.validation_ids)
    if not ended:
        raise StoppedError(
            f"stopped with {len(study.records())} of {trials} trials done; the same command goes "
            "on from here"
        )


class _Recorder(LiveView):
    """The live view, which also keeps trials.csv up to date."""

    def __init__(self, opened: Opened, console: Console, records: list[Record]) -> None:
        space = opened.space
        name, trials = opened.study.path.name, space.strategy.trials
        super().__init__(console, name, trials, space.fixed.epochs, records)
        self.folder, self.ids = opened.study.path, space.validation_ids

    def finished(self, record: Record) -> None:
        super().finished(record)
        ordered = [self.records[number] for number in sorted(self.records)]
        write_trials(self.folder, ordered, self.ids)
