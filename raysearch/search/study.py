"""A study on disk: its facts, one immutable record per finished trial, its open proposals.

study.json           what was asked
proposals/0007.json  a trial that was given out
records/0007.json    a trial that ended; the only truth, everything else follows from these
encoders/<hash>/     checkpoints, by the encoder's signature
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from raysearch.errors import UserError
from raysearch.train import Epoch
from raysearch.trial import InlierResult


class State(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Proposal:
    """A configuration that was given out.

    Attributes:
        number: of the trial, from 0.
        inlier: with `inlier: sample` the sampled inlier model, else empty.
        p: and its p.
    """

    number: int
    lr: float
    batch_size: int
    lam: float
    inlier: str = ""
    p: int | None = None

    @property
    def key(self) -> tuple[float, int, float, str, int | None]:
        """What makes two proposals the same."""
        return (self.lr, self.batch_size, self.lam, self.inlier, self.p)


@dataclass(frozen=True)
class Record:
    """A trial that ended.

    Attributes:
        encoder: signature of the encoder, and name of its folder.
        resumes: epochs that were finished each time the trial was taken up again.
        host: of the node that finished it.
    """

    proposal: Proposal
    state: State
    encoder: str
    epochs: int
    seed: int
    host: str
    best_epoch: int | None = None
    val_loss: float | None = None
    train_seconds: float = 0.0
    score_seconds: float = 0.0
    error: str = ""
    rows: tuple[InlierResult, ...] = ()
    history: tuple[Epoch, ...] = ()
    resumes: tuple[int, ...] = ()

    @property
    def best(self) -> InlierResult | None:
        """The row of the highest validation score, the first of equals."""
        scored = [row for row in self.rows if row.val_score is not None]
        return max(scored, key=lambda row: row.val_score or 0.0, default=None)


class StudyFolder:
    """Reads and writes the folder of a study. Every file appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def facts(self) -> dict[str, Any]:
        """Content of study.json.

        Raises:
            UserError: there is no study.
        """
        try:
            found: dict[str, Any] = json.loads((self.path / "study.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(
                f"{self.path} holds no study (no readable study.json); `raysearch run` makes one"
            ) from error
        return found

    def exists(self) -> bool:
        """Whether a study was begun here."""
        return (self.path / "study.json").is_file()

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Writes study.json."""
        for name in ("records", "proposals", "encoders"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        write_text(self.path / "study.json", json.dumps(facts, indent=2) + "\n")

    def encoder(self, signature: str) -> Path:
        """Folder of an encoder's checkpoints."""
        return self.path / "encoders" / signature

    def propose(self, proposal: Proposal) -> None:
        """Notes that a trial was given out, so that a killed search can take it up again."""
        path = self.path / "proposals" / f"{proposal.number:04d}.json"
        write_text(path, json.dumps(asdict(proposal)) + "\n")

    def proposals(self) -> list[Proposal]:
        """All trials that were given out, by number."""
        paths = sorted((self.path / "proposals").glob("[0-9]*.json"))
        return [Proposal(**json.loads(path.read_text())) for path in paths]

    def add(self, record: Record) -> bool:
        """Writes a record, unless the trial has one.

        Returns:
            Whether it was written; a second record of a trial never replaces the first.
        """
        path = self._record(record.proposal.number)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(asdict(record), indent=1) + "\n")
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        return True

    def record(self, number: int) -> Record | None:
        """The record of a trial, if it ended."""
        path = self._record(number)
        return _read(path) if path.exists() else None

    def records(self) -> list[Record]:
        """All records, by number."""
        return [_read(path) for path in sorted((self.path / "records").glob("[0-9]*.json"))]

    def _record(self, number: int) -> Path:
        return self.path / "records" / f"{number:04d}.json"


def _read(path: Path) -> Record:
    content = json.loads(path.read_text())
    content["proposal"] = Proposal(**content["proposal"])
    content["state"] = State(content["state"])
    content["rows"] = tuple(InlierResult(**row) for row in content["rows"])
    content["history"] = tuple(Epoch(**epoch) for epoch in content["history"])
    content["resumes"] = tuple(content["resumes"])
    return Record(**content)


def write_text(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
