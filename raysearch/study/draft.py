"""Draft of a space file: default.yaml adapted to the recordings of a machine type."""

import re
import shlex
from collections.abc import Iterable, Sequence

import yaml

from raysearch.config import id_order
from raysearch.data.batches import segment_starts
from raysearch.data.index import Clip, Index
from raysearch.data.store import read_header
from raysearch.errors import DataError, printable
from raysearch.study.space import check_space
from raysearch.study.space_files import shipped_folder

MIN_BATCHES = 8
"""Least number of batches per epoch."""

BATCH_SIZES = (8, 16, 32, 64, 128)
BATCH_SIZE_CHOICES = 3
"""Number of batch sizes, as in the default space."""

USABLE_BAND = 0.975
"""Share of the band below the Nyquist frequency that mel bands may cover."""

JUDGES = "# product IDs whose labelled test clips judge a trial"
UNJUDGED = "# no ID has labelled test clips of both kinds: one configuration, not judged"


def draft(index: Index, machine: str) -> str:
    """Make the text of a space file for a machine type.

    Args:
        index: of the data set, all domains; the header of one training clip is read.
        machine: machine type.

    Raises:
        DataError: the machine type is unknown.
    """
    train = index.train(machine)
    if not train:
        raise DataError(
            f"{index.root} has no training clips of {machine!r} "
            f"(machine types: {', '.join(index.machines)})"
        )
    rate, seconds = read_header(train[0].path)
    validation, test = _split_ids(index, machine)
    domain = "source" if any(clip.domain != "target" for clip in train) else "target"
    clips = [clip for clip in train if clip.domain in (domain, "unknown")]
    base = (shipped_folder() / "default.yaml").read_text()
    options = check_space(yaml.safe_load(base), "default.yaml").fixed
    length = max(round(seconds * options.rate), options.segment)
    segments = segment_starts(length, options.segment, options.segments).size
    fitted = int(options.validation_share * _fewest_clips(clips)) * segments
    text = base[base.index("validation_ids:") :]
    for key, value in {
        "validation_ids": _yaml_list(validation),
        "test_ids": _yaml_list(test),
        "batch_size": _yaml_list(_batch_sizes(len(clips) * (1 - options.validation_share))),
        "gmm": _yaml_list(_powers_of_two(fitted // 2)),
        "lof": _yaml_list(_powers_of_two(fitted - 1)),
        "domain": domain,
        "rate": str(min(rate, options.rate)),
        "f_max": str(min(options.f_max, USABLE_BAND * rate / 2)),
    }.items():
        text = _replace_value(text, key, value)
    if not validation:
        text = _without_choice(text)
    quoted = shlex.quote(printable(machine))
    head = (
        f"# Space of {printable(machine)}: {len(clips)} training clips of "
        f"{len(index.ids(machine))} product "
        f"IDs,\n# {seconds:g} s each at {rate} Hz. `raysearch run --machine {quoted}` takes this "
        "file by its name.\n#\n# In `search`, one value fixes, a list chooses, {low, high, log} "
        "samples; an unknown\n# key is an error.\n"
    )
    check_space(yaml.safe_load(text), f"the space of {machine}")
    return head + text


def _split_ids(index: Index, machine: str) -> tuple[list[str], list[str]]:
    """Split the IDs into validation and test IDs by the labels in clip names.

    Where no ID has labelled clips of both kinds, there are no validation IDs, and those with
    unlabelled test clips are test IDs.
    """
    ids = index.ids(machine)
    labelled = [
        product_id for product_id in ids if _kinds(index.test(machine, [product_id])) == {0, 1}
    ]
    if not labelled:
        unlabelled = {clip.id for clip in index.test(machine, ids) if clip.label is None}
        return [], [product_id for product_id in ids if product_id in unlabelled]
    if len(labelled) == len(ids) > 1:
        labelled = labelled[: (len(ids) + 1) // 2]
    return labelled, [product_id for product_id in ids if product_id not in labelled]


def _without_choice(text: str) -> str:
    """Reduce the search of a draft to a single configuration, as no score can choose one."""
    sizes = re.search(r"^  batch_size: \[(?:.*, )?(\d+)\]", text, re.MULTILINE)
    assert sizes is not None, text
    single = {"lr": "1.0e-3", "batch_size": sizes[1], "lambda": "1.0", "gmm": "[1]"}
    for key, value in single.items():
        text = _replace_value(text, key, value)
    text = re.sub(r"^    (lof|# none): .*\n", "", text, flags=re.MULTILINE)
    return text.replace(JUDGES, UNJUDGED)


def _kinds(clips: Iterable[Clip]) -> set[int]:
    return {clip.label for clip in clips if clip.label is not None}


def _fewest_clips(clips: Sequence[Clip]) -> int:
    """Return the number of training clips of the smallest ID."""
    ids = [clip.id for clip in clips]
    return min(ids.count(product_id) for product_id in sorted(set(ids), key=id_order))


def _batch_sizes(clips: float) -> list[int]:
    """Choose the largest batch sizes with `MIN_BATCHES` batches per epoch."""
    # Half of a batch is of other machine types.
    fitting = [size for size in BATCH_SIZES if size / 2 * MIN_BATCHES <= clips]
    return fitting[-BATCH_SIZE_CHOICES:] or [BATCH_SIZES[0]]


def _powers_of_two(limit: int) -> list[int]:
    """List 1, 2, 4, ... up to 64 or the limit."""
    return [2**k for k in range(7) if 2**k <= limit] or [1]


def _yaml_list(values: Sequence[str] | Sequence[int]) -> str:
    return yaml.safe_dump(
        [int(v) if str(v).isdecimal() else v for v in values], default_flow_style=True, width=1000
    ).strip()


def _replace_value(text: str, key: str, value: str) -> str:
    """Replace the value of a key; its comment keeps its column if possible."""
    match = re.search(rf"^( *{key}: )(\S.*?)( +)(#.*)$", text, re.MULTILINE)
    assert match is not None, key
    start, old, gap, comment = match.groups()
    gap = " " * max(2, len(old) + len(gap) - len(value))
    return text[: match.start()] + start + value + gap + comment + text[match.end() :]
