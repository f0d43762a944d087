"""Files of Zenodo records: their list, and transfers that go on where they broke.

Names, sizes and checksums come from the record itself (`/api/records/<number>`). Failures are
left as `requests.RequestException`; who calls knows what the user can do about them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from raysearch import __version__

SITE = "https://zenodo.org"
RETRIES = 5
"""Failures in a row, none of which brought the transfer further, before it is given up."""

_TIMEOUT = (10.0, 60.0)  # s: to connect, between two packets
_CHUNK = 1 << 16  # bytes; about as much is lost where a transfer breaks
_PASSING = (408, 416, 429)  # statuses of the 4xx range after which trying again makes sense

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a record.

    Attributes:
        name: last part of its key, such as `dev_data_fan.zip`.
        size: bytes.
        md5: checksum, hexadecimal.
    """

    name: str
    size: int
    md5: str
    url: str


def connect() -> requests.Session:
    """Opens a session that receives files as they are stored, never recompressed."""
    session = requests.Session()
    session.headers.update(
        {
            "User-Agent": f"raysearch/{__version__}",
            "Accept": "application/json, */*;q=0.5",
            "Accept-Encoding": "identity",
        }
    )
    return session


def list_files(
    session: requests.Session, record: int, *, base_url: str = SITE, backoff: float = 1.0
) -> tuple[RemoteFile, ...]:
    """Reads the files of a record.

    Args:
        session: as `connect` opens it.
        record: number of the record.
        base_url: address of the site.
        backoff: pause after the first failure, in s; it doubles with each further one.

    Raises:
        requests.RequestException: the site is out of reach, or answers with something else.
    """
    address = f"{base_url}/api/records/{record}"

    def ask() -> Any:
        with session.get(address, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            return answer.json()

    content = _persist(ask, lambda: 0, backoff)
    try:
        return tuple(_remote_file(entry, address) for entry in content["files"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise requests.exceptions.InvalidJSONError("unknown form of a file list") from error


def _remote_file(entry: dict[str, Any], address: str) -> RemoteFile:
    """Reads one entry; Zenodo has called its fields by two sets of names since 2023."""
    key = str(entry["key"] if "key" in entry else entry["filename"])
    links = entry.get("links", {})
    # The `self` link of entries with a `filename` describes the file instead of sending it.
    url = links.get("content") or (links.get("self") if "key" in entry else None)
    return RemoteFile(
        name=key.rpartition("/")[2],
        size=int(entry["size"] if "size" in entry else entry["filesize"]),
        md5=str(entry["checksum"]).removeprefix("md5:").lower(),
        url=url or f"{address}/files/{quote(key)}/content",
    )


def fetch(
    session: requests.Session,
    file: RemoteFile,
    part: Path,
    *,
    backoff: float = 1.0,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Transfers a file into `part`, from where an earlier transfer stopped.

    A server that does not serve ranges sends the whole file again. The checksum is not looked at.

    Args:
        session: as `connect` opens it.
        file: what to transfer.
        part: where to; has `file.size` bytes afterwards.
        backoff: pause after the first failure, in s; it doubles with each further one.
        on_bytes: called with the number of bytes of this file that are there.

    Raises:
        requests.RequestException: the file does not exist, or the transfer broke again and again.
    """
    _persist(lambda: _transfer(session, file, part, on_bytes), lambda: _size(part), backoff)


def _transfer(
    session: requests.Session, file: RemoteFile, part: Path, on_bytes: Callable[[int], None]
) -> None:
    if _size(part) > file.size:
        part.unlink()
    done = _size(part)
    on_bytes(done)
    if done == file.size:
        return
    headers = {"Range": f"bytes={done}-"} if done else {}
    with session.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        done = done if resumed else 0
        with part.open("ab" if resumed else "wb") as out:
            for chunk in answer.iter_content(_CHUNK):
                out.write(chunk)
                done += len(chunk)
                on_bytes(done)
    if done != file.size:
        raise requests.ConnectionError(f"{done} of {file.size} bytes arrived")


def _persist(attempt: Callable[[], T], position: Callable[[], int], backoff: float) -> T:
    """Tries until it works, a failure is final, or too many in a row brought nothing."""
    failures, furthest = 0, position()
    while True:
        try:
            return attempt()
        except requests.RequestException as error:
            failures = 1 if position() > furthest else failures + 1
            furthest = max(furthest, position())
            if failures > RETRIES or not _may_pass(error):
                raise
            time.sleep(backoff * 2 ** (failures - 1))


def _may_pass(error: requests.RequestException) -> bool:
    status = error.response.status_code if error.response is not None else 0
    return not 400 <= status < 500 or status in _PASSING


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
