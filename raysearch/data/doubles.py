"""Recordings of the same content: data unpacked twice, clips on both sides of a split."""

import filecmp
import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raysearch.data.folders import file_stamps
from raysearch.data.index import Clip
from raysearch.storage import AnyPath

_HEAD = 1 << 16
"""Bytes that are compared first: nearly all clips differ in them."""


def drop_doubles(clips: Sequence[Clip]) -> tuple[tuple[Clip, ...], list[tuple[Clip, Clip]]]:
    """Drop clips that have the name and the content of another clip of their ID.

    Only clips on a local disk with the name of another are read, to the first byte that differs.

    Args:
        clips: of any machine types and product IDs.

    Returns:
        The clips without doubles, in their order, and pairs of a clip and its double.
    """
    kept: list[Clip] = []
    pairs: list[tuple[Clip, Clip]] = []
    named: dict[Hashable, list[Clip]] = {}
    for clip in clips:
        others = named.setdefault((clip.machine, clip.id, clip.split, clip.label, clip.name), [])
        first = next((other for other in others if _equal(other.path, clip.path)), None)
        if first is None:
            others.append(clip)
            kept.append(clip)
        else:
            pairs.append((first, clip))
    return tuple(kept), pairs


def _equal(left: AnyPath, right: AnyPath) -> bool:
    """Return True if two local files have the same content."""
    if not isinstance(left, Path) or not isinstance(right, Path):
        return False
    try:
        return left.stat().st_size > 0 and filecmp.cmp(left, right, shallow=False)
    except OSError:
        return False


def same_content(clips: Sequence[Clip], on_clips: Callable[[int], None]) -> list[list[Clip]]:
    """Group clips whose files have the same bytes; a clip without another is left out.

    Sizes are compared first, then the first bytes, then all: files are read as far as they are
    alike. Labels play no part.

    Args:
        clips: of any machine types, product IDs and splits.
        on_clips: called with the number of newly compared clips.
    """
    sizes = [int(stamp.partition("/")[0]) for stamp in file_stamps([clip.path for clip in clips])]
    # Empty files are alike, but hold nothing.
    by_size = _groups(pair for pair in zip(sizes, clips, strict=True) if pair[0])
    result: list[list[Clip]] = []
    with ThreadPoolExecutor() as pool:
        for group in by_size:
            heads = pool.map(lambda clip: _digest(clip.path, _HEAD), group)
            for alike in _groups(zip(heads, group, strict=True)):
                contents = pool.map(lambda clip: _digest(clip.path, None), alike)
                result += _groups(zip(contents, alike, strict=True))
            on_clips(len(group))
    return sorted(result, key=lambda group: tuple(group[0].path.parts))


def _groups(pairs: Iterable[tuple[Hashable, Clip]]) -> list[list[Clip]]:
    """Return the clips of each key but None that two clips or more have."""
    groups: dict[Hashable, list[Clip]] = {}
    for key, clip in pairs:
        if key is not None:
            groups.setdefault(key, []).append(clip)
    return [group for group in groups.values() if len(group) > 1]


def _digest(path: AnyPath, limit: int | None) -> str | None:
    """Hash the first bytes of a file, without a limit all; None if it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            if limit is not None:
                digest.update(file.read(limit))
            else:
                while block := file.read(1 << 20):
                    digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
