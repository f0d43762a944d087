"""The end of a search: what stays of it on disk, and what the final test is run with again."""

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from upath import UPath

from raysearch import storage
from raysearch.audio.dataset import source_of
from raysearch.conclusion import conclude, repeat_final
from raysearch.errors import DataError
from raysearch.opening import Opened, begin
from raysearch.score.inlier import InlierSpec
from raysearch.search.resources import Share
from raysearch.search.space import Space
from raysearch.search.study import Proposal
from raysearch.search.worker import Job, failed, work
from tests.tiny import TINY, VALIDATION_IDS, open_valve

SPACE = Space.model_validate(
    {
        "search": {
            "lr": 3e-3,
            "batch_size": [16, 32],
            "lambda": [1.0, 10.0],
            "inlier": {"gmm": [1], "none": []},
        },
        "fixed": TINY.model_dump() | {"epochs": 1},
        "strategy": {"trials": 4},
    }
)
WINNER, LOSER, OPEN, TWIN = (
    Proposal(0, 3e-3, 16, 1.0, "gmm", 1),
    Proposal(1, 3e-3, 32, 1.0, "gmm", 1),
    Proposal(2, 3e-3, 32, 10.0, "gmm", 1),
    Proposal(3, 3e-3, 32, 10.0, "none", None),  # of the encoder of the one that is open
)


@pytest.fixture
def root(tmp_path: Path, demo_data: Path) -> Path:
    """A data set of one's own, to spoil files of."""
    return shutil.copytree(demo_data, tmp_path / "data", copy_function=os.link)


def ended(root: Path, folder: UPath, *, allow_defects: bool = False) -> tuple[Opened, Job]:
    """A search in which one trial won, two ended otherwise, and one was not finished."""
    source = source_of(root, "valve", VALIDATION_IDS, SPACE.fixed, allow_defects=allow_defects)
    data = open_valve(root)
    opened = begin(
        folder,
        space=SPACE,
        space_file=Path("tiny.yaml"),
        source=source,
        data=data,
        command="raysearch run",
        fresh=False,
    )
    job = Job(folder, source, data.fingerprint, SPACE.fixed, (InlierSpec("gmm", 1),), 0)
    for proposal in (WINNER, LOSER, OPEN, TWIN):
        opened.study.propose(proposal)
        for name in ("best.safetensors", "error.txt"):
            if proposal is not WINNER:
                place = opened.study.encoder(job.config(proposal).signature())
                storage.write_text(place / name, name)
    work(job, WINNER, Share(1, 1, 0, 1), lambda result: None)
    for proposal in (LOSER, TWIN):
        opened.study.add(failed(job, proposal, "here", "so"))
    return opened, job


def close(opened: Opened, **how: bool) -> None:
    conclude(opened, command="raysearch run", console=Console(file=io.StringIO()), **how)


def test_only_what_is_still_needed_keeps_its_checkpoints(root: Path, folder: UPath) -> None:
    opened, job = ended(root, folder)

    def kept(proposal: Proposal) -> list[str]:
        place = opened.study.encoder(job.config(proposal).signature())
        return [path.name for path in storage.children(place)]

    close(opened, final=False, keep_checkpoints=True)
    both = ["best.safetensors", "error.txt"]
    assert [kept(p) for p in (WINNER, LOSER, OPEN, TWIN)] == [both[:1], both, both, both]
    close(opened, final=False)
    assert [kept(p) for p in (WINNER, LOSER, OPEN, TWIN)] == [both[:1], both[1:], both, both]
    assert len(opened.study.records()) == 3


@pytest.mark.parametrize("allowed", [False, True])
def test_the_final_test_is_repeated_with_what_the_study_allowed(
    root: Path, tmp_path: Path, allowed: bool
) -> None:
    folder = storage.place(tmp_path / "run")
    opened, _ = ended(root, folder, allow_defects=allowed)
    close(opened, final=True)
    spoilt = sorted((root / "eval_data/valve/source_test").glob("*.wav"))[0]
    spoilt.unlink()  # it is a link to the recording of all tests
    spoilt.write_bytes(b"garbage")
    console = Console(file=io.StringIO())
    if allowed:
        repeat_final(folder, None, "raysearch final", console)
    else:
        with pytest.raises(DataError, match="test clips are defective"):
            repeat_final(folder, None, "raysearch final", console)
    ledger = (folder / "test_ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["command"] for line in ledger] == ["raysearch run", "raysearch final"]
