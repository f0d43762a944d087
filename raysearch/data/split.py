"""Division of training clips into those that train and those that validate."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

_SPLIT = 1
"""Stream of random numbers, which shares no draws with that of the epochs."""


def split_clips(
    ids: Sequence[str], share: float, seed: int, recordings: Sequence[str] = ()
) -> tuple[Int64, Int64]:
    """Split training clips into a training and a validation part, stratified by ID.

    Clips of one recording stay together, unless an ID has one recording only.

    Args:
        ids: product ID of each clip.
        share: of each ID's clips that goes to validation; at least 1 clip, never the only clip.
        seed: of the draw.
        recordings: recording of each clip; none, if every clip is a recording by itself.

    Returns:
        Sorted positions of the training and of the validation clips.
    """
    rng = np.random.default_rng([seed, _SPLIT])
    table = np.array(ids)
    chosen = []
    for identity in sorted(set(ids)):
        members = np.flatnonzero(table == identity)
        count = min(max(1, round(share * members.size)), members.size - 1)
        groups = _group(members, recordings) if recordings else []
        if 1 < len(groups) < members.size:
            order = rng.permutation(len(groups))
            chosen.append(_whole_recordings([groups[k] for k in order], count))
        else:
            chosen.append(rng.permutation(members)[:count])
    validation = np.sort(np.concatenate(chosen)).astype(np.int64)
    return np.setdiff1d(np.arange(len(ids)), validation), validation


def _group(members: Int64, recordings: Sequence[str]) -> list[Int64]:
    """Group the positions of clips by recording."""
    groups: dict[str, list[int]] = {}
    for member in members.tolist():
        groups.setdefault(recordings[member], []).append(member)
    return [np.array(group, np.int64) for group in groups.values()]


def _whole_recordings(groups: Sequence[Int64], count: int) -> Int64:
    """Choose recordings in their order, as long as they have no more clips in all than `count`.

    Where the first are all longer, the shortest of all is chosen.
    """
    chosen: list[Int64] = []
    for group in groups:
        if sum(part.size for part in chosen) + group.size <= count:
            chosen.append(group)
    return np.concatenate(chosen or [min(groups, key=len)])
