"""Which note of a Ray cluster is believed, and how an address is checked."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from raysearch.backend.address import check_address, find_local_ray, local_ray
from raysearch.errors import UserError


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which `ray start` notes the address of its cluster."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    path = tmp_path / "ray" / "ray_current_cluster"
    path.parent.mkdir()
    path.parent.chmod(0o777)  # as Ray makes it
    return path


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def raylet(listening: str) -> Iterator[str]:
    """The address of a cluster, of which this user runs a raylet, as far as its title goes."""
    code = "print(flush=True); import time; time.sleep(600)"
    with ExitStack() as processes:
        # Other processes of the cluster have the same argument.
        for name in ("monitor", "/opt/ray/raylet", "agent"):
            command = [name, "-c", code, "--node_id=1", f"--gcs-address={listening}"]
            process = subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE)
            processes.enter_context(process)
            processes.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
        yield listening


def test_a_cluster_of_this_machine_is_found(note: Path, raylet: str) -> None:
    assert find_local_ray().address == ""
    note.write_text(f"{raylet}\n")
    assert find_local_ray().address == raylet == local_ray()
    assert find_local_ray().doubt == ""


def test_a_cluster_that_was_killed_is_not_joined(note: Path, silent: str) -> None:
    note.write_text(silent)
    assert (find_local_ray().address, find_local_ray().doubt) == ("", "")


def test_whoever_takes_the_port_of_a_killed_cluster_is_not_joined(
    note: Path, listening: str
) -> None:
    note.write_text(listening)
    assert find_local_ray().address == ""
    assert "no Ray of this user runs here" in find_local_ray().doubt


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_a_note_of_another_user_is_not_believed(note: Path, raylet: str) -> None:
    note.write_text(raylet)
    os.chown(note, 65534, 65534)
    local = find_local_ray()
    assert (local.address, local.file) == ("", note)
    assert local.doubt in ("belongs to nobody", "belongs to user 65534")
    with pytest.raises(UserError, match=r"joined at auto \(.*ray_current_cluster belongs to"):
        local_ray()


def test_a_note_that_others_can_write_is_not_believed(note: Path, raylet: str) -> None:
    note.write_text(raylet)
    note.chmod(0o666)
    assert find_local_ray().address == ""
    assert find_local_ray().doubt == "can be written by others"


def test_a_link_and_a_pipe_are_no_notes(note: Path, raylet: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(raylet)
    note.symlink_to(other)
    assert find_local_ray().address == ""
    assert find_local_ray().doubt.startswith("cannot be read (")
    note.unlink()
    os.mkfifo(note)
    assert find_local_ray().doubt == "is no file"
    note.unlink()
    note.write_text("\x1b]0;title\x07")
    assert find_local_ray().doubt == "holds no HOST:PORT"


def test_an_address_is_checked_before_a_search_begins(listening: str, silent: str) -> None:
    check_address("")
    check_address(listening)
    check_address("auto")  # searched for when Ray is imported
    with pytest.raises(UserError) as caught:
        check_address(silent)
    assert str(caught.value).startswith(f"no Ray cluster can be joined at {silent} (")
    assert "--address local" in str(caught.value)
