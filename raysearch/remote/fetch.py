"""Copy of a run's results to this machine, without encoders and records.

No symbolic link of a run is followed: a link may lead to any file, such as a token. Paths on the
head are copied by `ray rsync-down`, object stores are read directly.
"""

import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

import yaml
from upath import UPath

from raysearch.errors import UserError, printable, redact
from raysearch.remote.cluster_file import ClusterFile
from raysearch.remote.tunnel import copy_from_head
from raysearch.storage import children, is_uri, to_path

log = logging.getLogger(__name__)

RESULTS = (
    "best_config.*",
    "final_test*.csv",
    "final_scores*.csv",
    "reference*",
    "official_scores*.csv",
    "trials.csv",
    "report.html",
    "detector",
    "machines/*/detector",
    "submission*",
    "study.json",
    "frozen.json",
    "confidence.json",
    "test_ledger.jsonl",
)
"""Files of a run's folder that are fetched if they exist."""
TABLES = ("table?.*", "figure3.html", "report.html")
"""Files of a folder of runs that are fetched if they exist."""
HEAVY = ("encoders/", "tune/", "records/", "proposals/", "study.journal*")
"""Files that rsync leaves out."""


def fetch(cluster: ClusterFile | None, source: str, to: Path) -> list[Path]:
    """Fetch the results of a run, or of every run of a folder of runs.

    Args:
        cluster: that has the folder on its head; None for a URI.
        source: absolute path or URI of a run's folder, or of a folder of runs.
        to: folder for the runs' folders; results in it are replaced.

    Returns:
        The runs' folders on this machine.

    Raises:
        UserError: the folder does not exist or holds no run.
    """
    if is_uri(source):
        return _keep(to_path(source), source, to)
    if not source.startswith("/"):
        raise UserError(f"{source}: name the run's folder by its absolute path on the cluster")
    assert cluster is not None
    with tempfile.TemporaryDirectory() as scratch:
        # rsync's exclusions are a part of the cluster file.
        lighter = Path(scratch, "cluster.yaml")
        excluded = [*(cluster.content.get("rsync_exclude") or []), *HEAVY]
        lighter.write_text(yaml.safe_dump({**cluster.content, "rsync_exclude": excluded}))
        copied = Path(scratch, Path(source).name)
        copied.mkdir()
        copy_from_head(cluster, lighter, source, copied)
        left_out = remove_links(copied)
        if left_out:
            names = ", ".join(printable(str(path)) for path in left_out)
            log.warning(f"not fetched, since neither a file nor a folder: {names}")
        return _keep(to_path(copied), source, to)


def remove_links(folder: Path) -> list[Path]:
    """Remove all below a folder that is neither a file nor a folder, such as a symbolic link.

    Returns:
        Paths of what was removed, below the folder.
    """
    removed = []
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in sorted(folders + files)):
            mode = path.lstat().st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                path.unlink()
                removed.append(path.relative_to(folder))
    return sorted(removed)


def _keep(folder: UPath, source: str, to: Path) -> list[Path]:
    runs = [run for run in (folder, *children(folder)) if (run / "study.json").is_file()]
    if not runs:
        raise UserError(f"{redact(source)} holds no run: there is no study.json")
    for run in runs:
        for pattern in RESULTS:
            for path in sorted(run.glob(pattern), key=str):
                _copy(path, to.joinpath(run.name, *path.parts[len(run.parts) :]))
    if folder not in runs:
        for pattern in TABLES:
            for path in sorted(folder.glob(pattern), key=str):
                _copy(path, to / path.name)
    return [to / run.name for run in runs]


def _copy(path: UPath, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        for child in path.iterdir():
            _copy(child, target / child.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
