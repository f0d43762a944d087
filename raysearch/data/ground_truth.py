"""Ground truth: labels and domains of test clips whose names have none.

DCASE 2021 and later: `ground_truth_<machine>_section_<ID>_..._test.csv` with `NAME.wav,LABEL`. The
evaluators of 2022 and later have files of the same names for the domain and the attributes of a
clip, in folders of their own. DCASE 2020: `eval_data_list.csv`, a line with the machine type, then
lines `id_<ID>_NUMBER.wav,NAME,LABEL`.
"""

import csv
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from raysearch.data.folders import list_files
from raysearch.data.index import Domain, product_id
from raysearch.errors import DataError
from raysearch.storage import AnyPath

LIST_2020 = "eval_data_list.csv"
DOMAIN_TRUTH = "ground_truth_domain"
"""Folder whose files say 0 for the source domain and 1 for the target domain."""
OTHER_TRUTHS = frozenset({DOMAIN_TRUTH, "ground_truth_attributes"})
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


def read_ground_truth(
    folder: AnyPath, machine: str, ids: Iterable[str]
) -> dict[tuple[str, str], int]:
    """Read the labels of unlabelled test clips from the ground truth of DCASE.

    Args:
        folder: folder with `ground_truth_<machine>_section_<ID>_..._test.csv` or with
            `eval_data_list.csv`, at any depth.
        machine: machine type.
        ids: product IDs whose labels are read. No file of another ID is opened; the list of 2020
            has all IDs in one file, of which the others are dropped.

    Returns:
        `(product ID, file name) -> label`, 1 = anomalous; empty if there is no file.

    Raises:
        DataError: a line is no label, or a clip has two labels.
    """
    lines = _label_lines(folder, machine, chosen := set(ids))
    return _agreed(
        lines,
        chosen,
        "label",
        "; remove the wrong one, or name the folder of the right one with --ground-truth",
    )


def read_ground_truth_domains(
    folder: AnyPath, machine: str, ids: Iterable[str]
) -> dict[tuple[str, str], Domain]:
    """Read the domains of test clips whose names have none, as evaluators of 2022 and later do.

    The arguments are those of `read_ground_truth`; the files are in a folder `ground_truth_domain`.

    Returns:
        `(product ID, file name) -> domain`; empty if there is no file.

    Raises:
        DataError: a line is no domain, or a clip has two domains.
    """
    lines = _label_lines(folder, machine, chosen := set(ids), folder_name=DOMAIN_TRUTH)
    numbers = _agreed(lines, chosen, "domain", "; remove the wrong one")
    return {key: "target" if number else "source" for key, number in numbers.items()}


def _agreed(
    lines: Iterable[Label], ids: Collection[str], kind: str, remedy: str
) -> dict[tuple[str, str], int]:
    """Return the values of clips by product ID and name, refusing two of one clip."""
    first: dict[tuple[str, str], Label] = {}
    for line in lines:
        key = product_id(line.id), line.name
        if key[0] not in ids:
            continue
        other = first.setdefault(key, line)
        if other.label != line.label:
            raise DataError(
                f"{line.position}: {line.name} has the {kind} {line.label}, but {other.label} in "
                f"{other.position}{remedy}"
            )
    return {key: line.label for key, line in first.items()}


def _label_lines(
    folder: AnyPath, machine: str, ids: Collection[str], *, folder_name: str = ""
) -> Iterator[Label]:
    """Yield the lines of all files of ground truth that may be of these product IDs.

    Args:
        folder: folder with the files, at any depth.
        machine: machine type.
        ids: product IDs.
        folder_name: name of a folder in `OTHER_TRUTHS` to read instead of all others.
    """
    tables = [file for file in list_files(folder).files if file.suffix == ".csv"]
    for file in sorted(tables, key=lambda file: file.parts):
        others = OTHER_TRUTHS.intersection((folder.name, *file.parts[:-1]))
        if others != ({folder_name} if folder_name else set()):
            continue
        identity = _file_id(file.name, machine)
        if identity is not None and product_id(identity) in ids:
            yield from _read_labels(folder / str(file), identity)
        elif file.name == LIST_2020 and ids:
            yield from _read_list_2020(folder / str(file), machine)


def _file_id(name: str, machine: str) -> str | None:
    """Return the product ID of a file of ground truth of a machine type; None for other files."""
    match = _FILE.fullmatch(name)
    return match["id"] if match is not None and match["machine"] == machine else None


def _read_labels(path: AnyPath, identity: str) -> Iterator[Label]:
    """Yield the labels of a file of one product ID.

    Raises:
        DataError: a line is not `name.wav,0` or `name.wav,1`.
    """
    for position, fields in _lines(path):
        if len(fields) != 2 or not fields[0] or fields[1] not in ("0", "1"):
            raise DataError(f"{position}: expected NAME.wav,0 or NAME.wav,1")
        yield Label(identity, fields[0], int(fields[1]), position)


def _read_list_2020(path: AnyPath, machine: str) -> Iterator[Label]:
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
            try:
                fields = next(csv.reader([line], skipinitialspace=True))
            except csv.Error as error:
                raise DataError(f"{path}:{number}: is no line of a table: {error}") from error
            yield f"{path}:{number}", [field.strip() for field in fields]
