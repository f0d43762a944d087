"""A detector on disk, in one folder.

detector.json        options, product IDs, normalisation, inlier model and p, thresholds
encoder.safetensors  weights
inlier.safetensors   arrays of the inlier model of each product ID, named `<ID>/<array>`
normal_scores.json   scores that set the thresholds

The folder of an ensemble holds a detector.json with weights, and its detectors in members/0, ...
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from upath import UPath

from raysearch import __version__
from raysearch.config import Options
from raysearch.detector import Detector, EncoderDetector
from raysearch.errors import UserError, first_line
from raysearch.model.names import architecture_folder, is_on_hub
from raysearch.scoring.inlier import InlierModel, InlierSpec
from raysearch.storage import make_folder, remove_tree, write_text
from raysearch.study.bundle_checks import (
    LARGEST_FACTS,
    LARGEST_WEIGHTS,
    check_facts,
    check_file,
    check_scores,
    check_tensors,
)
from raysearch.study.ensemble import Ensemble, Member
from raysearch.study.stored import DAMAGE, FROM_BACKUP, read_json
from raysearch.training import checkpoint
from raysearch.training.conditions import has_effect
from raysearch.training.network import best_device, new_encoder
from raysearch.training.trial import restore_inlier

NORMAL_SCORES = "normal_scores.json"


def save_detector(detector: Detector, folder: UPath) -> None:
    """Save a detector; `detector.json` comes last, so an incomplete folder is no detector."""
    make_folder(folder)
    (folder / "detector.json").unlink(missing_ok=True)
    if isinstance(detector, Ensemble):
        special = _save_members(detector, folder)
    else:
        assert isinstance(detector, EncoderDetector), detector
        special = _save_encoder(detector, folder)
    facts = {
        "raysearch": __version__,
        "machine": detector.machine,
        "ids": detector.ids,
        **special,
        "mean": detector.mean,
        "std": detector.std,
        "recorded_rate": detector.recorded_rate,
        "thresholds": dict(detector.thresholds),
        "normal": dict(detector.normal),
        "options": detector.options.model_dump(),
    }
    if detector.normal_scores:
        scores = {identity: list(values) for identity, values in detector.normal_scores.items()}
        write_text(folder / NORMAL_SCORES, json.dumps(scores) + "\n")
    write_text(folder / "detector.json", json.dumps(facts, indent=2) + "\n")


def replace_detector(detector: Detector, folder: UPath) -> None:
    """Save a detector in place of another; on a disk that one goes once the new one is complete."""
    if not isinstance(folder, Path):
        remove_tree(folder)
        save_detector(detector, folder)
        return
    new, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("new", "old"))
    for leftover in (new, old):
        remove_tree(leftover)
    make_folder(new, below=folder.parent)
    save_detector(detector, new)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    remove_tree(old)


def _save_encoder(detector: EncoderDetector, folder: UPath) -> dict[str, Any]:
    # Imported here: timm takes seconds, and most detectors need no file of a hub.
    architecture = None
    has_backbone = has_effect("backbone", detector.options.model_dump())
    if has_backbone and is_on_hub(detector.options.backbone):
        from raysearch.model.backbone import read_architecture

        architecture = read_architecture(detector.options.backbone)
    checkpoint.save(folder / "encoder.safetensors", detector.encoder.state_dict(), {})
    arrays = {
        f"{identity}/{name}": torch.from_numpy(np.array(array, order="C"))
        for identity, model in detector.models.items()
        for name, array in model.arrays().items()
    }
    checkpoint.save(folder / "inlier.safetensors", arrays, {})
    return {
        "products": len(detector.models),
        "inlier": detector.spec.name,
        "p": detector.spec.p,
        **({"architecture": architecture} if architecture else {}),
    }


def _save_members(ensemble: Ensemble, folder: UPath) -> dict[str, Any]:
    for number, member in enumerate(ensemble.members):
        save_detector(member.detector, folder / "members" / str(number))
    return {
        "members": [
            {"name": member.name, "weight": member.weight, "normal": dict(member.normal)}
            for member in ensemble.members
        ]
    }


def load_detector(folder: UPath) -> Detector:
    """Load a detector.

    Raises:
        UserError: the folder has no detector, or a damaged detector.
    """
    path = folder / "detector.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no detector (no detector.json); a run writes one")
    try:
        check_file(path, LARGEST_FACTS)
        facts = json.loads(path.read_text())
        check_facts(facts)
        if "members" in facts:
            return _load_ensemble(folder, facts)
        detector = _load_encoder_detector(folder, facts)
        check_scores(detector)
        return detector
    except (*DAMAGE, AssertionError, OSError, RuntimeError) as error:
        raise UserError(f"{path}: damaged or of another version: {first_line(error)}") from error


def _load_ensemble(folder: UPath, facts: Mapping[str, Any]) -> Ensemble:
    members = [
        Member(
            entry["name"],
            load_detector(folder / "members" / str(number)),
            entry["weight"],
            _normal(entry["normal"]),
        )
        for number, entry in enumerate(facts["members"])
    ]
    return Ensemble(
        facts["machine"],
        Options(**facts["options"]),
        facts["mean"],
        facts["std"],
        _thresholds(facts),
        tuple(members),
        normal=_normal(facts.get("normal", {})),
        normal_scores=read_normal_scores(folder),
        recorded_rate=facts.get("recorded_rate"),
    )


def _load_encoder_detector(folder: UPath, facts: Mapping[str, Any]) -> EncoderDetector:
    options = Options(**facts["options"])
    spec = InlierSpec(facts["inlier"], facts["p"])
    with architecture_folder(options.backbone, facts.get("architecture")) as backbone:
        network = options.replace({"backbone": backbone})
        encoder = new_encoder(network, facts["products"], pretrained=False)
    encoder.load_state_dict(_load_tensors(folder / "encoder.safetensors"))
    arrays = _load_tensors(folder / "inlier.safetensors")
    return EncoderDetector(
        facts["machine"],
        options,
        facts["mean"],
        facts["std"],
        _thresholds(facts),
        spec,
        encoder.to(best_device()).eval(),
        {i: _restore(spec, options, i, arrays) for i in facts["ids"]},
        normal=_normal(facts.get("normal", {})),
        normal_scores=read_normal_scores(folder),
        recorded_rate=facts.get("recorded_rate"),
    )


def _load_tensors(path: UPath) -> dict[str, torch.Tensor]:
    check_file(path, LARGEST_WEIGHTS)
    tensors, _ = checkpoint.load(path)
    check_tensors(path, tensors.items())
    return tensors


def read_normal_scores(folder: UPath) -> dict[str, tuple[float, ...]]:
    """Read the scores that set the thresholds of a detector; empty for an earlier version.

    Raises:
        DamageError: the file is damaged.
    """
    path = folder / NORMAL_SCORES
    if not path.is_file():
        return {}
    check_file(path, LARGEST_FACTS)
    return read_json(path, _scores, FROM_BACKUP)


def _scores(content: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    scores = {identity: tuple(values) for identity, values in content.items()}
    for identity, values in scores.items():
        if not np.isfinite(np.array(values, np.float64)).all():
            raise ValueError(f"scores of ID {identity} are not finite")
    return scores


def _thresholds(facts: Mapping[str, Any]) -> dict[str, float]:
    return {identity: facts["thresholds"][identity] for identity in facts["ids"]}


def _normal(facts: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {identity: (mean, std) for identity, (mean, std) in facts.items()}


def _restore(
    spec: InlierSpec, options: Options, identity: str, arrays: Mapping[str, torch.Tensor]
) -> InlierModel:
    model_arrays = {
        name.removeprefix(f"{identity}/"): tensor.numpy()
        for name, tensor in arrays.items()
        if name.startswith(f"{identity}/")
    }
    return restore_inlier(spec, options, model_arrays)
