"""Translation of a command typed on this machine to the command that a cluster's head runs."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysearch.errors import UserError, redact
from raysearch.storage import is_uri
from raysearch.study.folder import study_name
from raysearch.study.machines import SHARED
from raysearch.study.space_files import find_space, load_space

SPACES = Path("search_spaces")
SEARCHES = ("run", "reproduce")
"""Commands that search."""


@dataclass(frozen=True)
class RemoteCommand:
    """A command for the head.

    Attributes:
        arguments: of `raysearch`.
        files: that the command reads, by their paths in its working folder.
        metadata: kind, machine, out, data, name and command as typed, to distinguish runs.
    """

    arguments: tuple[str, ...]
    files: Mapping[str, Path]
    metadata: Mapping[str, str]


def remote_command(argv: Sequence[str], environ: Mapping[str, str]) -> RemoteCommand:
    """Translate `raysearch run --cluster ...`, or `raysearch doctor`, for the head.

    Args:
        argv: as typed, from the command's name on.
        environ: RAYSEARCH_DATA and RAYSEARCH_OUT, the defaults of --data and --out.

    Raises:
        UserError: a path has no meaning on the cluster, or the space file is missing or wrong.
    """
    rest = list(argv)
    options = {}
    for flag in ("--cluster", "--data", "--out", "--space"):
        values, rest = take_option(rest, flag)
        options[flag] = values[-1] if values else None
    data = shared_path(options["--data"] or environ.get("RAYSEARCH_DATA"), "--data")
    out = shared_path(options["--out"] or environ.get("RAYSEARCH_OUT"), "--out")
    for flag in ("--ground-truth", "--warm-start"):
        for value in option_values(rest, flag):
            shared_path(value, flag)
    machines = _machines(rest)
    is_whole = argv[0] == "reproduce" and not machines
    space, files = _space(machines, options["--space"])
    arguments = [*rest, "--data", data, "--out", out, *(["--space", space] if space else [])]
    metadata = {
        "kind": "run" if argv[0] in SEARCHES else argv[0],
        "machine": "all" if is_whole else ",".join(dict.fromkeys(machines)),
        "out": redact(out.rstrip("/")),
        "data": redact(data),
        "name": (option_values(rest, "--name") or [""])[-1],
        "command": shlex.join(map(redact, ["raysearch", *argv])),
    }
    return RemoteCommand(tuple(arguments), files, metadata)


def run_folders(entrypoint: str) -> list[str]:
    """List the run folders that a command writes; their parent folder if they are many."""
    arguments = shlex.split(entrypoint)
    # The endpoint of an object store follows a URI.
    folder, mark, endpoint = (option_values(arguments, "--out") or [""])[-1].partition("?")
    out = folder.rstrip("/")
    machines = list(dict.fromkeys(_machines(arguments)))
    name = (option_values(arguments, "--name") or [""])[-1]
    if "all" in machines or "reproduce" in arguments[:2]:
        folders = [out]
    else:
        several = len(machines) > 1
        names = [study_name(machine, name, several=several) for machine in machines]
        folders = [f"{out}/{each}" for each in names]
    return [f"{folder}{mark}{endpoint}" for folder in folders]


def same_run(first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    """Return True if two commands are runs that write into the same folder."""
    if first.get("kind") != "run":
        return False
    if any(first.get(key) != second.get(key) for key in ("kind", "out", "name")):
        return False
    machines = [set(metadata.get("machine", "").split(",")) for metadata in (first, second)]
    return bool(machines[0] & machines[1]) or "all" in machines[0] | machines[1]


def take_option(argv: Sequence[str], flag: str) -> tuple[list[str], list[str]]:
    """Remove every `flag VALUE` and `flag=VALUE` from a command; return the values and the rest."""
    values: list[str] = []
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == flag:
            values += [value] if (value := next(arguments, None)) is not None else []
        elif argument.startswith(f"{flag}="):
            values.append(argument.removeprefix(f"{flag}="))
        else:
            rest.append(argument)
    return values, rest


def option_values(argv: Sequence[str], flag: str) -> list[str]:
    """List the values that a flag has in a command."""
    return take_option(argv, flag)[0]


def _machines(argv: Sequence[str]) -> list[str]:
    """List the machine types of a command; those of a shared search have one name together."""
    return [SHARED] if "--shared" in argv else option_values(argv, "--machine")


def shared_path(path: str | None, flag: str) -> str:
    """Return a path that means the same on every node.

    Raises:
        UserError: the path is missing, relative or holds a login.
    """
    if path and is_uri(path) and "@" in path.partition("?")[0]:
        raise UserError(
            f"{flag} {redact(path)}: a login would be readable by all on the cluster; set it in "
            "the environment of its nodes, in the cluster file"
        )
    if path and (is_uri(path) or path.startswith("/")):
        return path
    option = f"{flag} {path}" if path else f"{flag} is not given"
    raise UserError(
        f"{option}: with --cluster it has to be an absolute path or a URI such as "
        "s3://bucket/folder that every node reaches"
    )


def _space(machines: Sequence[str], option: str | None) -> tuple[str | None, dict[str, Path]]:
    """Validate the space files; return the value of --space on the head and the files to send."""
    for machine in machines:
        load_space(find_space(machine, None if option is None else Path(option)))
    if option is None:
        return None, {path.as_posix(): path for path in sorted(SPACES.glob("*.yaml"))}
    path = Path(option)
    if path.is_file():
        return f"space/{path.name}", {f"space/{path.name}": path}
    return path.name, {}
