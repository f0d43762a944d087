"""Counts of the clips of a data set, and its defective files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raysearch.config import id_order
from raysearch.data.decode import decode, level_remarks
from raysearch.data.doubles import same_content
from raysearch.data.index import Clip, Index, parse
from raysearch.data.plain import RECORDING_RULE
from raysearch.data.store import remarks
from raysearch.errors import DataError, printable
from raysearch.report.progress import progress, say

SHOWN = 50
"""Folders with files that are left out, and groups of equal files, that have a line each."""


def show_counts(index: Index, console: Console) -> None:
    """Print the number of clips per machine type, product ID, split, domain and label."""
    counts = Counter((c.machine, c.id, c.split, c.domain, _label(c)) for c in index.clips)
    say(console, f"{len(index.clips)} clips in {index.root}")
    table = Table(box=None)
    for name in ("machine", "ID", "split", "domain", "label"):
        table.add_column(name)
    table.add_column("clips", justify="right")
    order = sorted(counts, key=lambda key: (key[0], id_order(key[1]), key[2:]))
    for key in order:
        table.add_row(*(Text(printable(text)) for text in key), str(counts[key]))
    console.print(table)


def show_recordings(index: Index, console: Console) -> None:
    """Print how the normal clips of the plain layout are split, by machine type."""
    plain = [clip for clip in index.clips if clip.recording and clip.label == 0]
    for machine in sorted({clip.machine for clip in plain}):
        clips = [clip for clip in plain if clip.machine == machine]
        recordings = {(clip.id, clip.recording): clip.split for clip in clips}
        if len(recordings) == len(clips):
            rule = "each a recording by itself, split into training and test"
        else:
            rule = f"split into training and test by recording: {RECORDING_RULE}"
        say(console, f"{machine}: {len(recordings)} recordings, {len(clips)} normal clips; {rule}")
        for identity in sorted({clip.id for clip in clips}, key=id_order):
            for note in _split_notes(index, [clip for clip in clips if clip.id == identity]):
                say(console, f"note: ID {identity} of {machine} {note}")


def _split_notes(index: Index, clips: Sequence[Clip]) -> Iterator[str]:
    """Yield what a split by recording cannot do for the normal clips of an ID."""
    paths = (Path(*clip.path.parts[len(index.root.parts) :]) for clip in clips)
    named = {clip.recording for path in paths if (clip := parse(path)) is not None}
    trained = [clip.recording for clip in clips if clip.split == "train"]
    if len(named) == 1 < len(clips):
        yield (
            f"has one recording only, {named.pop()}, so its clips are split one by one, and the "
            "test is of what was trained on"
        )
    elif len(set(trained)) == 1 < len(trained):
        yield (
            "trains on one recording only, so the clips that choose the epoch are cut from it, too"
        )


def show_unread(index: Index, console: Console) -> None:
    """Print the folders with audio files that are left out, and why."""
    folders: dict[tuple[Path, str], list[str]] = {}
    for unread in index.unread:
        folders.setdefault((unread.path.parent, unread.reason), []).append(unread.path.name)
    for (folder, reason), names in sorted(folders.items())[:SHOWN]:
        first = f"{min(names)} of {index.root / str(folder)}"
        several = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(console, f"left out: {first}{several}: {reason}")
    if len(folders) > SHOWN:
        say(console, f"left out: files of {len(folders) - SHOWN} more folders")
    if index.unread:
        say(console, f"{len(index.unread)} audio files or folders are left out")


def show_doubles(index: Index, console: Console) -> None:
    """Print which clips have the same content, and how they stand to one another."""
    with progress(console, "comparing clips", len(index.clips)) as advance:
        groups = [(_kinship(group), group) for group in same_content(index.clips, advance)]
    for kinship, count in Counter(kinship for kinship, _ in groups).items():
        first = f", the first {SHOWN}" if count > SHOWN else ""
        say(console, f"same content {kinship}: {count} recordings{first}")
        for clips in [clips for other, clips in groups if other == kinship][:SHOWN]:
            say(console, f"same content: {' = '.join(str(clip.path) for clip in clips)}")


def _kinship(clips: Sequence[Clip]) -> str:
    """Name the worst that the same content of clips means."""
    if len({clip.split for clip in clips}) > 1:
        return "in training and in the test"
    if len({(clip.machine, clip.id) for clip in clips}) > 1:
        return "under several product IDs or machine types"
    return "under one product ID"


def _label(clip: Clip) -> str:
    return {0: "normal", 1: "anomalous", None: "unlabelled"}[clip.label]


def show_defects(index: Index, console: Console, *, rate: int, segment: int) -> None:
    """Print every file that would be skipped or used with a remark, with its reasons.

    Args:
        index: of the clips to decode.
        console: to print on.
        rate: expected sampling rate in Hz.
        segment: samples of a segment.
    """

    def examine(clip: Clip) -> tuple[bool, list[str]]:
        try:
            pcm = decode(clip.path, rate=rate)
        except DataError as error:
            return True, [str(error)]
        return False, remarks(clip.path, rate=rate, segment=segment) + level_remarks(pcm)

    defective = remarked = 0
    with (
        progress(console, "reading clips", len(index.clips)) as advance,
        ThreadPoolExecutor() as pool,
    ):
        for clip, (left_out, reasons) in zip(
            index.clips, pool.map(examine, index.clips), strict=True
        ):
            advance(1)
            defective += left_out
            remarked += bool(reasons) and not left_out
            for reason in reasons:
                kind = "defective" if left_out else "note"
                say(console, f"{kind}: {clip.path}: {reason}")
    say(console, f"{defective} defective files would be left out, {remarked} are used with a note")
