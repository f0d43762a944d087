"""What a report shows of single clips, gathered at the end of a run while its recordings are open.

Only what the search itself may hear is used: no test clip of a test ID.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from upath import UPath

from raysearch.data import batches
from raysearch.data.dataset import TrialData
from raysearch.detector import Detector
from raysearch.report.clips.media import write_misclassified
from raysearch.report.clips.misclassified import MisclassifiedClip, worst_misclassified
from raysearch.report.clips.shown import Part, ShownClip, evidence_folder, write_clips
from raysearch.scoring.metrics import Floats
from raysearch.scoring.projection import project
from raysearch.storage import remove_tree
from raysearch.training.trial import clip_scores

MOST = {Part.VALIDATION: 1000, Part.HELD_OUT: 300, Part.OTHER: 50}
"""Clips of a machine type that are embedded, at most: so that a large data set takes a minute."""


@dataclass(frozen=True)
class _Group:
    """Clips of one store: their positions in it, (C,)."""

    part: Part
    recordings: batches.Part

    @property
    def clips(self) -> NDArray[np.int64]:
        return self.recordings.clips

    def chosen(self) -> "_Group":
        """At most as many as its kind may have, evenly spread over its product IDs."""
        count = min(MOST[self.part], self.clips.size)
        places = np.linspace(0, self.clips.size - 1, count).round().astype(np.int64)
        return _Group(self.part, replace(self.recordings, clips=self.clips[places]))


def collect_clips(
    detector: Detector, data: TrialData, seed: int, run: UPath, on_clips: Callable[[int], None]
) -> None:
    """Writes a run's `evidence/`; what was there is replaced.

    Args:
        detector: of the winner.
        data: the recordings of the search.
        seed: of the winner's encoder, which says what clips it was not trained on.
        run: its folder.
        on_clips: told how many more clips were embedded.
    """
    remove_tree(evidence_folder(run))
    groups = [group.chosen() for group in _groups(detector, data, seed)]
    embeddings = [_embed(detector, group, on_clips) for group in groups]
    places = project(np.concatenate([each.mean(axis=1) for each in embeddings]), seed)
    shown: list[ShownClip] = []
    for group, each in zip(groups, embeddings, strict=True):
        at = places[len(shown) : len(shown) + len(each)]
        shown += _shown(detector, group, each, at)
    _write_worst(run, shown[: groups[0].clips.size], groups[0], detector)
    write_clips(run, shown)


def _groups(detector: Detector, data: TrialData, seed: int) -> list[_Group]:
    """All that a search may hear but the clips that the encoder was trained on."""
    share, amplitude = detector.options.validation_share, detector.options.amplitude
    store = data.validation
    every = np.arange(len(store.clips))
    _, held = data.target_parts(share, seed)
    _, others = data.other_parts(amplitude, share, seed)
    return [
        _Group(Part.VALIDATION, batches.Part(store, every, detector.mean, detector.std)),
        _Group(Part.HELD_OUT, held),
        *(_Group(Part.OTHER, other) for other in others),
    ]


def _embed(
    detector: Detector, group: _Group, on_clips: Callable[[int], None]
) -> NDArray[np.float32]:
    """Embeddings (C, S, D) of the segments of a group's clips."""
    clips = group.clips.tolist()
    found = detector.embedder.clips(group.recordings, clips)
    on_clips(len(clips))
    return found


def _shown(
    detector: Detector, group: _Group, embeddings: NDArray[np.float32], places: Floats
) -> list[ShownClip]:
    """A group's clips with their scores and places (C, 2)."""
    clips = [group.recordings.store.clips[i] for i in group.clips.tolist()]
    scores: list[float | None] = [None] * len(clips)
    if group.part is not Part.OTHER:
        for identity in dict.fromkeys(clip.id for clip in clips):
            own = [k for k, clip in enumerate(clips) if clip.id == identity]
            model = detector.models[identity]
            found = clip_scores(detector.spec, model, embeddings[own], detector.options)
            for k, score in zip(own, found.tolist(), strict=True):
                scores[k] = score
    return [
        ShownClip(
            clip.machine,
            clip.id,
            clip.name,
            group.part,
            clip.label or 0,  # training clips are normal
            score,
            None if score is None else detector.thresholds[clip.id],
            *place,
        )
        for clip, score, place in zip(clips, scores, places.tolist(), strict=True)
    ]


def _write_worst(
    run: UPath, judged: Sequence[ShownClip], group: _Group, detector: Detector
) -> None:
    options = detector.options
    worst, waves = [], []
    for one in worst_misclassified(judged):
        clip = judged[one.position]
        wave = group.recordings.store.waveform(int(group.clips[one.position]))
        assert clip.score is not None
        assert clip.threshold is not None
        worst.append(
            MisclassifiedClip(
                clip.id,
                clip.clip,
                clip.label,
                clip.score,
                clip.threshold,
                one.beyond,
                one.others,
                wave.size / options.rate,
                options.f_min,
                options.f_max,
            )
        )
        waves.append(wave)
    write_misclassified(run, worst, waves, detector)
