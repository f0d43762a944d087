"""The trials of a study as plain data: what was given out, and what became of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from raysearch.config import Configuration, Options, TrialConfig
from raysearch.scoring.spec import InlierSpec
from raysearch.training.outcome import Epoch, InlierResult, TrialResult, best_row


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
        configuration: of its encoder.
        inlier: the sampled inlier model; None where all are swept.
        seed: of the trial; None is the study's.
        rerun_of: of a finalist, the trial whose configuration is trained again.
        origin: whose idea it was; empty for the sampler's.
    """

    number: int
    configuration: Configuration
    inlier: InlierSpec | None = None
    seed: int | None = None
    rerun_of: int | None = None
    origin: str = ""

    @property
    def key(self) -> tuple[Configuration, InlierSpec | None]:
        """What makes two proposals of a sampler the same."""
        return self.configuration, self.inlier

    @property
    def inlier_columns(self) -> dict[str, Any]:
        """The sampled inlier model and its p as tables and files have them."""
        name, p = (self.inlier.name, self.inlier.p) if self.inlier else ("", None)
        return {"inlier": name, "p": p}

    def to_json(self) -> dict[str, Any]:
        """Return the proposal flat, as `proposals/` and `records/` hold it."""
        return {
            "number": self.number,
            **asdict(self.configuration),
            **self.inlier_columns,
            "seed": self.seed,
            "rerun_of": self.rerun_of,
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(
            content["number"],
            Configuration(content["lr"], content["batch_size"], content["lam"]),
            InlierSpec(content["inlier"], content["p"]) if content["inlier"] else None,
            content["seed"],
            content["rerun_of"],
            content["origin"],
        )

    def to_tune(self, study: str) -> dict[str, Any]:
        """Return the configuration of a Tune trial, as trackers show it.

        It is flat, by the names of space files, without what is unset.

        Args:
            study: name of the study.
        """
        names = {"lam": "lambda"}
        given = {k: v for k, v in self.to_json().items() if v is not None and v != ""}
        return {"study": study, **{names.get(key, key): value for key, value in given.items()}}

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
        """The configuration of its encoder; `seed` is the study's."""
        return TrialConfig(
            machine=machine,
            data=data,
            configuration=self.configuration,
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
        """Make the record of a trial that cannot be finished; `reason` is one line."""
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
        """Make the record of a trial that was pruned after the epochs of a history."""
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
        """Read what `to_json` returned."""
        read = {
            "proposal": Proposal.from_json(content["proposal"]),
            "state": State(content["state"]),
            "rows": tuple(InlierResult(**row) for row in content["rows"]),
            "history": tuple(Epoch(**epoch) for epoch in content["history"]),
            "resumes": tuple(content["resumes"]),
        }
        return cls(**{**content, **read})

    @property
    def device_seconds(self) -> float:
        """What it cost."""
        return self.devices * (self.train_seconds + self.score_seconds)

    @cached_property
    def best(self) -> InlierResult | None:
        """See `best_row`; found once, since a live view asks all records at each frame."""
        return best_row(self.rows)


@dataclass(frozen=True)
class KnownTrials:
    """The trials of a study: all that were given out, and the records of those that ended."""

    proposals: tuple[Proposal, ...]
    records: tuple[Record, ...]

    @property
    def searched(self) -> list[Proposal]:
        """Proposals of the search itself, without the finalists' further seeds."""
        return [proposal for proposal in self.proposals if proposal.rerun_of is None]
