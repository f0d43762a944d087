"""The best configuration of a study, frozen."""

import json
from dataclasses import asdict, dataclass

from upath import UPath

from raysearch.config import Options, TrialConfig
from raysearch.score.spec import InlierSpec
from raysearch.search.ranking import Ranking
from raysearch.search.study import Proposal
from raysearch.storage import write_text


@dataclass(frozen=True)
class Winner:
    """A configuration that meets the test IDs; nothing of it is chosen afterwards.

    Attributes:
        trial: whose encoder it is: of the trainings of the configuration, that of the highest
            validation score.
        encoder: its signature.
        val_score: of this encoder.
        seed: of this encoder.
        data: fingerprint of the recordings.
        seeds: with which the configuration was trained.
        mean_score: mean validation score over them.
        std_score: its standard deviation (n - 1); None of one seed.
    """

    machine: str
    trial: int
    encoder: str
    lr: float
    batch_size: int
    lam: float
    inlier: str
    p: float | None
    val_score: float
    seed: int
    data: str
    seeds: int = 1
    mean_score: float | None = None
    std_score: float | None = None

    @property
    def spec(self) -> InlierSpec:
        """Its inlier model."""
        return InlierSpec(self.inlier, self.p)

    @property
    def score(self) -> float:
        """What it won by."""
        return self.val_score if self.mean_score is None else self.mean_score

    @property
    def detector(self) -> tuple[str, str, float | None]:
        """What its detector is made of."""
        return self.encoder, self.inlier, self.p

    def config(self, options: Options) -> TrialConfig:
        """The configuration of its encoder."""
        proposal = Proposal(self.trial, self.lr, self.batch_size, self.lam)
        return proposal.config(self.machine, self.data, self.seed, options)


def choose(machine: str, data: str, ranking: Ranking) -> Winner:
    """The winner of a ranking, with its best encoder.

    Args:
        machine: target machine type.
        data: fingerprint of the recordings.
        ranking: of the study.
    """
    candidate = ranking.winner
    best, proposal, spec = candidate.best, candidate.proposal, candidate.spec
    return Winner(
        machine=machine,
        trial=best.record.proposal.number,
        encoder=best.record.encoder,
        lr=proposal.lr,
        batch_size=proposal.batch_size,
        lam=proposal.lam,
        inlier=spec.name,
        p=spec.p,
        val_score=best.score,
        seed=best.seed,
        data=data,
        seeds=len(candidate.trainings),
        mean_score=candidate.mean(),
        std_score=candidate.std,
    )


def freeze(winner: Winner, folder: UPath) -> None:
    """Writes `frozen.json`."""
    write_text(folder / "frozen.json", json.dumps(asdict(winner), indent=2) + "\n")


def frozen(folder: UPath) -> Winner | None:
    """The frozen configuration of a run, if it has one."""
    path = folder / "frozen.json"
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    # Before there were finalists, a configuration had one seed.
    return Winner(**{"mean_score": content["val_score"]} | content)
