"""The files of a DCASE Task 2 submission: scores, decisions, and the system's meta information."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from upath import UPath

from raysearch.config import PARALLEL, Options
from raysearch.scoring.metrics import harmonic_mean
from raysearch.storage import write_text
from raysearch.study.scores import FinalScore
from raysearch.study.winner import Winner
from raysearch.training.conditions import has_effect
from raysearch.training.outcome import InlierResult

FEATURES = {"log": "log-mel energies", "db": "log-mel energies", "none": "mel energies"}
META = "task2_1.meta.yaml"

HEAD = """\
# Meta information of a DCASE Task 2 submission. What is null is yours to fill in, beginning with
# the label; compare the keys with the template of your year's challenge.
"""


def write_scores(folder: UPath, machine: str, scores: Sequence[FinalScore]) -> None:
    """Write a pair of files for each product ID, and for each domain that the names of clips tell.

    In 2021 clips are named and submitted by domain. From 2022 on their names do not tell the
    domain, even where ground truth does, and a product ID has one pair of files.

    Args:
        folder: of the submission.
        machine: machine type.
        scores: of the test clips.
    """
    for identity, kind in sorted({(score.id, _kind(score)) for score in scores}):
        section = f"{int(identity):02d}" if identity.isdecimal() else identity
        part = [score for score in scores if (score.id, _kind(score)) == (identity, kind)]
        stem = f"{machine}_section_{section}_{kind}.csv"
        values = "".join(f"{each.clip},{each.score!r}\n" for each in part)
        decisions = "".join(f"{each.clip},{each.decision}\n" for each in part)
        write_text(folder / f"anomaly_score_{stem}", values)
        write_text(folder / f"decision_result_{stem}", decisions)


def _kind(score: FinalScore) -> str:
    return f"{score.domain}_test" if f"_{score.domain}_" in score.clip else "test"


def write_meta(
    folder: UPath,
    winner: Winner,
    options: Sequence[Options],
    row: InlierResult | None,
    *,
    parameters: int,
) -> None:
    """Write the meta information.

    Args:
        folder: of the submission.
        winner: frozen configuration.
        options: of the winner; of an ensemble those of its members.
        row: validation result of the winner.
        parameters: number of trained or pretrained weights of the detector.
    """
    method = options[0].method if len(options) == 1 else PARALLEL
    results = {} if row is None else _results(row, winner.machine)
    content = {
        "submission": {
            "label": None,
            "name": f"raysearch, {method}",
            "abbreviation": method[:10],
            "authors": [
                {
                    "lastname": None,
                    "firstname": None,
                    "email": None,
                    "corresponding": True,
                    "affiliation": {"institution": None, "department": None, "location": None},
                }
            ],
        },
        "system": {
            "description": _description(method, winner, options),
            "complexity": {"total_parameters": parameters},
            "source_code": None,
        },
        "results": {"development_dataset": results},
    }
    write_text(folder / META, HEAD + yaml.safe_dump(content, sort_keys=False))


def _description(method: str, winner: Winner, options: Sequence[Options]) -> dict[str, Any]:
    inlier = "" if winner.inlier.name == "none" else f", {winner.inlier.name}"
    pretrained = [each.backbone for each in options if _uses("backbone", each) and each.pretrained]
    has_mixup = any(_uses("mixup", each) and each.mixup != "off" for each in options)
    is_ensemble = len(options) > 1
    return {
        "input_sampling_rate": f"{options[0].rate / 1000:g}kHz",
        "acoustic_features": FEATURES[options[0].compression],
        "data_augmentation": "mixup" if has_mixup else None,
        "embeddings": ", ".join(dict.fromkeys(pretrained)) or None,
        "machine_learning_method": f"{method}{inlier}",
        "ensemble_method_subsystem_count": len(options) if is_ensemble else None,
        "decision_making": "average" if is_ensemble else None,
        "external_data_usage": "pretrained weights" if pretrained else None,
    }


def _uses(option: str, options: Options) -> bool:
    return has_effect(option, options.model_dump())


def _results(row: InlierResult, machine: str) -> dict[str, Any]:
    """Return AUC and pAUC of each machine type; keys of a shared search are `machine/ID`."""
    by_machine: dict[str, dict[str, tuple[float, float]]] = {}
    for key, auc in row.auc.items():
        name, _, identity = key.rpartition("/")
        by_machine.setdefault(name or machine, {})[identity] = auc, row.pauc[key]
    return {name: _areas(areas) for name, areas in by_machine.items()}


def _areas(areas: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Return AUC and pAUC in percent, harmonic means over the validation IDs and of each."""
    return {
        "averaged_auc": round(100 * harmonic_mean(auc for auc, _ in areas.values()), 2),
        "averaged_pauc": round(100 * harmonic_mean(pauc for _, pauc in areas.values()), 2),
        "sections": {
            identity: {"auc": round(100 * auc, 2), "pauc": round(100 * pauc, 2)}
            for identity, (auc, pauc) in areas.items()
        },
    }
