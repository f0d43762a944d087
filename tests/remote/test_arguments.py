import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.errors import UserError
from raysearch.remote.arguments import remote_command, run_folders, same_run, take_option
from tests.command import write_space

RUN = ["run", "--machine", "valve", "--data", "/d", "--out", "/o"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_command_keeps_its_flags_but_for_the_cluster() -> None:
    typed = [
        "run",
        "--cluster",
        "c.yaml",
        "--machine=valve",
        "--out=/o",
        "--trials",
        "5",
        "--fresh",
    ]
    command = remote_command([*typed, "--data", "/d"], {})
    assert command.arguments == (
        *("run", "--machine=valve", "--trials", "5", "--fresh"),
        *("--data", "/d", "--out", "/o"),
    )
    assert command.files == {}
    assert command.metadata == {
        "kind": "run",
        "machine": "valve",
        "out": "/o",
        "data": "/d",
        "name": "",
        "command": "raysearch run --cluster c.yaml --machine=valve --out=/o --trials 5 --fresh "
        "--data /d",
    }


def test_the_environment_names_the_places_too() -> None:
    environ = {"RAYSEARCH_DATA": "/mnt/data", "RAYSEARCH_OUT": "s3://bucket/runs"}
    command = remote_command(["run", "--machine", "fan"], environ)
    assert command.arguments[-4:] == ("--data", "/mnt/data", "--out", "s3://bucket/runs")
    assert remote_command([*RUN, "--out", "/last"], environ).arguments[-1] == "/last"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run", "--machine", "fan", "--out", "/o"], "--data is not given"),
        (["run", "--machine", "fan", "--data", "/d", "--out", "runs"], "--out runs"),
        (["run", "--machine", "fan", "--data=../d", "--out", "/o"], "--data ../d"),
        ([*RUN, "--ground-truth", "truth"], "--ground-truth truth"),
        ([*RUN, "--warm-start", "/o/fan", "--warm-start=runs"], "--warm-start runs"),
    ],
)
def test_a_path_of_this_machine_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(UserError, match="every node reaches") as error:
        remote_command(argv, {})
    assert str(error.value).startswith(f"{said}: with --cluster")


def test_a_space_file_goes_along(home: Path) -> None:
    (home / "spaces").mkdir()
    path = write_space(home / "spaces" / "tiny.yaml")
    command = remote_command([*RUN, "--space", "spaces/tiny.yaml"], {})
    assert command.arguments[-2:] == ("--space", "space/tiny.yaml")
    assert command.files == {"space/tiny.yaml": path.relative_to(home)}


def test_the_folder_of_spaces_goes_along(home: Path) -> None:
    (home / "search_spaces").mkdir()
    write_space(home / "search_spaces" / "valve.yaml")
    command = remote_command(RUN, {})
    assert "--space" not in command.arguments
    assert list(command.files) == ["search_spaces/valve.yaml"]


def test_a_shipped_space_is_named_only() -> None:
    command = remote_command([*RUN, "--space", "paper.yaml"], {})
    assert command.arguments[-2:] == ("--space", "paper.yaml")
    assert command.files == {}


def test_a_space_that_is_wrong_does_not_leave_this_machine(home: Path) -> None:
    (home / "wrong.yaml").write_text("search: {}")
    with pytest.raises(UserError, match=r"wrong\.yaml"):
        remote_command([*RUN, "--space", "wrong.yaml"], {})
    with pytest.raises(UserError, match=r"there is no file nowhere\.yaml"):
        remote_command([*RUN, "--space", "nowhere.yaml"], {})


def test_a_login_is_not_sent_to_the_cluster() -> None:
    out = "s3://KEY:SECRET@bucket/runs"
    with pytest.raises(UserError) as caught:
        remote_command(["run", "--machine", "fan", "--data", "/d", "--out", out], {})
    assert "SECRET" not in str(caught.value)
    assert "environment of its nodes" in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "folders"),
    [
        ("--machine valve --out /o/", ["/o/valve"]),
        ("--machine valve --machine=fan --out /o", ["/o/valve", "/o/fan"]),
        ("--machine valve --out /o --name try", ["/o/try"]),
        ("--machine valve --machine fan --out /o --name try", ["/o/try-valve", "/o/try-fan"]),
        ("--machine all --out /o", ["/o"]),
        ("--machine fan --machine all --out /o", ["/o"]),
        ("--machine all --shared --out /o", ["/o/shared"]),
        ("--machine all --shared --out /o --name first", ["/o/first"]),
        ("--machine fan --out 's3://K:S@b/o?region=x'", ["s3://K:S@b/o/fan?region=x"]),
    ],
)
def test_the_folders_of_a_run(typed: str, folders: list[str]) -> None:
    assert run_folders(f"raysearch run {typed}") == folders


def test_the_same_folder_is_the_same_run() -> None:
    metadata = remote_command(RUN, {}).metadata
    assert same_run(
        metadata, remote_command([*RUN, "--trials", "9", "--machine", "fan"], {}).metadata
    )
    everything = remote_command([*RUN[:1], "--machine", "all", *RUN[3:]], {}).metadata
    assert same_run(metadata, everything)
    assert not same_run(metadata, remote_command([*RUN, "--out", "/other"], {}).metadata)
    assert not same_run(metadata, remote_command([*RUN, "--name", "other"], {}).metadata)
    assert not same_run(metadata, {**metadata, "machine": "fan"})
    doctor = remote_command(["doctor", "--data", "/d", "--out", "/o"], {}).metadata
    assert not same_run(doctor, doctor)


argument_lists = st.lists(st.sampled_from(["--a", "--a=1", "--a=", "--b", "x", "y"]))


@given(argument_lists)
def test_taking_a_flag_leaves_the_others_in_order(argv: list[str]) -> None:
    values, rest = take_option(argv, "--a")
    assert "--a" not in rest
    assert not any(word.startswith("--a=") for word in rest)
    kept = iter(argv)
    assert all(word in kept for word in rest)
    assert len(argv) - len(rest) - len(values) == sum(
        word == "--a" for i, word in enumerate(argv) if not _is_value(argv, i)
    )


def _is_value(argv: list[str], index: int) -> bool:
    """Return True if an argument is the value of the `--a` before it."""
    return index > 0 and argv[index - 1] == "--a" and not _is_value(argv, index - 1)


@pytest.mark.parametrize(
    ("typed", "machine"), [([], "all"), (["--machine", "fan", "--machine", "valve"], "fan,valve")]
)
def test_a_table_of_the_paper_is_a_run_of_many_studies(typed: list[str], machine: str) -> None:
    argv = ["reproduce", "table2", *typed, "--data", "/d", "--out", "/o"]
    command = remote_command(argv, {})
    assert command.arguments[:2] == ("reproduce", "table2")
    assert (command.metadata["kind"], command.metadata["machine"]) == ("run", machine)
    assert run_folders(shlex.join(["raysearch", *command.arguments])) == ["/o"]
    valve = remote_command(["run", "--machine", "valve", "--data", "/d", "--out", "/o"], {})
    assert same_run(command.metadata, valve.metadata)
