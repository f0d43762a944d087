"""Record the golden run anew: `python -m tests.golden.make`, with the code that is to be kept.

Only what is meant to change what a run leaves is a reason for it; a refactoring never is.
"""

import json
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from tests.command import COMMAND as RAYSEARCH
from tests.golden import search

LEFT_OUT = ("tune", "report.html", "evidence")
"""Parts of a folder that no later version reads, and what draws them again."""


def main() -> None:
    """Write what is expected, and the folders of a run that was stopped and of one that ended."""
    with tempfile.TemporaryDirectory() as scratch:
        resumed, whole = Path(scratch, "resumed"), Path(scratch, "whole")
        for home in (resumed, whole):
            home.mkdir()
            search.settle(home)
        _interrupt(resumed)
        _pack(resumed, search.INTERRUPTED)
        for home in (resumed, whole):
            _command(home).wait()
        found = search.outcome(resumed)
        assert found == search.outcome(whole), "a run that was resumed came to another end"
        _pack(resumed, search.FINISHED)
    shutil.rmtree(search.EXPECTED, ignore_errors=True)
    for name, text in found.items():
        path = search.EXPECTED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    print(f"{len(found)} files in {search.EXPECTED}")


def _command(home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([RAYSEARCH, *search.COMMAND], cwd=home, env=search.environment())


def _interrupt(home: Path) -> None:
    """Stop the search within the training of a trial that is not pruned."""
    study = home / "runs" / "valve"
    while True:
        running = _command(home)
        while running.poll() is None:
            if _unfinished(study):
                running.send_signal(signal.SIGINT)
                break
            time.sleep(0.002)
        assert running.wait() == 130, "it was not stopped"
        if _unfinished(study):
            return
        shutil.rmtree(home / "runs")


def _unfinished(study: Path) -> bool:
    """Tell whether four trials have ended, and another, which is not pruned, has a checkpoint."""
    records = [json.loads(path.read_text()) for path in study.glob("records/*.json")]
    ended = {record["encoder"] for record in records}
    trained = {path.parent.name for path in study.glob("encoders/*/last.safetensors")}
    return len(records) == 4 and bool(trained - ended)


def _pack(home: Path, packed: Path) -> None:
    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(entry.name).parts
        hidden = any(part.startswith(".") for part in parts)
        return None if hidden or any(part in LEFT_OUT for part in parts) else entry

    with tarfile.open(packed, "w:xz") as archive:
        archive.add(home / "runs", "runs", filter=kept)


if __name__ == "__main__":
    main()
