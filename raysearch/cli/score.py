"""The command that scores new recordings."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raysearch.cli.options import echo, parse_alarm_rate
from raysearch.errors import DataError, UserError, printable

if TYPE_CHECKING:
    from upath import UPath

    from raysearch.detector import Detector


def score(
    detector: Annotated[str, typer.Argument(help="Folder of a detector: runs/valve/detector.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings.", show_default=False)],
    id: Annotated[
        str | None,
        typer.Option(
            help="Product ID of the recordings; any takes the least anomalous of all.",
            show_default="from their names",
        ),
    ] = None,
    any_rate: Annotated[
        bool,
        typer.Option("--any-rate", help="Score recordings of a lower sampling rate, too."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first recording that cannot be scored.")
    ] = False,
    windows: Annotated[
        bool, typer.Option("--windows", help="A row for each segment, with its times in s.")
    ] = False,
) -> None:
    """Score recordings; print file,id,score,decision,error as CSV (1 = anomalous).

    A recording that cannot be scored has its error instead; the exit code is 1 then.
    With --windows the columns are file,id,start,end,score,error.

    Example: raysearch score runs/valve/detector monday.wav --id 0 --windows
    """
    import csv

    # Now: these imports take seconds, and paths are validated before.
    from raysearch.storage import to_path

    folder = to_path(detector)
    if not (folder / "detector.json").is_file():
        raise UserError(f"{folder} holds no detector (no detector.json); a run writes one")
    for path in files:
        if not path.is_file():
            raise UserError(f"there is no file {path}")
    from raysearch.study.bundle import load_detector

    loaded = load_detector(folder)
    ids = [loaded.identity_of(path, id) for path in files]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = ["start", "end", "score"] if windows else ["score", "decision"]
    writer.writerow(["file", "id", *columns, "error"])
    failed = False
    for path, identity in zip(files, ids, strict=True):
        rows = _score_rows(loaded, path, identity, any_rate=any_rate, windows=windows)
        try:
            writer.writerows([_shown(path), *row] for row in rows)
        except DataError as error:
            if strict:
                raise
            failed = True
            reason = str(error).removeprefix(f"{path}: ")
            writer.writerow([_shown(path), identity, *[""] * len(columns), _shown(reason)])
    if failed:
        raise typer.Exit(1)


def _shown(text: object) -> str:
    """Return a text for the table: on a terminal, which would obey it, without control characters.

    A program that reads the table needs the very name.
    """
    return printable(str(text)) if sys.stdout.isatty() else str(text)


def threshold(
    detector: Annotated[
        str, typer.Argument(help="Folder of a run or of its detector: runs/valve.")
    ],
    quantile: Annotated[
        float | None,
        typer.Option(
            help="Share of healthy recordings below the threshold, such as 0.99.",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="f1|RATE",
            help="Choose the quantile on the validation clips of the run: by the largest F1, or by "
            "the largest share of false alarms, such as 0.02.",
            show_default=False,
        ),
    ] = None,
    id: Annotated[
        list[str] | None, typer.Option(help="Product ID; again for more.", show_default="all")
    ] = None,
) -> None:
    """Set the thresholds of a detector anew, from the scores of its healthy training clips.

    One of --quantile and --calibrate says where. A higher quantile gives fewer false alarms and
    misses more faults. Results of an earlier final test stay as they are.

    Example: raysearch threshold runs/valve --quantile 0.99
    """
    if (quantile is None) == (calibrate is None):
        raise UserError("say one of --quantile 0.99 and --calibrate f1")
    rate = parse_alarm_rate(calibrate)
    from raysearch.config import id_order
    from raysearch.data.index import product_id
    from raysearch.storage import to_path
    from raysearch.study.thresholds import find_detector, set_thresholds

    folder = find_detector(to_path(detector))
    if quantile is None:
        quantile = _calibrate(to_path(detector), rate)
    ids = None if id is None else [product_id(each) for each in id]
    changes = set_thresholds(folder, quantile, ids)
    for change in sorted(changes, key=lambda change: id_order(change.id)):
        note = f" ({change.note})" if change.note else ""
        echo(
            f"ID {change.id}: {change.before:.6g} -> {change.after:.6g}; above it are "
            f"{change.above} of {change.clips} healthy training clips, and of new ones expect "
            f"{100 * (1 - change.quantile):.3g} % or somewhat more{note}"
        )
    echo(folder / "detector.json")


def _calibrate(run: "UPath", rate: float | None) -> float:
    """Choose a quantile on the validation clips of a run, and print its decisions on them."""
    from raysearch.pipeline.calibrate import calibrate

    chosen = calibrate(run, rate)
    echo(
        f"quantile {chosen.quantile:g}: of the validation clips it calls {chosen.hits} of "
        f"{chosen.anomalous} anomalous and {chosen.alarms} of {chosen.normal} normal ones "
        f"anomalous (F1 {chosen.f1:.3f}); as it was chosen by them, expect less of others"
    )
    return chosen.quantile


def _score_rows(
    detector: "Detector", path: Path, identity: str, *, any_rate: bool, windows: bool
) -> Iterator[list[object]]:
    """Score a recording; yield its row, or those of its segments, without its path."""
    if windows:
        for window in detector.iter_windows(path, id=identity, any_rate=any_rate):
            times = [f"{round(time, 4):.10g}" for time in (window.start, window.end)]
            yield [window.id, *times, repr(window.score), ""]
        return
    for score in detector.score(path, id=identity, any_rate=any_rate):
        yield [score.id, repr(score.score), int(score.anomalous), ""]
