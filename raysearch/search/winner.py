"""The best configuration of a study, frozen, and the detector made of it.

Only recordings that the search itself may see are used here.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from upath import UPath

from raysearch.audio.dataset import TrialData
from raysearch.config import Options, TrialConfig
from raysearch.detector import Detector
from raysearch.embedding import embed_clips
from raysearch.errors import UserError
from raysearch.network import frontend
from raysearch.score.inlier import FitError, InlierSpec
from raysearch.score.threshold import gamma_threshold
from raysearch.search.study import Proposal, Record, State, StudyFolder
from raysearch.storage import write_text
from raysearch.train import load_trained
from raysearch.trial import clip_scores, fit_embeddings, fit_inlier


@dataclass(frozen=True)
class Winner:
    """A configuration that meets the test IDs; nothing of it is chosen afterwards."""

    machine: str
    trial: int
    encoder: str
    lr: float
    batch_size: int
    lam: float
    inlier: str
    p: int | None
    val_score: float
    seed: int
    data: str

    @property
    def spec(self) -> InlierSpec:
        """Its inlier model."""
        return InlierSpec(self.inlier, self.p)

    def config(self, options: Options) -> TrialConfig:
        """The configuration of its encoder."""
        proposal = Proposal(self.trial, self.lr, self.batch_size, self.lam)
        return proposal.config(self.machine, self.data, self.seed, options)


def choose(machine: str, data: str, records: Sequence[Record]) -> Winner | None:
    """Chooses the record of the highest validation score, the earliest of equals.

    Returns:
        None if no trial has a score.
    """
    complete = [r for r in records if r.state is State.COMPLETE and r.best is not None]
    if not complete:
        return None
    record = max(complete, key=lambda r: (_score(r), -r.proposal.number))
    row, proposal = record.best, record.proposal
    assert row is not None
    return Winner(
        machine,
        proposal.number,
        record.encoder,
        proposal.lr,
        proposal.batch_size,
        proposal.lam,
        row.inlier,
        row.p,
        _score(record),
        record.seed,
        data,
    )


def _score(record: Record) -> float:
    best = record.best
    assert best is not None
    assert best.val_score is not None
    return best.val_score


def freeze(winner: Winner, folder: UPath) -> None:
    """Writes `frozen.json`."""
    write_text(folder / "frozen.json", json.dumps(asdict(winner), indent=2) + "\n")


def frozen(folder: UPath) -> Winner | None:
    """The frozen configuration of a run, if it has one."""
    path = folder / "frozen.json"
    return Winner(**json.loads(path.read_text())) if path.is_file() else None


def build_detector(winner: Winner, options: Options, data: TrialData, folder: UPath) -> Detector:
    """Fits the winner's inlier model for every product ID and sets the thresholds.

    Args:
        winner: frozen configuration.
        options: of the study.
        data: the recordings of the search.
        folder: of the study.

    Raises:
        UserError: an ID's model cannot be fitted.
    """
    config = winner.config(options)
    encoder = load_trained(
        options, len(data.ids), StudyFolder(folder).encoder(winner.encoder)
    ).encoder
    fits = fit_embeddings(encoder, config, data)
    front = frontend(options).to(next(encoder.parameters()).device)
    part, _ = data.target_parts(options.validation_share, config.seed)
    # A model scores the clips it was fitted on too well to set a threshold by them.
    unseen = part.clips if options.inlier_fit == "validation" else range(len(data.target.clips))
    models, thresholds = {}, {}
    for identity in data.ids:
        try:
            models[identity] = fit_inlier(winner.spec, identity, encoder, config, data, fits)
        except FitError as error:
            raise UserError(f"no detector: ID {identity} of {winner.machine}: {error}") from error
        clips = [i for i in unseen if data.target.clips[i].id == identity]
        embeddings = embed_clips(encoder, front, part, options, clips)
        scores = clip_scores(winner.spec, models[identity], embeddings)
        thresholds[identity] = gamma_threshold(scores, options.threshold_quantile)
    return Detector(
        winner.machine, options, part.mean, part.std, winner.spec, encoder, models, thresholds
    )
