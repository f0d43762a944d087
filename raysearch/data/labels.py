"""Files of ground truth: labels of test clips whose names have none.

DCASE 2021 and later: `ground_truth_<machine>_section_<ID>_..._test.csv` with `NAME.wav,LABEL`. The
evaluators of 2022 and later have files of the same names for the domain and the attributes of a
clip, in folders of their own. DCASE 2020: `eval_data_list.csv`, a line with the machine type, then
lines `id_<ID>_NUMBER.wav,NAME,LABEL`.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

from raysearch.errors import DataError
from raysearch.storage import AnyPath

LIST_2020 = "eval_data_list.csv"
OTHER_TRUTHS = frozenset({"ground_truth_domain", "ground_truth_attributes"})
"""Folders whose files say something else than normal or anomalous."""

_FILE = re.compile(r"ground_truth_(?P<machine>.+?)_section_(?P<id>[^_]+)_.*test\.csv")
_NAME_2020 = re.compile(r"id_(?P<id>[^_]+)_.*")


@dataclass(frozen=True)
class Label:
    """A line of a file of ground truth.

    Attributes:
        id: product ID as the file has it.
        name: file name of the clip.
        label: 0 normal, 1 anomalous.
        position: file and line.
    """

    id: str
    name: str
    label: int
    position: str


def file_id(name: str, machine: str) -> str | None:
    """Return the product ID of a file of ground truth of a machine type; None for other files."""
    match = _FILE.fullmatch(name)
    return match["id"] if match is not None and match["machine"] == machine else None


def read_labels(path: AnyPath, identity: str) -> Iterator[Label]:
    """Yield the labels of a file of one product ID.

    Raises:
        DataError: a line is not `name.wav,0` or `name.wav,1`.
    """
    for position, fields in _lines(path):
        if len(fields) != 2 or not fields[0] or fields[1] not in ("0", "1"):
            raise DataError(f"{position}: expected NAME.wav,0 or NAME.wav,1")
        yield Label(identity, fields[0], int(fields[1]), position)


def read_list_2020(path: AnyPath, machine: str) -> Iterator[Label]:
    """Yield the labels of a machine type in the list of DCASE 2020.

    Raises:
        DataError: a line of the machine type is not `name.wav,name,0` or `name.wav,name,1`.
    """
    current = ""
    for position, fields in _lines(path):
        if len(fields) == 1:
            current = fields[0]
        elif current == machine:
            match = _NAME_2020.fullmatch(fields[0])
            if len(fields) != 3 or match is None or fields[2] not in ("0", "1"):
                raise DataError(f"{position}: expected id_ID_NUMBER.wav,NAME,0 or ...,1")
            yield Label(match["id"], fields[0], int(fields[2]), position)


def _lines(path: AnyPath) -> Iterator[tuple[str, list[str]]]:
    """Yield the position and the fields of each line that is not blank."""
    # A binary file must end as an error with the file's name, like any other wrong line.
    text = path.read_text("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            fields = next(csv.reader([line], skipinitialspace=True))
            yield f"{path}:{number}", [field.strip() for field in fields]
