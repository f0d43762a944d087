"""Counts of the clips of a data set, and its defective files."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.table import Table

from raysearch.config import id_order
from raysearch.data.decode import decode, level_remarks
from raysearch.data.index import Clip, Index
from raysearch.data.store import remarks
from raysearch.errors import DataError
from raysearch.report.progress import progress, say


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
        table.add_row(*key, str(counts[key]))
    console.print(table)


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
