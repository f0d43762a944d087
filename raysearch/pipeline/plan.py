"""The studies of a run: one for each machine type, or those of an ensemble's members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upath import UPath

from raysearch.config import PARALLEL
from raysearch.errors import UserError
from raysearch.pipeline.request import Request
from raysearch.study.folder import study_name
from raysearch.study.machines import SHARED
from raysearch.study.members import Weights
from raysearch.study.space import Space
from raysearch.study.space_files import find_space, load_space


@dataclass(frozen=True)
class PlannedStudy:
    """A study that a run searches.

    Attributes:
        folder: of the study.
        machine: target machine type.
        space: that is searched.
        space_file: that the space was read from.
        final: run its final test.
        encoder_from: folder of another study, whose winner's encoder the only trial scores; None
            trains one.
    """

    folder: UPath
    machine: str
    space: Space
    space_file: str
    final: bool = True
    encoder_from: UPath | None = None


@dataclass(frozen=True)
class PlannedEnsemble:
    """An ensemble that a run makes of its studies.

    Attributes:
        folder: of the ensemble.
        members: folders of studies by name.
        weights: of the members.
    """

    folder: UPath
    members: Mapping[str, UPath]
    weights: Weights


@dataclass(frozen=True)
class Plan:
    """The studies of a run, and the ensembles of them."""

    studies: tuple[PlannedStudy, ...]
    ensembles: tuple[PlannedEnsemble, ...] = ()


def plan_run(request: Request, machines: Sequence[str]) -> Plan:
    """Plan a study for each machine type.

    With `method: parallel` each member has a study instead, `<member>-<machine>`, and the final
    test is that of the ensemble alone.

    Args:
        request: of the run.
        machines: machine types.

    Raises:
        UserError: a space file is missing or invalid.
    """
    several = len(machines) > 1
    studies, ensembles = [], []
    for machine in machines:
        path = find_space(machine, request.space)
        space = override(load_space(path), request)
        folder = request.out / study_name(machine, request.name, several=several)
        if space.fixed.method != PARALLEL:
            studies.append(PlannedStudy(folder, machine, space, str(path)))
            continue
        members = {
            name: request.out / _member_name(machine, request, name) for name in space.members
        }
        studies += [
            PlannedStudy(members[name], machine, space.member(name), str(path), final=False)
            for name in members
        ]
        ensembles.append(PlannedEnsemble(folder, members, space.weights))
    return Plan(tuple(studies), tuple(ensembles))


def check_shared(machines: Sequence[str], *, has_start: bool) -> None:
    """Check the options beside --shared.

    Args:
        machines: machine types of the run.
        has_start: there is a warm start.

    Raises:
        UserError: the run names a machine type, or there is a warm start.
    """
    if list(machines) != ["all"]:
        raise UserError(
            "--shared takes the machine types of the space file, validation_machines and "
            "test_machines; write --machine all"
        )
    if has_start:
        raise UserError(
            "--warm-start cannot begin a --shared search: its configurations may have been chosen "
            "on a test machine"
        )


def plan_shared(request: Request) -> PlannedStudy:
    """Plan the study of a shared search.

    Args:
        request: of the run.

    Raises:
        UserError: the space file is missing or invalid, or not that of a shared search.
    """
    path = find_space(SHARED, request.space)
    space = load_space(path)
    if not space.is_shared:
        raise UserError(
            f"{path}: a shared search needs validation_machines, the machine types to search on"
        )
    space = override(space, request)
    folder = request.out / study_name(SHARED, request.name, several=False)
    return PlannedStudy(folder, SHARED, space, str(path))


def _member_name(machine: str, request: Request, member: str) -> str:
    name = f"{request.name}-{member}" if request.name else member
    return study_name(machine, name, several=True)


def override(space: Space, request: Request) -> Space:
    """Return the space with the values of the command line, for each member as well."""
    fixed = _without_none({"epochs": request.epochs, "channel": request.channel})
    strategy = _without_none({"trials": request.trials, "seed": request.seed})
    members = {
        name: {
            **part,
            "fixed": {**part.get("fixed", {}), **fixed},
            "strategy": {**part.get("strategy", {}), **strategy},
        }
        for name, part in space.members.items()
    }
    return space.model_copy(
        update={
            "fixed": space.fixed.model_copy(update=fixed),
            "strategy": space.strategy.model_copy(update=strategy),
            "members": members,
        }
    )


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
