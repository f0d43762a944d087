"""Index of a data set's clips, parsed from their file names.

The layouts are those of DCASE (names of 2020, of 2021, of 2022 and 2023) and the plain layout
`<machine>/id_<ID>/{normal,abnormal}/*.wav` of MIMII, see `plain`. Only names and modification times
are read here; `store` opens the audio. `ground_truth` reads labels that the names lack.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from raysearch.config import id_order
from raysearch.data.folders import OTHER_SUFFIXES, READ_SUFFIXES, Unread, list_files
from raysearch.data.plain import (
    LABELS,
    PLAIN_TEST_SHARE,
    PlainName,
    below_id,
    choose_test,
    draw,
    parse_plain,
    recording_of,
)
from raysearch.errors import DataError
from raysearch.storage import AnyPath

Split = Literal["train", "test"]
Domain = Literal["source", "target", "unknown"]

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
        recording: recording that a clip of the plain layout is cut from; empty in other layouts.
    """

    machine: str
    id: str
    split: Split
    domain: Domain
    label: int | None
    path: AnyPath
    recording: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def key(self) -> str:
        """Name that no other clip of the ID has: in the plain layout with the folders below it."""
        return below_id(self.path.parts) if self.recording else self.name


@dataclass(frozen=True)
class Index:
    """The clips of a data set, sorted by machine type, split, product ID and name.

    Attributes:
        root: folder of the data set.
        clips: recordings.
        unread: audio files and folders that are left out, and why.
    """

    root: AnyPath
    clips: tuple[Clip, ...]
    unread: tuple[Unread, ...] = ()

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
        return Index(
            self.root, _sort_clips(training + self.test(machine, validation_ids)), self.unread
        )


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
    listing = list_files(root)
    clips, unread = [], [*listing.unread]
    for file in listing.files:
        suffix = file.suffix.lower()
        if suffix in OTHER_SUFFIXES:
            unread.append(Unread(file, "an audio format that is not read"))
        elif suffix in READ_SUFFIXES:
            clip = parse(file, seed=seed)
            if clip is None:
                unread.append(Unread(file, "a name and folders of no known layout"))
            else:
                clips.append(clip)
    if not clips:
        files = f"; {len(unread)} audio files, such as {unread[0].path}" if unread else ""
        raise DataError(
            f"no clip in {root}: no file has a name in the style of DCASE or MIMII{files}"
        )
    selected = [c for c in clips if domain == "both" or c.domain in (domain, "unknown")]
    if not selected:
        raise DataError(f"no clip of domain {domain!r} in {root}")
    split = _split_plain(selected, seed)
    return Index(
        root, _sort_clips([replace(c, path=root / str(c.path)) for c in split]), tuple(unread)
    )


def _split_plain(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """Split the normal clips of the plain layout into training and test by recording."""
    normal: dict[tuple[str, str], list[int]] = {}
    for position, clip in enumerate(clips):
        if clip.recording and clip.label == 0:
            normal.setdefault((clip.machine, clip.id), []).append(position)
    result = [*clips]
    for (machine, identity), positions in normal.items():
        several = len({clips[k].recording for k in positions}) > 1
        # Of one recording there is no other to test by, so its clips have to do.
        names = {k: clips[k].recording if several else clips[k].name for k in positions}
        draws = {name: draw(seed, machine, identity, name) for name in names.values()}
        tests = choose_test(draws)
        for k, name in names.items():
            split: Split = "test" if name in tests else "train"
            result[k] = replace(clips[k], split=split, recording=name)
    return result


def parse(path: Path, *, seed: int = 0) -> Clip | None:
    """Parse a clip from its path relative to the root.

    Returns:
        The clip, or None for a name of no layout.
    """
    parts = path.parts
    plain = parse_plain(parts)
    if plain is not None:
        return _plain_clip(path, plain, seed)
    return _parse_dcase(path) if len(parts) >= 3 else None


def _plain_clip(path: Path, plain: PlainName, seed: int) -> Clip:
    identity = product_id(plain.id)
    recording = recording_of(plain.folders, path.name)
    if not plain.folders and (_SECTION.fullmatch(path.stem) or _ID_2020.fullmatch(path.stem)):
        recording = path.name  # DCASE numbers recordings.
    drawn = draw(seed, plain.machine, identity, recording) < PLAIN_TEST_SHARE
    split: Split = "test" if plain.label or drawn else "train"
    return Clip(plain.machine, identity, split, "unknown", plain.label, path, recording)


def _parse_dcase(path: Path) -> Clip | None:
    machine, folder = path.parts[-3], path.parts[-2].lower()
    split: Split | None = "train" if folder == "train" else None
    if folder.endswith("test"):
        split = "test"
    if split is None or machine[:3].lower() == "id_":
        return None
    match = _SECTION.fullmatch(path.stem) or _ID_2020.fullmatch(path.stem)
    if match is None:
        return None
    names = match.groupdict()
    domain = names.get("domain") or folder.partition("_")[0]
    label = names["label"]
    return Clip(
        machine,
        product_id(names["id"]),
        split,
        "source" if domain == "source" else "target" if domain == "target" else "unknown",
        None if label is None else LABELS[label],
        path,
    )


def _sort_clips(clips: list[Clip]) -> tuple[Clip, ...]:
    return tuple(sorted(clips, key=lambda c: (c.machine, c.split, id_order(c.id), c.path.parts)))
