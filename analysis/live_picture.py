"""The picture of the live view, taken of a real search on the demo data.

    raysearch data demo demo/data
    python analysis/live_picture.py --data demo/data --out docs/images/live.svg

searches as `make demo` does (minutes on two cores), photographs the terminal whenever a trial has
reported, and keeps the latest picture with enough to see in it: trials that run, with scores of
their rungs, and others that ended. Then it stops. The picture brings no font and fetches none.
"""

import argparse
import io
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

from raysearch import run
from raysearch.errors import StoppedError
from raysearch.report.recorder import Recorder
from raysearch.search.resources import Resources
from raysearch.storage import place

WIDTH = 100
ENDED = 8
"""Trials that have ended by the time of the last picture."""
FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def svg(shown: RenderableType, title: str) -> str:
    """Draws what a terminal shows, in the fonts that the reader has."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(shown)
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("Fira Code, monospace", FONT).replace("Fira Code", FONT)
    return console.export_svg(title=title, code_format=form, unique_id="live")


class Camera(Recorder):
    """A recorder that photographs what it shows."""

    picture = ""

    def epoch(self, study: str, number: int, result: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        super().epoch(study, number, result)
        ended = len(self.studies[study].records)
        running = list(self.running.values())
        if any(trial.score is not None for trial in running) and all(t.epoch for t in running):
            title = f"raysearch run --machine {study}"
            type(self).picture = svg(self.live.get_renderable(), title)
        if self.picture and ended >= ENDED:
            raise KeyboardInterrupt


def main() -> None:
    """Takes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("demo/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/live.svg"))
    asked = parser.parse_args()
    run.Recorder = Camera  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as runs:
        request = run.Request(
            data=place(asked.data),
            out=place(runs),
            resources=Resources(),
            space=Path("search_spaces/demo.yaml"),
        )
        with suppress(StoppedError):
            run.run(request, ["valve"], Console())
    asked.out.write_text(Camera.picture)
    print(f"{len(Camera.picture)} bytes in {asked.out}")


if __name__ == "__main__":
    main()
