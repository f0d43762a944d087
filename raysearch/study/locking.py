"""Locks on files and folders: by the file system, or else by a lease with a heartbeat.

A lease is a file with its holder's name, which the holder writes anew every few seconds. Another
process that sees no change for `PATIENCE` takes the holder for dead, as a node that was lost never
deletes its lease. Clocks of different hosts are never compared: the watcher measures by its own.
"""

import errno
import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from raysearch import storage
from raysearch.storage import AnyPath

logger = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds between two heartbeats of a lease."""
PATIENCE = 30.0
"""Seconds without a heartbeat after which a lease has ended."""

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of a file system that has no locks, as some of FUSE and SMB."""


class BusyError(Exception):
    """A lock that another process holds; the message names its host where that is known."""


@contextmanager
def lock(path: AnyPath, timeout: float = -1) -> Iterator[None]:
    """Hold a lock on a file or folder during a block.

    The lock file of a local path lies beside it, so the lock holds on every host that shares the
    path. An object store and a file system without locks have a lease instead.

    Args:
        path: file or folder to lock; it need not exist.
        timeout: seconds to wait for another holder; negative waits for ever. A lease without a
            heartbeat is waited for in any case, up to `PATIENCE`.

    Raises:
        BusyError: another process holds the lock.
    """
    if not isinstance(path, Path):
        with _hold_lease(path, timeout):
            yield
        return
    file = lock_file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    native = FileLock(file, timeout=timeout, fallback_to_soft=False)
    try:
        native.acquire()
    except Timeout as error:
        raise BusyError(f"{path} is locked") from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        file.unlink(missing_ok=True)
        with _hold_lease(path, timeout):
            yield
        return
    try:
        yield
    finally:
        if not path.exists():  # The work was refused: leave no file, not even the lock.
            file.unlink(missing_ok=True)
        native.release()


def is_locked(path: AnyPath) -> bool:
    """Return True if a process holds the lock of a path; nothing is written."""
    lease = Lease(lease_file(path))
    if (seen := lease.read()) is not None:
        return not lease.is_dead(seen) and lease.is_recent(seen)
    if not isinstance(path, Path) or not lock_file(path).exists():
        return False
    try:
        with FileLock(lock_file(path), timeout=0, fallback_to_soft=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def lock_file(path: Path) -> Path:
    """Return the lock file of a local path."""
    return path.with_name(f".{path.name}.lock")


def lease_file(path: AnyPath) -> AnyPath:
    """Return the lease of a path."""
    return path.with_name(f".{path.name}.lease")


@dataclass
class Lease:
    """A lock by a file that its holder writes anew again and again.

    Attributes:
        file: of the lease.
        on_lost: called in a thread when another process has taken the lease over, which happens
            only to a process that was stopped for longer than `PATIENCE`.
    """

    file: AnyPath
    on_lost: Callable[[str], None] = lambda _: None
    _token: str = field(default_factory=lambda: secrets.token_hex(8))
    _beats: int = 0
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def read(self) -> bytes | None:
        """Return the content of the lease; None if nobody holds it."""
        try:
            return storage.read_bytes(self.file)
        except FileNotFoundError:
            return None

    def acquire(self, timeout: float) -> None:
        """Take the lease, and keep it until `release`.

        Raises:
            BusyError: its holder lives, and does not release it within the timeout in s.
        """
        seen, since, changed, start = None, time.monotonic(), False, time.monotonic()
        while not storage.create_once(self.file, self._content()):
            now, current = time.monotonic(), self.read()
            if current is None:
                continue
            if current != seen:
                # The first sight of a lease is no sign of life.
                changed, seen, since = seen is not None, current, now
                if not changed and not self.is_dead(current):
                    logger.info("%s is locked by %s; is it alive?", self.file, holder(current))
            if self.is_dead(current) or now - since > PATIENCE:
                self._remove(current)
            elif changed and 0 <= timeout < now - start:
                raise BusyError(f"it runs on {holder(current)}")
            else:
                time.sleep(min(BEAT, 1.0))
        self._end.clear()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Release the lease."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(Exception):  # If the store does not answer, the lease ends by itself.
            if self._is_ours(self.read()):
                self.file.unlink()

    def is_dead(self, content: bytes) -> bool:
        """Return True if the holder was a process of this host that has ended."""
        facts = _facts(content)
        if facts.get("host") != _host():
            return False
        try:
            os.kill(int(facts["pid"]), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, KeyError, ValueError):
            return False
        return False

    def is_recent(self, content: bytes) -> bool:
        """Return True if a lease was written lately, by the clocks of both hosts."""
        at = _facts(content).get("at", 0.0)
        return isinstance(at, float) and abs(time.time() - at) < PATIENCE

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with suppress(Exception):  # A store that does not answer: the next beat may reach it.
                current = self.read()
                if current is not None and not self._is_ours(current):
                    self.on_lost(holder(current))
                    return
                storage.write_bytes(self.file, self._content())

    def _content(self) -> bytes:
        self._beats += 1
        facts = {
            "host": _host(),
            "pid": os.getpid(),
            "token": self._token,
            "beat": self._beats,
            "at": time.time(),
        }
        return json.dumps(facts).encode()

    def _is_ours(self, content: bytes | None) -> bool:
        return content is not None and _facts(content).get("token") == self._token

    def _remove(self, seen: bytes) -> None:
        if self.read() == seen:
            with suppress(FileNotFoundError):
                self.file.unlink()


def holder(content: bytes) -> str:
    """Name the host of a lease's holder."""
    return str(_facts(content).get("host", "another host")).partition(" ")[0]


@contextmanager
def _hold_lease(path: AnyPath, timeout: float) -> Iterator[None]:
    lease = Lease(lease_file(path), on_lost=lambda host: _stop(path, host))
    lease.acquire(timeout)
    try:
        yield
    finally:
        lease.release()


def _stop(path: AnyPath, host: str) -> None:
    """Stop this process as Ctrl-C does: taken for dead, it has lost its work to another."""
    logger.error("%s: taken over by %s, as this process was silent for too long", path, host)
    os.kill(os.getpid(), signal.SIGINT)


def _facts(content: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _host() -> str:
    """Return a name of this host, or of this container, in which a process number is unique."""
    try:
        space = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {boot} {space}"
