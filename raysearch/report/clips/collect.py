"""Collection of the single clips of a report, at the end of a run while its recordings are open.

Only recordings of the search are used: no test clip of a test ID.
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
from raysearch.training.embedding import ClipEmbeddings

MAX_CLIPS = {Part.VALIDATION: 1000, Part.HELD_OUT: 300, Part.OTHER: 50}
"""Maximum number of embedded clips per machine type, so that a large data set takes a minute."""


@dataclass(frozen=True)
class _Group:
    """Clips of one store and the part of the data set that they belong to."""

    part: Part
    recordings: batches.Part

    @property
    def clips(self) -> NDArray[np.int64]:
        """Positions (C,) of the clips in the store."""
        return self.recordings.clips

    def thinned(self) -> "_Group":
        """Return the group with at most `MAX_CLIPS`, evenly spread over its product IDs."""
        count = min(MAX_CLIPS[self.part], self.clips.size)
        indices = np.linspace(0, self.clips.size - 1, count).round().astype(np.int64)
        return _Group(self.part, replace(self.recordings, clips=self.clips[indices]))


def collect_clips(
    detector: Detector, data: TrialData, seed: int, run: UPath, on_clips: Callable[[int], None]
) -> None:
    """Write the `evidence/` of a run and replace an earlier one.

    Args:
        detector: of the winner.
        data: the recordings of the search.
        seed: of the winner's encoder, which determines its training clips.
        run: folder of the run.
        on_clips: called with the number of further clips that were embedded.
    """
    remove_tree(evidence_folder(run))
    groups = [group.thinned() for group in _groups(detector, data, seed) if group.clips.size]
    embeddings = [_embed(detector, group, on_clips) for group in groups]
    points = project(np.concatenate([segments.means() for segments in embeddings]), seed)
    clips: list[ShownClip] = []
    for group, segments in zip(groups, embeddings, strict=True):
        group_points = points[len(clips) : len(clips) + len(segments)]
        clips += _scored_clips(detector, group, segments, group_points)
    judged = [clip for clip in clips if clip.part is Part.VALIDATION]
    _write_worst(run, judged, groups[0], detector)
    write_clips(run, clips)


def _groups(detector: Detector, data: TrialData, seed: int) -> list[_Group]:
    """Return the clips of the search that the encoder was not trained on."""
    share, amplitude = detector.options.validation_share, detector.options.amplitude
    store = data.validation
    positions = np.arange(len(store.clips))
    _, held_out = data.target_parts(share, seed)
    _, other_machines = data.other_parts(amplitude, share, seed)
    return [
        _Group(Part.VALIDATION, batches.Part(store, positions, detector.mean, detector.std)),
        _Group(Part.HELD_OUT, held_out),
        *(_Group(Part.OTHER, recordings) for recordings in other_machines),
    ]


def _embed(detector: Detector, group: _Group, on_clips: Callable[[int], None]) -> ClipEmbeddings:
    """Return the embeddings of the segments of a group's clips."""
    clips = group.clips.tolist()
    embeddings = detector.embed_clips(group.recordings, clips)
    on_clips(len(clips))
    return embeddings


def _scored_clips(
    detector: Detector, group: _Group, embeddings: ClipEmbeddings, points: Floats
) -> list[ShownClip]:
    """Score the clips of a group and combine them with their points (C, 2) on the plane."""
    clips = [group.recordings.store.clips[i] for i in group.clips.tolist()]
    scores: list[float | None] = [None] * len(clips)
    if group.part is not Part.OTHER:
        for identity in dict.fromkeys(clip.id for clip in clips):
            indices = [k for k, clip in enumerate(clips) if clip.id == identity]
            values = detector.score_clips(embeddings.select(indices), identity)
            for k, score in zip(indices, values.tolist(), strict=True):
                scores[k] = score
    return [
        ShownClip(
            clip.machine,
            clip.id,
            clip.key,
            group.part,
            clip.label or 0,  # training clips are normal
            score,
            None if score is None else detector.thresholds[clip.id],
            *point,
        )
        for clip, score, point in zip(clips, scores, points.tolist(), strict=True)
    ]


def _write_worst(run: UPath, clips: Sequence[ShownClip], group: _Group, detector: Detector) -> None:
    """Write `evidence/wrong/` from the scored clips of a group."""
    options = detector.options
    worst, waves = [], []
    for error in worst_misclassified(clips):
        clip = clips[error.position]
        wave = group.recordings.store.waveform(int(group.clips[error.position]))
        assert clip.score is not None
        assert clip.threshold is not None
        worst.append(
            MisclassifiedClip(
                clip.id,
                clip.clip,
                clip.label,
                clip.score,
                clip.threshold,
                error.beyond,
                error.others,
                wave.size / options.rate,
                options.f_min,
                options.f_max,
            )
        )
        waves.append(wave)
    write_misclassified(run, worst, waves, detector)
