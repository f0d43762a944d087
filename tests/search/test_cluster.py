"""Which Ray cluster is joined."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.errors import UserError
from raysearch.search.address import check_address, running_here


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which `ray start` notes the address of its cluster."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    path = tmp_path / "ray" / "ray_current_cluster"
    path.parent.mkdir()
    return path


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_cluster_of_this_machine_is_found(noted: Path, listening: str) -> None:
    assert running_here() == ""
    noted.write_text(f"{listening}\n")
    assert running_here() == listening


def test_a_cluster_that_was_killed_is_not_joined(noted: Path, silent: str) -> None:
    noted.write_text(silent)
    assert running_here() == ""


def test_an_address_is_checked_before_a_search_begins(listening: str, silent: str) -> None:
    check_address("")
    check_address(listening)
    check_address("auto")  # Ray has to find that one
    with pytest.raises(UserError) as caught:
        check_address(silent)
    assert str(caught.value).startswith(f"no Ray cluster can be joined at {silent} (")
    assert "--address local" in str(caught.value)
