"""A study on disk: its manifest, its proposals, one immutable record per ended trial.

study.json           manifest
proposals/0007.json  a proposed trial
records/0007.json    an ended trial; all results follow from the records
encoders/<hash>/     checkpoints, by the encoder's signature
study.journal        mirror of the Optuna study, for dashboards
"""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from upath import UPath

from raysearch import storage
from raysearch.errors import MachineError, UserError
from raysearch.study.manifest import Manifest, read_manifest
from raysearch.study.records import Proposal, Record, State, StudyTrials
from raysearch.study.stored import DAMAGE, FROM_BACKUP, damaged, explain_damage, read_json

T = TypeVar("T")

LEDGER = "test_ledger.jsonl"
"""File with a line for each final test."""


class StudyFolder:
    """The folder of a study. All writes are atomic.

    Attributes:
        path: of the folder.
        root: folder of study.json: the training of a test machine lies below that of its study.
    """

    def __init__(self, path: UPath, root: UPath | None = None) -> None:
        self.path = path
        self.root = path if root is None else root

    @property
    def manifest(self) -> Manifest:
        """Content of study.json.

        Raises:
            UserError: see `read_manifest`.
        """
        return read_manifest(self.root)

    @property
    def journal(self) -> Path:
        """Local file of the Optuna journal while a search writes it."""
        if isinstance(self.path, Path):
            return self.path / "study.journal"
        return storage.cache_path("journals", self.path) / self.path.name / "study.journal"

    def publish_journal(self) -> None:
        """Move the journal into the folder if the folder is remote."""
        if storage.is_remote(self.path) and self.journal.exists():
            storage.write_bytes(self.path / "study.journal", self.journal.read_bytes())
            self.journal.unlink()

    def fetch_journal(self) -> Path | None:
        """Return a local file of the journal; None if there is no journal.

        The journal of a search that runs on this host comes before the published one.
        """
        published = self.path / "study.journal"
        if self.journal.exists():
            return self.journal
        if not storage.is_remote(self.path) or not published.exists():
            return None
        fetched = self.journal.with_name("fetched.journal")
        storage.make_folder(fetched.parent)
        storage.write_bytes(fetched, published.read_bytes())
        return fetched

    def exists(self) -> bool:
        """Return True if the folder holds a study."""
        return (self.root / "study.json").is_file()

    def check_present(self) -> None:
        """Check that the study is still there before anything is written into its folder.

        Raises:
            MachineError: study.json is gone, as from a disk that was unmounted.
        """
        if not self.exists():
            raise MachineError(
                f"{self.root / 'study.json'} is gone, so nothing is written there; mount its disk, "
                "and the same command goes on"
            )

    def create(self, manifest: Manifest) -> None:
        """Write study.json."""
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        storage.make_folder(self.path)
        manifest.write(self.path)

    def encoder(self, signature: str) -> UPath:
        """Return the folder of an encoder's checkpoints."""
        assert signature
        return self.path / "encoders" / signature

    def drop_checkpoints(self, signature: str) -> None:
        """Delete an encoder's checkpoints, but no other files of its folder."""
        for path in storage.children(self.encoder(signature)):
            if path.suffix == ".safetensors":
                path.unlink()

    def copy_encoder(self, origin: "StudyFolder", signature: str) -> None:
        """Copy the checkpoints of an encoder from another study, unless they are here."""
        target = self.encoder(signature)
        if not (target / "best.safetensors").is_file():
            content = (origin.encoder(signature) / "best.safetensors").read_bytes()
            storage.make_folder(target, below=self.root)
            storage.write_bytes(target / "best.safetensors", content)

    def propose(self, proposal: Proposal) -> None:
        """Write a proposal, so that a killed search can resume its trial.

        Raises:
            UserError: another search has proposed the same number.
        """
        self.check_present()
        path = self.path / "proposals" / f"{proposal.number:04d}.json"
        storage.make_folder(path.parent, below=self.root)
        if not storage.create_once(path, (json.dumps(proposal.to_json()) + "\n").encode()):
            raise UserError(
                f"another raysearch is running {self.path}; wait for it or choose another --name"
            )

    def proposals(self) -> list[Proposal]:
        """Read all proposals, by number.

        Raises:
            UserError: a proposal is damaged.
        """
        return [
            self._parse(path, text, _proposal) for path, text in _texts(self.path / "proposals")
        ]

    def add(self, record: Record) -> bool:
        """Write a record; a second record of a trial never replaces the first.

        Returns:
            True if the record was written.
        """
        self.check_present()
        path = self._record_path(record.proposal.number)
        storage.make_folder(path.parent, below=self.root)
        text = json.dumps(record.to_json(), indent=1) + "\n"
        return storage.create_once(path, text.encode())

    def drop_failed(self) -> list[Record]:
        """Delete the records of failed trials, which the next search trains again.

        Returns:
            The deleted records.
        """
        failed = [record for record in self.records() if record.state is State.FAIL]
        for record in failed:
            self._record_path(record.proposal.number).unlink()
        return failed

    def record(self, number: int) -> Record | None:
        """Read the record of a trial; None if the trial has not ended.

        Raises:
            UserError: the record is damaged.
        """
        path = self._record_path(number)
        try:
            return read_json(path, lambda content: _record(path, content), self._remedy(path))
        except FileNotFoundError:
            return None

    def records(self) -> list[Record]:
        """Read all records, by number.

        Raises:
            UserError: a record is damaged.
        """
        texts = _texts(self.path / "records")
        # Garbage collection among a million epochs would take as long as reading them.
        enabled = gc.isenabled()
        gc.disable()
        try:
            return [self._parse(path, text, _record) for path, text in texts]
        finally:
            if enabled:
                gc.enable()

    def trials(self) -> StudyTrials:
        """Read all proposals and records.

        Raises:
            UserError: one is damaged, or a record is of another proposal than its number's.
        """
        proposals, records = self.proposals(), self.records()
        proposed = {proposal.number: proposal for proposal in proposals}
        for record in records:
            number = record.proposal.number
            if proposed.get(number, record.proposal) != record.proposal:
                path = self._record_path(number)
                problem = ValueError(f"it is of another trial than proposals/{path.name}")
                raise damaged(path, problem, self._remedy(path))
        return StudyTrials(tuple(proposals), tuple(records))

    def _record_path(self, number: int) -> UPath:
        return self.path / "records" / f"{number:04d}.json"

    def _parse(self, path: UPath, text: bytes, parse: Callable[[UPath, Any], T]) -> T:
        try:
            return parse(path, json.loads(text))
        except DAMAGE as error:
            raise damaged(path, error, self._remedy(path)) from error

    def _remedy(self, path: UPath) -> str:
        """Return the way out of a damaged record or proposal."""
        if path.parent.name == "records":
            return "move it away, and the same `raysearch run` command repeats the trial"
        record = self.path / "records" / path.name
        if record.is_file():
            return f"the value of `proposal` in {record} is its content: write that into it"
        return "move it away, and the same `raysearch run` command proposes another trial"


def study_name(machine: str, name: str | None, *, several: bool) -> str:
    """Return the name of a study's folder.

    Args:
        machine: machine type.
        name: from the user; None or empty is the machine type.
        several: True if the command searches on several machine types.
    """
    if not name:
        return machine
    return f"{name}-{machine}" if several else name


def series(name: str, machine: str) -> str:
    """Return the part of a study's name that the studies of a command share; may be empty.

    Args:
        name: of the study's folder.
        machine: machine type of the study.
    """
    return "" if name == machine else name.removesuffix(f"-{machine}")


def studies_in(folder: UPath) -> list[UPath]:
    """List the studies in a folder."""
    return [path for path in storage.children(folder) if StudyFolder(path).exists()]


def studies_at(folder: UPath) -> list[UPath]:
    """Return the folder itself if it is a study, else the studies in it."""
    return [folder] if StudyFolder(folder).exists() else studies_in(folder)


def _texts(folder: UPath) -> list[tuple[UPath, bytes]]:
    """Read the files of trials; texts are decoded where they are parsed, so that errors name one.

    Raises:
        UserError: a file cannot be read.
    """
    numbered = [path for path in storage.children(folder) if path.stem.isdecimal()]
    paths = [path for path in numbered if path.suffix == ".json"]
    with explain_damage(folder, FROM_BACKUP):
        return list(zip(paths, storage.read_files(paths), strict=True))


def _proposal(path: UPath, content: Any) -> Proposal:
    proposal = Proposal.from_json(content)
    _check_number(path, proposal)
    return proposal


def _record(path: UPath, content: Any) -> Record:
    record = Record.from_json(content)
    _check_number(path, record.proposal)
    return record


def _check_number(path: UPath, proposal: Proposal) -> None:
    if proposal.number != int(path.stem):
        raise ValueError(f"it is of trial {proposal.number}")
