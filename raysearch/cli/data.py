"""Commands about data sets: `raysearch data ...`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raysearch.cli.options import Data, echo
from raysearch.errors import UserError

if TYPE_CHECKING:
    from raysearch.storage import AnyPath

app = typer.Typer(help="Data sets: make, download, check.", no_args_is_help=True)


class Domain(StrEnum):
    """Domain of the recordings that count."""

    source = "source"
    target = "target"
    both = "both"


def need_data(folder: "AnyPath") -> None:
    """Refuse a folder that does not exist, and name both ways to get data.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"no data: {folder} is not a folder; get the real set with `raysearch data download "
            f"{folder}`, or a synthetic one with `raysearch data demo {folder}`"
        )


def init(
    machine: Annotated[
        list[str] | None, typer.Option(help="Machine type; again for more.", show_default="all")
    ] = None,
    data: Data = "data",
    to: Annotated[Path, typer.Option(help="Folder of space files.")] = Path("search_spaces"),
) -> None:
    """Write a space file for each machine type found, every option in it explained.

    Product IDs, batch sizes, values of p and the sampling rate are set from the recordings. Edit
    it, then `raysearch run` finds it by its name.

    Example: raysearch init --machine valve --data data
    """
    from raysearch.data.index import read_index
    from raysearch.storage import to_path
    from raysearch.study.draft import draft

    folder = to_path(data)
    need_data(folder)
    index = read_index(folder, domain="both")
    wanted = {name: to / f"{name}.yaml" for name in machine or index.machines}
    for path in wanted.values():
        if path.exists():
            raise UserError(f"{path} exists; remove it, or choose another folder with --to")
    texts = {path: draft(index, name) for name, path in wanted.items()}
    to.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text)
        echo(path)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write the data set to.")],
    machine: Annotated[
        list[str] | None, typer.Option(help="Machine type; again for more.", show_default="all")
    ] = None,
    train_clips: Annotated[int, typer.Option(min=1, help="Training clips per ID.")] = 40,
    test_clips: Annotated[int, typer.Option(min=1, help="Test clips per ID and label.")] = 20,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a clip in s.")] = 4.0,
    snr: Annotated[float, typer.Option(help="Machine against factory noise, in dB.")] = 6.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same gives the same bytes.")] = 0,
) -> None:
    """Write a synthetic data set in the layout of DCASE 2021 Task 2."""
    from rich.console import Console

    from raysearch.config import MACHINES
    from raysearch.data.synthetic.demo import DemoSize, write_demo
    from raysearch.report.progress import progress

    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; choose a new one")
    with progress(Console(), "writing clips", None) as advance:
        count = write_demo(
            folder,
            DemoSize(train_clips, test_clips, seconds),
            machines=tuple(machine) if machine else MACHINES,
            snr_db=snr,
            seed=seed,
            on_clip=lambda done, total: advance(1),
        )
    echo(f"{count} clips in {folder}")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    domain: Annotated[Domain, typer.Option(help="Recordings that count.")] = Domain.both,
    rate: Annotated[int, typer.Option(min=1, help="Expected sampling rate in Hz.")] = 16000,
    segment: Annotated[float, typer.Option(min=0, help="Length of a segment in s.")] = 2.0,
) -> None:
    """Count a data set's clips; list every file that is defective or left out, and why."""
    need_data(folder)
    from rich.console import Console

    from raysearch.data.index import read_index
    from raysearch.data.notes import domain_notes
    from raysearch.report.data_summary import (
        show_counts,
        show_defects,
        show_doubles,
        show_recordings,
        show_unread,
    )
    from raysearch.report.progress import say

    console = Console()
    index = read_index(folder, domain=domain.value)
    show_counts(index, console)
    show_recordings(index, console)
    show_unread(index, console)
    for machine in index.machines:
        for note in domain_notes(index, machine, domain.value):
            say(console, f"note: {note}")
    show_doubles(index, console)
    show_defects(index, console, rate=rate, segment=round(segment * rate))


@app.command()
def download(
    folder: Annotated[Path, typer.Argument(help="Folder for the data set.")],
    machine: Annotated[
        list[str] | None, typer.Option(help="Machine type; again for more.", show_default="all")
    ] = None,
) -> None:
    """Download DCASE 2021 Task 2 from Zenodo (about 20 GB), resuming an earlier download."""
    from rich.console import Console

    from raysearch.data.dcase.download import download as fetch
    from raysearch.report.progress import transfer

    with transfer(Console(), "downloading") as on_progress:
        fetched = fetch(folder, machine, on_progress=on_progress)
    echo(f"{len(fetched)} files downloaded into {folder}" if fetched else "nothing to do")
