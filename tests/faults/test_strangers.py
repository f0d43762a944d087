"""A search on a machine that another user has an account on, who tries all doors while it runs."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysearch.backend.ray_internals import is_token_refused
from tests.command import Started, begin, descendants, link, settle, write_space
from tests.doors import command_line, listening, secret_of
from tests.packages import PATH

pytestmark = pytest.mark.slow

ATTACK = r"""
# All is imported first: the user has no access to these files.
import encodings.idna, grpc, grpc._channel, http.client
import json, os, pathlib, pwd, socket, sys, threading

number, note, proof = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
os.setgroups([])
os.setgid(number)
os.setuid(number)
os.umask(0)

received = []
bait = socket.create_server(("127.0.0.1", 0))

def listen():
    while True:
        connection, _ = bait.accept()
        connection.settimeout(5)
        try:
            received.append(connection.recv(9999).decode("latin-1"))
        except OSError:
            received.append("")

threading.Thread(target=listen, daemon=True).start()
note.parent.mkdir()
note.write_text(f"127.0.0.1:{bait.getsockname()[1]}")
print("planted", flush=True)
order = json.loads(sys.stdin.readline())

def readable(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return None

def post(port, token):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = json.dumps({"entrypoint": f"touch {proof}"})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/api/jobs/", body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__

def call(port, token):
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary("/ray.rpc.InternalKVGcsService/InternalKVKeys")(
                b"", timeout=5, metadata=metadata
            )
        except grpc.RpcError as error:
            return error.code().name
    return "OK"

def connected(path):
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except OSError:
        return False
    return True

def walk():
    for folder in order["folders"]:
        for parent, _, names in os.walk(folder):
            yield from (os.path.join(parent, name) for name in names)

stolen = (readable(order["token_file"]) or b"").decode()
tokens = ("", stolen, "Bearer")
files = {path: content for path in walk() if (content := readable(path)) is not None}
marks = [mark.encode() for mark in order["marks"]]
print(json.dumps({
    "user": pwd.getpwuid(os.geteuid()).pw_name,
    "stolen": stolen,
    "posted": [post(port, token) for port in order["ports"] for token in tokens],
    "called": [call(port, token) for port in order["ports"] for token in tokens],
    "sockets": [path for path in order["sockets"] if connected(path)],
    "environments": [pid for pid in order["pids"] if readable(f"/proc/{pid}/environ")],
    "files": sorted(files),
    "leaks": [path for path, content in files.items() if any(m in content for m in marks)],
    "received": received,
}), flush=True)
"""


@pytest.fixture
def stranger() -> Iterator[tuple[str, int]]:
    """Another user of this machine, by name and number."""
    if os.geteuid() != 0:
        pytest.skip("only root can add a user")
    useradd, userdel = (shutil.which(name, path=PATH) for name in ("useradd", "userdel"))
    if useradd is None or userdel is None:
        pytest.skip("useradd and userdel are not installed")
    name = f"stranger-{secrets.token_hex(3)}"
    command = [useradd, "--no-create-home", "--no-user-group", "--shell", "/bin/sh", name]
    subprocess.run(command, check=True)
    try:
        number = subprocess.run(["id", "-u", name], capture_output=True, text=True, check=True)
        yield name, int(number.stdout)
    finally:
        subprocess.run([userdel, name], check=True)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder that everybody can enter, with a token file as Ray writes it."""
    folder = Path(tempfile.mkdtemp(prefix="home", dir="/tmp"))
    folder.chmod(0o755)
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    (folder / ".ray" / "auth_token").chmod(0o644)
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    # Everybody can write here, as in /tmp, where the stranger's note would lead other runs astray.
    shared = folder / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("RAY_TMPDIR", str(shared))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def work(home: Path, demo_data: Path) -> Path:
    """A closed folder for a search that lasts longer than the attack."""
    work = settle(home / "work", demo_data, link)
    work.chmod(0o700)
    strategy = {"trials": 50, "finalists": "none", "scheduler": "none"}
    write_space(work / "tiny.yaml", fixed={"epochs": 20}, strategy=strategy)
    return work


def test_a_stranger_can_run_nothing_read_nothing_and_divert_nothing(
    stranger: tuple[str, int], home: Path, work: Path
) -> None:
    name, number = stranger
    note, proof = home / "tmp" / "ray" / "ray_current_cluster", home / "proof"
    command = [sys.executable, "-c", ATTACK, str(number), str(note), str(proof)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as attacker:
        assert attacker.stdout is not None
        assert attacker.stdin is not None
        assert attacker.stdout.readline() == "planted\n"
        run = f"closed-{secrets.token_hex(4)}"
        started = begin(work, "--no-final", "--dashboard", "--no-report", "--name", run)
        try:
            records = work / "runs" / run
            started.wait_until(lambda: bool(list(records.glob("records/[0-9]*.json"))))
            started.wait_until(lambda: "Ray dashboard at " in started.out.read_text())
            order = _targets(started, home, run)
            attacker.stdin.write(f"{json.dumps(order)}\n")
            attacker.stdin.flush()
            loot = json.loads(attacker.stdout.readline())
            assert started.process.poll() is None
            started.send(signal.SIGINT)
            ended = started.wait()
        finally:
            attacker.kill()
            if started.process.poll() is None:
                started.kill()
    # The attack took place: the stranger has the file that all can read, and it opens nothing.
    assert loot["user"] == name
    assert loot["stolen"] == (home / ".ray" / "auth_token").read_text()
    assert loot["posted"].count(401) >= 2
    assert not [status for status in loot["posted"] if status in range(200, 400)]
    assert loot["called"].count("UNAUTHENTICATED") >= 3
    assert "OK" not in loot["called"]
    assert not proof.exists()
    assert (loot["sockets"], loot["environments"], loot["leaks"]) == ([], [], [])
    assert not [path for path in loot["files"] if path.startswith(str(work))]
    assert set(loot["received"]) <= {""}
    assert f"no Ray cluster is joined: {note} belongs to {name}" in ended.err
    assert ended.code == 130
    assert list(records.glob("records/[0-9]*.json"))


def _targets(started: Started, home: Path, run: str) -> dict[str, Any]:
    """Collect what the stranger aims at; the token is given away only to search files for it."""
    pids = [started.process.pid, *descendants(started.process.pid)]
    lines = [command_line(pid) for pid in pids]
    token = secret_of(pids[1:])
    assert len(token) >= 32
    # Command lines can be read by everybody.
    assert not [line for line in lines if token in "\n".join(line)]
    options = dict(
        argument.partition("=")[::2] for line in lines for argument in line if "=" in argument
    )
    assert is_token_refused(options["--gcs-address"], "")
    sockets = [options["--raylet_socket_name"], options["--store_socket_name"]]
    assert all(Path(path).is_socket() for path in sockets)
    ports = listening(pids)
    assert {address for address, _ in ports} == {"127.0.0.1"}
    closed = Path(options["--session_dir"]).parent.parent
    return {
        "pids": pids,
        "ports": sorted(port for _, port in ports),
        "sockets": sockets,
        "folders": [str(home), str(closed), "/dev/shm"],
        "token_file": str(home / ".ray" / "auth_token"),
        "marks": [token, run],
    }
