"""A real S3 server (moto's) in a process of its own on 127.0.0.1."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

BUCKET = "machines"
PATIENCE = 300
"""Seconds after which the server counts as not starting."""


@dataclass(frozen=True)
class S3:
    """A running server with one bucket.

    Attributes:
        endpoint: http://127.0.0.1:PORT.
    """

    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that lead a process here and hide the user's own settings."""
        return {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "unspoken",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def address(self, path: str, bucket: str = BUCKET) -> str:
        """An address that holds everything but the login, as pyarrow reads it."""
        endpoint = quote(self.endpoint, safe="")
        return f"s3://{bucket}/{path}?endpoint_override={endpoint}&region=us-east-1"

    def refuse_everybody(self) -> None:
        """Refuse all requests from now on, since no user is known."""
        self._tell("POST", "/moto-api/reset-auth", b"0")

    def accept_everybody(self) -> None:
        """Accept all requests again."""
        self._tell("POST", "/moto-api/reset-auth", b"inf")

    def make_bucket(self) -> None:
        self._tell("PUT", f"/{BUCKET}")

    def _tell(self, method: str, path: str, content: bytes | None = None) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        request = Request(self.endpoint + path, content, headers, method=method)
        with urlopen(request, timeout=PATIENCE) as answer:
            assert answer.status == 200, answer


@contextmanager
def serve_s3(folder: Path) -> Iterator[S3]:
    """Runs a server; its log goes into the folder."""
    log = folder / "s3.log"
    with log.open("w") as file:
        # The server picks the port itself: no other process can take it in between.
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        server = S3(_endpoint(process, log))
        server.make_bucket()
        yield server
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _endpoint(process: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + PATIENCE
    while (match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    return match[0]
