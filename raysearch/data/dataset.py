"""Recordings of a search, without any test clip of a test ID."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np

from raysearch.config import digest
from raysearch.data.batches import Int64, Part
from raysearch.data.doubles import drop_doubles
from raysearch.data.ground_truth import read_ground_truth
from raysearch.data.index import Clip, Index, product_id, read_index
from raysearch.data.notes import domain_notes, double_notes, log_notes, unread_notes
from raysearch.data.source import Source
from raysearch.data.split import split_clips
from raysearch.data.store import Defect, Store, empty_store, open_store
from raysearch.errors import DataError
from raysearch.storage import AnyPath

NO_LABELS = "without labels of any ID, `validation_ids: []` in the space file trains a detector"
"""Way out of a search that nothing can judge."""


@dataclass(frozen=True)
class TrialData:
    """The recordings of a trial.

    Attributes:
        machine: target machine type.
        ids: its product IDs, in the order of the product head's outputs.
        target: training clips of the target machine type, all normal.
        others: training clips of each other machine type.
        validation: labelled test clips of the validation IDs; none without such IDs.
        fingerprint: hash of all stores and of the validation labels.
    """

    machine: str
    ids: tuple[str, ...]
    target: Store
    others: tuple[Store, ...]
    validation: Store
    fingerprint: str

    @property
    def defects(self) -> tuple[Defect, ...]:
        """Defective files, which are left out."""
        stores = (self.target, *self.others, self.validation)
        return tuple(defect for store in stores for defect in store.defects)

    @property
    def products(self) -> Int64:
        """(clips of `target`,) position of each clip's product ID in `ids`."""
        position = {identity: k for k, identity in enumerate(self.ids)}
        return np.array([position[clip.id] for clip in self.target.clips], np.int64)

    def target_parts(self, share: float, seed: int) -> tuple[Part, Part]:
        """Return the training and validation part of the target's training clips."""
        return _parts(self.target, self.target, share, seed)

    def other_parts(
        self, amplitude: str, share: float, seed: int
    ) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        """Return the training and validation parts of the other machine types."""
        pairs = [
            _parts(store, store if amplitude == "own" else self.target, share, seed)
            for store in self.others
        ]
        return tuple(train for train, _ in pairs), tuple(validation for _, validation in pairs)


def _parts(store: Store, scale: Store, share: float, seed: int) -> tuple[Part, Part]:
    ids = [clip.id for clip in store.clips]
    # Clips of other layouts are recordings by themselves.
    recordings = [clip.recording or clip.name for clip in store.clips]
    train, validation = split_clips(ids, share, seed, recordings)
    return (
        Part(store, train, scale.mean, scale.std),
        Part(store, validation, scale.mean, scale.std),
    )


def search_index(source: Source) -> Index:
    """Read the index of a search: training clips, and test clips of the validation IDs only.

    Recordings that are left out, doubled or of unknown domain are logged.

    Raises:
        DataError: unknown machine type, no other machine type, an ID without training or
            labelled test clips.
    """
    index = _read_machines(source)
    log_notes(unread_notes(index))
    log_notes(domain_notes(index, source.machine, source.test_domain or source.domain))
    restricted, doubles = _restrict(index, source)
    log_notes(double_notes(index.root, doubles))
    return restricted


def _restrict(index: Index, source: Source) -> tuple[Index, list[tuple[Clip, Clip]]]:
    """Restrict an index to the clips that a search may see, each once; return doubles as well."""
    _check_machine(index, source)
    visible = index.for_search(source.machine, source.validation_ids)
    clips, doubles = drop_doubles(visible.clips)
    labels = _validation_labels(source, visible)
    return Index(
        visible.root,
        tuple(
            replace(c, label=labels.get((c.id, c.name))) if c.label is None else c for c in clips
        ),
        visible.unread,
    ), doubles


def _read_machines(source: Source) -> Index:
    """Read the index of the machine types of a source."""
    index = _read_domains(source)
    if not source.machines:
        return index
    clips = tuple(clip for clip in index.clips if clip.machine in source.machines)
    return Index(index.root, clips, index.unread)


def _read_domains(source: Source) -> Index:
    """Read the index of training clips of one domain and test clips of another, or the same."""
    index = read_index(source.root, domain=source.domain)
    if source.test_domain in (None, source.domain):
        return index
    train = tuple(clip for clip in index.clips if clip.split == "train")
    tests = read_index(source.root, domain=source.test_domain).clips
    clips = train + tuple(clip for clip in tests if clip.split == "test")
    return Index(index.root, clips, index.unread)


def _check_machine(index: Index, source: Source) -> None:
    machines = index.machines
    if source.machine not in machines:
        near = get_close_matches(source.machine, machines, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"unknown machine {source.machine!r}: {hint}{source.root} has {', '.join(machines)}"
        )
    if len(machines) == 1 and source.needs_others:
        raise DataError(
            f"{source.root} has one machine type only ({source.machine}): outlier exposure needs "
            "recordings of at least one other; add a folder of another machine type, or choose a "
            "method that needs none, such as `method: serial`"
        )
    ids = index.ids(source.machine)
    for identity in source.validation_ids:
        if identity not in ids:
            raise DataError(
                f"ID {identity} of {source.machine} has no training clips in {source.root} "
                f"(IDs with some: {', '.join(ids)}); set validation_ids and test_ids in the "
                "space file"
            )


def _validation_labels(source: Source, index: Index) -> dict[tuple[str, str], int]:
    tests = index.test(source.machine, source.validation_ids)
    if all(clip.label is not None for clip in tests):
        return {}
    folder = source.ground_truth or source.root
    labels = read_ground_truth(folder, source.machine, source.validation_ids)
    for identity in source.validation_ids:
        _check_names(identity, [clip for clip in tests if clip.id == identity], labels, folder)
    return labels


def _check_names(
    identity: str,
    tests: Sequence[Clip],
    labels: Mapping[tuple[str, str], int],
    folder: AnyPath,
) -> None:
    """Refuse ground truth of an ID that names none of its clips, or one otherwise than its name."""
    named = [name for key, name in labels if key == identity]
    if named and tests and not {clip.name for clip in tests}.intersection(named):
        raise DataError(
            f"the ground truth of ID {identity} in {folder} names none of its test clips: it has "
            f"{named[0]}, the recordings have {tests[0].name}"
        )
    for clip in tests:
        label = labels.get((identity, clip.name), clip.label)
        if clip.label is not None and label != clip.label:
            raise DataError(
                f"{clip.path} has the label {clip.label} by its name, but {label} by the ground "
                f"truth in {folder}; remove the wrong one"
            )


def open_data(
    source: Source,
    on_clips: Callable[[int], None] | None = None,
    *,
    index: Index | None = None,
) -> TrialData:
    """Open the stores of a search, building those that this node does not have yet.

    Args:
        source: of the recordings.
        on_clips: called with the number of clips that were read since the last call.
        index: result of `search_index`; None reads it.

    Raises:
        DataError: as `search_index`; too many defective files; clips that cannot be scored.
    """
    if index is None:
        index, _ = _restrict(_read_machines(source), source)

    def store(clips: Sequence[Clip]) -> Store:
        return open_store(
            clips,
            rate=source.rate,
            channel=source.channel,
            allow_defects=source.allow_defects,
            on_clips=on_clips,
        )

    tests = index.test(source.machine, source.validation_ids)
    _check_validation(source, tests)
    target = store(index.train(source.machine))
    ids = tuple(index.ids(source.machine))
    _check_target(source, ids, target)
    others = tuple(store(index.train(m)) for m in index.machines if m != source.machine)
    validation = store(tests) if tests else empty_store()
    # Again: clips that could not be decoded are gone.
    _check_validation(source, validation.clips)
    fingerprints = [s.fingerprint for s in (target, *others, validation)]
    return TrialData(
        source.machine,
        ids,
        target,
        others,
        validation,
        digest({"stores": fingerprints, "labels": [c.label for c in validation.clips]}),
    )


def _check_validation(source: Source, tests: Sequence[Clip]) -> None:
    for identity in source.validation_ids:
        labels = {clip.label for clip in tests if clip.id == identity}
        subject = f"ID {identity} of {source.machine}"
        if not labels:
            raise DataError(
                f"{subject} has no usable test clips in {source.root}, yet is a validation ID; "
                f"{NO_LABELS}"
            )
        if None in labels:
            raise DataError(
                f"{subject} has test clips without label; pass --ground-truth DIR; {NO_LABELS}"
            )
        if labels != {0, 1}:
            missing = "anomalous" if 0 in labels else "normal"
            raise DataError(
                f"{subject} has no usable {missing} test clips, so no AUC can be computed; "
                f"{NO_LABELS}"
            )


def _check_target(source: Source, ids: Sequence[str], target: Store) -> None:
    counts = Counter(clip.id for clip in target.clips)
    for identity in ids:
        if counts[identity] < 2:
            clips = "1 usable training clip" if counts[identity] else "no usable training clips"
            raise DataError(
                f"ID {identity} of {source.machine} has {clips}; it takes "
                "at least 2, one to train on and one to fit inlier models to"
            )


def parse_ids(ids: Sequence[str | int]) -> tuple[str, ...]:
    """Normalise the product IDs of a space file."""
    return tuple(product_id(identity) for identity in ids)
