"""A command typed on this machine -> the command that a cluster's head runs."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysearch.errors import UserError
from raysearch.storage import is_uri, redact
from raysearch.study.folder import study_name
from raysearch.study.space import find_space, load_space

SPACES = Path("search_spaces")


@dataclass(frozen=True)
class RemoteCommand:
    """A command for the head.

    Attributes:
        arguments: of `raysearch`.
        files: that it reads, by their paths in the folder that it is run in.
        metadata: kind, machine, out, data, name and command as typed, to tell runs from each other.
    """

    arguments: tuple[str, ...]
    files: Mapping[str, Path]
    metadata: Mapping[str, str]


def remote_command(argv: Sequence[str], environ: Mapping[str, str]) -> RemoteCommand:
    """Rewrites `raysearch run --cluster ...`, or `raysearch doctor`, for the head.

    Args:
        argv: as typed, from the command's name on.
        environ: RAYSEARCH_DATA and RAYSEARCH_OUT, for want of --data and --out.

    Raises:
        UserError: a path means nothing on the cluster, or the space file is missing or wrong.
    """
    rest = list(argv)
    taken = {}
    for flag in ("--cluster", "--data", "--out", "--space"):
        values, rest = take(rest, flag)
        taken[flag] = values[-1] if values else None
    data = reached(taken["--data"] or environ.get("RAYSEARCH_DATA"), "--data")
    out = reached(taken["--out"] or environ.get("RAYSEARCH_OUT"), "--out")
    for flag in ("--ground-truth", "--warm-start"):
        for value in values_of(rest, flag):
            reached(value, flag)
    machines = values_of(rest, "--machine")
    space, files = _space(machines, taken["--space"])
    arguments = [*rest, "--data", data, "--out", out, *(["--space", space] if space else [])]
    metadata = {
        "kind": argv[0],
        "machine": ",".join(dict.fromkeys(machines)),
        "out": redact(out.rstrip("/")),
        "data": redact(data),
        "name": (values_of(rest, "--name") or [""])[-1],
        "command": redact(shlex.join(["raysearch", *argv])),
    }
    return RemoteCommand(tuple(arguments), files, metadata)


def run_folders(entrypoint: str) -> list[str]:
    """The run folders that a command writes; for `--machine all` the folder that holds them."""
    arguments = shlex.split(entrypoint)
    # An address may have its endpoint behind it.
    place, mark, endpoint = (values_of(arguments, "--out") or [""])[-1].partition("?")
    out = place.rstrip("/")
    machines = list(dict.fromkeys(values_of(arguments, "--machine")))
    name = (values_of(arguments, "--name") or [""])[-1]
    if "all" in machines:
        folders = [out]
    else:
        several = len(machines) > 1
        names = [study_name(machine, name, several=several) for machine in machines]
        folders = [f"{out}/{each}" for each in names]
    return [f"{folder}{mark}{endpoint}" for folder in folders]


def same_run(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two commands are runs that would write into the same folder."""
    if one.get("kind") != "run":
        return False
    if any(one.get(key) != other.get(key) for key in ("kind", "out", "name")):
        return False
    mine, others = (set(metadata.get("machine", "").split(",")) for metadata in (one, other))
    return bool(mine & others) or "all" in mine | others


def take(argv: Sequence[str], flag: str) -> tuple[list[str], list[str]]:
    """Takes every `flag VALUE` and `flag=VALUE` out of a command: its values, and the rest."""
    values: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == flag:
            values += [value] if (value := next(words, None)) is not None else []
        elif word.startswith(f"{flag}="):
            values.append(word.removeprefix(f"{flag}="))
        else:
            rest.append(word)
    return values, rest


def values_of(argv: Sequence[str], flag: str) -> list[str]:
    """Every value that a flag has in a command."""
    return take(argv, flag)[0]


def reached(path: str | None, flag: str) -> str:
    """A path that means the same on every node.

    Raises:
        UserError: it does not.
    """
    if path and is_uri(path) and "@" in path.partition("?")[0]:
        raise UserError(
            f"{flag} {redact(path)}: a login would stand on the cluster for all to read; set it in "
            "the environment of its nodes, in the cluster file"
        )
    if path and (is_uri(path) or path.startswith("/")):
        return path
    said = f"{flag} {path}" if path else f"{flag} is not given"
    raise UserError(
        f"{said}: with --cluster it has to be an absolute path or a URI such as s3://bucket/folder "
        "that every node reaches"
    )


def _space(machines: Sequence[str], asked: str | None) -> tuple[str | None, dict[str, Path]]:
    """The space to ask for on the head and the files to send along, once they proved sound."""
    for machine in machines:
        load_space(find_space(machine, None if asked is None else Path(asked)))
    if asked is None:
        return None, {path.as_posix(): path for path in sorted(SPACES.glob("*.yaml"))}
    path = Path(asked)
    if path.is_file():
        return f"space/{path.name}", {f"space/{path.name}": path}
    return path.name, {}
