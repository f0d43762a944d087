"""A study on disk: its manifest, one immutable record per finished trial, its open proposals.

study.json           what was asked
proposals/0007.json  a trial that was given out
records/0007.json    a trial that ended; the only truth, everything else follows from these
encoders/<hash>/     checkpoints, by the encoder's signature
study.journal        mirror of the Optuna study, for dashboards
"""

import gc
import json
from pathlib import Path

from upath import UPath

from raysearch import storage
from raysearch.errors import UserError
from raysearch.study.manifest import Manifest, read_manifest
from raysearch.study.records import KnownTrials, Proposal, Record

LEDGER = "test_ledger.jsonl"
"""A line for each time the test IDs were opened."""


class StudyFolder:
    """Reads and writes the folder of a study. Every file appears whole or not at all."""

    def __init__(self, path: UPath) -> None:
        self.path = path

    @property
    def manifest(self) -> Manifest:
        """The content of study.json.

        Raises:
            UserError: as `read_manifest`.
        """
        return read_manifest(self.path)

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

    def create(self, manifest: Manifest) -> None:
        """Writes study.json."""
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        manifest.write(self.path)

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
        if not storage.create_once(path, (json.dumps(proposal.to_json()) + "\n").encode()):
            raise UserError(
                f"another raysearch is running {self.path}; wait for it or choose another --name"
            )

    def proposals(self) -> list[Proposal]:
        """All trials that were given out, by number."""
        return [Proposal.from_json(json.loads(text)) for text in _texts(self.path / "proposals")]

    def add(self, record: Record) -> bool:
        """Writes a record, unless the trial has one.

        Returns:
            Whether it was written; a second record of a trial never replaces the first.
        """
        text = json.dumps(record.to_json(), indent=1) + "\n"
        return storage.create_once(self._record(record.proposal.number), text.encode())

    def record(self, number: int) -> Record | None:
        """The record of a trial, if it ended."""
        try:
            return Record.from_json(json.loads(self._record(number).read_text()))
        except FileNotFoundError:
            return None

    def records(self) -> list[Record]:
        """All records, by number."""
        texts = _texts(self.path / "records")
        # A million epochs are no garbage; looking for some among them takes as long as reading.
        collects = gc.isenabled()
        gc.disable()
        try:
            return [Record.from_json(json.loads(text)) for text in texts]
        finally:
            if collects:
                gc.enable()

    def known(self) -> KnownTrials:
        """Read all that is known of its trials, once."""
        return KnownTrials(tuple(self.proposals()), tuple(self.records()))

    def _record(self, number: int) -> UPath:
        return self.path / "records" / f"{number:04d}.json"


def study_name(machine: str, name: str | None, *, several: bool) -> str:
    """Return the name of a study's folder.

    Args:
        machine: machine type.
        name: that the user gave; none or empty takes the machine type.
        several: the command searches on several machine types, whose folders lie side by side.
    """
    if not name:
        return machine
    return f"{name}-{machine}" if several else name


def studies_in(folder: UPath) -> list[UPath]:
    """The studies that lie in a folder."""
    return [path for path in storage.children(folder) if StudyFolder(path).exists()]


def studies_at(folder: UPath) -> list[UPath]:
    """The folder itself if it is a study's, else the studies that lie in it."""
    return [folder] if StudyFolder(folder).exists() else studies_in(folder)


def _texts(folder: UPath) -> list[str]:
    numbered = [path for path in storage.children(folder) if path.stem.isdecimal()]
    return storage.read_texts([path for path in numbered if path.suffix == ".json"])
