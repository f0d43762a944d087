"""The command line: help, versions, and wrong uses."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.models import CommandInfo
from upath import UPath

from raysearch import __version__
from raysearch.cli.main import invoke
from raysearch.cli.options import parse_gpus, parse_hours, parse_time
from raysearch.study.bundle import save_detector
from tests.command import write_space
from tests.detectors import make_detector
from tests.records import make_manifest

COMMANDS = (
    "",
    "run",
    "doctor",
    "init",
    "attach",
    "stop",
    "fetch",
    "status",
    "compare",
    "verify",
    "ensemble",
    "reproduce",
    "final",
    "score",
    "threshold",
    "export",
    "report",
    "dashboard",
    "data",
    "data demo",
    "data check",
    "data download",
)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of a wrong use."""
        assert self.code == 2, self
        assert self.err.count("\n") == 1, self
        assert self.err.endswith("\n")
        assert self.err.startswith("raysearch: ")
        return self.err[len("raysearch: ") : -1]


Command = Callable[..., Said]
Refuse = Callable[..., str]


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Runs a command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for variable in ("RAY_ADDRESS", "RAYSEARCH_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["raysearch", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            invoke()
        out, err = capfd.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return run


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


HELP = """
import json, sys
from typer.testing import CliRunner
from raysearch.cli.main import app
found = {}
for name in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    found[name] = (result.exit_code, result.output)
libraries = {"torch", "torchaudio", "timm", "ray", "optuna", "sklearn", "pandas", "plotly"}
heavy = libraries & set(sys.modules)
print(json.dumps([found, sorted(heavy)]))
"""


def test_every_help_answers_without_torch_and_ray() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(COMMANDS)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", "TERM": "dumb"},
    )
    results, heavy = json.loads(ended.stdout)
    assert heavy == []
    for name in COMMANDS:
        code, text = results[name]
        assert code == 0, name
        assert f"Usage: root {name}".rstrip() in text
    for command in ("run", "final", "score", "export", "report", "dashboard", "data"):
        assert f" {command} " in results[""][1]
    for flag in ("--machine", "--data", "--out", "--space", "--trials", "--epochs", "--seed"):
        assert flag in results["run"][1]
    for flag in ("--concurrent", "--gpus-per-trial", "--cpus-per-trial", "--time-budget", "--name"):
        assert flag in results["run"][1]
    for flag in ("--fresh", "--no-final", "RAYSEARCH_DATA"):
        assert flag in results["run"][1]


def command_name(info: CommandInfo) -> str:
    assert info.callback is not None
    return info.name or info.callback.__name__


def test_the_help_has_every_command() -> None:
    from raysearch.cli.data import app as data_app
    from raysearch.cli.main import app

    names = {command_name(info) for info in app.registered_commands}
    below = {f"data {command_name(info)}" for info in data_app.registered_commands}
    assert names | below | {"", "data"} == set(COMMANDS)


def test_the_version(command: Command) -> None:
    assert command("--version") == Said(0, f"raysearch {__version__}\n", "")


def test_the_module_and_the_script_are_one() -> None:
    script = Path(sys.executable).with_name("raysearch")
    ended = subprocess.run([script, "--version"], check=True, capture_output=True, text=True)
    assert ended.stdout == f"raysearch {__version__}\n"


def test_commands_and_flags_complete_in_a_shell() -> None:
    script = Path(sys.executable).with_name("raysearch")

    def completed(*arguments: str) -> set[str]:
        completion = {"COMP_WORDS": " ".join(arguments), "COMP_CWORD": str(len(arguments) - 1)}
        environment = {**os.environ, **completion, "_RAYSEARCH_COMPLETE": "complete_bash"}
        ended = subprocess.run([script], env=environment, capture_output=True, text=True)
        return set(ended.stdout.split())

    assert completed("raysearch", "da") == {"data", "dashboard"}
    assert completed("raysearch", "data", "ch") == {"check"}
    assert "--gpu-hours" in completed("raysearch", "run", "--g")
    shown = ["bash", "-c", f"'{script}' --show-completion && true"]
    ended = subprocess.run(shown, check=True, capture_output=True, text=True)
    assert "complete -o default -F _raysearch_completion raysearch" in ended.stdout


# Wrong uses of `run`: one line, exit code 2, nothing written.


@pytest.fixture
def refuse(command: Command, demo_data: Path, tmp_path: Path) -> Refuse:
    """Runs `run` on the demo and a tiny space with changes, and returns the one line."""

    def run(
        *arguments: object, machine: str = "valve", data: Path = demo_data, **changes: object
    ) -> str:
        space = write_space(tmp_path / "space.yaml", **changes)
        before = everything(tmp_path)
        options = [] if "--space" in arguments else ["--space", space]
        said = command("run", "--machine", machine, "--data", data, *options, *arguments)
        assert everything(tmp_path) == before
        assert said.out == ""
        return said.complaint

    return run


def test_no_data(refuse: Refuse, tmp_path: Path) -> None:
    complaint = refuse(data=tmp_path / "none")
    assert f"no data: {tmp_path / 'none'} is not a folder" in complaint
    assert f"`raysearch data download {tmp_path / 'none'}`" in complaint
    assert f"`raysearch data demo {tmp_path / 'none'}`" in complaint


def test_no_data_where_it_lies_by_default(command: Command) -> None:
    assert "no data: data is not a folder" in command("run", "--machine", "fan").complaint


def test_a_folder_without_a_clip(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refuse(data=tmp_path / "empty").startswith(f"no clip in {tmp_path / 'empty'}: ")


def test_an_unknown_machine_is_answered_with_the_nearest_name(
    refuse: Refuse, demo_data: Path
) -> None:
    complaint = refuse(machine="valv")
    assert complaint.startswith("unknown machine 'valv': did you mean 'valve'? ")
    assert f"{demo_data} has fan, pump, valve" in complaint
    assert "did you mean" not in refuse(machine="xyz")


def test_one_machine_type_only(refuse: Refuse, demo_data: Path, tmp_path: Path) -> None:
    for path in (demo_data / "dev_data" / "valve").rglob("*.wav"):
        link = tmp_path / "one" / path.relative_to(demo_data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    complaint = refuse(data=tmp_path / "one")
    assert "has one machine type only (valve)" in complaint
    assert "add a folder of another machine type" in complaint


@pytest.mark.parametrize(
    ("changes", "key", "problem"),
    [
        ({"colour": 1}, "colour", "unknown key"),
        ({"fixed": {"epoch": 3}}, "fixed.epoch", "unknown key"),
        ({"search": {"momentum": [0.9]}}, "search.momentum", "unknown key"),
        ({"search": {"lr": {"low": 1e-2, "high": 1e-3}}}, "search.lr", "the range is empty"),
        ({"search": {"lr": []}}, "search.lr", "the list is empty"),
        ({"search": {"inlier": {"svm": [1]}}}, "search.inlier", "unknown inlier model 'svm'"),
        ({"strategy": {"trials": 0}}, "strategy.trials", "greater than 0"),
        ({"fixed": {"f_max": 9000}}, "fixed", "f_min < f_max <= rate / 2"),
    ],
)
def test_a_wrong_space_file(
    refuse: Refuse, tmp_path: Path, changes: dict[str, Any], key: str, problem: str
) -> None:
    complaint = refuse(**changes)
    assert complaint.startswith(f"{tmp_path / 'space.yaml'}: {key}")
    assert problem in complaint


@pytest.mark.parametrize("text", ["search: [", "- a\n- b\n", ""])
def test_a_space_file_that_is_none(refuse: Refuse, tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text)
    assert refuse("--space", path).startswith(f"{path}: ")


def test_a_missing_space_file(refuse: Refuse) -> None:
    assert refuse("--space", "none.yaml") == "--space: there is no file none.yaml"


def test_a_validation_id_without_training_clips(refuse: Refuse) -> None:
    complaint = refuse(validation_ids=[0, 1, 9])
    assert complaint.startswith("ID 9 of valve has no training clips in ")
    assert "set validation_ids" in complaint


def test_a_test_id_without_training_clips(refuse: Refuse) -> None:
    assert "ID 9 of valve has no training clips in " in refuse(test_ids=[3, 9])


def test_an_unknown_backbone(refuse: Refuse) -> None:
    complaint = refuse(fixed={"backbone": "eficientnet_b0"})
    assert complaint.startswith("backbone: timm has no model 'eficientnet_b0', for example ")


def test_a_missing_file_of_weights(refuse: Refuse) -> None:
    complaint = refuse(fixed={"pretrained": "none.safetensors"})
    assert complaint == "pretrained: there is no file none.safetensors"


def test_more_gpus_than_there_are(refuse: Refuse) -> None:
    gpus = torch.cuda.device_count() + 1
    complaint = refuse("--gpus-per-trial", gpus)
    assert complaint.startswith(f"--gpus-per-trial {gpus}: this machine has ")
    assert "leave the flag out" in complaint


@pytest.mark.parametrize("budget", ["2", "h", "2x", "-1h", "1h30m", "2 h", ""])
def test_a_bad_time_budget(refuse: Refuse, budget: str) -> None:
    complaint = refuse(f"--time-budget={budget}")
    assert complaint == (f"--time-budget {budget}: expected a number and s, m, h or d, such as 2h")


@pytest.mark.parametrize(
    ("budget", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("1.5h", 5400)]
)
def test_time_budgets(budget: str, seconds: float) -> None:
    assert parse_time(budget) == seconds


def test_an_empty_time_budget(refuse: Refuse) -> None:
    assert refuse("--time-budget=0s") == "--time-budget 0s: no trial can run in no time"


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf"])
def test_hours_in_which_no_trial_can_run(refuse: Refuse, hours: str) -> None:
    complaint = refuse(f"--gpu-hours={hours}")
    assert complaint == f"--gpu-hours {hours}: expected a number above 0, such as 40 or 0.5"
    assert parse_hours(0.5) == 0.5


@pytest.mark.parametrize("gpus", ["many", "-1", "nan", "inf", ""])
def test_a_bad_number_of_gpus(refuse: Refuse, gpus: str) -> None:
    complaint = refuse(f"--gpus-per-trial={gpus}")
    assert complaint == (
        f"--gpus-per-trial {gpus}: expected a number such as 1, 0.25 or 2, or auto"
    )


@pytest.mark.parametrize(
    ("text", "gpus"), [(None, None), ("auto", "auto"), ("0", 0.0), ("0.25", 0.25), ("2", 2.0)]
)
def test_gpus_of_a_trial(text: str | None, gpus: float | str | None) -> None:
    assert parse_gpus(text) == gpus


def test_no_cluster_at_an_address(refuse: Refuse) -> None:
    complaint = refuse("--address", "127.0.0.1:1")
    assert complaint.startswith("no Ray cluster can be joined at 127.0.0.1:1 (")
    assert complaint.endswith(
        "; see `ray status`, or say --address local to use this machine alone"
    )


def test_places_that_a_cluster_cannot_reach(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("{cluster_name: c, provider: {type: local}, auth: {ssh_user: me}}")
    said = command("run", "--machine", "valve", "--cluster", file, "--data", "/data")
    assert said.complaint.startswith("--out is not given: with --cluster it has to be an absolute")
    assert command("doctor", "--cluster", tmp_path / "none").complaint.startswith("--cluster ")


def test_addresses_of_unknown_protocols(refuse: Refuse) -> None:
    complaint = refuse("--out", "ftp://host/runs")
    assert complaint == "ftp://host/runs: expected a local path, s3://... or gs://..."


@pytest.mark.parametrize(
    "arguments",
    [("--trials", 0), ("--epochs", 0), ("--seed", -1), ("--seed", 2**32), ("--concurrent", 0)],
)
def test_flags_out_of_range_are_refused(
    command: Command, demo_data: Path, arguments: tuple[str, int]
) -> None:
    said = command("run", "--machine", "valve", "--data", demo_data, *arguments)
    assert said.code == 2
    assert arguments[0] in said.err


def test_a_folder_that_is_no_study(command: Command, demo_data: Path, tmp_path: Path) -> None:
    space = write_space(tmp_path / "space.yaml")
    (tmp_path / "runs" / "valve").mkdir(parents=True)
    (tmp_path / "runs" / "valve" / "thesis.tex").touch()
    said = command("run", "--machine", "valve", "--data", demo_data, "--space", space, "--fresh")
    assert said.complaint == (
        "runs/valve is not empty and no study; choose another --name or --out"
    )
    assert os.listdir(tmp_path / "runs" / "valve") == ["thesis.tex"]


def test_nothing_is_asked_of_the_hub_before_the_recordings_are_known_to_do(refuse: Refuse) -> None:
    # Weights of a model that no hub has: were they looked for, this would be the complaint.
    complaint = refuse(machine="valv", fixed={"pretrained": "none.safetensors"})
    assert complaint.startswith("unknown machine 'valv'")


# Wrong uses of the other commands.


@pytest.mark.parametrize("name", ["final", "report", "dashboard"])
def test_no_study(command: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("none", "empty"):
        complaint = command(name, folder).complaint
        assert complaint.startswith(f"{folder} holds no stud")
        assert "`raysearch run` makes one" in complaint
    assert everything(tmp_path) == ["empty"]


def test_a_study_that_has_not_ended_has_no_final_test(command: Command, tmp_path: Path) -> None:
    (tmp_path / "valve").mkdir()
    make_manifest().write(UPath(tmp_path / "valve"))
    complaint = command("final", "valve").complaint
    assert complaint == "valve has no frozen configuration yet; let its run end first"
    (tmp_path / "valve" / "study.json").write_text("{")
    assert "study.json: damaged, or of another version" in command("final", "valve").complaint


def test_nothing_to_export(command: Command, tmp_path: Path) -> None:
    complaint = command("export").complaint
    assert complaint == "runs holds no finished study; `raysearch run` makes one"
    assert everything(tmp_path) == []


def test_no_detector(command: Command, tmp_path: Path) -> None:
    (tmp_path / "clip.wav").touch()
    complaint = command("score", "none", "clip.wav").complaint
    assert complaint == "none holds no detector (no detector.json); a run writes one"


def test_a_damaged_detector(command: Command, tmp_path: Path) -> None:
    (tmp_path / "clip.wav").touch()
    for content in ("{", "{}", "[1]", '{"options": {"epoch": 1}}'):
        (tmp_path / "detector.json").write_text(content)
        complaint = command("score", ".", "clip.wav").complaint
        assert complaint.startswith("detector.json: damaged or of another version: ")


def test_thresholds_of_a_detector(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "valve" / "detector" / "detector.json"
    scores = {"0": tuple(range(100)), "3": tuple(range(100, 200)), "10": tuple(range(20))}
    save_detector(replace(make_detector(), normal_scores=scores), UPath(path.parent))
    ended = command("threshold", "valve", "--quantile", "0.99", "--id", "00", "--id", "10")
    assert ended.code == 0, ended
    thresholds = json.loads(path.read_text())["thresholds"]
    assert thresholds == pytest.approx({"0": 98.01, "3": 1.0, "10": 18.81})
    assert ended.out.splitlines() == [
        "ID 0: 0 -> 98.01; above it are 1 of 100 healthy training clips, and of new ones expect "
        "1 % or somewhat more",
        "ID 10: 2 -> 18.81; above it are 1 of 20 healthy training clips, and of new ones expect "
        "1 % or somewhat more (20 clips are few for this quantile)",
        "valve/detector/detector.json",
    ]
    for arguments, part in (
        (("valve",), "say one of --quantile 0.99 and --calibrate f1"),
        (("valve", "--quantile", "0.9", "--calibrate", "f1"), "say one of"),
        (("valve", "--calibrate", "f2"), "--calibrate f2: expected f1, or a share"),
        (("valve", "--calibrate", "f1"), "no normal and anomalous validation clips"),
        (("valve", "--quantile", "99"), "quantile 99: expected a share between 0 and 1"),
        (("valve", "--quantile", "0.9", "--id", "7"), "ID 7 is not one of 0, 3, 10"),
        (("fan", "--quantile", "0.9"), "fan holds no detector"),
    ):
        assert part in command("threshold", *arguments).complaint
    assert json.loads(path.read_text())["thresholds"] == thresholds
    path.write_text("{")
    complaint = command("threshold", "valve", "--quantile", "0.9").complaint
    assert complaint.startswith("valve/detector/detector.json: damaged or of another version: ")


def test_an_id_that_is_named_judges_and_must_be_known(command: Command, tmp_path: Path) -> None:
    save_detector(make_detector(), UPath(tmp_path / "detector"))
    clip = "section_00_source_test_0000.wav"
    soundfile.write(clip, np.random.default_rng(0).normal(0, 0.1, 48000), 16000)
    scores = {}
    for expected, options in (("0", ()), ("3", ("--id", "03"))):
        said = command("score", "detector", clip, *options)
        assert said.code == 0, said
        header, row = said.out.splitlines()
        assert header == "file,id,score,decision,error"
        name, identity, score, _, error = row.split(",")
        assert error == ""
        assert (name, identity) == (clip, expected)
        scores[identity] = float(score)
    assert scores["0"] != pytest.approx(scores["3"])
    complaint = command("score", "detector", clip, "--id", "9").complaint
    assert "ID 9 is not one of 0, 3, 10" in complaint


def noise(name: str, *, rate: int = 16000, seconds: float = 3.0, level: float = 0.1) -> str:
    samples = np.random.default_rng(0).normal(0, level, round(rate * seconds))
    soundfile.write(name, samples, rate)
    return name


def test_a_recording_of_an_unknown_id(command: Command, tmp_path: Path) -> None:
    folder, clip = UPath(tmp_path / "detector"), noise("monday.wav")
    save_detector(make_detector(), folder)
    refused = command("score", "detector", clip, "--id", "any").complaint
    assert refused.endswith("delete its folder and repeat the command of its run")
    normal = {"0": (1e9, 1.0), "3": (-1e9, 1.0), "10": (-1e9, 1.0)}
    save_detector(replace(make_detector(), normal=normal), folder)
    ended = command("score", "detector", clip, "--id", "any")
    assert ended.code == 0, ended
    assert ended.out.splitlines()[1].startswith(f"{clip},0,-")


def test_a_recording_that_cannot_be_scored_leaves_the_others(
    command: Command, tmp_path: Path
) -> None:
    save_detector(make_detector(), UPath(tmp_path / "detector"))
    good = [noise("section_00_1.wav"), noise("section_03_2.wav", rate=44100)]
    expected = command("score", "detector", *good)
    assert expected.code == 0, expected
    silent, slow = noise("section_00_3.wav", level=0), noise("section_00_4.wav", rate=8000)
    Path("section_00_5.wav").write_text("no audio")
    ended = command("score", "detector", good[0], silent, "section_00_5.wav", slow, good[1])
    assert ended.code == 1, ended
    rows = list(csv.DictReader(ended.out.splitlines()))
    assert [row["file"] for row in rows] == [good[0], silent, "section_00_5.wav", slow, good[1]]
    assert [rows[0], rows[-1]] == list(csv.DictReader(expected.out.splitlines()))
    assert rows[1]["error"] == "silent"
    assert rows[2]["error"].startswith("unreadable: ")
    assert rows[3]["error"].startswith("recorded at 8000 Hz, so it has nothing above 4000 Hz, ")
    assert {(row["id"], row["score"], row["decision"]) for row in rows[1:4]} == {("0", "", "")}
    assert ended.err == ""
    strict = command("score", "detector", good[0], silent, good[1], "--strict")
    assert (strict.code, strict.complaint) == (2, f"{silent}: silent")
    assert strict.out.splitlines() == expected.out.splitlines()[:2]
    low = command("score", "detector", slow, "--any-rate")
    assert low.code == 0, low
    assert float(low.out.splitlines()[1].split(",")[2])


def test_the_segments_of_recordings(command: Command, tmp_path: Path) -> None:
    save_detector(make_detector(), UPath(tmp_path / "detector"))
    clip, silent = noise("section_00_1.wav", seconds=1), noise("section_03_2.wav", level=0)
    ended = command("score", "detector", clip, silent, "--windows")
    assert ended.code == 1, ended
    header, *rows, last = ended.out.splitlines()
    assert header == "file,id,start,end,score,error"
    times = [f"{clip},0,0,0.5,", f"{clip},0,0.25,0.75,", f"{clip},0,0.5,1,"]
    assert all(row.startswith(start) for row, start in zip(rows, times, strict=True))
    assert last == f"{silent},3,,,,silent"


# Data sets.


def test_a_demo_is_written(command: Command, tmp_path: Path) -> None:
    sizes = ("--train-clips", 1, "--test-clips", 1, "--seconds", 0.5)
    said = command("data", "demo", "new", "--machine", "fan", *sizes)
    assert said.code == 0, said.err
    written = list((tmp_path / "new").rglob("*.wav"))
    assert said.out == f"{len(written)} clips in new\n"
    assert {path.relative_to(tmp_path / "new").parts[1] for path in written} == {"fan"}


def test_a_demo_refuses_a_folder_that_holds_something(command: Command, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    before = everything(tmp_path)
    for name in ("full", "file"):
        complaint = command("data", "demo", name).complaint
        assert complaint == f"{name} is not an empty folder; choose a new one"
    assert everything(tmp_path) == before


def test_a_demo_of_an_unknown_machine(command: Command, tmp_path: Path) -> None:
    assert "valve" in command("data", "demo", "new", "--machine", "valv").complaint
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_check_of_no_folder(command: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert f"no data: {name} is not a folder" in command("data", "check", name).complaint


def test_a_check_counts_clips_and_names_defects(
    command: Command, demo_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "dev_data" / "valve" / "train"
    folder.mkdir(parents=True)
    for path in sorted((demo_data / "dev_data" / "valve" / "train").glob("section_00_source_*"))[
        :4
    ]:
        (folder / path.name).symlink_to(path)
    bad = Path("data/dev_data/valve/train/section_00_source_train_normal_9999.wav")
    (tmp_path / bad).write_bytes(b"no audio")
    said = command("data", "check", "data")
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == "5 clips in data"
    assert "valve 0 train source normal 5" in lines
    assert lines[-2].startswith(f"defective: {bad}: unreadable: ")
    assert lines[-1] == "1 defective files would be left out, 0 are used with a note"
    longer = command("data", "check", "data", "--segment", 4, "--rate", 8000)
    assert longer.out.count("wrong rate: 16000 Hz, will be resampled to 8000 Hz") == 4
    assert longer.out.count("shorter than a segment: 3.00 s, will be repeated") == 4


def test_a_download_of_an_unknown_machine(command: Command, tmp_path: Path) -> None:
    assert "valve" in command("data", "download", "new", "--machine", "valv").complaint
    assert everything(tmp_path) == []


def test_an_object_store_that_is_away_is_a_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    # Nothing listens on port 9, as after the end of a server.
    gone = UPath("s3://bucket/runs/valve/study.json", endpoint_url="http://127.0.0.1:9")

    def read(*_: object) -> None:
        gone.read_text()

    monkeypatch.setattr("raysearch.storage.to_path", read)
    said = command("status", "s3://bucket/runs")
    assert said.code == 1
    assert "Traceback" not in said.err
    assert said.err.startswith("raysearch: the object store does not answer (")
    assert said.err.endswith("no result is lost, and the same command goes on once it does\n")
    assert said.err.count("\n") == 1


def test_a_defect_of_raysearch_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("raysearch.cli.main.app", fail)
    with pytest.raises(ValueError, match="a defect"):
        invoke()
