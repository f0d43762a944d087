"""Versions and hashes of what a node of a cluster installs, as the file requirements.lock.

    python analysis/lock.py     # or `make lock`; asks the package index that pip is set up with

The versions are those of constraints.txt. The hashes are those of the wheels that pip would install
on Linux with an x86-64 processor, for each Python of PYTHONS; nothing is installed. Packages that
only some of the extras or only the head need are in the file, too, so one file serves all nodes.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12")
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{n}_x86_64" for n in range(28, 4, -1)))
"""Tags of wheels that run with glibc 2.28, the oldest that PyTorch runs with."""

EXTRAS = ("s3", "gs")
HEAD = ("boto3", "google-api-python-client")
"""Libraries with which Ray starts machines in the clouds."""

HEADER = """\
# Hashes of what nodes install: the versions of constraints.txt, as wheels for Linux x86-64.
# Written by `make lock`; pip refuses every other file.
"""

Pins = Mapping[tuple[str, str], Iterable[str]]


def normalise(name: str) -> str:
    """Normalise the name of a package, as an index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> dict[str, str]:
    """Read the versions of constraints.txt, by normalised name."""
    pins = re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE)
    return {normalise(name): version for name, version in pins}


def requirements(project: Mapping[str, Any]) -> list[str]:
    """List what nodes need, of the content of pyproject.toml: to run, and to build the package."""
    extras = project["project"]["optional-dependencies"]
    wanted = [line for extra in EXTRAS for line in extras[extra]]
    return [
        *project["project"]["dependencies"],
        *wanted,
        *HEAD,
        *project["build-system"]["requires"],
    ]


def resolve(wanted: Iterable[str], python: str) -> dict[str, Any]:
    """Return pip's report on what it would install.

    Raises:
        CalledProcessError: pip failed, and said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--quiet", "--only-binary", ":all:"]
        tags = [word for tag in PLATFORMS for word in ("--platform", tag)]
        target = ["--python-version", python, "--target", folder, "--report", str(report)]
        pinned = ["--constraint", str(ROOT / "constraints.txt")]
        pip = [sys.executable, "-m", "pip", "install"]
        subprocess.run([*pip, *options, *tags, *target, *pinned, *wanted], check=True)
        content: dict[str, Any] = json.loads(report.read_text())
        return content


def hashes(report: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return the SHA-256 of every wheel of a report, by normalised name and version."""
    return {
        (normalise(item["metadata"]["name"]), item["metadata"]["version"]): item["download_info"][
            "archive_info"
        ]["hashes"]["sha256"]
        for item in report["install"]
    }


def unpinned(packages: Iterable[tuple[str, str]], pins: Mapping[str, str]) -> list[str]:
    """List packages that constraints.txt lacks, as lines to add there."""
    return [f"{name}=={version}" for name, version in packages if pins.get(name) != version]


def lock(packages: Pins) -> str:
    """Return the content of requirements.lock."""
    lines = []
    for (name, version), known in sorted(packages.items()):
        options = [f"--hash=sha256:{digest}" for digest in sorted(set(known))]
        lines.append(" \\\n    ".join([f"{name}=={version}", *options]))
    return HEADER + "\n".join(lines) + "\n"


def main() -> None:
    """Write requirements.lock."""
    wanted = requirements(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    packages: dict[tuple[str, str], list[str]] = defaultdict(list)
    for python in PYTHONS:
        for package, known in hashes(resolve(wanted, python)).items():
            packages[package].append(known)
    missing = unpinned(packages, read_pins((ROOT / "constraints.txt").read_text()))
    if missing:
        sys.exit("\n".join(["constraints.txt lacks these pins; add them:", *missing]))
    (ROOT / "requirements.lock").write_text(lock(packages))


if __name__ == "__main__":
    main()
