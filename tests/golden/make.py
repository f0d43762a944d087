"""Record the golden run again: `python -m tests.golden.make`, with the reference code.

Only an intended change of the files of a run is a reason for this; a refactoring never is.
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
"""Parts of a folder that no later version reads."""


def main() -> None:
    """Write the expected files and the folder of an interrupted run; that of 0.1 stays."""
    with tempfile.TemporaryDirectory() as scratch:
        resumed, whole = Path(scratch, "resumed"), Path(scratch, "whole")
        for home in (resumed, whole):
            home.mkdir()
            search.settle(home)
        _interrupt(resumed)
        _pack(resumed, search.INTERRUPTED)
        for home in (resumed, whole):
            _command(home).wait()
        files = search.outcome(resumed)
        assert files == search.outcome(whole), "the resumed run wrote other files"
    shutil.rmtree(search.EXPECTED, ignore_errors=True)
    for name, text in files.items():
        path = search.EXPECTED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    print(f"{len(files)} files in {search.EXPECTED}")


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
    """Return True if five trials have ended, and the encoder of none, a finalist's, is trained."""
    records = [json.loads(path.read_text()) for path in study.glob("records/*.json")]
    ended = {record["encoder"] for record in records}
    trained = {path.parent.name for path in study.glob("encoders/*/last.safetensors")}
    return len(records) >= 5 and bool(trained - ended)


def _pack(home: Path, packed: Path) -> None:
    def select(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(entry.name).parts
        hidden = any(part.startswith(".") for part in parts)
        return None if hidden or any(part in LEFT_OUT for part in parts) else entry

    with tarfile.open(packed, "w:xz") as archive:
        archive.add(home / "runs", "runs", filter=select)


if __name__ == "__main__":
    main()
