"""A shared search by the real command: searched on two machine types, tested on a third.

Only whole runs show that nothing of the test machine is read before the configuration is frozen,
and that a killed run loses no training.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

from raysearch import UserError, run
from raysearch.storage import to_path
from tests.command import Ended, Started, digests, raysearch, table, timeless, write_space

pytestmark = pytest.mark.slow

COMMAND = (
    *("run", "--machine", "all", "--shared", "--space", "tiny.yaml", "--concurrent", 1),
    *("--no-dashboard", "--keep-checkpoints"),
)
SPACE: dict[str, Any] = {
    "validation_machines": ["fan", "valve"],
    "test_machines": ["pump"],
    "validation_ids": [0],
    "test_ids": [0],
    "strategy": {"trials": 2, "finalists": {"top": 2, "seeds": 2}},
    "fixed": {"epochs": 4},
}


@dataclass(frozen=True)
class Searched:
    """A shared search that was killed in a trial, and one that saw nothing of the test machine.

    Attributes:
        home: of the killed search, which then came to its end.
        trained: times of the encoders that were trained when it was killed.
        ended: the command that resumed it.
        blind: of the search without a recording of the test machine.
    """

    home: Path
    trained: Mapping[Path, int]
    ended: Ended
    blind: Path

    @property
    def folder(self) -> Path:
        return self.home / "runs" / "shared"


def single_section(data: Path, to: Path) -> None:
    """Link the recordings of one product ID: machine types from DCASE 2023 on have no other."""
    shutil.copytree(
        data,
        to,
        copy_function=os.link,
        ignore=lambda _, names: [
            n for n in names if n.endswith((".wav", ".csv")) and "section_00" not in n
        ],
    )


def begin(home: Path, data: Path) -> Path:
    home.mkdir()
    single_section(data, home / "data")
    write_space(home / "tiny.yaml", **SPACE)
    return home


def trained(folder: Path) -> dict[Path, int]:
    encoders = (path.parent for path in folder.glob("encoders/*/best.safetensors"))
    return {
        encoder / "best.safetensors": (encoder / "best.safetensors").stat().st_mtime_ns
        for encoder in encoders
        if not (encoder / "last.safetensors").exists()
    }


def results(folder: Path) -> Mapping[str, str]:
    """Return the digests of all files but those that have the last command or times."""
    every = digests(folder)
    return {n: d for n, d in every.items() if n not in ("study.json", "study.journal")}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Searched:
    home = begin(tmp_path_factory.mktemp("shared") / "home", demo_data)
    started = Started(COMMAND, home)
    # The encoder of the first machine type is trained, the trial goes on to the second.
    started.wait_until(lambda: bool(trained(home / "runs" / "shared")))
    started.kill()
    before = trained(home / "runs" / "shared")
    assert not (home / "runs/shared/test_ledger.jsonl").exists()
    ended = raysearch(*COMMAND, folder=home)
    assert ended.code == 0, ended
    blind = begin(home.parent / "blind", demo_data)
    for folder in (blind / "data").glob("*/pump"):
        shutil.rmtree(folder)
    alone = raysearch(*COMMAND, "--no-final", folder=blind)
    assert alone.code == 0, alone
    return Searched(home, before, ended, blind)


def test_a_killed_search_trains_no_encoder_twice(searched: Searched) -> None:
    assert searched.trained
    for path, time in searched.trained.items():
        assert path.stat().st_mtime_ns == time


def test_the_search_reads_nothing_of_the_test_machine(searched: Searched) -> None:
    blind = searched.blind / "runs" / "shared"
    assert timeless(searched.folder / "trials.csv") == timeless(blind / "trials.csv")
    for name in ("frozen.json", "confidence.json", "reference.json"):
        assert (searched.folder / name).read_bytes() == (blind / name).read_bytes()
    assert {path.name for path in (blind / "machines").iterdir()} == {"fan", "valve"}
    assert not (blind / "test_ledger.jsonl").exists()


def test_a_trial_has_the_scores_of_every_validation_machine(searched: Searched) -> None:
    rows = [row for row in table(searched.folder / "trials.csv") if row["state"] == "COMPLETE"]
    # Two configurations with two seeds each.
    assert {row["trial"] for row in rows} == {"0", "1", "2", "3"}
    columns = [f"val_{kind}_{m}/0" for m in ("fan", "valve") for kind in ("auc", "pauc")]
    for row in rows:
        areas = [float(row[column]) for column in columns]
        mean = len(areas) / sum(1 / area for area in areas) if all(areas) else 0.0
        assert float(row["val_score"]) == pytest.approx(mean)


def test_an_encoder_of_a_machine_type_is_trained_for_each_trial(searched: Searched) -> None:
    assert len(trained(searched.folder)) == 4 * 2
    assert len(trained(searched.folder / "machines" / "pump")) == 1


def test_the_test_machine_is_opened_once(searched: Searched) -> None:
    frozen = json.loads((searched.folder / "frozen.json").read_text())
    opening, result = map(
        json.loads, (searched.folder / "test_ledger.jsonl").read_text().splitlines()
    )
    assert opening["test_ids"] == ["pump/0"]
    assert opening["frozen"] == frozen
    row, mean = table(searched.folder / "final_test.csv")
    auc, pauc = float(row["auc"]), float(row["pauc"])
    assert row["id"] == "pump/0"
    assert result["score"] == pytest.approx(2 / (1 / auc + 1 / pauc))
    assert (float(mean["auc"]), float(mean["pauc"])) == (auc, pauc)
    assert "final test of shared: harmonic mean" in searched.ended.out
    # The same command has nothing left to do.
    before = results(searched.folder)
    again = raysearch(*COMMAND, "--no-report", folder=searched.home)
    assert again.code == 0, again
    assert results(searched.folder) == before


def test_the_detector_of_the_test_machine_gives_the_scores_of_the_final_test(
    searched: Searched,
) -> None:
    scores = {row["clip"]: row for row in table(searched.folder / "final_scores.csv")}
    clips = sorted((searched.home / "data").glob("dev_data/pump/source_test/*.wav"))
    assert {clip.name for clip in clips} == set(scores)
    detector = searched.folder / "machines" / "pump" / "detector"
    scored = raysearch("score", detector, *clips[:2], folder=searched.home)
    assert scored.code == 0, scored
    for line, clip in zip(scored.out.splitlines()[1:], clips, strict=False):
        assert float(line.split(",")[2]) == float(scores[clip.name]["score"])


def test_the_best_configuration_is_a_space_of_a_shared_search(searched: Searched) -> None:
    text = (searched.folder / "best_config.yaml").read_text()
    assert "raysearch run --machine all --shared --space best_config.yaml" in text
    shutil.copy(searched.folder / "best_config.yaml", searched.home / "best_config.yaml")
    again = raysearch(
        *("run", "--machine", "all", "--shared", "--space", "best_config.yaml"),
        *("--name", "again", "--no-final", "--no-report", "--no-dashboard"),
        folder=searched.home,
    )
    assert again.code == 0, again
    first, second = (
        json.loads((searched.home / "runs" / name / "frozen.json").read_text())
        for name in ("shared", "again")
    )
    assert second["val_score"] == pytest.approx(first["val_score"], abs=1e-6)


def test_test_machines_may_be_named_after_the_search_but_not_changed(searched: Searched) -> None:
    write_space(searched.home / "more.yaml", **{**SPACE, "test_machines": ["pump", "slider"]})
    command = [part if part != "tiny.yaml" else "more.yaml" for part in COMMAND]
    refused = raysearch(*command, "--no-final", folder=searched.home)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "has opened pump/0; leave test_machines" in refused.err
    # The search without a test so far takes a machine type that it has never seen.
    shutil.copy(searched.home / "more.yaml", searched.blind / "more.yaml")
    missing = raysearch(*command, folder=searched.blind)
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "test machine pump has no training clips of ID 0 in data" in missing.err
    named = raysearch(*command, "--no-final", folder=searched.blind)
    assert named.code == 0, named


def test_other_commands_read_the_study(searched: Searched) -> None:
    status = json.loads(raysearch("status", "--json", folder=searched.home).out.splitlines()[-1])
    assert (status["machine"], status["state"]) == ("shared", "finished")
    for command in (("final",), ("final", "--reopen-test"), ("ensemble", "runs/again")):
        before = digests(searched.home / "runs")
        refused = raysearch(*command, "runs/shared", folder=searched.home)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert "is of a shared search: the same" in refused.err
        assert digests(searched.home / "runs") == before
    report = (searched.folder / "report.html").read_text()
    assert "Validation machines" in report
    assert "cannot be drawn" not in report
    for machine in ("fan", "valve"):
        assert f"Embeddings of {machine}" in report
        assert f"Worst misclassified clips of {machine}" in report
    assert "lacks the clips" not in report


def test_single_clips_are_those_of_the_validation_machines(searched: Searched) -> None:
    record = json.loads((searched.folder / "frozen.json").read_text())
    [row] = [
        row
        for row in table(searched.folder / "trials.csv")
        if (row["trial"], row["inlier"]) == (str(record["trial"]), record["inlier"])
        and (float(row["p"]) if row["p"] else None) == record["p"]
    ]
    for machine in ("fan", "valve"):
        clips = table(searched.folder / "machines" / machine / "evidence" / "clips.csv")
        assert {clip["machine"] for clip in clips} == {"fan", "valve"}
        judged = [clip for clip in clips if clip["part"] == "validation"]
        labels, scores = zip(*((int(c["label"]), float(c["score"])) for c in judged), strict=True)
        assert roc_auc_score(labels, scores) == pytest.approx(float(row[f"val_auc_{machine}/0"]))


def test_single_clips_of_an_earlier_winner_are_replaced(searched: Searched) -> None:
    folder = searched.blind / "runs" / "shared"
    evidence = folder / "machines" / "fan" / "evidence"
    before = digests(evidence)
    (evidence / "stale").touch()
    frozen = json.loads((folder / "frozen.json").read_text())
    (folder / "frozen.json").write_text(json.dumps({**frozen, "encoder": "another"}))
    ended = raysearch(*COMMAND, "--no-final", "--no-report", folder=searched.blind)
    assert ended.code == 0, ended
    assert json.loads((folder / "frozen.json").read_text()) == frozen
    assert digests(evidence) == before


def test_two_shared_searches_are_compared_on_the_clips_of_all_machine_types(
    searched: Searched,
) -> None:
    ended = raysearch("compare", "runs/shared", searched.folder, folder=searched.home)
    assert ended.code == 0, ended
    text = " ".join(ended.out.split())
    assert "validation, 24 clips: " in text
    assert "final test, 12 clips: " in text
    assert text.count("difference +0.0000") == 2


def test_a_program_runs_a_shared_search(searched: Searched) -> None:
    before = results(searched.folder)
    data, out = searched.home / "data", searched.home / "runs"
    study = run(
        data,
        machine="all",
        shared=True,
        out=out,
        space=searched.home / "tiny.yaml",
        concurrent=1,
        keep_checkpoints=True,
        report=False,
        quiet=True,
    )
    # The command has run before, so nothing is left to do.
    assert results(searched.folder) == before
    assert (study.folder, study.machine) == (to_path(str(searched.folder)), "shared")
    [row] = table(searched.folder / "final_test.csv")[:1]
    frame = study.final_test
    assert frame is not None
    assert list(frame.id) == [row["id"], "hmean"]
    assert study.detector("pump").machine == "pump"
    with pytest.raises(UserError, match=r'test machines: detector\("pump"\)'):
        study.detector()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--machine", "valve", "--shared"), "write --machine all"),
        (
            ("--machine", "all", "--shared", "--warm-start", "runs/shared"),
            "cannot begin",
        ),
        (("--machine", "valve"), "tiny.yaml: validation_machines .*add --shared"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(
    searched: Searched, arguments: tuple[str, ...], said: str
) -> None:
    before = digests(searched.home / "runs")
    refused = raysearch("run", *arguments, "--space", "tiny.yaml", folder=searched.home)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert re.search(said, refused.err)
    assert digests(searched.home / "runs") == before
