"""Scores of normal training clips as new clips would have them.

An inlier model scores the clips that it was fitted on too well, some kinds all of them alike; a
network does so with the clips that it was trained on. Thresholds take neither.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from raysearch.config import Options
from raysearch.data.batches import Part
from raysearch.scoring.inlier import FitError, InlierModel, InlierSpec
from raysearch.scoring.metrics import Floats
from raysearch.scoring.threshold import FEWEST_SCORES
from raysearch.training.embedding import ClipEmbeddings
from raysearch.training.trial import clip_scores

FOLDS = 5
"""Parts of the clips that an inlier model was fitted on, each scored without it."""


def leave_out_scores(
    spec: InlierSpec,
    options: Options,
    fit: Callable[[ClipEmbeddings], InlierModel],
    model: InlierModel,
    fitted: ClipEmbeddings,
) -> Floats:
    """Score the clips that a model was fitted on by models of the same kind without them.

    Where the rest of the clips are too few for a model, the model of all clips scores.

    Args:
        spec: inlier model and p.
        options: of the encoder.
        fit: fits the model of a product ID to some clips of it.
        model: of all the clips.
        fitted: the clips (C,).

    Returns:
        (C,), higher = more anomalous.
    """
    scores = clip_scores(spec, model, fitted, options)
    for fold in range(FOLDS):
        left_out = np.arange(len(fitted)) % FOLDS == fold
        if left_out.all() or not left_out.any():
            continue
        with suppress(FitError):
            other = fit(fitted.select(~left_out))
            scores[left_out] = clip_scores(spec, other, fitted.select(left_out), options)
    return scores


def untrained_clips(clips: Sequence[int], held_out: Part) -> list[int]:
    """Return those of some clips that no network was trained on, or all if these are few.

    With the inlier model `none` the network itself scores; few are less than `FEWEST_SCORES`.

    Args:
        clips: positions in the store.
        held_out: clips that the network was not trained on.
    """
    outside = set(held_out.clips.tolist())
    few = [clip for clip in clips if clip in outside]
    return few if len(few) >= FEWEST_SCORES else list(clips)
