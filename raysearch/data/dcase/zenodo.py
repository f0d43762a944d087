"""Files of Zenodo records: their list, and transfers that resume where they broke.

Names, sizes and checksums come from the record itself (`/api/records/<number>`). Failures stay
`requests.RequestException`; the caller turns them into a message for the user.
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
"""Failures in a row without a further byte before a transfer fails."""

_TIMEOUT = (10.0, 60.0)  # s: to connect, between two packets
_CHUNK = 1 << 16  # bytes; about the loss when a transfer breaks
_TRANSIENT = (408, 416, 429)  # 4xx statuses after which a retry makes sense

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a record.

    Attributes:
        name: last part of the key, e.g. `dev_data_fan.zip`.
        size: bytes.
        md5: checksum, hexadecimal.
    """

    name: str
    size: int
    md5: str
    url: str


def connect() -> requests.Session:
    """Open a session that receives files as they are stored, never recompressed."""
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
    """List the files of a record.

    Args:
        session: result of `connect`.
        record: number of the record.
        base_url: address of the site.
        backoff: pause after the first failure, in s; it doubles with each further one.

    Raises:
        requests.RequestException: no connection, or an answer that is not a file list.
    """
    address = f"{base_url}/api/records/{record}"

    def request() -> Any:
        with session.get(address, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            return answer.json()

    content = _retry(request, lambda: 0, backoff)
    try:
        return tuple(_remote_file(entry, address) for entry in content["files"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise requests.exceptions.InvalidJSONError("unknown form of a file list") from error


def _remote_file(entry: dict[str, Any], address: str) -> RemoteFile:
    """Parse an entry of a file list; Zenodo has used two sets of field names since 2023."""
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
    """Download a file into `part`; resume an earlier transfer.

    A server that does not serve ranges sends the whole file again. The checksum is not verified.

    Args:
        session: result of `connect`.
        file: file to transfer.
        part: path of the transfer; has `file.size` bytes afterwards.
        backoff: pause after the first failure, in s; it doubles with each further one.
        on_bytes: called with the number of bytes of this file received so far.

    Raises:
        requests.RequestException: the file does not exist, or the transfer failed repeatedly.
    """
    _retry(lambda: _transfer(session, file, part, on_bytes), lambda: _size(part), backoff)


def _transfer(
    session: requests.Session, file: RemoteFile, part: Path, on_bytes: Callable[[int], None]
) -> None:
    if _size(part) > file.size:
        part.unlink()
    received = _size(part)
    on_bytes(received)
    if received == file.size:
        return
    headers = {"Range": f"bytes={received}-"} if received else {}
    with session.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        response.raise_for_status()
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {received}-")
        received = received if resumed else 0
        with part.open("ab" if resumed else "wb") as out:
            for chunk in response.iter_content(_CHUNK):
                out.write(chunk)
                received += len(chunk)
                on_bytes(received)
    if received != file.size:
        raise requests.ConnectionError(f"{received} of {file.size} bytes arrived")


def _retry(attempt: Callable[[], T], position: Callable[[], int], backoff: float) -> T:
    """Repeat an attempt until success, a final failure, or `RETRIES` failures without progress."""
    failures, furthest = 0, position()
    while True:
        try:
            return attempt()
        except requests.RequestException as error:
            failures = 1 if position() > furthest else failures + 1
            furthest = max(furthest, position())
            if failures > RETRIES or not _is_transient(error):
                raise
            time.sleep(backoff * 2 ** (failures - 1))


def _is_transient(error: requests.RequestException) -> bool:
    status = error.response.status_code if error.response is not None else 0
    return not 400 <= status < 500 or status in _TRANSIENT


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
