"""A detector: encoder, inlier models and thresholds that score recordings, in one folder.

detector.json        options, product IDs, normalisation, inlier model and p, thresholds
encoder.safetensors  weights
inlier.safetensors   arrays of the inlier model of each product ID, named `<ID>/<array>`
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from upath import UPath

from raysearch import __version__
from raysearch.config import Options, id_order
from raysearch.data.decode import Int16, decode, to_pcm
from raysearch.data.index import parse, product_id
from raysearch.errors import DataError, UserError
from raysearch.methods.lookup import find_method
from raysearch.model.encoder import Encoder
from raysearch.scoring.inlier import InlierModel, InlierSpec, aggregate, restore
from raysearch.storage import AnyPath, write_text
from raysearch.training import checkpoint
from raysearch.training.embedding import Embedder
from raysearch.training.network import best_device, new_encoder

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
class Detector:
    """Scorer of the recordings of one machine type.

    Attributes:
        mean: of the training clips, in int16 units.
        std: of the training clips, in int16 units.
        models: product ID -> fitted inlier model.
        thresholds: product ID -> score above which a clip is called anomalous.
    """

    machine: str
    options: Options
    mean: float
    std: float
    spec: InlierSpec
    encoder: Encoder
    models: Mapping[str, InlierModel]
    thresholds: Mapping[str, float]

    @property
    def ids(self) -> list[str]:
        """Product IDs with an inlier model, in ascending order."""
        return sorted(self.models, key=id_order)

    @cached_property
    def embedder(self) -> Embedder:
        """Front end and encoder of the detector."""
        return Embedder(self.encoder, self.options, self.ids)

    def embed(self, wave: Int16, identity: str) -> NDArray[np.float32]:
        """Compute the embeddings (S, D) of a clip's segments from its samples (L,).

        One clip at a time, so that a score never depends on other clips of a batch.
        """
        return self.embedder.clip(wave, self.mean, self.std, identity)

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

    def score_embeddings(self, embeddings: NDArray[np.float32], identity: str) -> float:
        """Return the anomaly score, higher = more anomalous, of a clip's (S, D) embeddings."""
        segment_scores = self.models[identity].score(embeddings)
        return float(aggregate(self.spec.name, segment_scores[None], self.options.aggregator)[0])

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
        elif len(self.models) == 1:
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
        if identity not in self.models:
            name = "samples" if path is None else path
            raise UserError(f"{name}: ID {identity} is not one of {', '.join(self.ids)}; see --id")
        return identity


def save_detector(detector: Detector, folder: UPath) -> None:
    """Save a detector; `detector.json` comes last, so an incomplete folder is no detector."""
    (folder / "detector.json").unlink(missing_ok=True)
    checkpoint.save(folder / "encoder.safetensors", detector.encoder.state_dict(), {})
    arrays = {
        f"{identity}/{name}": torch.from_numpy(np.array(array, order="C"))
        for identity, model in detector.models.items()
        for name, array in model.arrays().items()
    }
    checkpoint.save(folder / "inlier.safetensors", arrays, {})
    facts = {
        "raysearch": __version__,
        "machine": detector.machine,
        "ids": detector.ids,
        "products": len(detector.models),
        "inlier": detector.spec.name,
        "p": detector.spec.p,
        "mean": detector.mean,
        "std": detector.std,
        "thresholds": dict(detector.thresholds),
        "options": detector.options.model_dump(),
    }
    write_text(folder / "detector.json", json.dumps(facts, indent=2) + "\n")


def load_detector(folder: UPath) -> Detector:
    """Load a detector.

    Raises:
        UserError: the folder has no detector, or a damaged detector.
    """
    path = folder / "detector.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no detector (no detector.json); a run writes one")
    try:
        return _load(folder, json.loads(path.read_text()))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged or of another version: {reason}") from error


def _load(folder: UPath, facts: Mapping[str, Any]) -> Detector:
    options = Options(**facts["options"])
    spec = InlierSpec(facts["inlier"], facts["p"])
    encoder = new_encoder(options, facts["products"], pretrained=False)
    weights, _ = checkpoint.load(folder / "encoder.safetensors")
    encoder.load_state_dict(weights)
    arrays, _ = checkpoint.load(folder / "inlier.safetensors")
    return Detector(
        facts["machine"],
        options,
        facts["mean"],
        facts["std"],
        spec,
        encoder.to(best_device()).eval(),
        {i: _restore(spec, options, i, arrays) for i in facts["ids"]},
        {i: facts["thresholds"][i] for i in facts["ids"]},
    )


def _restore(
    spec: InlierSpec, options: Options, identity: str, arrays: Mapping[str, torch.Tensor]
) -> InlierModel:
    model_arrays = {
        name.removeprefix(f"{identity}/"): tensor.numpy()
        for name, tensor in arrays.items()
        if name.startswith(f"{identity}/")
    }
    return restore(spec.name, spec.p, model_arrays, direct=find_method(options).direct)


def _recording(recording: Recording) -> Path | NDArray[Any]:
    return recording if isinstance(recording, np.ndarray) else Path(recording)
