"""Notes on the index of a run: recordings that are left out, doubled or of unknown domain."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from raysearch.config import id_order
from raysearch.data.index import Clip, Index
from raysearch.storage import AnyPath

logger = logging.getLogger(__name__)


def log_notes(notes: Iterable[str]) -> None:
    """Log notes as warnings, each once for all studies of a run."""
    for note in notes:
        _warn(note)


@cache
def _warn(note: str) -> None:
    logger.warning(note)


def unread_notes(index: Index) -> Iterator[str]:
    """Yield a note on the audio files and folders that are left out, if there are any."""
    if index.unread:
        first = index.unread[0]
        yield (
            f"{len(index.unread)} audio files or folders of {index.root} are left out, the first "
            f"{first.path} ({first.reason}); `raysearch data check` names all"
        )


def double_notes(root: AnyPath, doubles: Sequence[tuple[Clip, Clip]]) -> Iterator[str]:
    """Yield a note on clips that are in a data set twice, if there are any.

    Args:
        root: folder of the data set.
        doubles: pairs of a clip and its double, which is left out.
    """
    if doubles:
        first, second = doubles[0]
        yield (
            f"{len(doubles)} clips are in {root} twice and used once, such as {first.path} and "
            f"{second.path}"
        )


def domain_notes(index: Index, machine: str, domain: str) -> Iterator[str]:
    """Yield a note on test clips without a domain, if clips of one domain only are selected.

    Args:
        index: of all clips of the domain.
        machine: target machine type.
        domain: `source`, `target` or `both`.
    """
    known = {clip.domain for clip in index.train(machine)} - {"unknown"}
    unknown = [
        clip
        for clip in index.clips
        if (clip.machine, clip.split, clip.domain) == (machine, "test", "unknown")
    ]
    if domain != "both" and known and unknown:
        ids = ", ".join(sorted({clip.id for clip in unknown}, key=id_order))
        yield (
            f"{len(unknown)} test clips of {machine} (IDs {ids}) do not tell their domain by their "
            f"names, so domain: {domain} takes all of them"
        )
