"""The trials of a study as plain data: proposals and records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from raysearch.config import Options
from raysearch.scoring.spec import InlierSpec
from raysearch.study.stored import checked
from raysearch.training.configuration import Configuration, TrialConfig
from raysearch.training.outcome import Epoch, InlierResult, TrialResult, best_row


class State(StrEnum):
    """Final state of a trial."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Proposal:
    """A proposed trial.

    Attributes:
        number: of the trial, starting at 0.
        configuration: of its encoder.
        inlier: sampled inlier model; None if all inlier models are swept.
        seed: of the trial; None is the seed of the study.
        rerun_of: number of the trial that a finalist repeats with another seed.
        origin: source of a warm start; empty if the sampler proposed it.
    """

    number: int
    configuration: Configuration
    inlier: InlierSpec | None = None
    seed: int | None = None
    rerun_of: int | None = None
    origin: str = ""

    @property
    def key(self) -> tuple[Configuration, InlierSpec | None]:
        """Key by which the sampler compares proposals."""
        return self.configuration, self.inlier

    @property
    def inlier_columns(self) -> dict[str, Any]:
        """Columns of the sampled inlier model and its p in tables and files."""
        name, p = (self.inlier.name, self.inlier.p) if self.inlier else ("", None)
        return {"inlier": name, "p": p}

    def to_json(self) -> dict[str, Any]:
        """Return the proposal flat, as `proposals/` and `records/` hold it."""
        return {
            "number": self.number,
            **self.configuration.to_json(),
            **self.inlier_columns,
            "seed": self.seed,
            "rerun_of": self.rerun_of,
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned.

        Raises:
            KeyError: a key is missing.
            TypeError: a key is unknown.
            ValueError: a value is of another type, or out of its range.
        """
        proposal = cls(
            content["number"],
            Configuration.from_json(content),
            InlierSpec(content["inlier"], content["p"]) if content["inlier"] else None,
            content["seed"],
            content["rerun_of"],
            content["origin"],
        )
        return checked(proposal)

    def to_tune(self, study: str) -> dict[str, Any]:
        """Return the configuration of a Tune trial, as trackers show it.

        The mapping is flat, with the names of space files and without unset values.

        Args:
            study: name of the study.
        """
        values = {
            "number": self.number,
            **self.configuration.to_dict(),
            **self.inlier_columns,
            "seed": self.seed,
            "rerun_of": self.rerun_of,
            "origin": self.origin,
        }
        return {"study": study, **{k: v for k, v in values.items() if v is not None and v != ""}}

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_tune` returned."""
        inlier = config.get("inlier")
        return cls(
            config["number"],
            Configuration.from_dict(config),
            InlierSpec(inlier, config.get("p")) if inlier else None,
            config.get("seed"),
            config.get("rerun_of"),
            config.get("origin", ""),
        )

    def config(self, machine: str, data: str, seed: int, options: Options) -> TrialConfig:
        """Return the configuration of the encoder.

        Args:
            machine: target machine type.
            data: fingerprint of the recordings.
            seed: of the study, for a proposal without its own.
            options: fixed options of the study; those of the configuration replace them.
        """
        return TrialConfig(
            machine=machine,
            data=data,
            configuration=self.configuration,
            seed=seed if self.seed is None else self.seed,
            options=options.replace(dict(self.configuration.options)),
        )


@dataclass(frozen=True)
class Record:
    """The record of an ended trial.

    Attributes:
        encoder: signature of the encoder, and name of its folder.
        resumes: number of completed epochs at each resume.
        host: node on which the trial ended.
        devices: GPUs of the trial, possibly a fraction, or worker processes on CPUs.
        threads: of torch in the process that trained and scored; None if nothing was scored, or in
            a record of an earlier version.
        processor: `cpu`, or the name of the GPU; empty likewise.
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
    threads: int | None = None
    processor: str = ""

    @classmethod
    def completed(
        cls,
        proposal: Proposal,
        config: TrialConfig,
        result: TrialResult,
        *,
        host: str,
        devices: float,
    ) -> Self:
        """Make the record of a trial that was trained and scored."""
        return cls(
            proposal,
            State.COMPLETE,
            config.signature(),
            config.options.epochs,
            config.seed,
            host,
            best_epoch=result.best_epoch,
            val_loss=result.val_loss,
            train_seconds=result.train_seconds,
            score_seconds=result.score_seconds,
            rows=result.rows,
            history=result.history,
            resumes=result.resumes,
            devices=devices,
        )

    @classmethod
    def failed(
        cls,
        proposal: Proposal,
        config: TrialConfig,
        reason: str,
        *,
        train_seconds: float,
        host: str,
        devices: float,
    ) -> Self:
        """Make the record of a failed trial; `reason` is one line."""
        return cls(
            proposal,
            State.FAIL,
            config.signature(),
            config.options.epochs,
            config.seed,
            host,
            train_seconds=train_seconds,
            error=reason,
            devices=devices,
        )

    @classmethod
    def pruned(
        cls,
        proposal: Proposal,
        config: TrialConfig,
        history: tuple[Epoch, ...],
        resumes: tuple[int, ...],
        *,
        host: str,
        devices: float,
    ) -> Self:
        """Make the record of a trial pruned after the epochs of a history."""
        best = min(history, key=lambda epoch: epoch.val_loss)
        return cls(
            proposal,
            State.PRUNED,
            config.signature(),
            config.options.epochs,
            config.seed,
            host,
            best_epoch=best.epoch,
            val_loss=best.val_loss,
            train_seconds=sum(epoch.seconds for epoch in history),
            history=history,
            resumes=resumes,
            devices=devices,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of the trial's file in `records/`."""
        return asdict(self) | {"proposal": self.proposal.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned.

        Raises:
            KeyError: a key is missing.
            TypeError: a key is unknown.
            ValueError: a value is of another type, or out of its range.
        """
        parsed = {
            "proposal": Proposal.from_json(content["proposal"]),
            "state": State(content["state"]),
            "rows": tuple(checked(InlierResult(**row)) for row in content["rows"]),
            "history": tuple(_epoch(epoch) for epoch in content["history"]),
            "resumes": tuple(content["resumes"]),
        }
        return checked(cls(**{**content, **parsed}))

    @property
    def device_seconds(self) -> float:
        """Cost of the trial."""
        return self.devices * (self.train_seconds + self.score_seconds)

    @cached_property
    def best(self) -> InlierResult | None:
        """Best row, see `best_row`; cached, as the live view reads all records at each frame."""
        return best_row(self.rows)


def _epoch(content: Mapping[str, Any]) -> Epoch:
    """Read an epoch; a study may have a million, so numbers pass without a closer look."""
    epoch = Epoch(**content)
    required = (epoch.epoch, epoch.train_loss, epoch.val_loss, epoch.lr, epoch.seconds)
    is_plain = None not in required and _PLAIN.issuperset(map(type, content.values()))
    return epoch if is_plain else checked(epoch)


_PLAIN = {int, float, type(None)}


@dataclass(frozen=True)
class StudyTrials:
    """The trials of a study: all proposals, and the records of ended trials."""

    proposals: tuple[Proposal, ...]
    records: tuple[Record, ...]

    @property
    def searched(self) -> list[Proposal]:
        """Proposals of the search itself, without the finalists' further seeds."""
        return [proposal for proposal in self.proposals if proposal.rerun_of is None]
