"""A detector: everything that scores new recordings, in a folder that needs nothing else.

detector.json        options, product IDs, normalisation, inlier model and p, thresholds
encoder.safetensors  weights
inlier.safetensors   arrays of the inlier model of each product ID, named `<ID>/<array>`
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from upath import UPath

from raysearch import __version__
from raysearch.config import Options, id_order
from raysearch.data.index import parse, product_id
from raysearch.data.store import Int16, decode
from raysearch.errors import DataError, UserError
from raysearch.model.encoder import Encoder
from raysearch.scoring.inlier import InlierModel, InlierSpec, aggregate, restore
from raysearch.storage import Place, write_text
from raysearch.training import checkpoint
from raysearch.training.embedding import Embedder
from raysearch.training.network import best_device, new_encoder


@dataclass(frozen=True)
class Detector:
    """Scores recordings of one machine type.

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
        """Product IDs that it knows."""
        return sorted(self.models, key=id_order)

    @cached_property
    def embedder(self) -> Embedder:
        """Its encoder behind a front end."""
        return Embedder(self.encoder, self.options)

    def embed(self, wave: Int16) -> NDArray[np.float32]:
        """Returns the embeddings (S, D) of a clip's segments from its samples (L,).

        One clip at a time: so a score never depends on which clips it was computed with.
        """
        return self.embedder.clip(wave, self.mean, self.std)

    def score(self, embeddings: NDArray[np.float32], identity: str) -> float:
        """Returns the anomaly score, higher = more anomalous, of a clip's (S, D) embeddings."""
        segment_scores = self.models[identity].score(embeddings)
        return float(aggregate(self.spec.name, segment_scores[None], self.options.aggregator)[0])

    def score_file(self, path: Place, identity: str) -> tuple[float, bool]:
        """Returns a recording's anomaly score and whether it is called anomalous.

        Raises:
            DataError: the file cannot be used.
        """
        score = self.score(self.embed(self.decode(path)), identity)
        return score, score > self.thresholds[identity]

    def decode(self, path: Place) -> Int16:
        """Decodes a recording as the detector's options ask.

        Raises:
            DataError: the file cannot be used.
        """
        try:
            return decode(path, rate=self.options.rate, channel=self.options.channel)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def identity_of(self, path: Path, asked: str | None) -> str:
        """Finds the product ID whose inlier model judges a recording.

        Args:
            path: the recording; its name may hold the ID as DCASE and MIMII names do.
            asked: what the user said, if anything.

        Raises:
            UserError: the ID is unknown, or no one said it.
        """
        if asked is not None:
            found = product_id(asked)
        elif len(self.models) == 1:
            found = self.ids[0]
        else:
            clip = parse(Path("machine", "test", path.name)) or parse(Path(*path.parts[-4:]))
            if clip is None:
                raise UserError(
                    f"{path}: its name tells no product ID; say --id (one of {', '.join(self.ids)})"
                )
            found = clip.id
        if found not in self.models:
            raise UserError(f"{path}: ID {found} is not one of {', '.join(self.ids)}; see --id")
        return found


def save_detector(detector: Detector, folder: UPath) -> None:
    """Writes a detector; `detector.json` comes last, so a torn folder is no detector."""
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
        "products": detector.encoder.product_head.out_features,
        "inlier": detector.spec.name,
        "p": detector.spec.p,
        "mean": detector.mean,
        "std": detector.std,
        "thresholds": dict(detector.thresholds),
        "options": detector.options.model_dump(),
    }
    write_text(folder / "detector.json", json.dumps(facts, indent=2) + "\n")


def load_detector(folder: UPath) -> Detector:
    """Loads a detector.

    Raises:
        UserError: the folder holds none, or a damaged one.
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
        {i: _restore(spec, i, arrays) for i in facts["ids"]},
        {i: facts["thresholds"][i] for i in facts["ids"]},
    )


def _restore(spec: InlierSpec, identity: str, arrays: Mapping[str, torch.Tensor]) -> InlierModel:
    own = {
        name.removeprefix(f"{identity}/"): tensor.numpy()
        for name, tensor in arrays.items()
        if name.startswith(f"{identity}/")
    }
    return restore(spec.name, spec.p, own)


def score_files(
    detector: Detector, files: Sequence[Path], asked: str | None
) -> list[tuple[Path, str, float, bool]]:
    """Scores recordings.

    Returns:
        File, product ID, anomaly score (higher = more anomalous), called anomalous or not.

    Raises:
        UserError: a file is missing or unusable, or its product ID is unknown.
    """
    for path in files:
        if not path.is_file():
            raise UserError(f"there is no file {path}")
    identities = [detector.identity_of(path, asked) for path in files]
    return [
        (path, identity, *detector.score_file(path, identity))
        for path, identity in zip(files, identities, strict=True)
    ]
