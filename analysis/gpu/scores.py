"""Scores on the GPU against those on the CPU, of the same trained encoder."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu.outcome import Section, say
from gpu.plan import Plan
from numpy.typing import NDArray

from raysearch.data.batches import segments
from raysearch.data.dataset import TrialData
from raysearch.model.encoder import BackboneEncoder, Encoder
from raysearch.training.embedding import Embedder
from raysearch.training.outcome import InlierResult
from raysearch.training.train import load_trained
from raysearch.training.trial import score_inlier_models

EMBEDDINGS = "embeddings on the device against the CPU; TF32 settings during the computation"
SCORES = "validation scores on the device against the CPU, in points"

CONVOLUTIONS = torch.backends.cudnn.conv  # type: ignore[attr-defined]

CLIPS = 16
RELATIVE = 2e-4
"""Largest difference of an embedding, relative to its norm. TF32 rounds by 5e-4 at every layer."""

POINTS = 1.0
"""Largest difference of a val_score, in points."""


def fill(section: Section, plan: Plan, data: TrialData, folder: Path) -> None:
    """Compare embeddings and scores of the first trained encoder."""
    config = plan.config(data, plan.batch_sizes[0], "bf16", plan.epochs)
    checkpoints = folder / config.signature()
    encoder = load_trained(config.options, len(data.ids), checkpoints).encoder
    on_cpu = copy.deepcopy(encoder).cpu()
    compare_embeddings(section, plan, data, encoder, on_cpu)
    say("scores: on the device")
    on_device_rows = score_inlier_models(encoder, config, data, plan.inliers)
    say("scores: on the CPU")
    on_cpu_rows = score_inlier_models(on_cpu, config, data, plan.inliers)
    for row, reference in zip(on_device_rows, on_cpu_rows, strict=True):
        compare_scores(section, row, reference)


def compare_scores(section: Section, row: InlierResult, reference: InlierResult) -> None:
    """Add the row and the check of an inlier model."""
    points = None
    if row.val_score is not None and reference.val_score is not None:
        points = 100 * abs(row.val_score - reference.val_score)
    aucs = [100 * abs(auc - reference.auc.get(k, np.nan)) for k, auc in row.auc.items()]
    section.add(
        SCORES,
        {
            "inlier": row.inlier,
            "p": row.p,
            "device": None if row.val_score is None else 100 * row.val_score,
            "cpu": None if reference.val_score is None else 100 * reference.val_score,
            "difference": points,
            "largest_auc_difference": max(aucs, default=None),
            "error": row.error or reference.error,
        },
    )
    name = f"scores, {row.inlier} {row.p}: val_score of device and CPU, points apart"
    section.check(name, points, POINTS)


def compare_embeddings(
    section: Section, plan: Plan, data: TrialData, encoder: Encoder, on_cpu: Encoder
) -> None:
    """Add rows of embeddings as raysearch computes them and with TF32 forced on and off."""
    options, store = plan.options, data.validation
    on_device = Embedder(encoder, options)
    waves = np.concatenate(
        [
            segments(
                store.waveform(i),
                options.segment,
                options.segments,
                data.target.mean,
                data.target.std,
            )
            for i in range(min(CLIPS, len(store.clips)))
        ]
    )
    reference = Embedder(on_cpu, options).segments(waves)
    settings: dict[str, str] = {}
    assert isinstance(encoder, BackboneEncoder)
    handle = encoder.backbone.register_forward_hook(lambda *_: settings.update(tf32_settings()))
    row = difference(on_device.segments(waves), reference)
    handle.remove()
    section.add(EMBEDDINGS, {"computed": "raysearch"} | row | settings)
    section.check("scores: relative difference of embeddings", row["relative"], RELATIVE)
    for precision in ("ieee", "tf32"):
        with convolutions(precision), torch.inference_mode():
            settings = tf32_settings()
            spectrograms = on_device.frontend(torch.from_numpy(waves).to(on_device.device))
            embeddings = encoder.embed(spectrograms)
        row = difference(embeddings.cpu().numpy(), reference)
        section.add(EMBEDDINGS, {"computed": f"convolutions {precision}"} | row | settings)


def difference(embeddings: NDArray[Any], reference: NDArray[Any]) -> dict[str, float]:
    """Return the largest differences of embeddings (N, D): absolute, and relative to the norm."""
    apart = np.asarray(embeddings, np.float64) - np.asarray(reference, np.float64)
    norms = np.linalg.norm(np.asarray(reference, np.float64), axis=1)
    relative = np.linalg.norm(apart, axis=1) / np.maximum(norms, 1e-12)
    return {"largest": float(np.abs(apart).max()), "relative": float(relative.max())}


def tf32_settings() -> dict[str, str]:
    """Return the current precision of convolutions and matrix products on CUDA."""
    return {
        "conv": CONVOLUTIONS.fp32_precision,
        "matmul": torch.backends.cuda.matmul.fp32_precision,
    }


@contextmanager
def convolutions(precision: str) -> Iterator[None]:
    """Set the precision of convolutions on CUDA, in this block."""
    before = CONVOLUTIONS.fp32_precision
    CONVOLUTIONS.fp32_precision = precision
    try:
        yield
    finally:
        CONVOLUTIONS.fp32_precision = before
