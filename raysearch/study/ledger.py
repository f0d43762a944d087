"""The ledger of a study: each opening of its test IDs, and the result of the opening.

test_ledger.jsonl has a line before the first test clip of an opening is read, and a line with the
result. Results of a further opening lie beside those of the first: nothing is overwritten.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from upath import UPath

from raysearch.storage import AnyPath, write_bytes
from raysearch.study.folder import LEDGER
from raysearch.study.official import OFFICIAL
from raysearch.study.scores import FINAL, SCORES, FinalTest, read_final
from raysearch.study.stored import DAMAGE, FROM_BACKUP, checked, damaged, explain_damage
from raysearch.study.winner import Winner


@dataclass(frozen=True)
class Opening:
    """An opening of the test IDs.

    Attributes:
        number: from 1; a test that was interrupted, or that had no labels, keeps its number when
            the same configuration is tested again.
        time: UTC, ISO 8601.
        command: as it was typed.
        test_ids: product IDs.
        clips: number of test clips.
        winner: the frozen configuration.
        has_result: True once every clip is scored.
        score: harmonic mean over the test IDs; None without labels.
        files: SHA-256 of the files of the result, by name; empty without a result, and for openings
            by versions without them.
    """

    number: int
    time: str
    command: str
    test_ids: tuple[str, ...]
    clips: int
    winner: Winner
    has_result: bool = False
    score: float | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """True if the same configuration may complete the test."""
        return self.score is None


@dataclass(frozen=True)
class Ledger:
    """The openings of a study.

    Attributes:
        openings: of this study.
        earlier: number of openings by studies that `--fresh` deleted.
    """

    openings: tuple[Opening, ...] = ()
    earlier: int = 0

    def result_of(self, winner: Winner) -> Opening | None:
        """Return the first opening for a detector that has a result; None without a result."""
        return next(
            (o for o in self.openings if o.has_result and o.winner.detector == winner.detector),
            None,
        )

    def next_number(self, winner: Winner) -> int:
        """Return the number of the opening in which a winner would be tested now."""
        last = self.openings[-1] if self.openings else None
        if last and last.is_open and last.winner.detector == winner.detector:
            return last.number
        return len(self.openings) + 1

    def is_further(self, winner: Winner) -> bool:
        """Return True if a test of a winner would be an opening beyond the first."""
        number = self.next_number(winner)
        return number > 1 and number > len(self.openings)


@dataclass(frozen=True)
class FinalRequest:
    """Request of a final test.

    Attributes:
        command: for the ledger.
        opening: number of the opening, see `Ledger.next_number`.
    """

    command: str
    opening: int = 1


def numbered(name: str, opening: int) -> str:
    """Return the name of a file of an opening: that of the first has no number."""
    if opening == 1:
        return name
    stem, dot, suffix = name.partition(".")
    return f"{stem}_{opening}{dot}{suffix}"


def note_opening(
    folder: UPath, study: str, number: int, facts: Mapping[str, Any], winner: Winner
) -> None:
    """Append the line of an opening, before a test clip is read.

    Args:
        folder: of the study.
        study: start of the study, which tells it from a study before it in the same folder.
        number: of the opening.
        facts: command, test IDs and number of clips.
        winner: the frozen configuration.
    """
    entry = {
        "time": _now(),
        "study": study,
        "opening": number,
        **facts,
        "frozen": winner.to_json(),
    }
    append_line(folder / LEDGER, json.dumps(entry))


def note_result(folder: UPath, study: str, number: int, result: FinalTest) -> None:
    """Append the line of a result, with digests of its files.

    Args:
        folder: of the study.
        study: start of the study.
        number: of the opening.
        result: of the opening.
    """
    names = [numbered(name, number) for name in (FINAL, SCORES, OFFICIAL)]
    present = [folder / name for name in names if (folder / name).is_file()]
    entry = {
        "time": _now(),
        "study": study,
        "opening": number,
        "score": result.score,
        "reference": result.reference,
        "ids": {row.id: [row.auc, row.pauc] for row in result.ids},
        "files": {path.name: sha256(path.read_bytes()).hexdigest() for path in present},
    }
    append_line(folder / LEDGER, json.dumps(entry))


def append_line(path: AnyPath, line: str) -> None:
    """Append a line. An object store rewrites the file, so only one process may append to it."""
    if isinstance(path, Path):
        with path.open("ab") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    else:
        before = path.read_bytes() if path.exists() else b""
        write_bytes(path, before + f"{line}\n".encode())


def read_ledger(folder: UPath, study: str) -> Ledger:
    """Read the ledger of a study; empty if there is no file.

    Args:
        folder: of the study.
        study: start of the study.

    Raises:
        UserError: the ledger is damaged.
    """
    path = folder / LEDGER
    if not path.is_file():
        return Ledger()
    with explain_damage(path, FROM_BACKUP):
        return _ledger(_lines(path), folder, study)


def _lines(path: UPath) -> list[dict[str, Any]]:
    """Read the lines of a ledger; a line that is cut short was never acted upon."""
    lines = []
    content = path.read_bytes()
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            if line.strip():
                lines.append(dict(json.loads(line)))
        except DAMAGE as error:
            is_cut = number > content.count(b"\n")
            remedy = "its last line is cut short: delete that line" if is_cut else FROM_BACKUP
            raise damaged(f"{path}:{number}", error, remedy) from error
    return lines


def _ledger(lines: Sequence[Mapping[str, Any]], folder: UPath, study: str) -> Ledger:
    openings: list[Opening] = []
    earlier = 0
    for line in lines:
        if _study(line, study) != study:
            earlier += "frozen" in line
        elif "frozen" not in line:
            files = line.get("files", {})
            openings[-1] = checked(
                replace(openings[-1], has_result=True, score=line["score"], files=files)
            )
        else:
            opening = _opening(line, line.get("opening", 1))
            if "opening" not in line:
                # Earlier versions wrote no results, and overwrote the files of an opening.
                final = read_final(folder / FINAL)
                opening = replace(opening, has_result=bool(final.ids), score=final.score)
            if openings and openings[-1].number == opening.number:
                openings.pop()
            openings.append(opening)
    return Ledger(tuple(openings), earlier)


def check_files(folder: UPath, ledger: Ledger) -> None:
    """Refuse files of a result that are not those that the ledger saw; a missing file passes.

    Args:
        folder: of the study.
        ledger: of the study.

    Raises:
        DamageError: a file was changed or damaged.
    """
    for opening in ledger.openings:
        # A test that lacked labels writes its files anew once they are there.
        for name, digest in () if opening.is_open else opening.files.items():
            path = folder / name
            if path.is_file() and sha256(path.read_bytes()).hexdigest() != digest:
                raise damaged(path, ValueError(f"its SHA-256 is not that in {LEDGER}"), FROM_BACKUP)


def _study(line: Mapping[str, Any], study: str) -> str:
    """Return the start of the study that wrote a line."""
    if "study" in line:
        return str(line["study"])
    return study if line["time"] >= study else ""


def _opening(line: Mapping[str, Any], number: int) -> Opening:
    opening = Opening(
        number,
        line["time"],
        line["command"],
        tuple(line["test_ids"]),
        line["clips"],
        Winner.from_json(line["frozen"]),
    )
    return checked(opening)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
