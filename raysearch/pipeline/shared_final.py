"""The frozen configuration of a shared search on its test machines: trained, then tested once.

Each test machine has a folder below the study, `machines/<machine>/`, with the only training and
the detector. The encoder learns from training clips, with the validation machines as the others.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from raysearch.backend.connection import RayConnection
from raysearch.backend.search_callback import SearchCallback
from raysearch.data.dataset import TrialData, open_data, search_index
from raysearch.data.index import read_index
from raysearch.data.source import make_source
from raysearch.errors import DataError, NoResultError, UserError
from raysearch.pipeline.drawing import LoadDetector, detector_of
from raysearch.pipeline.execute import execute
from raysearch.pipeline.final import log_final
from raysearch.pipeline.request import Request
from raysearch.report.progress import ProgressBars
from raysearch.storage import remove_tree
from raysearch.study.context import StudyContext
from raysearch.study.ledger import FinalRequest
from raysearch.study.records import Proposal, State
from raysearch.study.space import Space, check_space
from raysearch.study.winner import Winner, freeze_winner, is_built

if TYPE_CHECKING:
    from raysearch.detector import Detector

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedMachine:
    """A test machine on which the frozen configuration was trained, or will be.

    Attributes:
        context: of the only training.
        data: recordings, without a test clip.
        winner: frozen configuration for this machine type.
    """

    context: StudyContext
    data: TrialData
    winner: Winner


def check_test_machines(request: Request, space: Space) -> None:
    """Check by the names of recordings that the test machines can be trained on.

    Args:
        request: of the run.
        space: of the shared search.

    Raises:
        DataError: a test ID of a test machine has no training clips.
    """
    if not request.final or not space.test_machines:
        return
    index = read_index(request.data, domain=space.fixed.domain)
    for machine in space.test_machines:
        for identity in space.test_ids:
            if identity not in index.ids(machine):
                raise DataError(
                    f"test machine {machine} has no training clips of ID {identity} in "
                    f"{request.data}; set test_machines and test_ids in the space file, or search "
                    "without them by --no-final"
                )


def train_test_machines(
    winner: Winner,
    context: StudyContext,
    connection: RayConnection,
    request: Request,
    callbacks: Sequence[SearchCallback],
    bars: ProgressBars,
) -> list[TrainedMachine]:
    """Train the frozen configuration on the training clips of each test machine.

    Args:
        winner: frozen configuration.
        context: of the study.
        connection: to the cluster.
        request: of the run.
        callbacks: receive the events of the trainings.
        bars: show the progress.

    Returns:
        The test machines; empty if a budget stopped a training.

    Raises:
        NoResultError: a training failed.
        MachineError: a training failed on machines.
        StoppedError: by Ctrl-C.
    """
    machines = [_machine(name, winner, context, bars) for name in context.space.test_machines]
    for machine in machines:
        _begin(machine)
    contexts = [machine.context for machine in machines]
    names = ", ".join(machine.data.machine for machine in machines)
    logger.info("training the frozen configuration on %s, whose test clips stay closed", names)
    end = execute(contexts, (), connection, request, callbacks)
    end.check_machines()
    if not end.is_finished:
        return []
    for machine in machines:
        record = machine.context.study.record(0)
        if record is None or record.state is not State.COMPLETE:
            reason = record.error if record is not None else "no result"
            raise NoResultError(f"no final test: {machine.data.machine}: {reason}")
    return machines


def _machine(
    name: str, winner: Winner, context: StudyContext, bars: ProgressBars
) -> TrainedMachine:
    """Open the training clips of a test machine and of the validation machines, no test clip."""
    shared = context.space
    content = winner.space_content(shared.fixed)
    # Nothing judges this training; its test IDs are those of the shared search.
    space = check_space({**content, "test_ids": []}, name)
    space = space.model_copy(update={"validation_ids": (), "test_ids": shared.test_ids})
    origin = context.source
    source = replace(
        make_source(
            origin.root,
            name,
            (),
            space.source_options,
            ground_truth=origin.ground_truth,
            allow_defects=origin.allow_defects,
        ),
        machines=(name, *shared.validation_machines),
    )
    index = search_index(source)
    with bars(f"reading recordings of {name}", len(index.clips)) as advance:
        data = open_data(source, advance, index=index)
    folder = context.folder / "machines" / name
    of_machine = StudyContext(
        folder, source, data.fingerprint, space, context.files, root=context.folder
    )
    proposal = _proposal(winner)
    frozen = replace(
        winner,
        machine=name,
        trial=proposal.number,
        encoder=of_machine.config(proposal).signature(),
        configuration=proposal.configuration,
        data=data.fingerprint,
    )
    return TrainedMachine(of_machine, data, frozen)


def _proposal(winner: Winner) -> Proposal:
    """Return the only training of a test machine; searched options are fixed in its space."""
    return Proposal(0, replace(winner.configuration, options=()))


def _begin(machine: TrainedMachine) -> None:
    """Propose the training, unless it is; remove that of an earlier winner or of other clips."""
    study, folder = machine.context.study, machine.context.folder
    proposal = _proposal(machine.winner)
    record = study.record(0)
    is_other = study.proposals() not in ([], [proposal])
    if is_other or (record is not None and record.encoder != machine.winner.encoder):
        remove_tree(folder)
        record = None
    if record is not None and record.state is State.FAIL:
        # The next command may have a larger GPU, so it tries again.
        (folder / "records" / "0000.json").unlink()
    if study.proposals() != [proposal]:
        study.propose(proposal)


def run_shared_test(
    winner: Winner,
    machines: Sequence[TrainedMachine],
    context: StudyContext,
    request: FinalRequest,
    bars: ProgressBars,
) -> None:
    """Build the detectors of the test machines, then open their test clips once.

    Args:
        winner: frozen configuration.
        machines: trained test machines.
        context: of the study.
        request: of the test.
        bars: show the progress.
    """
    from raysearch.study.shared_test import UnseenMachine, shared_final_test

    unseen = [
        UnseenMachine(machine.context.source, _detector(machine)(), _reference(machine))
        for machine in machines
    ]
    with bars("final test", None) as advance:
        result = shared_final_test(winner, unseen, context, request=request, on_clips=advance)
    log_final(result, winner, request.opening)


def _detector(machine: TrainedMachine) -> LoadDetector:
    folder, winner = machine.context.folder, machine.winner
    if is_built(winner.detector, folder):
        return detector_of(folder)
    from raysearch.pipeline.fit_detector import build_detector
    from raysearch.study.bundle import replace_detector

    detector = build_detector(winner, machine.context.options, machine.data, folder)
    replace_detector(detector, folder / "detector")
    freeze_winner(winner, folder)
    return lambda: detector


def _reference(machine: TrainedMachine) -> "Detector | None":
    """Return the detector of the reference; None if an ID has too few training clips for it."""
    from raysearch.pipeline.fit_detector import reference_detector

    try:
        return reference_detector(machine.context.untrained_config, machine.data)
    except UserError as error:
        logger.info("no reference in the final test: %s", error)
        return None
