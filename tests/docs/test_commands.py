"""Every command of README and docs/, executed in the order of its page.

Only a run shows that a page's commands work one after the other.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.command import Ended, Study, write_space
from tests.docs.pages import PAGES, REPOSITORY, RUN, Block, blocks, spans
from tests.shared import FINALISTS

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
SPACES = ("default", "demo", "paper")


def clone(folder: Path) -> Path:
    """Fill a folder like a clone of the repository, with spaces of searches of a few seconds."""
    (folder / "search_spaces").mkdir(parents=True)
    for name in SPACES:
        # The space of the finished study, which a page resumes.
        strategy = {"trials": 2, "finalists": FINALISTS} if name == "default" else {"trials": 2}
        write_space(folder / "search_spaces" / f"{name}.yaml", strategy=strategy)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(REPOSITORY / name, folder / name)
    scripts = folder / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "activate").write_text(f'PATH="{scripts}:$PATH"\n')
    for name in ("python", "raysearch"):
        (scripts / name).write_text(f'#!/bin/sh\nexec "{BIN / name}" "$@"\n')
        (scripts / name).chmod(0o755)
    (folder / ".venv" / ".installed").touch()
    return folder


def script(page: list[Block]) -> str:
    """Return the blocks of a page as one script, which prints the block that fails."""
    parts = ["set -euo pipefail", "trap 'echo \"stopped at $block\" >&2' ERR"]
    for block in page:
        parts += [f"block={block.position}", block.script]
    return "\n".join(parts)


RUNNING = {
    page: running
    for page in PAGES
    if (running := [b for b in blocks(page) if b.language in RUN and not b.skipped])
}


@pytest.fixture(scope="module")
def ends(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    demo_data: Path,
    finished: Study,
) -> Iterator[dict[Path, Future[Ended]]]:
    """Run the selected pages, two at a time since each waits a lot; page -> its end."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "DEMO": str(demo_data),
        "FINISHED": str(finished.folder),
    }

    def execute(page: Path, home: Path) -> Ended:
        process = subprocess.run(
            ["bash", "-c", script(RUNNING[page])],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return Ended(process.returncode, process.stdout, process.stderr)

    selected = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(2) as pool:
        yield {
            page: pool.submit(execute, page, clone(tmp_path_factory.mktemp(page.stem) / "home"))
            for page in RUNNING
            if {"commands_of": page} in selected
        }


@pytest.mark.parametrize("commands_of", RUNNING, ids=lambda page: page.name)
def test_commands_do_what_the_page_says(commands_of: Path, ends: dict[Path, Future[Ended]]) -> None:
    ended = ends[commands_of].result()
    assert ended.code == 0, ended.err + ended.out


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    block = Block("page.md:7", "bash", "true\nraysearch rum\ntrue", {})
    done = subprocess.run(
        ["bash", "-c", script([block])], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "stopped at page.md:7" in done.stderr


def test_every_file_that_a_run_writes_is_documented(finished: Study) -> None:
    folder = finished.folder
    documented = set(spans((REPOSITORY / "docs" / "outputs.md").read_text("utf-8")))
    written = {f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()}
    assert written - documented == set()
    assert {path.name for path in (folder / "detector").iterdir()} <= documented
    for name in ("study.json", "detector/detector.json"):
        assert json.loads((folder / name).read_text()).keys() <= documented, name
    for line in (folder / "test_ledger.jsonl").read_text().splitlines():
        assert json.loads(line).keys() <= documented
