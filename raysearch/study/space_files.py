"""Space files: where they are found, and how they are read."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import yaml

from raysearch.errors import UserError, one_line
from raysearch.study.space import Space, check_space
from raysearch.study.strict_yaml import LONGEST, read_yaml


def find_space(machine: str, requested: Path | None) -> Path:
    """Find the space file of a machine type.

    The requested file; else `<machine>.yaml`, else `default.yaml`, of ./search_spaces first and
    then of the package.

    Raises:
        UserError: the requested file does not exist.
    """
    if requested is not None:
        for path in (requested, shipped_folder() / requested.name):
            if path.is_file():
                return path
        raise UserError(f"--space: there is no file {requested}")
    for name in (f"{machine}.yaml", "default.yaml"):
        for folder in (Path("search_spaces"), shipped_folder()):
            if (folder / name).is_file():
                return folder / name
    raise AssertionError("the package ships default.yaml")


def shipped_folder() -> Path:
    """Return the folder of the space files shipped with the package."""
    packed = Path(str(resources.files("raysearch"))) / "search_spaces"
    return packed if packed.is_dir() else packed.parent.parent / "search_spaces"


def load_space(path: Path) -> Space:
    """Read and validate a space file.

    Raises:
        UserError: the file is invalid; the message names file and key.
    """
    try:
        with path.open(encoding="utf-8") as file:
            # One more than the longest, for the check.
            content = read_yaml(file.read(LONGEST + 1), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = one_line(error)
        raise UserError(f"{path}: is no YAML: {problem}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: a mapping with the key `search` is expected")
    return check_space(content, str(path))
