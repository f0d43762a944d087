"""requirements.lock has every library that a node needs, with its hash, and lock.py writes it."""

import re
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import lock
import pytest
from packaging.requirements import Requirement

TEXT = (lock.ROOT / "requirements.lock").read_text()
REPORT = {
    "install": [
        {
            "metadata": {"name": "Typing_Extensions", "version": "4.16.0"},
            "download_info": {"archive_info": {"hashes": {"sha256": "ab"}}},
        }
    ]
}


def project() -> dict[str, object]:
    return tomllib.loads((lock.ROOT / "pyproject.toml").read_text())


def needed(python: str) -> set[str]:
    """Names of all that raysearch needs on Linux with a Python, as far as it is installed here."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    seen: set[tuple[str, str]] = set()
    queue = [(Requirement(line), "") for line in lock.requirements(project())]
    while queue:
        requirement, extra = queue.pop()
        marker = requirement.marker
        if marker is not None and not marker.evaluate({**environment, "extra": extra}):
            continue
        for wanted in ("", *sorted(requirement.extras)):
            package = (lock.normalise(requirement.name), wanted)
            if package in seen:
                continue
            seen.add(package)
            try:
                lines = distribution(requirement.name).requires or []
            except PackageNotFoundError:
                continue
            queue += [(Requirement(line), wanted) for line in lines]
    return {name for name, _ in seen}


@pytest.mark.parametrize("python", lock.PYTHONS)
def test_every_library_that_a_node_needs_is_there(python: str) -> None:
    locked = {lock.normalise(name) for name in re.findall(r"^([\w.-]+)==", TEXT, re.MULTILINE)}
    assert {"torch", "ray", "s3fs", "gcsfs", "hatchling"} <= needed(python)
    assert needed(python) - locked == set()


def test_its_versions_are_the_pinned_ones_and_each_has_a_hash() -> None:
    pins = lock.read_pins((lock.ROOT / "constraints.txt").read_text())
    entries = re.findall(
        r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", TEXT, re.M
    )
    assert lock.unpinned([(name, version) for name, version, _ in entries], pins) == []
    assert len(entries) == len(re.findall(r"^[^#\s]", TEXT, re.MULTILINE))


def test_it_names_no_package_index() -> None:
    assert "://" not in TEXT
    assert re.search(r"^\s*--(?!hash=)", TEXT, re.MULTILINE) is None


def test_hashes_of_several_pythons_stand_together() -> None:
    packages = {("b", "2"): ["f", "e", "e"], ("a", "1"): ["d"]}
    body = "a==1 \\\n    --hash=sha256:d\nb==2 \\\n    --hash=sha256:e \\\n    --hash=sha256:f\n"
    assert lock.lock(packages) == lock.HEADER + body


def test_a_report_of_pip_is_read() -> None:
    assert lock.hashes(REPORT) == {("typing-extensions", "4.16.0"): "ab"}


def test_a_library_without_a_pin_is_named() -> None:
    pins = lock.read_pins("# a comment\nTyping.Extensions==4.16.0\nray==2.60.0\n")
    assert lock.unpinned([("typing-extensions", "4.16.0"), ("ray", "2.59.0")], pins) == [
        "ray==2.59.0"
    ]


def test_pip_is_asked_for_wheels_of_the_pinned_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = tmp_path / "raysearch_example-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        information = "Metadata-Version: 2.1\nName: raysearch-example\nVersion: 1.0\n"
        archive.writestr("raysearch_example-1.0.dist-info/METADATA", information)
        archive.writestr("raysearch_example-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    (package, digest), *others = lock.hashes(lock.resolve(["raysearch-example"], "3.12")).items()
    assert package == ("raysearch-example", "1.0")
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert others == []
