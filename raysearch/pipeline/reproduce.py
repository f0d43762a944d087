"""The tables and figures of the paper, from the studies that they need."""

from collections.abc import Sequence

from upath import UPath

from raysearch.backend.search_callback import SearchCallback
from raysearch.pipeline.finished import read_finished
from raysearch.pipeline.plan import Plan, PlannedEnsemble, PlannedStudy, override
from raysearch.pipeline.request import Request
from raysearch.pipeline.run import run_plan
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.report.tables import machine_order
from raysearch.study.members import NO_INLIER
from raysearch.study.space import Space, check_space
from raysearch.study.space_files import find_space, load_space
from raysearch.study.systems import SYSTEMS, System, Target, system_folder, system_space


def reproduce(
    target: Target,
    request: Request,
    machines: Sequence[str],
    seeds: int,
    callbacks: Sequence[SearchCallback] = (),
    bars: ProgressBars = no_progress,
) -> list[UPath]:
    """Search the systems of a table or a figure of the paper, then draw it.

    All targets share their studies in the folder of the results: a study of an earlier target is
    not searched again. The same call again resumes.

    Args:
        target: table or figure.
        request: of the run; its name has no effect.
        machines: machine types.
        seeds: number of repetitions of each study with another seed.
        callbacks: receive the events of the search.
        bars: show the progress of everything but the search.

    Returns:
        Paths of the files; empty if a budget stopped a search.

    Raises:
        UserError: bad input; nothing was written.
        StoppedError: by Ctrl-C.
        NoResultError: every trial of a study failed.
    """
    machines = sorted(machines, key=lambda machine: machine_order(machine, machine))
    if not search_systems(SYSTEMS[target], request, machines, seeds, callbacks, bars):
        return []
    return draw(target, request.out, machines, seeds)


def search_systems(
    systems: Sequence[System],
    request: Request,
    machines: Sequence[str],
    seeds: int,
    callbacks: Sequence[SearchCallback] = (),
    bars: ProgressBars = no_progress,
) -> bool:
    """Search systems up to their final tests; the same call again resumes.

    Args:
        systems: to search.
        request: of the run; its name has no effect.
        machines: machine types.
        seeds: number of repetitions of each study with another seed.
        callbacks: receive the events of the search.
        bars: show the progress of everything but the search.

    Returns:
        True if every search has ended; False if a budget stopped one.

    Raises:
        UserError: as `reproduce`.
        StoppedError: as `reproduce`.
        NoResultError: as `reproduce`.
    """
    if not run_plan(plan_searches(systems, request, machines, seeds), request, callbacks, bars):
        return False
    rescored = plan_rescored(systems, request, machines, seeds)
    return not rescored.studies or run_plan(rescored, request, callbacks, bars)


def draw(target: Target, out: UPath, machines: Sequence[str], seeds: int) -> list[UPath]:
    """Draw a table or a figure from the studies in a folder.

    Args:
        target: table or figure.
        out: folder of the results.
        machines: machine types.
        seeds: number of repetitions of each study.

    Returns:
        Paths of the files.
    """
    # Imported here: tables and figures would delay the first trial by seconds.
    from raysearch.report.html.figure3 import write_figure_three
    from raysearch.report.paper_tables import write_table, write_table_one

    match target:
        case "table1":
            return write_table_one(out, machines, seeds)
        case "figure3":
            return write_figure_three(out, machines, seeds)
        case _:
            return write_table(out / target, SYSTEMS[target], machines, seeds)


def plan_searches(
    systems: Sequence[System], request: Request, machines: Sequence[str], seeds: int
) -> Plan:
    """Plan the studies of systems, and the ensembles of them.

    Args:
        systems: to search.
        request: of the run.
        machines: machine types.
        seeds: number of repetitions.

    Raises:
        UserError: a space file is missing or invalid.
    """
    studies: dict[UPath, PlannedStudy] = {}
    ensembles = []
    for machine in machines:
        path = find_space(machine, request.space)
        base, where = override(load_space(path), request), str(path)
        for seed in range(seeds):
            for system in systems:
                if system.encoder_of:
                    continue
                space = system_space(base, system, seed)
                folder = system_folder(request.out, system.name, machine, seed)
                if not space.members:
                    studies[folder] = PlannedStudy(folder, machine, space, where)
                    continue
                members = {}
                for name in space.members:
                    shared, member_space = _member(space, base, name, seed)
                    members[name] = system_folder(request.out, shared, machine, seed)
                    study = PlannedStudy(members[name], machine, member_space, where, final=False)
                    studies.setdefault(members[name], study)
                ensembles.append(PlannedEnsemble(folder, members, space.weights))
    return Plan(tuple(studies.values()), tuple(ensembles))


def _member(space: Space, base: Space, name: str, seed: int) -> tuple[str, Space]:
    """Return the name of a member's studies, and its space.

    A default member is the system of its name, if there is one: both share a study.
    """
    if base.members:
        return f"parallel-{name}", space.member(name)
    systems = [system for each in SYSTEMS.values() for system in each if system.name == name]
    return name, system_space(base, systems[0], seed) if systems else space.member(name)


def plan_rescored(
    systems: Sequence[System], request: Request, machines: Sequence[str], seeds: int
) -> Plan:
    """Plan the studies of systems that score another system's encoder; nothing is trained.

    Args:
        systems: to search.
        request: of the run.
        machines: machine types.
        seeds: number of repetitions.

    Raises:
        UserError: the other system has no winner.
    """
    return Plan(
        tuple(
            _rescored(system, request.out, machine, seed)
            for system in systems
            if system.encoder_of
            for machine in machines
            for seed in range(seeds)
        )
    )


def _rescored(system: System, out: UPath, machine: str, seed: int) -> PlannedStudy:
    origin = read_finished(system_folder(out, system.encoder_of, machine, seed))
    content = origin.winner.space_content(origin.space.fixed)
    content["search"] |= NO_INLIER
    where = f"winner of {origin.folder}"
    space = check_space(
        {
            "validation_ids": list(origin.space.validation_ids),
            "test_ids": list(origin.space.test_ids),
            **content,
        },
        where,
    )
    return PlannedStudy(
        system_folder(out, system.name, machine, seed),
        machine,
        space,
        where,
        encoder_from=origin.folder,
    )
