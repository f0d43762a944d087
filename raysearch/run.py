"""One run: recordings in, a tested best configuration out; the same call again resumes."""

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from raysearch import __version__
from raysearch.audio.dataset import Source, TrialData, open_data, search_index, source_of
from raysearch.audio.index import PLAIN_RULE
from raysearch.detector import Detector, save_detector
from raysearch.errors import DataError, UserError
from raysearch.model.encoder import check_backbone
from raysearch.report.live import LiveView, best_of, configuration, inlier
from raysearch.report.progress import progress
from raysearch.report.tables import write_best, write_trials
from raysearch.search.cluster import Job, Resources, check_gpus, search
from raysearch.search.final import FinalResult, final_test
from raysearch.search.sampler import Sampler
from raysearch.search.space import Space, find_space, load_space
from raysearch.search.study import Record, StudyFolder
from raysearch.search.winner import Winner, build_detector, choose, freeze, frozen


@dataclass(frozen=True)
class Request:
    """What the command line asked for; None leaves it to the space file or the machine."""

    data: Path
    out: Path
    space: Path | None = None
    trials: int | None = None
    epochs: int | None = None
    seed: int | None = None
    channel: int | None = None
    name: str | None = None
    ground_truth: Path | None = None
    time_budget: float | None = None
    resources: Resources = Resources()
    allow_defects: bool = False
    fresh: bool = False
    final: bool = True
    command: str = ""


class Interrupted(Exception):
    """The user stopped a run; the message says how to go on."""


def run(request: Request, machine: str, console: Console) -> None:
    """Runs or resumes the study of one machine type and writes all that comes out of it.

    Raises:
        UserError: bad input; nothing was written.
        Interrupted: by Ctrl-C.
        RuntimeError: every trial failed.
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
    _check_test_ids(source, space)
    check_gpus(request.resources)
    check_backbone(space.fixed.backbone, space.fixed.pretrained)
    folder = request.out / (request.name or machine)
    with _alone(folder):
        data = _open(source, console)
        study = _begin(folder, request, space, path, source, data)
        console.print(f"{machine}: {_summary(data)}; space {path}", highlight=False)
        _search(study, request, space, source, data, console)
        _conclude(study, request, space, source, data, console)


def test_again(folder: Path, data: Path | None, command: str, console: Console) -> None:
    """Repeats the final test of a run's frozen configuration.

    Args:
        folder: of the run.
        data: folder of the data set; None takes the one of the run.
        command: for the ledger.
        console: for progress and result.

    Raises:
        UserError: there is no frozen configuration, or other recordings than it was chosen on.
    """
    facts = StudyFolder(folder).facts
    winner = frozen(folder)
    if winner is None:
        raise UserError(f"{folder} has no frozen configuration yet; let its run end first")
    space = Space.model_validate(facts["space"])
    truth = facts["ground_truth"]
    source = source_of(
        data or Path(facts["data"]),
        winner.machine,
        space.validation_ids,
        space.fixed,
        ground_truth=Path(truth) if truth else None,
        allow_defects=True,
    )
    recordings = _open(source, console)
    if recordings.fingerprint != winner.data:
        raise UserError(f"{source.root}: not the recordings that {folder} was searched on")
    detector = build_detector(winner, space.fixed, recordings, folder)
    save_detector(detector, folder / "detector")
    _final(winner, detector, source, space, folder, command, console)


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


def _check_test_ids(source: Source, space: Space) -> None:
    """Refuses a test ID that cannot be tested; none at all is the case of no evaluation data."""
    known = search_index(source).ids(source.machine)
    missing = [identity for identity in space.test_ids if identity not in known]
    if missing and len(missing) < len(space.test_ids):
        raise DataError(
            f"test ID {missing[0]} of {source.machine} has no training clips in {source.root} "
            f"(IDs with some: {', '.join(known)}); set test_ids in the space file"
        )


class _alone(FileLock):
    """Keeps a second process out of a study."""

    def __init__(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(folder.with_name(f".{folder.name}.lock"), timeout=0)

    def __enter__(self) -> "_alone":
        try:
            super().__enter__()
        except Timeout as error:
            raise UserError(
                f"another raysearch is running {Path(self.lock_file).name[1:-5]}; wait for it or "
                "choose another --name"
            ) from error
        return self


def _open(source: Source, console: Console) -> TrialData:
    total = len(search_index(source).clips)
    with progress(console, "reading recordings", total) as advance:
        return open_data(source, advance)


def _summary(data: TrialData) -> str:
    others = sum(len(store.clips) for store in data.others)
    return (
        f"{len(data.target.clips)} training clips of {len(data.ids)} IDs, {others} of "
        f"{len(data.others)} other machine types, {len(data.validation.clips)} validation clips"
    )


def _begin(
    folder: Path, request: Request, space: Space, path: Path, source: Source, data: TrialData
) -> StudyFolder:
    study = StudyFolder(folder)
    if request.fresh and study.exists():
        shutil.rmtree(folder)
    content = space.model_dump(mode="json", by_alias=True)
    if study.exists():
        _check_same(study, content, data.fingerprint)
    elif folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and no study; choose another --name or --out")
    libraries = ("torch", "timm", "ray", "optuna", "scikit-learn", "numpy")
    study.begin(
        {
            "machine": source.machine,
            "ids": list(data.ids),
            "validation_ids": list(space.validation_ids),
            "test_ids": list(space.test_ids),
            "data": str(source.root.absolute()),
            "ground_truth": str(source.ground_truth.absolute()) if source.ground_truth else None,
            "fingerprint": data.fingerprint,
            "plain_layout_rule": f"{PLAIN_RULE}; seed 0",
            "space_file": str(path),
            "space": content,
            "seed": space.strategy.seed,
            "command": request.command,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "raysearch": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in libraries},
            },
        }
    )
    return study


def _check_same(study: StudyFolder, content: Mapping[str, Any], fingerprint: str) -> None:
    """Refuses to mix two studies in one folder; the number of trials alone may change."""
    facts = study.facts
    way_out = "use --fresh to start anew or --name to keep both"
    if facts["fingerprint"] != fingerprint:
        raise UserError(f"{study.path} was searched on other recordings; {way_out}")
    before, now = _flat(facts["space"]), _flat(content)
    for key in sorted(before.keys() | now.keys()):
        if key != "strategy.trials" and before.get(key) != now.get(key):
            raise UserError(
                f"{study.path} was begun with {key} = {before.get(key)}, now it is "
                f"{now.get(key)}; {way_out}"
            )


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def _search(
    study: StudyFolder,
    request: Request,
    space: Space,
    source: Source,
    data: TrialData,
    console: Console,
) -> None:
    records, trials = study.records(), space.strategy.trials
    sampler = Sampler(space, study.path / "study.journal", study.proposals(), records)
    write_trials(study.path, records, space.validation_ids)
    if len(records) >= trials:
        return
    if study.proposals():
        console.print(f"resuming: {len(records)} of {trials} trials are done", highlight=False)
    job = Job(
        study.path.absolute(),
        source,
        data.fingerprint,
        space.fixed,
        space.search.specs,
        space.strategy.seed,
    )
    view = _Recorder(study, space, console, space.fixed.epochs, trials, records)
    with view:
        ended = search(
            job, sampler, trials, request.resources, view, time_budget=request.time_budget
        )
    write_trials(study.path, study.records(), space.validation_ids)
    if not ended:
        raise Interrupted(
            f"stopped with {len(study.records())} of {trials} trials done; the same command goes "
            "on from here"
        )


class _Recorder(LiveView):
    """The live view, which also keeps trials.csv up to date."""

    def __init__(
        self,
        study: StudyFolder,
        space: Space,
        console: Console,
        epochs: int,
        trials: int,
        records: list[Record],
    ) -> None:
        super().__init__(console, study.path.name, trials, epochs, records)
        self.study, self.space = study, space

    def finished(self, record: Record) -> None:
        super().finished(record)
        ordered = [self.records[number] for number in sorted(self.records)]
        write_trials(self.study.path, ordered, self.space.validation_ids)


def _conclude(
    study: StudyFolder,
    request: Request,
    space: Space,
    source: Source,
    data: TrialData,
    console: Console,
) -> None:
    records = study.records()
    winner = choose(source.machine, data.fingerprint, records)
    if winner is None:
        reasons = {r.error or next((row.error for row in r.rows), "") for r in records}
        raise RuntimeError(
            f"none of {len(records)} trials has a score: {'; '.join(sorted(reasons))[:300]}"
        )
    settled = frozen(study.path) == winner and (study.path / "detector/detector.json").exists()
    best = best_of([record for record in records if record.proposal.number == winner.trial])
    assert best is not None
    freeze(winner, study.path)
    write_best(study.path, winner, space, best[1].remark)
    note = f" ({best[1].remark})" if best[1].remark else ""
    console.print(
        f"best configuration: {configuration(best[0].proposal)}, {inlier(best[1])}; validation "
        f"score {winner.val_score:.4f}{note}",
        highlight=False,
    )
    tested = (study.path / "test_ledger.jsonl").exists() and settled
    if not settled:
        detector = build_detector(winner, space.fixed, data, study.path)
        save_detector(detector, study.path / "detector")
    if request.final and not tested:
        if settled:
            detector = build_detector(winner, space.fixed, data, study.path)
        _final(winner, detector, source, space, study.path, request.command, console)
    console.print(f"everything is in {study.path}/", highlight=False)


def _final(
    winner: Winner,
    detector: Detector,
    source: Source,
    space: Space,
    folder: Path,
    command: str,
    console: Console,
) -> None:
    with progress(console, "final test", None) as advance:
        result = final_test(
            winner, detector, source, space.test_ids, folder, command=command, on_clips=advance
        )
    _say_final(result, winner, console)


def _say_final(result: FinalResult, winner: Winner, console: Console) -> None:
    for remark in result.remarks:
        console.print(remark, highlight=False)
    if result.score is None:
        console.print("no final test was possible", highlight=False)
        return
    for identity, (auc, pauc) in result.score.per_id.items():
        console.print(f"  ID {identity}: AUC {auc:.4f}, pAUC {pauc:.4f}", highlight=False)
    console.print(
        f"final test of {winner.machine}: harmonic mean {result.score.hmean:.4f} over "
        f"{len(result.score.per_id)} IDs that the search never saw",
        highlight=False,
    )


def command_line(arguments: list[str]) -> str:
    """The command as it was typed, for study.json and the ledger."""
    return " ".join([os.path.basename(arguments[0]), *arguments[1:]])
