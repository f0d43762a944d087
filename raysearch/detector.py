"""A detector scores recordings of one machine type, by an encoder and its inlier models."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raysearch.config import Options, id_order
from raysearch.data.batches import Part
from raysearch.data.decode import Int16, decode, to_pcm
from raysearch.data.index import parse, product_id
from raysearch.errors import DataError, UserError
from raysearch.methods.lookup import find_method
from raysearch.model.encoder import Encoder
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import InlierModel, InlierSpec, restore
from raysearch.storage import AnyPath
from raysearch.training.embedding import ClipEmbeddings, Embedder
from raysearch.training.trial import clip_scores

Embeddings: TypeAlias = NDArray[Any]
"""Embeddings of segments, as floats."""

Recording: TypeAlias = str | PathLike[str] | NDArray[Any]
"""A file or samples."""


@dataclass(frozen=True)
class Score:
    """The anomaly score of a recording.

    Attributes:
        file: path of the recording; empty for samples.
        id: product ID of the inlier model.
        score: higher = more anomalous.
        threshold: of the product ID.
        anomalous: True if the score is above the threshold.
    """

    file: str
    id: str
    score: float
    threshold: float
    anomalous: bool


@dataclass(frozen=True)
class Detector(ABC):
    """Scorer of the recordings of one machine type.

    Attributes:
        options: sampling rate, channel and segments of the recordings.
        mean: of the training clips, in int16 units.
        std: of the training clips, in int16 units.
        thresholds: product ID -> score above which a clip is called anomalous.
    """

    machine: str
    options: Options
    mean: float
    std: float
    thresholds: Mapping[str, float]

    @property
    def ids(self) -> list[str]:
        """Product IDs that the detector knows, in ascending order."""
        return sorted(self.thresholds, key=id_order)

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of weights of all networks."""

    @abstractmethod
    def embed(self, wave: Int16, identity: str) -> Embeddings:
        """Compute the embeddings (S, D) of a clip's segments from its samples (L,).

        One clip at a time, so that a score never depends on other clips of a batch.
        """

    @abstractmethod
    def embed_clips(self, part: Part, clips: Sequence[int]) -> ClipEmbeddings:
        """Compute the embeddings of some clips of a store, in the order of `clips`."""

    @abstractmethod
    def score_clips(self, embeddings: ClipEmbeddings, identity: str) -> NDArray[np.float64]:
        """Return the anomaly scores (C,) of clips, higher = more anomalous."""

    def score_embeddings(self, embeddings: Embeddings, identity: str) -> float:
        """Return the anomaly score, higher = more anomalous, of a clip's (S, D) embeddings."""
        return float(self.score_clips(ClipEmbeddings.join([embeddings]), identity)[0])

    def score(
        self,
        recordings: Sequence[Recording] | Recording,
        *,
        id: str | None = None,
        rate: int | None = None,
    ) -> list[Score]:
        """Score recordings.

        Args:
            recordings: files, or samples (L,) or (L, C) as floats of full scale 1.
            id: product ID of all recordings; None reads it from the names of the files.
            rate: sampling rate of samples in Hz; not needed for files.

        Returns:
            A score per recording, in the same order.

        Raises:
            UserError: a file is missing or unusable, or a product ID is unknown.
        """
        if isinstance(recordings, str | PathLike | np.ndarray):
            recordings = [recordings]
        sources = [_recording(recording) for recording in recordings]
        paths = [source if isinstance(source, Path) else None for source in sources]
        for path in paths:
            if path is not None and not path.is_file():
                raise UserError(f"there is no file {path}")
        ids = [self.identity_of(path, id) for path in paths]
        return [
            self._score(source, identity, rate)
            for source, identity in zip(sources, ids, strict=True)
        ]

    def _score(self, recording: Path | NDArray[Any], identity: str, rate: int | None) -> Score:
        if isinstance(recording, Path):
            name, wave = str(recording), self.decode(recording)
        else:
            if rate is None:
                raise UserError("samples need their sampling rate; pass rate=HZ")
            samples = np.asarray(recording, np.float32).reshape(len(recording), -1)
            name = ""
            wave = to_pcm(samples, rate, rate=self.options.rate, channel=self.options.channel)
        value = self.score_embeddings(self.embed(wave, identity), identity)
        threshold = self.thresholds[identity]
        return Score(name, identity, value, threshold, value > threshold)

    def score_file(self, path: AnyPath, identity: str) -> tuple[float, bool]:
        """Return a recording's anomaly score, and True if it is above the threshold.

        Raises:
            DataError: the file cannot be used.
        """
        score = self.score_embeddings(self.embed(self.decode(path), identity), identity)
        return score, score > self.thresholds[identity]

    def decode(self, path: AnyPath) -> Int16:
        """Decode a recording to the sampling rate and channel of the options.

        Raises:
            DataError: the file cannot be used.
        """
        try:
            return decode(path, rate=self.options.rate, channel=self.options.channel)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def identity_of(self, path: Path | None, id: str | None) -> str:
        """Find the product ID of the inlier model that scores a recording.

        Args:
            path: of the recording; None for samples. Its name may contain the ID as in DCASE and
                MIMII.
            id: product ID from the user, if any.

        Raises:
            UserError: the ID is unknown or missing.
        """
        if id is not None:
            identity = product_id(id)
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

    def embed(self, wave: Int16, identity: str) -> Embeddings:
        """Compute the embeddings (S, D) of a clip's segments from its samples (L,)."""
        return self.embedder.clip(wave, self.mean, self.std, identity)

    def embed_clips(self, part: Part, clips: Sequence[int]) -> ClipEmbeddings:
        """Compute the embeddings of some clips of a store, in the order of `clips`."""
        return self.embedder.clips(part, clips)

    def score_clips(self, embeddings: ClipEmbeddings, identity: str) -> NDArray[np.float64]:
        """Return the anomaly scores (C,) of clips, higher = more anomalous."""
        return clip_scores(self.spec, self.models[identity], embeddings, self.options)


def restore_model(spec: InlierSpec, options: Options, arrays: Mapping[str, Rows]) -> InlierModel:
    """Rebuild a fitted inlier model from its arrays.

    Args:
        spec: inlier model and p.
        options: of the detector.
        arrays: of the model, by name.
    """
    return restore(spec.name, spec.p, arrays, direct=find_method(options).direct)


def _recording(recording: Recording) -> Path | NDArray[Any]:
    return recording if isinstance(recording, np.ndarray) else Path(recording)
