"""Index of a data set's clips, parsed from their file names.

The layouts are those of DCASE (names of 2020, of 2021, of 2022 and 2023) and the plain layout
`<machine>/id_<ID>/{normal,abnormal}/*.wav` of MIMII. Only names and modification times are read
here; `store` opens the audio. `read_ground_truth` reads labels that the names lack.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from raysearch.config import id_order
from raysearch.data.labels import (
    LIST_2020,
    OTHER_TRUTHS,
    Label,
    file_id,
    read_labels,
    read_list_2020,
)
from raysearch.errors import DataError
from raysearch.storage import AnyPath

Split = Literal["train", "test"]
Domain = Literal["source", "target", "unknown"]

AUDIO_SUFFIXES = (".wav", ".flac")
PLAIN_TEST_SHARE = 0.25
"""Share of the plain layout's normal clips that is kept for testing."""
PLAIN_RULE = (
    "a normal clip is a test clip where sha256(seed/machine/id/name) falls into the lowest "
    f"{PLAIN_TEST_SHARE:.0%}, the lowest of an ID where none does; every abnormal clip is a test "
    "clip"
)

_LABELS = {"normal": 0, "anomaly": 1, "abnormal": 1}
_SECTION = re.compile(
    r"section_(?P<id>[^_]+)"
    r"(?:_(?P<domain>source|target))?"
    r"(?:_(?P<split>train|test))?"
    r"(?:_(?P<label>normal|anomaly))?"
    r"(?:_(?P<number>\d+))?(?:_.*)?"
)
_ID_2020 = re.compile(r"(?:(?P<label>normal|anomaly)_)?id_(?P<id>[^_]+)_(?P<number>\d+)(?:_.*)?")


def product_id(text: str | int) -> str:
    """Normalise a product ID (DCASE "section"): `"03"` and `3` are `"3"`."""
    text = str(text)
    return str(int(text)) if text.isdecimal() else text


@dataclass(frozen=True)
class Clip:
    """A recording.

    Attributes:
        label: 0 normal, 1 anomalous, None if the file's name has no label.
    """

    machine: str
    id: str
    split: Split
    domain: Domain
    label: int | None
    path: AnyPath

    @property
    def name(self) -> str:
        """The file's name, as submission files give it."""
        return self.path.name


@dataclass(frozen=True)
class Index:
    """The clips of a data set, sorted by machine type, split, product ID and name."""

    root: AnyPath
    clips: tuple[Clip, ...]

    @property
    def machines(self) -> list[str]:
        """Machine types that have training clips."""
        return sorted({clip.machine for clip in self.clips if clip.split == "train"})

    def ids(self, machine: str) -> list[str]:
        """Return the product IDs of a machine type that have training clips."""
        ids = {c.id for c in self.clips if c.machine == machine and c.split == "train"}
        return sorted(ids, key=id_order)

    def train(self, machine: str) -> list[Clip]:
        """Return the training clips of a machine type (all normal)."""
        return [c for c in self.clips if c.machine == machine and c.split == "train"]

    def test(self, machine: str, ids: Iterable[str]) -> list[Clip]:
        """Return the test clips of some product IDs of a machine type."""
        wanted = set(ids)
        return [
            c for c in self.clips if c.machine == machine and c.split == "test" and c.id in wanted
        ]

    def for_search(self, machine: str, validation_ids: Iterable[str]) -> "Index":
        """Return the index of a search: training clips, and test clips of the validation IDs."""
        training = [c for c in self.clips if c.split == "train"]
        return Index(self.root, _sort_clips(training + self.test(machine, validation_ids)))


def read_index(root: AnyPath, *, domain: str = "source", seed: int = 0) -> Index:
    """Read the names of all clips under a data set's folder.

    Args:
        root: folder of the data set, in one of the layouts; may be on an object store.
        domain: `source`, `target` or `both`; clips without a domain are always included.
        seed: of the rule that splits the plain layout's normal clips.

    Raises:
        DataError: the folder does not exist or has no clip.
    """
    if not root.is_dir():
        raise DataError(f"no data set: {root} is not a folder")
    clips = [
        clip
        for path in root.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and not _is_hidden(path, root)
        if (clip := parse(_relative(path, root), seed=seed)) is not None
    ]
    if not clips:
        raise DataError(f"no clip in {root}: no file has a name in the style of DCASE or MIMII")
    selected = [c for c in clips if domain == "both" or c.domain in (domain, "unknown")]
    if not selected:
        raise DataError(f"no clip of domain {domain!r} in {root}")
    split = _ensure_test_clips(selected, seed)
    return Index(root, _sort_clips([replace(c, path=root / str(c.path)) for c in split]))


def _ensure_test_clips(clips: list[Clip], seed: int) -> list[Clip]:
    """Move a normal clip to the test of each ID of the plain layout without normal test clips."""
    normal: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        if clip.label == 0 and clip.path.parent.parent.name.startswith("id_"):
            normal.setdefault((clip.machine, clip.id), []).append(clip)
    moved = {
        min(group, key=lambda clip: _draw(seed, clip.machine, clip.id, clip.name))
        for group in normal.values()
        if len(group) > 1 and all(clip.split == "train" for clip in group)
    }
    return [replace(clip, split="test") if clip in moved else clip for clip in clips]


def _relative(path: AnyPath, root: AnyPath) -> Path:
    return Path(*path.parts[len(root.parts) :])


def _is_hidden(path: AnyPath, root: AnyPath) -> bool:
    """Return True for files of the system and of incomplete downloads."""
    return any(part.startswith(".") for part in _relative(path, root).parts)


def parse(path: Path, *, seed: int = 0) -> Clip | None:
    """Parse a clip from its path relative to the root.

    Returns:
        The clip, or None for a name of no layout.
    """
    parts = path.parts
    if len(parts) >= 4 and parts[-3].startswith("id_"):
        return _parse_plain(path, seed)
    if len(parts) < 3:
        return None
    return _parse_dcase(path)


def _parse_plain(path: Path, seed: int) -> Clip | None:
    machine, folder, condition = path.parts[-4:-1]
    label = _LABELS.get(condition)
    if label is None:
        return None
    identity = product_id(folder.removeprefix("id_"))
    held_out = _draw(seed, machine, identity, path.name) < PLAIN_TEST_SHARE
    split: Split = "test" if label or held_out else "train"
    return Clip(machine, identity, split, "unknown", label, path)


def _draw(seed: int, machine: str, identity: str, name: str) -> float:
    """Return a number in [0, 1) that depends on the seed and the clip's name only."""
    digest = hashlib.sha256(f"{seed}/{machine}/{identity}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _parse_dcase(path: Path) -> Clip | None:
    machine, folder = path.parts[-3:-1]
    match = _SECTION.fullmatch(path.stem) or _ID_2020.fullmatch(path.stem)
    split: Split | None = "train" if folder == "train" else None
    if folder.endswith("test"):
        split = "test"
    if match is None or split is None:
        return None
    names = match.groupdict()
    domain = names.get("domain") or folder.partition("_")[0]
    label = names["label"]
    return Clip(
        machine,
        product_id(names["id"]),
        split,
        "source" if domain == "source" else "target" if domain == "target" else "unknown",
        None if label is None else _LABELS[label],
        path,
    )


def read_ground_truth(
    folder: AnyPath, machine: str, ids: Iterable[str]
) -> dict[tuple[str, str], int]:
    """Read the labels of unlabelled test clips from the ground truth of DCASE, see `labels`.

    Args:
        folder: folder with `ground_truth_<machine>_section_<ID>_..._test.csv` or with
            `eval_data_list.csv`, at any depth.
        machine: machine type.
        ids: product IDs whose labels are read. No file of another ID is opened; the list of 2020
            has all IDs in one file, of which the others are dropped.

    Returns:
        `(product ID, file name) -> label`, 1 = anomalous; empty if there is no file.

    Raises:
        DataError: a line is no label, or a clip has two labels.
    """
    lines: dict[tuple[str, str], Label] = {}
    chosen = set(ids)
    for line in _label_lines(folder, machine, chosen):
        key = product_id(line.id), line.name
        if key[0] not in chosen:
            continue
        other = lines.setdefault(key, line)
        if other.label != line.label:
            raise DataError(
                f"{line.position}: {line.name} has the label {line.label}, but {other.label} in "
                f"{other.position}; remove the wrong one, or name the folder of the right one with "
                "--ground-truth"
            )
    return {key: line.label for key, line in lines.items()}


def _label_lines(folder: AnyPath, machine: str, ids: Collection[str]) -> Iterator[Label]:
    """Yield the lines of all files of ground truth that may be of these product IDs."""
    files: list[AnyPath] = list(folder.rglob("*.csv"))
    for path in sorted(files, key=lambda path: tuple(path.parts)):
        inside = _relative(path, folder.parent).parts[:-1]
        if _is_hidden(path, folder) or not OTHER_TRUTHS.isdisjoint(inside):
            continue
        identity = file_id(path, machine)
        if identity is not None and product_id(identity) in ids:
            yield from read_labels(path, identity)
        elif path.name == LIST_2020 and ids:
            yield from read_list_2020(path, machine)


def file_stamps(files: Sequence[AnyPath]) -> list[str]:
    """Return the size and modification time of each file.

    Raises:
        FileNotFoundError: a file is missing.
    """
    stamps: dict[str, str] = {}
    for folder in {file.parent for file in files if not isinstance(file, Path)}:
        for entry in folder.fs.ls(folder.path, detail=True):
            modified = entry.get("LastModified") or entry.get("updated") or entry.get("mtime")
            stamps[entry["name"]] = f"{entry['size']}/{modified}"
    return [_stamp(file, stamps) for file in files]


def _stamp(file: AnyPath, remote: Mapping[str, str]) -> str:
    if isinstance(file, Path):
        stat = file.stat()
        return f"{stat.st_size}/{stat.st_mtime_ns}"
    if file.path not in remote:
        raise FileNotFoundError(str(file))
    return remote[file.path]


def _sort_clips(clips: list[Clip]) -> tuple[Clip, ...]:
    return tuple(sorted(clips, key=lambda c: (c.machine, c.split, id_order(c.id), c.path.parts)))
