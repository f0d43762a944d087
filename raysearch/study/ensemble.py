"""An ensemble: detectors in parallel, whose standardised scores are averaged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.data.batches import Part
from raysearch.data.waveform import Waveform
from raysearch.detector import Detector
from raysearch.errors import UserError
from raysearch.training.embedding import ClipEmbeddings


@dataclass(frozen=True)
class Member:
    """A detector of an ensemble.

    Attributes:
        name: of the detector's study.
        weight: of its standardised score in the average.
        normal: product ID -> mean and standard deviation of the scores of normal training clips.
    """

    name: str
    detector: Detector
    weight: float
    normal: Mapping[str, tuple[float, float]]

    def score_ids(self, waveform: Waveform, ids: Sequence[str]) -> dict[str, float]:
        """Return the standardised score of a clip by each of some product IDs."""
        scores = self.detector.score_ids(waveform, ids)
        return {i: (scores[i] - self.normal[i][0]) / self.normal[i][1] for i in ids}

    def score_clips(self, embeddings: ClipEmbeddings, identity: str) -> NDArray[np.float64]:
        """Return standardised scores (C,) from the detector's embeddings of clips."""
        mean, std = self.normal[identity]
        return (self.detector.score_clips(embeddings, identity) - mean) / std


@dataclass(frozen=True)
class Ensemble(Detector):
    """A detector whose score is the weighted average of its members' standardised scores.

    The embedding of a clip of a store is the vector (M,) of the members' standardised scores.

    Attributes:
        members: M detectors of the same recordings.
    """

    members: tuple[Member, ...]

    @property
    def parameters(self) -> int:
        """Number of weights of the members' networks."""
        return sum(member.detector.parameters for member in self.members)

    def score_ids(self, waveform: Waveform, ids: Sequence[str]) -> dict[str, float]:
        """Return the anomaly score of a clip by each of some product IDs."""
        by_member = [member.score_ids(waveform, ids) for member in self.members]
        rows = {i: np.array([[scores[i] for scores in by_member]]) for i in ids}
        return {i: float(self.score_clips(ClipEmbeddings.join([rows[i]]), i)[0]) for i in ids}

    def embed_clips(self, part: Part, clips: Sequence[int]) -> ClipEmbeddings:
        """Compute the standardised scores of some clips of a store: one row (M,) a clip.

        A clip of another machine type is scored as if it were of the same or of the first ID.
        """
        names = [part.store.clips[i].id for i in clips]
        ids = np.array([name if name in self.thresholds else self.ids[0] for name in names])
        scores = np.empty((len(clips), len(self.members)))
        for column, member in enumerate(self.members):
            embeddings = member.detector.embed_clips(part, clips)
            for identity in dict.fromkeys(ids.tolist()):
                chosen = ids == identity
                scores[chosen, column] = member.score_clips(embeddings.select(chosen), identity)
        return ClipEmbeddings(scores, np.ones(len(clips), np.int64))

    def score_segments(self, waveform: Waveform, identity: str) -> Iterator[NDArray[np.float64]]:
        """Refuse: the segments of the members differ.

        Raises:
            UserError: always.
        """
        raise UserError(
            "an ensemble scores whole recordings; take one of its members, such as members/0 of "
            "its folder, for segments"
        )

    def score_clips(self, embeddings: ClipEmbeddings, identity: str) -> NDArray[np.float64]:
        """Return the averages (C,) of standardised scores, higher = more anomalous."""
        weights = np.array([member.weight for member in self.members])
        return np.asarray(embeddings.rows @ weights)
