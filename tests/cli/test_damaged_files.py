"""Damaged files of a finished run: a line with the file and the way out, in every command.

The run is that of an earlier version in tests/golden; nothing is trained or drawn, as the damage is
seen before.
"""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm

from raysearch.cli.main import invoke
from tests.golden import search

Damage = Callable[[bytes], bytes]


def newer(content: bytes) -> bytes:
    """Return the file as a later version might write it, with other types and a new key."""
    if content.startswith(b"machine,") or content.startswith(b"id,"):
        return content.replace(b",", b";")
    lines = [json.loads(line) for line in content.splitlines()] if is_lines(content) else []
    changed = [change(line) for line in lines] or [change(json.loads(content))]
    return "\n".join(json.dumps(each) for each in changed).encode() + b"\n"


def is_lines(content: bytes) -> bool:
    return content.startswith(b'{"time"')


def change(content: dict[str, object]) -> dict[str, object]:
    values = {key: {"value": value} for key, value in content.items()}
    return {**values, "format": 2, "time": content.get("time", "")}


DAMAGES: dict[str, Damage] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda content: np.random.default_rng(0).bytes(len(content)),
    "list": lambda _: b"[1]\n",
    "null": lambda _: b"null\n",
    "text": lambda _: b'"text"\n',
    "deep": lambda _: b"[" * 200_000,
    "huge number": lambda _: b'{"number": ' + b"1" * 5000 + b"}",
    "latin-1": lambda content: content[:-3] + b"\xe4" + content[-3:],
    "newer": newer,
}

FILES = (
    *("study.json", "records/0001.json", "proposals/0001.json", "frozen.json"),
    *("confidence.json", "reference.json", "test_ledger.jsonl", "final_test.csv"),
    "final_scores.csv",
)

COMMANDS = {
    "status": ("status", "runs/valve"),
    "report": ("report", "runs/valve"),
    "export": ("export", "--out", "runs"),
    "compare": ("compare", "runs/valve", "runs/fan"),
    "run": ("run", "--machine", "valve", "--concurrent", "1", "--no-dashboard", "--no-report"),
}

UNREAD = {
    *(("status", name) for name in ("confidence.json", "final_scores.csv")),
    *(("export", f"{name}/0001.json") for name in ("records", "proposals")),
    *(("export", name) for name in ("reference.json", "final_scores.csv")),
    ("run", "final_scores.csv"),
}
"""Command, and a file that the command does not read."""

EMPTY_IS_NONE = {"test_ledger.jsonl"}
"""Files without a line before something happens."""


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings, space files and finished runs. Read only."""
    home = tmp_path_factory.mktemp("golden")
    search.settle(home)
    search.unpack(search.FINISHED, home)
    shutil.copyfile(
        search.EXPECTED / "valve" / "reference.json", home / "runs" / "valve" / "reference.json"
    )
    return home


@pytest.fixture
def home(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder of a test, with runs of its own."""
    for name in ("data", "search_spaces"):
        (tmp_path / name).symlink_to(golden / name)
    shutil.copytree(golden / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    for variable in ("RAY_ADDRESS", "RAYSEARCH_DATA", "RAYSEARCH_OUT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    if not timm.is_model("golden"):
        register_backbone()
    return tmp_path


def register_backbone() -> None:
    """Give this process the backbone of the golden run, which its command has from the start."""
    path = search.HERE / "backbone" / "sitecustomize.py"
    spec = importlib.util.spec_from_file_location("golden_backbone", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["golden_backbone"] = importlib.util.module_from_spec(spec)
    before = list(sys.meta_path)
    spec.loader.exec_module(module)
    sys.meta_path[:] = before
    vars(module)["_register"](timm)


def call(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Run a command in this process; return its code and its messages."""
    monkeypatch.setattr(sys, "argv", ["raysearch", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        invoke()
    return int(ended.value.code or 0), capfd.readouterr().err


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_file_is_a_line_with_its_name_and_the_way_out(
    home: Path,
    command: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if (command, name) in UNREAD:
        return
    path = home / "runs" / "valve" / name
    content = path.read_bytes()
    for kind, damage in DAMAGES.items():
        if kind == "empty" and name in EMPTY_IS_NONE:
            continue
        path.write_bytes(damage(content))
        code, said = call(COMMANDS[command], monkeypatch, capfd)
        last = said.splitlines()[-1] if said else ""
        case = f"{kind}: {said}"
        assert code == 2, case
        assert "Traceback" not in said, case
        assert last.startswith("raysearch: "), case
        assert f"runs/valve/{name}" in last, case
        assert "damaged, or of another version (" in last, case
        assert any(way in last for way in WAYS), case
        assert len(last) < 500, case


WAYS = ("move it away", "from a backup", "is its content", "delete that line")


@pytest.mark.slow
def test_what_follows_from_others_is_written_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = home / "runs" / "valve"
    assert call(COMMANDS["run"], monkeypatch, capfd)[0] == 0
    for name in ("confidence.json", "reference.json"):
        before = json.loads((folder / name).read_text())
        (folder / name).unlink()
        assert call(COMMANDS["run"], monkeypatch, capfd)[0] == 0
        assert json.loads((folder / name).read_text()) == before
