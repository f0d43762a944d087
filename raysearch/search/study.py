"""A study on disk: its facts, one immutable record per finished trial, its open proposals.

study.json           what was asked
proposals/0007.json  a trial that was given out
records/0007.json    a trial that ended; the only truth, everything else follows from these
encoders/<hash>/     checkpoints, by the encoder's signature
study.journal        mirror of the Optuna study, for dashboards
"""

import gc
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from upath import UPath

from raysearch import storage
from raysearch.config import Options, TrialConfig
from raysearch.errors import UserError
from raysearch.outcome import Epoch, InlierResult, best_row

LEDGER = "test_ledger.jsonl"
"""A line for each time the test IDs were opened."""


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
        seed: of the trial; None is the study's.
        rerun_of: of a finalist, the trial whose configuration is trained again.
        origin: whose idea it was; empty for the sampler's.
    """

    number: int
    lr: float
    batch_size: int
    lam: float
    inlier: str = ""
    p: float | None = None
    seed: int | None = None
    rerun_of: int | None = None
    origin: str = ""

    @property
    def key(self) -> tuple[float, int, float, str, float | None]:
        """What makes two proposals of a sampler the same."""
        return (self.lr, self.batch_size, self.lam, self.inlier, self.p)

    def config(self, machine: str, data: str, seed: int, options: Options) -> TrialConfig:
        """The configuration of its encoder; `seed` is the study's."""
        return TrialConfig(
            machine=machine,
            data=data,
            lr=self.lr,
            batch_size=self.batch_size,
            lam=self.lam,
            seed=seed if self.seed is None else self.seed,
            options=options,
        )


@dataclass(frozen=True)
class Record:
    """A trial that ended.

    Attributes:
        encoder: signature of the encoder, and name of its folder.
        resumes: epochs that were finished each time the trial was taken up again.
        host: of the node that finished it.
        devices: GPUs that it held (a part counts as such), or worker processes on CPUs.
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
    devices: float = 1.0

    @property
    def device_seconds(self) -> float:
        """What it cost."""
        return self.devices * (self.train_seconds + self.score_seconds)

    @cached_property
    def best(self) -> InlierResult | None:
        """See `best_row`; found once, since a live view asks all records at each frame."""
        return best_row(self.rows)


@dataclass(frozen=True)
class Known:
    """The trials of a study: all that were given out, and the records of those that ended."""

    proposals: tuple[Proposal, ...]
    records: tuple[Record, ...]

    @property
    def searched(self) -> list[Proposal]:
        """Proposals of the search itself, without the finalists' further seeds."""
        return [proposal for proposal in self.proposals if proposal.rerun_of is None]


class StudyFolder:
    """Reads and writes the folder of a study. Every file appears whole or not at all."""

    def __init__(self, path: UPath) -> None:
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

    @property
    def journal(self) -> Path:
        """The mirror of the Optuna study while it is written, which takes a local file."""
        if isinstance(self.path, Path):
            return self.path / "study.journal"
        return storage.local_twin("journals", self.path) / self.path.name / "study.journal"

    def publish_journal(self) -> None:
        """Moves the journal into the folder, where that is not where it was written."""
        if storage.is_remote(self.path) and self.journal.exists():
            storage.write_bytes(self.path / "study.journal", self.journal.read_bytes())
            self.journal.unlink()

    def fetch_journal(self) -> Path | None:
        """A local file of the journal: of the run at work on this host, else the published one."""
        place = self.path / "study.journal"
        if self.journal.exists():
            return self.journal
        if not storage.is_remote(self.path) or not place.exists():
            return None
        fetched = self.journal.with_name("fetched.journal")
        storage.write_bytes(fetched, place.read_bytes())
        return fetched

    def exists(self) -> bool:
        """Whether a study was begun here."""
        return (self.path / "study.json").is_file()

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Writes study.json."""
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        storage.write_text(self.path / "study.json", json.dumps(facts, indent=2) + "\n")

    def encoder(self, signature: str) -> UPath:
        """Folder of an encoder's checkpoints."""
        assert signature
        return self.path / "encoders" / signature

    def drop_checkpoints(self, signature: str) -> None:
        """Deletes an encoder's checkpoints; what else is said of it stays."""
        for path in storage.children(self.encoder(signature)):
            if path.suffix == ".safetensors":
                path.unlink()

    def propose(self, proposal: Proposal) -> None:
        """Notes that a trial was given out, so that a killed search can take it up again.

        Raises:
            UserError: another search has given out the same number.
        """
        path = self.path / "proposals" / f"{proposal.number:04d}.json"
        if not storage.create_once(path, (json.dumps(asdict(proposal)) + "\n").encode()):
            raise UserError(
                f"another raysearch is running {self.path}; wait for it or choose another --name"
            )

    def proposals(self) -> list[Proposal]:
        """All trials that were given out, by number."""
        return [Proposal(**json.loads(text)) for text in _texts(self.path / "proposals")]

    def add(self, record: Record) -> bool:
        """Writes a record, unless the trial has one.

        Returns:
            Whether it was written; a second record of a trial never replaces the first.
        """
        text = json.dumps(asdict(record), indent=1) + "\n"
        return storage.create_once(self._record(record.proposal.number), text.encode())

    def record(self, number: int) -> Record | None:
        """The record of a trial, if it ended."""
        try:
            return _read(self._record(number).read_text())
        except FileNotFoundError:
            return None

    def records(self) -> list[Record]:
        """All records, by number."""
        texts = _texts(self.path / "records")
        # A million epochs are no garbage; looking for some among them takes as long as reading.
        gc.disable()
        try:
            return [_read(text) for text in texts]
        finally:
            gc.enable()

    def known(self) -> Known:
        """Read all that is known of its trials, once."""
        return Known(tuple(self.proposals()), tuple(self.records()))

    def _record(self, number: int) -> UPath:
        return self.path / "records" / f"{number:04d}.json"


def studies_in(folder: UPath) -> list[UPath]:
    """The studies that lie in a folder."""
    return [path for path in storage.children(folder) if StudyFolder(path).exists()]


def studies_at(folder: UPath) -> list[UPath]:
    """The folder itself if it is a study's, else the studies that lie in it."""
    return [folder] if StudyFolder(folder).exists() else studies_in(folder)


def _texts(folder: UPath) -> list[str]:
    numbered = [path for path in storage.children(folder) if path.stem.isdecimal()]
    return storage.read_texts([path for path in numbered if path.suffix == ".json"])


def _read(text: str) -> Record:
    content = json.loads(text)
    content["proposal"] = Proposal(**content["proposal"])
    content["state"] = State(content["state"])
    content["rows"] = tuple(InlierResult(**row) for row in content["rows"])
    content["history"] = tuple(Epoch(**epoch) for epoch in content["history"])
    content["resumes"] = tuple(content["resumes"])
    return Record(**content)
