"""Download of DCASE 2021 Task 2 from Zenodo into the layout that `index` reads.

Each zip is transferred to `DIR/.download/` (resumable), checked against the record's MD5,
unpacked beside it, moved into the data set and deleted. A marker per finished file lets the next
call download only the missing files.
"""

import difflib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import requests
from filelock import FileLock, Timeout

from raysearch.config import MACHINES
from raysearch.data.dcase.archive import install, require_space
from raysearch.data.dcase.zenodo import SITE, RemoteFile, connect, fetch, list_files
from raysearch.errors import DataError, UserError

UNPACKED = 1.5
"""Bytes on disk per byte of zip, at most; the development set's 16-bit clips take 1.26."""

_SPLITS = ("train", "source_test", "target_test")
_STATE = ".download"

Progress = Callable[[int, int], None]
"""Callback with the bytes received and the bytes in total, over all files of a call."""


@dataclass(frozen=True)
class Record:
    """A Zenodo record, and the folder of the layout for its content."""

    number: int
    folder: str
    title: str


DEVELOPMENT = Record(4562016, "dev_data", "development set")
ADDITIONAL_TRAINING = Record(4660992, "eval_data", "additional training clips")
EVALUATION_TEST = Record(4884786, "eval_data", "evaluation test clips")
GROUND_TRUTH = Record(5257674, "eval_data/ground_truth", "ground truth")
RECORDS = (DEVELOPMENT, ADDITIONAL_TRAINING, EVALUATION_TEST, GROUND_TRUTH)


@dataclass(frozen=True)
class Item:
    """A file to download; `machine` is None for the ground truth, which covers all of them."""

    record: Record
    machine: str | None
    file: RemoteFile


def download(
    root: Path,
    machines: Sequence[str] | None = None,
    *,
    base_url: str = SITE,
    backoff: float = 1.0,
    on_progress: Progress = lambda received, total: None,
) -> tuple[str, ...]:
    """Download and unpack the missing files of the data set.

    Args:
        root: folder of the data set; gets `dev_data/` and `eval_data/`.
        machines: machine types, of `MACHINES`; None: all of them.
        base_url: address of Zenodo.
        backoff: pause after the first failure of a transfer, in s; doubles with each further one.
        on_progress: called while bytes arrive.

    Returns:
        Names of the downloaded files; empty if no file was missing.

    Raises:
        UserError: unknown machine type, no connection, too little disk space, or another
            download into the same folder is running.
        DataError: a file does not have the record's checksum, or is no archive of clips.
    """
    machines = _resolve_machines(machines)
    state = _make_state(root)
    try:
        with FileLock(state / "lock", timeout=0), connect() as session:
            available = _list_items(session, root, machines, base_url, backoff)
            items = [item for item in available if not _is_done(root, item)]
            require_space(root, _bytes_needed(state, items))
            received, total = 0, sum(item.file.size for item in items)
            for item in items:
                on_bytes = partial(_report, on_progress, received, total)
                _download_item(
                    session, root, item, base_url=base_url, backoff=backoff, on_bytes=on_bytes
                )
                received += item.file.size
    except Timeout:
        raise UserError(f"another download into {root} is under way; wait for its end") from None
    return tuple(item.file.name for item in items)


def _report(on_progress: Progress, before: int, total: int, received: int) -> None:
    on_progress(before + received, total)


def _make_state(root: Path) -> Path:
    state = root / _STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {root}: {error.strerror}") from error
    return state


def _resolve_machines(machines: Sequence[str] | None) -> tuple[str, ...]:
    for machine in machines or ():
        if machine not in MACHINES:
            folded = {m.casefold(): m for m in MACHINES}
            near = difflib.get_close_matches(machine.casefold(), folded, n=1, cutoff=0.5)
            hint = f"did you mean {folded[near[0]]}?" if near else f"one of {', '.join(MACHINES)}"
            raise UserError(f"unknown machine {machine!r} in DCASE 2021 Task 2: {hint}")
    return tuple(dict.fromkeys(machines or MACHINES))


def _list_items(
    session: requests.Session, root: Path, machines: Sequence[str], base_url: str, backoff: float
) -> list[Item]:
    """Query all records for the files of these machine types."""
    items: list[Item] = []
    for record in RECORDS:
        try:
            files = list_files(session, record.number, base_url=base_url, backoff=backoff)
        except requests.RequestException as error:
            raise _unreachable(record, root, base_url, error) from error
        items += select_items(record, files, machines)
    return items


def select_items(
    record: Record, files: Sequence[RemoteFile], machines: Sequence[str]
) -> tuple[Item, ...]:
    """Select a record's files for some machine types.

    Zenodo has both `eval_data_fan_train.zip` and `eval_data_train_fan.zip`, so any part of the
    name may be the machine type.

    Raises:
        DataError: the record lacks a file.
    """
    if record is GROUND_TRUTH:
        labels = [file for file in files if file.name.endswith((".zip", ".csv"))]
        if not labels:
            raise DataError(f"Zenodo record {record.number} ({record.title}) has no zip and no csv")
        return tuple(Item(record, None, file) for file in labels)
    items = tuple(
        Item(record, machine, file)
        for machine in machines
        for file in files
        if file.name.endswith(".zip") and machine in file.name.removesuffix(".zip").split("_")
    )
    for machine in machines:
        if all(item.machine != machine for item in items):
            raise DataError(f"Zenodo record {record.number} ({record.title}) has no {machine} zip")
    return items


def _unreachable(
    record: Record, root: Path, base_url: str, error: requests.RequestException
) -> UserError:
    status = f"status {error.response.status_code}" if error.response is not None else ""
    return UserError(
        f"cannot download Zenodo record {record.number} ({record.title}) from {base_url}: "
        f"{status or type(error).__name__}; try again later, or download it by hand from "
        f"{base_url}/records/{record.number} and unpack it into {root / record.folder}"
    )


def _bytes_needed(state: Path, items: Sequence[Item]) -> int:
    """Return an upper estimate: all files unpacked, and one zip at a time beside them."""
    sizes = [item.file.size for item in items]
    received = sum(path.stat().st_size for path in state.glob("*.part"))
    return max(0, int(UNPACKED * sum(sizes)) + max(sizes, default=0) - received)


def _download_item(
    session: requests.Session,
    root: Path,
    item: Item,
    *,
    base_url: str,
    backoff: float,
    on_bytes: Callable[[int], None],
) -> None:
    """Download, verify and install one file, and mark it as done."""
    part = root / _STATE / f"{item.file.name}.part"
    try:
        fetch(session, item.file, part, backoff=backoff, on_bytes=on_bytes)
    except requests.RequestException as error:
        raise _unreachable(item.record, root, base_url, error) from error
    _verify(item.file, part)
    _mark_done(root, item, _install(root, item, part))
    part.unlink(missing_ok=True)


def _verify(file: RemoteFile, part: Path) -> None:
    with part.open("rb") as content:
        checksum = hashlib.file_digest(content, "md5").hexdigest()
    if checksum != file.md5:
        part.unlink()
        raise DataError(
            f"{file.name} arrived with checksum md5:{checksum}, its record says md5:{file.md5}; "
            "it was deleted, download it again"
        )


def _install(root: Path, item: Item, part: Path) -> tuple[str, ...]:
    """Install the content of a file, and return its folders relative to `root`."""
    name, folder = item.file.name, item.record.folder
    if name.endswith(".csv"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        part.replace(root / folder / name)
        return (folder,)
    staging = root / _STATE / "unpack"
    return install(part, name, root, staging, lambda path: _map_path(item, path))


def _map_path(item: Item, path: PurePosixPath) -> str | None:
    """Return the path of a zip member in the data set, at any depth of the zip; None skips it."""
    if item.machine is None:
        is_table = path.match("ground_truth_*.csv")
        return f"{item.record.folder}/{path.name}" if is_table else None
    split = path.parent.name
    if split not in _SPLITS or path.suffix != ".wav" or path.name.startswith("."):
        return None
    return f"{item.record.folder}/{item.machine}/{split}/{path.name}"


def _marker(root: Path, item: Item) -> Path:
    return root / _STATE / f"{item.file.name}.done"


def _mark_done(root: Path, item: Item, folders: Sequence[str]) -> None:
    marker = _marker(root, item)
    draft = marker.with_suffix(".draft")
    draft.write_text(json.dumps({"md5": item.file.md5, "folders": folders}))
    draft.replace(marker)


def _is_done(root: Path, item: Item) -> bool:
    """Return True if this version of the file was unpacked and its folders still exist."""
    marker = _marker(root, item)
    if not marker.exists():
        return False
    done = json.loads(marker.read_text())
    return done["md5"] == item.file.md5 and all((root / f).is_dir() for f in done["folders"])
