"""The cluster file of `ray up`, as far as raysearch reads it; Ray itself checks the rest.

A cluster with a token sets `RAY_AUTH_MODE=token` in its start commands and mounts the token from a
file of this machine.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raysearch.errors import UserError, one_line
from raysearch.study.strict_yaml import check_keys

DASHBOARD_PORT = 8265
"""Default port of the dashboard of `ray start`."""
TOKEN = ".ray/auth_token"
"""Ray's token file in a home folder."""


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file.

    Attributes:
        path: of the file.
        content: parsed YAML.
        name: of the cluster.
        port: of the dashboard, on the head's loopback.
    """

    path: Path
    content: Mapping[str, Any]
    name: str
    port: int

    @property
    def wants_token(self) -> bool:
        """True if the cluster refuses requests without a token."""
        return re.search(r"RAY_AUTH_MODE\W{1,6}token", self._text) is not None

    @property
    def environment(self) -> dict[str, str]:
        """RAYSEARCH_DATA and RAYSEARCH_OUT, as far as the cluster's commands set them."""
        return dict(re.findall(r"\b(RAYSEARCH_(?:DATA|OUT))=([^\s'\";\\]+)", self._text))

    @property
    def _text(self) -> str:
        return json.dumps(self.content)

    def token(self) -> str | None:
        """Return the token of the cluster; None if it needs none.

        Raises:
            UserError: there is no token.
        """
        if not self.wants_token:
            return None
        if variable := os.environ.get("RAY_AUTH_TOKEN"):
            return variable.strip()
        file = self._token_file()
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        if not token:
            raise UserError(
                f"{self.path}: the cluster asks for a token and {file} holds none; "
                "`ray get-auth-token --generate` makes one before `ray up`, or copy the one "
                "that the cluster was started with"
            )
        return token

    def _token_file(self) -> Path:
        if variable := os.environ.get("RAY_AUTH_TOKEN_PATH"):
            return Path(variable).expanduser()
        mounts = self.content.get("file_mounts") or {}
        sources = [source for target, source in mounts.items() if str(target).endswith(TOKEN)]
        return Path(str(sources[0])).expanduser() if sources else Path.home() / TOKEN


def read_cluster_file(path: Path) -> ClusterFile:
    """Read a cluster file.

    Raises:
        UserError: the file is missing, no YAML, or no cluster file; a key stands twice.
    """
    try:
        text = path.read_text()
        check_keys(text, f"--cluster {path}")
        content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(
            f"--cluster {path}: cannot be read ({error.strerror}); name the file that "
            "`ray up` was given"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--cluster {path}: is no YAML: {one_line(error)}") from error
    for key in ("cluster_name", "provider", "auth"):
        if not isinstance(content, Mapping) or not content.get(key):
            raise UserError(f"--cluster {path}: is no cluster file of Ray: it has no `{key}`")
    return ClusterFile(path, content, str(content["cluster_name"]), _port(content))


def _port(content: Mapping[str, Any]) -> int:
    commands = json.dumps(content.get("head_start_ray_commands") or [])
    match = re.search(r"--dashboard-port[=\s]+(\d+)", commands)
    return int(match[1]) if match else DASHBOARD_PORT
