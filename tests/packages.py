"""Programs of the system that tests with hosts or a browser of their own need."""

import os
import shutil
import subprocess
from collections.abc import Sequence

PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
PACKAGES = {
    "chromium": ("chromium",),
    "iproute2": ("ip", "ss"),
    "openssh-server": ("ssh", "ssh-keygen", "sshd"),
    "rsync": ("rsync",),
}
"""Debian's packages, and the programs that they bring."""


def lacking(programs: Sequence[str]) -> str:
    """Install missing programs where possible, and name those still missing; empty if none.

    On Debian, root installs the packages that bring them, as on a bare container; elsewhere, or
    without a network, nothing is changed.
    """
    missing = _missing(programs)
    wanted = [name for name, brings in PACKAGES.items() if set(brings) & set(missing)]
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        # The run level keeps the sshd of this machine itself from being started.
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        install = ("apt-get", "install", "--yes", "--no-install-recommends", *wanted)
        for command in (("apt-get", "update"), install):
            subprocess.run(command, env=environment, capture_output=True, timeout=200)
    return ", ".join(_missing(programs))


def _missing(programs: Sequence[str]) -> list[str]:
    return [name for name in programs if shutil.which(name, path=PATH) is None]
