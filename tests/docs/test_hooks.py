"""The pre-commit hooks are those of `make check` and need no network."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.docs.pages import REPOSITORY

HOOKS = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]


def test_hooks_are_the_commands_of_make_check(tmp_path: Path) -> None:
    shutil.copyfile(REPOSITORY / "Makefile", tmp_path / "Makefile")
    for name in ("pyproject.toml", "constraints.txt", ".venv/bin/python", ".venv/.installed-dev"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "analysis").mkdir()
    make = ["make", "--no-print-directory", "-n", "check"]
    output = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert [hook["entry"] for repo in HOOKS for hook in repo["hooks"]] == output.splitlines()


def test_hooks_are_local_and_look_at_everything() -> None:
    for repo in HOOKS:
        assert repo["repo"] == "local"
        for hook in repo["hooks"]:
            assert hook["language"] == "system"
            assert hook["always_run"]
            assert not hook["pass_filenames"]


def test_pre_commit_takes_the_file() -> None:
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
