"""A space file to begin with: default.yaml, with what the recordings of a machine type tell."""

import re
from collections.abc import Iterable, Sequence

import yaml

from raysearch.config import id_order
from raysearch.data.index import Clip, Index
from raysearch.data.store import length
from raysearch.errors import DataError
from raysearch.study.space import check_space, shipped

STEPS = 8
"""Batches of an epoch, at least."""

BATCHES = (8, 16, 32, 64, 128)
CHOICES = 3
"""As many batch sizes as the default space has."""

USABLE = 0.975
"""Share of the band up to half of the sampling rate that mel bands may cover."""


def draft(index: Index, machine: str) -> str:
    """Writes a space for a machine type.

    Args:
        index: of the data set, all domains; only names are read, and the head of a training clip.
        machine: machine type.

    Raises:
        DataError: the machine type is unknown, or none of its IDs has labelled test clips of both
            kinds.
    """
    train = index.train(machine)
    if not train:
        raise DataError(
            f"{index.root} has no training clips of {machine!r} "
            f"(machine types: {', '.join(index.machines)})"
        )
    rate, seconds = length(train[0].path)
    validation, test = _split_ids(index, machine)
    domain = "source" if any(clip.domain != "target" for clip in train) else "target"
    clips = [clip for clip in train if clip.domain in (domain, "unknown")]
    base = (shipped() / "default.yaml").read_text()
    options = check_space(yaml.safe_load(base), "default.yaml").fixed
    fitted = int(options.validation_share * _fewest(clips)) * options.segments
    text = base[base.index("method:") :]
    for key, value in {
        "validation_ids": _listed(validation),
        "test_ids": _listed(test),
        "batch_size": _listed(_batches(len(clips) * (1 - options.validation_share))),
        "gmm": _listed(_powers(fitted // 2)),
        "lof": _listed(_powers(fitted - 1)),
        "domain": domain,
        "rate": str(min(rate, options.rate)),
        "f_max": str(min(options.f_max, USABLE * rate / 2)),
    }.items():
        text = _with(text, key, value)
    head = (
        f"# Space of {machine}: {len(clips)} training clips of {len(index.ids(machine))} product "
        f"IDs,\n# {seconds:g} s each at {rate} Hz. `raysearch run --machine {machine}` takes this "
        "file by its name.\n#\n# In `search`, one value fixes, a list chooses, {low, high, log} "
        "samples; an unknown\n# key is an error.\n"
    )
    check_space(yaml.safe_load(text), f"the space of {machine}")
    return head + text


def _split_ids(index: Index, machine: str) -> tuple[list[str], list[str]]:
    """IDs that can judge a trial, and those that are left for the test, by their names' labels."""
    ids = index.ids(machine)
    labelled = [one for one in ids if _kinds(index.test(machine, [one])) == {0, 1}]
    if not labelled:
        raise DataError(
            f"{machine} in {index.root} has no product ID with normal and anomalous test clips, "
            "by which trials could be compared"
        )
    if len(labelled) == len(ids) > 1:
        labelled = labelled[: (len(ids) + 1) // 2]
    return labelled, [one for one in ids if one not in labelled]


def _kinds(clips: Iterable[Clip]) -> set[int]:
    return {clip.label for clip in clips if clip.label is not None}


def _fewest(clips: Sequence[Clip]) -> int:
    """Training clips of the ID that has the fewest."""
    ids = [clip.id for clip in clips]
    return min(ids.count(one) for one in sorted(set(ids), key=id_order))


def _batches(clips: float) -> list[int]:
    """The largest batch sizes of which an epoch has some; half of a batch is of other machines."""
    fitting = [size for size in BATCHES if size / 2 * STEPS <= clips]
    return fitting[-CHOICES:] or [BATCHES[0]]


def _powers(most: int) -> list[int]:
    """1, 2, 4, ... up to 64 or as far as there are segments to fit."""
    return [2**k for k in range(7) if 2**k <= most] or [1]


def _listed(values: Sequence[str] | Sequence[int]) -> str:
    return yaml.safe_dump(
        [int(v) if str(v).isdecimal() else v for v in values], default_flow_style=True, width=1000
    ).strip()


def _with(text: str, key: str, value: str) -> str:
    """A space with another value of a key; its comment stays where it was, if it can."""
    found = re.search(rf"^( *{key}: )(\S.*?)( +)(#.*)$", text, re.MULTILINE)
    assert found is not None, key
    start, old, gap, comment = found.groups()
    gap = " " * max(2, len(old) + len(gap) - len(value))
    return text[: found.start()] + start + value + gap + comment + text[found.end() :]
