"""A detector scores recordings of one machine type, by an encoder and its inlier models."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysearch.config import Options, id_order
from raysearch.data.batches import Part, segment_starts
from raysearch.data.index import parse, product_id
from raysearch.data.recording import Recording, Source, check_rate, name_of, open_recording, sources
from raysearch.data.waveform import Waveform
from raysearch.errors import UserError
from raysearch.model.encoder import Encoder
from raysearch.scoring.inlier import InlierModel, InlierSpec, aggregate, score_blocks
from raysearch.scoring.score import Normal, NormalScores, Score, Window, check_comparable
from raysearch.storage import AnyPath
from raysearch.training.embedding import ClipEmbeddings, Embedder
from raysearch.training.trial import clip_scores

ANY = "any"
"""Product ID of a recording whose ID is not known."""


@dataclass(frozen=True)
class Detector(ABC):
    """Scorer of the recordings of one machine type.

    Attributes:
        options: sampling rate, channel and segments of the recordings.
        mean: of the training clips, in int16 units.
        std: of the training clips, in int16 units.
        thresholds: product ID -> score above which a clip is called anomalous.
        normal: product ID -> mean and standard deviation of the scores that set its threshold;
            empty for a detector of an earlier version.
        normal_scores: product ID -> these scores; empty likewise.
        recorded_rate: lowest sampling rate in Hz of the training recordings; None if it is not
            known.
    """

    machine: str
    options: Options
    mean: float
    std: float
    thresholds: Mapping[str, float]
    normal: Normal = field(default_factory=dict, kw_only=True)
    normal_scores: NormalScores = field(default_factory=dict, kw_only=True)
    recorded_rate: int | None = field(default=None, kw_only=True)

    @property
    def lowest_rate(self) -> float:
        """Sampling rate in Hz from which on a recording has all that the detector hears."""
        return min(2 * self.options.f_max, self.recorded_rate or self.options.rate)

    @property
    def ids(self) -> list[str]:
        """Product IDs that the detector knows, in ascending order."""
        return sorted(self.thresholds, key=id_order)

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of weights of all networks."""

    @abstractmethod
    def score_ids(self, waveform: Waveform, ids: Sequence[str]) -> dict[str, float]:
        """Return the anomaly score of a clip by each of some product IDs.

        One clip at a time, so that a score never depends on other clips of a batch.
        """

    @abstractmethod
    def embed_clips(self, part: Part, clips: Sequence[int]) -> ClipEmbeddings:
        """Compute the embeddings of some clips of a store, in the order of `clips`."""

    @abstractmethod
    def score_clips(self, embeddings: ClipEmbeddings, identity: str) -> NDArray[np.float64]:
        """Return the anomaly scores (C,) of clips, higher = more anomalous."""

    @abstractmethod
    def score_segments(self, waveform: Waveform, identity: str) -> Iterator[NDArray[np.float64]]:
        """Return an iterator of the anomaly scores of a clip's segments, (N,) in each block.

        Raises:
            UserError: the detector has none.
        """

    def score(
        self,
        recordings: Sequence[Recording] | Recording,
        *,
        id: str | None = None,
        rate: int | None = None,
        any_rate: bool = False,
    ) -> list[Score]:
        """Score recordings.

        Args:
            recordings: files, or samples (L,) or (L, C) as floats of full scale 1.
            id: product ID of all recordings; None reads it from the names of the files. `any`
                takes of all IDs the one by which a recording is the least anomalous, where scores
                and thresholds are standardised by those of the ID's normal training clips.
            rate: sampling rate of samples in Hz; not needed for files.
            any_rate: accept a lower sampling rate than that of the training recordings. Such a
                recording lacks a band that the detector hears, so its score says little.

        Returns:
            A score per recording, in the same order.

        Raises:
            UserError: a file is missing or a product ID is unknown; nothing was scored.
            DataError: a recording is unusable or of a lower sampling rate.
        """
        listed = sources(recordings)
        ids = [self.identity_of(each if isinstance(each, Path) else None, id) for each in listed]
        return [
            self._score(source, identity, self._read(source, rate, any_rate=any_rate))
            for source, identity in zip(listed, ids, strict=True)
        ]

    def windows(
        self,
        recording: Recording,
        *,
        id: str | None = None,
        rate: int | None = None,
        any_rate: bool = False,
    ) -> list[Window]:
        """Score the segments of a recording, to hear where it is anomalous.

        The arguments are those of `score`, without `any`.

        Returns:
            A score per segment, by start.

        Raises:
            UserError: as `iter_windows`.
            DataError: as `iter_windows`.
        """
        return list(self.iter_windows(recording, id=id, rate=rate, any_rate=any_rate))

    def iter_windows(
        self,
        recording: Recording,
        *,
        id: str | None = None,
        rate: int | None = None,
        any_rate: bool = False,
    ) -> Iterator[Window]:
        """Score the segments of a recording of any length, block by block.

        The arguments are those of `score`, without `any`.

        Returns:
            An iterator of a score per segment, by start.

        Raises:
            UserError: as for `score`, or an ensemble, which has scores of recordings alone.
            DataError: the recording is unusable or of a lower sampling rate.
        """
        [source] = sources(recording)
        identity = self.identity_of(source if isinstance(source, Path) else None, id)
        if identity not in self.thresholds:
            raise UserError(f"segments have no --id any; name one of {', '.join(self.ids)}")
        waveform, options = self._read(source, rate, any_rate=any_rate), self.options
        segment, hertz, length = options.segment, options.rate, waveform.length
        starts = segment_starts(max(length, segment), segment, options.segments).tolist()
        blocks = self.score_segments(waveform, identity)
        scores = (score for block in blocks for score in block.tolist())
        return (
            Window(name_of(source), identity, s / hertz, min(s + segment, length) / hertz, score)
            for s, score in zip(starts, scores, strict=True)
        )

    def _score(self, source: Source, identity: str, waveform: Waveform) -> Score:
        is_any = identity == ANY and ANY not in self.thresholds
        ids = self.ids if is_any else [identity]
        values, limits = self.score_ids(waveform, ids), self.thresholds
        name = name_of(source)
        scores = [Score(name, i, values[i], limits[i], values[i] > limits[i]) for i in ids]
        compared = [score.standardise(self.normal) for score in scores] if is_any else scores
        return min(compared, key=lambda score: score.score)

    def _read(
        self, source: AnyPath | Source, rate: int | None = None, *, any_rate: bool
    ) -> Waveform:
        """Return the samples of a recording at the rate of the options."""
        options = self.options
        waveform = open_recording(source, rate, rate=options.rate, channel=options.channel)
        if not any_rate:
            check_rate(source, rate, lowest=self.lowest_rate)
        return waveform

    def score_file(self, path: AnyPath, identity: str) -> tuple[float, bool]:
        """Return a recording's anomaly score, and True if it is above the threshold.

        Raises:
            DataError: the file cannot be used.
        """
        score = self.score_ids(self._read(path, any_rate=True), [identity])[identity]
        return score, score > self.thresholds[identity]

    def identity_of(self, path: Path | None, id: str | None) -> str:
        """Find the product ID of the inlier model that scores a recording.

        Args:
            path: of the recording; None for samples. Its name may contain the ID as in DCASE and
                MIMII.
            id: product ID from the user, if any; `any` leaves it open.

        Raises:
            UserError: the ID is unknown or missing.
        """
        if id is not None:
            identity = product_id(id)
            if identity == ANY and ANY not in self.thresholds:
                check_comparable(self.normal)
                return ANY
        elif len(self.thresholds) == 1:
            identity = self.ids[0]
        elif path is None:
            raise UserError(f"samples have no product ID; pass id= (one of {', '.join(self.ids)})")
        else:
            clip = parse(Path("machine", "test", path.name)) or parse(Path(*path.parts[-4:]))
            if clip is None:
                raise UserError(
                    f"{path}: cannot read a product ID from the file name; pass --id (one of "
                    f"{', '.join(self.ids)})"
                )
            identity = clip.id
        if identity not in self.thresholds:
            name = "samples" if path is None else path
            raise UserError(f"{name}: ID {identity} is not one of {', '.join(self.ids)}; see --id")
        return identity


@dataclass(frozen=True)
class EncoderDetector(Detector):
    """The detector of a winner.

    Attributes:
        spec: inlier model and p.
        encoder: in evaluation mode.
        models: product ID -> fitted inlier model.
    """

    spec: InlierSpec
    encoder: Encoder
    models: Mapping[str, InlierModel]

    @cached_property
    def embedder(self) -> Embedder:
        """Front end and encoder of the detector."""
        return Embedder(self.encoder, self.options, self.ids)

    @property
    def parameters(self) -> int:
        """Number of weights of the encoder."""
        return sum(weight.numel() for weight in self.encoder.parameters())

    def score_ids(self, waveform: Waveform, ids: Sequence[str]) -> dict[str, float]:
        """Return the anomaly score of a clip by each of some product IDs.

        The clip is embedded once by each network: most encoders have one for all IDs. Of its
        embeddings a block is in memory, of its segments the scores.
        """
        scores: dict[str, float] = {}
        for group in self.embedder.by_network(ids):
            rows = np.concatenate([*self._score_segments(waveform, group)], axis=1)
            count = np.full(len(group), rows.shape[1])
            values = aggregate(self.spec.name, rows.ravel(), count, self.options.aggregator)
            scores |= zip(group, values.tolist(), strict=True)
        return scores

    def _score_segments(
        self, waveform: Waveform, ids: Sequence[str]
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the scores (K, N) of segments by K product IDs of one network."""
        blocks = self.embedder.blocks(waveform, self.mean, self.std, ids[0])
        return score_blocks([self.models[identity] for identity in ids], blocks)

    def embed_clips(self, part: Part, clips: Sequence[int]) -> ClipEmbeddings:
        """Compute the embeddings of some clips of a store, in the order of `clips`."""
        return self.embedder.clips(part, clips)

    def score_segments(self, waveform: Waveform, identity: str) -> Iterator[NDArray[np.float64]]:
        """Return an iterator of the anomaly scores of a clip's segments, (N,) in each block."""
        return (scores[0] for scores in self._score_segments(waveform, [identity]))

    def score_clips(self, embeddings: ClipEmbeddings, identity: str) -> NDArray[np.float64]:
        """Return the anomaly scores (C,) of clips, higher = more anomalous."""
        return clip_scores(self.spec, self.models[identity], embeddings, self.options)
