"""The best configuration of a study, frozen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from upath import UPath

from raysearch.config import Options
from raysearch.scoring.spec import InlierSpec
from raysearch.storage import write_text
from raysearch.study.ranking import Ranking
from raysearch.study.stored import MADE_AGAIN, checked, read_json
from raysearch.training.configuration import Configuration, TrialConfig


@dataclass(frozen=True)
class Winner:
    """The configuration of the final test, frozen before the test IDs are read.

    Attributes:
        trial: number of the training with the highest validation score of the configuration.
        encoder: signature of the encoder of this training.
        val_score: of this encoder; None without validation IDs.
        seed: of this encoder.
        data: fingerprint of the recordings.
        seeds: number of seeds with which the configuration was trained.
        mean_score: mean validation score over the seeds; None without validation IDs.
        std_score: standard deviation over the seeds (n - 1); None for one seed.
    """

    machine: str
    trial: int
    encoder: str
    configuration: Configuration
    inlier: InlierSpec
    val_score: float | None
    seed: int
    data: str
    seeds: int = 1
    mean_score: float | None = None
    std_score: float | None = None

    @property
    def score(self) -> float | None:
        """Validation score that the ranking compared; None without validation IDs."""
        return self.val_score if self.mean_score is None else self.mean_score

    @property
    def detector(self) -> tuple[str, InlierSpec]:
        """Encoder signature and inlier model of the detector."""
        return self.encoder, self.inlier

    def config(self, options: Options) -> TrialConfig:
        """Return the configuration of the encoder; `options` are the fixed ones of the study."""
        return TrialConfig(
            machine=self.machine,
            data=self.data,
            configuration=self.configuration,
            seed=self.seed,
            options=options.replace(dict(self.configuration.options)),
        )

    def space_content(self, options: Options) -> dict[str, Any]:
        """Return the part of a space file that holds this single configuration.

        Args:
            options: fixed ones of the study.
        """
        searched = self.configuration.to_dict()
        ps = [] if self.inlier.p is None else [self.inlier.p]
        return {
            "search": {
                **{k: v for k, v in searched.items() if k not in dict(self.configuration.options)},
                "inlier": {self.inlier.name: ps},
            },
            "fixed": self.config(options).options.model_dump(),
            "strategy": {"trials": 1, "finalists": "none", "seed": self.seed},
        }

    def to_json(self) -> dict[str, Any]:
        """Return the winner flat, as in `frozen.json` and the ledger."""
        return {
            "machine": self.machine,
            "trial": self.trial,
            "encoder": self.encoder,
            **self.configuration.to_json(),
            "inlier": self.inlier.name,
            "p": self.inlier.p,
            "val_score": self.val_score,
            "seed": self.seed,
            "data": self.data,
            "seeds": self.seeds,
            "mean_score": self.mean_score,
            "std_score": self.std_score,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned.

        Raises:
            KeyError: a key is missing.
            ValueError: a value is of another type, or out of its range.
        """
        winner = cls(
            content["machine"],
            content["trial"],
            content["encoder"],
            Configuration.from_json(content),
            InlierSpec(content["inlier"], content["p"]),
            content["val_score"],
            content["seed"],
            content["data"],
            content.get("seeds", 1),
            # Files from before the finalists are of one seed.
            content.get("mean_score", content["val_score"]),
            content.get("std_score"),
        )
        return checked(winner)


def choose_winner(machine: str, data: str, ranking: Ranking) -> Winner:
    """Make the winner of a ranking, with its best encoder.

    Args:
        machine: target machine type.
        data: fingerprint of the recordings.
        ranking: of the study.
    """
    candidate = ranking.winner
    best = candidate.best
    return Winner(
        machine=machine,
        trial=best.record.proposal.number,
        encoder=best.record.encoder,
        configuration=candidate.configuration,
        inlier=candidate.inlier,
        val_score=best.score,
        seed=best.seed,
        data=data,
        seeds=len(candidate.trainings),
        mean_score=candidate.mean() if candidate.scores else None,
        std_score=candidate.std,
    )


def freeze_winner(winner: Winner, folder: UPath) -> None:
    """Write `frozen.json`."""
    write_text(folder / "frozen.json", json.dumps(winner.to_json(), indent=2) + "\n")


def is_built(detector: tuple[str, InlierSpec], folder: UPath) -> bool:
    """Return True if the folder of a run holds a detector, given by `Winner.detector`."""
    frozen = read_frozen(folder)
    return (
        frozen is not None
        and frozen.detector == detector
        and (folder / "detector" / "detector.json").exists()
    )


def read_frozen(folder: UPath) -> Winner | None:
    """Read the frozen configuration of a run; None if there is none.

    Raises:
        UserError: `frozen.json` is damaged.
    """
    path = folder / "frozen.json"
    if not path.is_file():
        return None
    return read_json(path, Winner.from_json, MADE_AGAIN)
