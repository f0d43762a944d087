"""The plain layout, `<machine>/id_<ID>/{normal,abnormal}/...`, and its split by recording.

Clips that are cut from one recording are alike. If some of them trained and others tested, the test
would measure how well a model remembers a recording.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PLAIN_TEST_SHARE = 0.25
"""Share of the plain layout's normal recordings that is kept for testing."""
RECORDING_RULE = (
    "clips are of one recording if they lie in one folder below normal/, or if their names differ "
    "in their last number only (press_7.wav, press_8.wav)"
)
PLAIN_RULE = (
    "the normal clips of a recording are test clips where sha256(seed/machine/id/recording) falls "
    f"into the lowest {PLAIN_TEST_SHARE:.0%}, the lowest of an ID where none does, and never all; "
    f"{RECORDING_RULE}; where all clips of an ID are of one recording, each counts as one; every "
    "abnormal clip is a test clip"
)

LABELS = {"normal": 0, "anomaly": 1, "abnormal": 1}
"""Names of folders, and parts of file names, that tell a label."""

_NUMBERED = re.compile(r"(?P<recording>.*?[^ _.-])[ _.-]+\d+")


@dataclass(frozen=True)
class PlainName:
    """The parts of a path of the plain layout.

    Attributes:
        machine: machine type.
        id: product ID as the folder has it.
        label: 0 normal, 1 anomalous.
        folders: below the folder of the label.
    """

    machine: str
    id: str
    label: int
    folders: tuple[str, ...]


def parse_plain(parts: Sequence[str]) -> PlainName | None:
    """Parse the parts of a path; None if it is none of the plain layout."""
    for position in range(len(parts) - 3, 0, -1):
        folder, label = parts[position], LABELS.get(parts[position + 1].lower())
        if folder[:3].lower() == "id_" and label is not None:
            return PlainName(
                parts[position - 1], folder[3:], label, tuple(parts[position + 2 : -1])
            )
    return None


def below_id(parts: Sequence[str]) -> str:
    """Return the part of a path below the folder of its ID, such as `normal/00000001.wav`."""
    last = max(k for k, part in enumerate(parts[:-1]) if part[:3].lower() == "id_")
    return "/".join(parts[last + 1 :])


def recording_of(folders: Sequence[str], name: str) -> str:
    """Return the recording that a clip is cut from.

    Args:
        folders: below the folder of the label; the first is of one recording.
        name: of the file.

    Returns:
        The folder; or the name up to its last number, if a space or one of `_ . -` stands before
        the number; or the whole name, of a clip that is a recording by itself.
    """
    if folders:
        return folders[0]
    match = _NUMBERED.fullmatch(name.rpartition(".")[0])
    return match["recording"] if match is not None else name


def draw(seed: int, machine: str, identity: str, recording: str) -> float:
    """Return a number in [0, 1) that depends on the seed and the names only."""
    digest = hashlib.sha256(f"{seed}/{machine}/{identity}/{recording}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def choose_test(draws: Mapping[str, float]) -> frozenset[str]:
    """Choose the test recordings of an ID: at least one and never all, if there are two.

    Args:
        draws: number of each recording, see `draw`.
    """
    order = sorted(draws, key=lambda recording: (draws[recording], recording))
    below = sum(value < PLAIN_TEST_SHARE for value in draws.values())
    return frozenset(order[: min(max(1, below), len(order) - 1)])
