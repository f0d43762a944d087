"""Start of a run: input is checked, recordings are opened, then the study is written."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from upath import UPath

from raysearch import storage
from raysearch.data.dataset import TrialData, open_data, search_index
from raysearch.data.index import Index
from raysearch.data.plain import PLAIN_RULE
from raysearch.data.source import Source
from raysearch.errors import DataError, UserError
from raysearch.model.names import is_written
from raysearch.pipeline.earlier_study import (
    check_same_recordings,
    check_same_space,
    clear_study,
)
from raysearch.pipeline.plan import PlannedStudy
from raysearch.pipeline.request import Request
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.report.wording import count
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.locking import BusyError, lock
from raysearch.study.machines import machine_keys
from raysearch.study.manifest import ClipCounts, Manifest, TestClips, library_versions
from raysearch.study.space import Space
from raysearch.training.weights import FileHashes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A checked study, not yet written.

    Attributes:
        planned: the study.
        source: of the recordings.
        index: of the recordings.
        files: hashes of the files that the space names.
    """

    planned: PlannedStudy
    source: Source
    index: Index
    files: FileHashes

    @property
    def folder(self) -> UPath:
        """Folder of the study."""
        return self.planned.folder

    @property
    def space(self) -> Space:
        """Space that is searched."""
        return self.planned.space


@contextmanager
def study_lock(folder: UPath) -> Iterator[None]:
    """Lock a study against a second process.

    Raises:
        UserError: another process runs the study, or its folder cannot be written.
    """
    storage.check_name(folder)
    storage.check_writable(folder.parent)
    try:
        # A process that only checks whether the study is running holds the lock for a moment.
        with lock(folder, timeout=1):
            yield
    except BusyError as error:
        raise UserError(
            f"another raysearch is running {folder}; wait for it or choose another --name"
        ) from error


def check_recordings(source: Source, space: Space) -> Index:
    """Index the recordings by their names, before anything is written or downloaded.

    Raises:
        DataError: the recordings do not match the space.
    """
    index = search_index(source)
    _check_test_ids(index, source, space)
    return index


def check_networks(space: Space, *, thoroughly: bool) -> None:
    """Check the networks of trials, before anything is written.

    Torch and timm take seconds to import, so only names are checked here, as text. The process of
    the first trial builds the network, see `worker.run_worker_trial`.

    Args:
        space: search space.
        thoroughly: build the networks here, at once.

    Raises:
        UserError: the backbone or the file of weights does not exist.
    """
    for options in space.trial_options():
        weights = options.pretrained
        if isinstance(weights, str) and not Path(weights).is_file():
            raise UserError(f"pretrained: there is no file {weights}")
        if thoroughly or not is_written(options.backbone):
            from raysearch.training.network import check_network

            check_network(options)


def read_recordings(prepared: Prepared, bars: ProgressBars = no_progress) -> TrialData:
    """Open the recordings of a search.

    Args:
        prepared: study.
        bars: show the progress.

    Raises:
        DataError: too many recordings are defective, or the rest does not match the space.
    """
    index = prepared.index
    with bars("reading recordings", len(index.clips)) as advance:
        return open_data(prepared.source, advance, index=index)


def _check_test_ids(index: Index, source: Source, space: Space) -> None:
    """Refuse test IDs without recordings, unless all lack them: then there is no test data."""
    trained = index.ids(source.machine)
    missing = [identity for identity in space.test_ids if identity not in trained]
    if missing and len(missing) < len(space.test_ids):
        raise DataError(
            f"test ID {missing[0]} of {source.machine} has no training clips in {source.root} "
            f"(IDs with some: {', '.join(trained)}); set test_ids in the space file"
        )


def create_study(
    context: StudyContext,
    *data: TrialData,
    space_file: str,
    command: str,
    fresh: bool = False,
) -> None:
    """Create a study in its folder, or check that the study in the folder is the same.

    Args:
        context: of the study.
        data: recordings of the search; of a shared search those of each machine type.
        space_file: path as the user wrote it.
        command: as it was typed.
        fresh: delete an earlier study in the folder.

    Raises:
        UserError: the folder holds another study, or other files.
    """
    space, source, study = context.space, context.source, context.study
    if fresh and study.exists():
        clear_study(context.folder)
    check_same_space(context.folder, space, context.files)
    check_same_recordings(context.folder, context.fingerprint)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    study.create(
        Manifest(
            machine=source.machine,
            ids=tuple(identity for part in data for identity in _ids(context, part)),
            validation_ids=space.validation_keys,
            test_ids=space.test_keys,
            data=str(source.root),
            ground_truth=str(source.ground_truth) if source.ground_truth else None,
            allow_defects=source.allow_defects,
            fingerprint=context.fingerprint,
            machines={part.machine: fingerprint for part, fingerprint in context.machines},
            files=dict(context.files),
            clips=_counts(context, data),
            plain_layout_rule=f"{PLAIN_RULE}; seed 0",
            space_file=space_file,
            space=space.model_dump(mode="json", by_alias=True),
            seed=space.strategy.seed,
            command=command,
            started=study.manifest.started if study.exists() else now,
            versions=library_versions(),
        )
    )


def retry_failed(study: StudyFolder, request: Request) -> None:
    """Put the failed trials of a study back into its queue, if the request says so."""
    if request.retry_failed and (failed := study.drop_failed()):
        logger.info("%s: %s once more", study.path.name, count(len(failed), "failed trial"))


def _ids(context: StudyContext, data: TrialData) -> tuple[str, ...]:
    """Return the names of a machine type's product IDs in the results of the study."""
    return machine_keys([data.machine], data.ids) if context.machines else data.ids


def _counts(context: StudyContext, data: Sequence[TrialData]) -> ClipCounts:
    """Count the clips of the search, for readers of study.json."""
    training, validation = {}, {}
    for part in data:
        tests = Counter((clip.id, clip.label) for clip in part.validation.clips)
        trained = Counter(clip.id for clip in part.target.clips)
        for name, identity in zip(_ids(context, part), part.ids, strict=True):
            training[name] = trained[identity]
            if tests[identity, 0]:
                normal, anomalous = tests[identity, 0], tests[identity, 1]
                validation[name] = TestClips(normal=normal, anomalous=anomalous)
    targets = {part.machine for part in data}
    stores = {store.clips[0].machine: store for part in data for store in part.others}
    return ClipCounts(
        training=training,
        validation=validation,
        # The others of a machine type of a shared search are targets, too.
        others={name: len(s.clips) for name, s in stores.items() if name not in targets},
        left_out=len({defect for part in data for defect in part.defects}),
    )
