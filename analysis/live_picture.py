"""A screenshot of the live view of a real search on the demo data.

    raysearch data demo demo/data
    python analysis/live_picture.py --data demo/data --out docs/images/live.svg

searches as `make demo` does (minutes on two cores) and renders the live view at every report. It
keeps the latest picture in which all running trials have reported and at least one has the score of
a rung. It stops the search once enough trials have ended. The picture has no font and loads none.
"""

import argparse
import io
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

import raysearch
from raysearch.backend.resources import Cluster, Share
from raysearch.backend.search_callback import SearchCallback, StudyProgress
from raysearch.report.live import LiveView
from raysearch.search.budget import Budget
from raysearch.study.records import Proposal, Record
from raysearch.training.outcome import Epoch

WIDTH = 100
ENDED = 8
"""Trials after which the search is stopped."""
FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def svg(view: RenderableType, title: str) -> str:
    """Render a view as SVG, in the fonts of the reader's system."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(view)
    code_format = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    code_format = code_format.replace("Fira Code, monospace", FONT).replace("Fira Code", FONT)
    return console.export_svg(title=title, code_format=code_format, unique_id="live")


class Screenshot(SearchCallback):
    """Callback that renders the live view, and stops the search after `ENDED` trials."""

    def __init__(self) -> None:
        self.picture = ""

    def on_search_start(self, studies: Sequence[StudyProgress], budget: Budget) -> None:
        """Start a live view without a terminal."""
        self.view = LiveView(Console(file=io.StringIO()))
        self.view.on_search_start(studies, budget)

    def on_cluster_ready(self, cluster: Cluster, share: Share) -> None:
        """Show the cluster."""
        self.view.on_cluster_ready(cluster, share)

    def on_trial_start(self, study: str, proposal: Proposal) -> None:
        """Show a trial that runs."""
        self.view.on_trial_start(study, proposal)

    def on_trial_end(self, study: str, record: Record) -> None:
        """Show the result of a trial."""
        self.view.on_trial_end(study, record)

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        """Render the view if all running trials have reported and one has a score."""
        self.view.on_epoch_end(study, number, epoch)
        ended = len(self.view.studies[study].records)
        running = list(self.view.running.values())
        if any(trial.score is not None for trial in running) and all(t.epoch for t in running):
            title = f"raysearch run --machine {study}"
            self.picture = svg(self.view.live.get_renderable(), title)
        if self.picture and ended >= ENDED:
            raise KeyboardInterrupt


def main() -> None:
    """Run the search and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("demo/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/live.svg"))
    arguments = parser.parse_args()
    screenshot = Screenshot()
    with tempfile.TemporaryDirectory() as runs, suppress(raysearch.StoppedError):
        raysearch.run(
            arguments.data,
            machine="valve",
            out=runs,
            space="search_spaces/demo.yaml",
            callbacks=[screenshot],
        )
    arguments.out.write_text(screenshot.picture)
    print(f"{len(screenshot.picture)} bytes in {arguments.out}")


if __name__ == "__main__":
    main()
