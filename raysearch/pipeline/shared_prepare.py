"""Start of a shared search: input is checked, recordings are opened, then the study is written."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raysearch.backend.address import check_address
from raysearch.backend.connection import RayConnection
from raysearch.backend.resources import check_gpus
from raysearch.config import digest
from raysearch.data.dataset import TrialData, open_data, search_index
from raysearch.data.index import Index
from raysearch.data.source import Source, make_source
from raysearch.errors import UserError
from raysearch.pipeline.earlier_study import check_same_recordings, kept_files
from raysearch.pipeline.plan import PlannedStudy, plan_shared
from raysearch.pipeline.prepare import check_networks, create_study, retry_failed
from raysearch.pipeline.request import Request
from raysearch.pipeline.shared_final import check_test_machines
from raysearch.report.progress import ProgressBars
from raysearch.report.wording import count
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import read_ledger
from raysearch.study.machines import SHARED
from raysearch.study.winner import read_frozen
from raysearch.training.weights import FileHashes, file_hashes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A checked shared search, not yet written.

    Attributes:
        planned: the study.
        indices: recordings of each validation machine.
        files: hashes of the files that the space names.
    """

    planned: PlannedStudy
    indices: dict[Source, Index]
    files: FileHashes


def _sources(request: Request, planned: PlannedStudy) -> list[Source]:
    """Return the recordings of each validation machine, which read no other machine type."""
    space = planned.space
    return [
        replace(
            make_source(
                request.data,
                machine,
                space.validation_ids,
                space.source_options,
                ground_truth=request.ground_truth,
                allow_defects=request.allow_defects,
            ),
            machines=space.validation_machines,
        )
        for machine in space.validation_machines
    ]


def prepare_shared(request: Request) -> Prepared:
    """Check a shared search before anything is written.

    Args:
        request: of the run.

    Raises:
        UserError: bad input.
    """
    planned = plan_shared(request)
    space = planned.space
    if space.tracking == "mlflow":
        # Only here: MLflow takes seconds to import.
        from raysearch.backend.mlflow_runs import check_tracking

        check_tracking()
    indices = {source: search_index(source) for source in _sources(request, planned)}
    if not request.fresh:
        _check_unopened(planned)
    check_test_machines(request, space)
    check_networks(space, thoroughly=request.fresh and StudyFolder(planned.folder).exists())
    check_gpus(request.resources, request.address)
    check_address(request.address)
    return Prepared(planned, indices, file_hashes(space.trial_options()))


def _check_unopened(planned: PlannedStudy) -> None:
    """Refuse other test machines than those that the study has opened."""
    study = StudyFolder(planned.folder)
    if not study.exists():
        return
    manifest = study.manifest
    openings = read_ledger(planned.folder, manifest.started).openings
    if openings and manifest.test_ids != planned.space.test_keys:
        raise UserError(
            f"{planned.folder} has opened {', '.join(openings[0].test_ids)}; leave test_machines "
            "and test_ids as they were, or choose another --name"
        )


def create_shared(
    prepared: Prepared, connection: RayConnection, request: Request, bars: ProgressBars
) -> tuple[StudyContext, list[TrialData]]:
    """Read the recordings while Ray starts, then create or resume the study.

    Args:
        prepared: result of `prepare_shared`.
        connection: to the cluster.
        request: of the run.
        bars: show the progress.

    Returns:
        The context of the study, and the recordings of each validation machine.

    Raises:
        UserError: the folder holds another study, or the cluster cannot run a trial.
    """
    planned = prepared.planned
    folder, space = planned.folder, planned.space
    if request.fresh or read_frozen(folder) is None:
        connection.start()
    data = [_open(source, index, bars) for source, index in prepared.indices.items()]
    _note_single_ids(data)
    context = _context(prepared, data)
    if not request.fresh:
        check_same_recordings(folder, context.fingerprint)
    if connection.is_started:
        connection.check()
    if not request.fresh:
        context = replace(context, files=kept_files(context.study, prepared.files))
    logger.info(
        "%s: %s, %s; space %s",
        folder.name,
        count(len(space.validation_machines), "validation machine"),
        count(len(space.test_machines), "test machine"),
        planned.space_file,
    )
    create_study(
        context, *data, space_file=planned.space_file, command=request.command, fresh=request.fresh
    )
    retry_failed(context.study, request)
    return context, data


def _open(source: Source, index: Index, bars: ProgressBars) -> TrialData:
    with bars(f"reading recordings of {source.machine}", len(index.clips)) as advance:
        data = open_data(source, advance, index=index)
    for defect in data.defects:
        logger.info("left out: %s: %s", defect.path, defect.reason)
    return data


def _note_single_ids(data: Sequence[TrialData]) -> None:
    if single := [part.machine for part in data if len(part.ids) == 1]:
        logger.info(
            "note: %s: a single product ID each, so the loss of product IDs teaches nothing; that "
            "of machine types does",
            ", ".join(single),
        )


def _context(prepared: Prepared, data: Sequence[TrialData]) -> StudyContext:
    planned, sources = prepared.planned, list(prepared.indices)
    fingerprints = [part.fingerprint for part in data]
    machines = tuple(zip(sources, fingerprints, strict=True))
    return StudyContext(
        planned.folder,
        replace(sources[0], machine=SHARED),
        digest({source.machine: fingerprint for source, fingerprint in machines}),
        planned.space,
        prepared.files,
        machines,
    )
