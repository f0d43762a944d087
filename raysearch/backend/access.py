"""Tokens that Ray asks for: a random one for Ray on this machine, the user's for a cluster.

Ray reads the token from an environment variable, which other users of the machine cannot see.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from raysearch.backend.address import ASKS, refusal
from raysearch.backend.ray_internals import is_token_refused, reload_authentication

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"


@contextmanager
def random_token(*, insecure: bool = False) -> Iterator[None]:
    """Set a random token for the processes of a Ray that starts in this block.

    The user's variables do not count: a token in a file may be readable by others, and
    `RAY_AUTH_MODE=disabled` would let every user of the machine run code.

    Args:
        insecure: start Ray without a token.
    """
    token = {MODE: "token", TOKEN: secrets.token_hex(32)}
    with _variables({MODE: "disabled"} if insecure else token):
        yield


@contextmanager
def token_of(address: str) -> Iterator[None]:
    """Join the cluster at an address in this block: with a token if the cluster asks for one.

    Raises:
        UserError: the cluster asks for a token that this machine does not have.
    """
    is_refused = is_token_refused(address, "")
    if is_refused is None:  # Ray alone can connect, by the variables of the user.
        yield
        return
    token = _user_token(address) if is_refused else ""
    with _variables({MODE: "token", TOKEN: token} if token else {MODE: "disabled"}):
        yield


def token_file() -> Path:
    """Return the file in which Ray expects the token of a cluster."""
    return Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token").expanduser()


def _user_token(address: str) -> str:
    token, source = (os.environ.get(TOKEN) or "").strip(), TOKEN
    if not token:
        try:
            token, source = token_file().read_text().strip(), str(token_file())
        except (OSError, UnicodeDecodeError):
            token = ""
    if not token:
        raise refusal(address, f"{ASKS}, and {token_file()} holds none")
    if is_token_refused(address, token):
        raise refusal(address, f"{ASKS}, and refuses that of {source}")
    return token


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Replace all of Ray's variables about tokens in this block."""
    names = (MODE, TOKEN, TOKEN_PATH)
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(values)
    try:
        reload_authentication()
        yield
    finally:
        # Ray's threads in this process may still send requests, so it keeps what it has read.
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)
