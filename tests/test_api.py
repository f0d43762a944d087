"""The public names of raysearch, and a study that a program runs and reads."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

import raysearch
from raysearch.errors import UserError
from raysearch.pipeline.study import Study
from raysearch.storage import to_path
from raysearch.training.outcome import TrialResult
from tests import runs
from tests.command import write_space
from tests.records import make_space

PUBLIC = [
    *("Configuration", "DataError", "Detector", "InlierSpec", "NoResultError", "SearchCallback"),
    *("Space", "StoppedError", "Study", "TrialError", "UserError", "run", "run_trial"),
]


def test_the_public_names_are_these() -> None:
    """A name that is added or taken away is a change for users: CHANGELOG.md."""
    assert raysearch.__all__ == PUBLIC
    assert dir(raysearch) == sorted([*PUBLIC, "__version__"])
    for name in PUBLIC:
        assert getattr(raysearch, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'raysearch' has no attribute 'trian'"):
        _ = raysearch.trian


def test_a_name_is_imported_when_it_is_asked_for(tmp_path: Path) -> None:
    program = (
        "import raysearch, sys\n"
        "assert issubclass(raysearch.DataError, raysearch.UserError)\n"
        "raysearch.Study, raysearch.Space\n"
        "print(*{'torch', 'ray', 'optuna', 'pandas', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study that came to its end, made by hand."""
    folder = runs.begin(to_path(tmp_path / "valve"), make_space(strategy={"trials": 8}))
    runs.add(folder, runs.records())
    runs.conclude(folder)
    return Study(tmp_path / "valve")


def test_a_study_is_read_as_its_files_say(study: Study) -> None:
    assert repr(study) == f"Study('{study.folder}')"
    assert (study.machine, len(study.records)) == ("valve", 10)
    trials = study.trials()
    names = ["trial", "state", "lr", "batch_size", "lambda", "inlier", "p"]
    assert list(trials.columns[:7]) == names
    assert trials["trial"].nunique() == 10
    winner = study.winner
    assert winner is not None
    best = trials[(trials.trial == winner.trial) & (trials.inlier == winner.inlier.name)]
    assert winner.val_score in list(best.val_score)


def test_a_study_that_has_not_ended_has_no_winner(tmp_path: Path) -> None:
    runs.begin(to_path(tmp_path / "valve"))
    study = Study(str(tmp_path / "valve"))
    assert study.records == []
    assert (study.winner, study.final_test, study.final_score) == (None, None, None)
    assert study.trials().empty
    with pytest.raises(UserError, match="holds no detector"):
        study.detector()


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no study"):
        Study(tmp_path)


def test_bad_input_is_an_exception_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        raysearch.run(tmp_path / "nowhere", machine="valve", out=tmp_path / "runs", quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("machine", "options", "reason"),
    [
        ("valve", {}, "write --machine all"),
        ("all", {"warm_start": ["runs/other"]}, "cannot begin a --shared search"),
    ],
)
def test_a_shared_search_names_no_machine_type_and_no_start(
    tmp_path: Path, machine: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        raysearch.run(tmp_path, machine=machine, shared=True, quiet=True, **options)


class Notes(raysearch.SearchCallback):
    """A callback that counts its events."""

    def __init__(self) -> None:
        self.ended, self.epochs = 0, 0

    def on_trial_end(self, study: str, record: object) -> None:
        self.ended += 1

    def on_epoch_end(self, study: str, number: int, epoch: object) -> None:
        self.epochs += 1


def test_one_encoder_is_trained_without_ray(demo_data: Path, tmp_path: Path) -> None:
    space = raysearch.Space.model_validate(
        {
            **yaml.safe_load(write_space(tmp_path / "tiny.yaml").read_text()),
            "search": {"lr": [0.001], "batch_size": [16], "lambda": [1.0], "inlier": {"gmm": [1]}},
        }
    )
    epochs: list[int] = []

    def train() -> TrialResult:
        return raysearch.run_trial(
            raysearch.Configuration(lr=1e-3, batch_size=16, lam=1.0),
            demo_data,
            machine="valve",
            folder=tmp_path / "encoders",
            space=space,
            on_epoch=lambda epoch: epochs.append(epoch.epoch),
        )

    result = train()
    assert epochs == list(range(1, space.fixed.epochs + 1))
    assert [(row.inlier, row.p) for row in result.rows] == [("gmm", 1)]
    assert train().rows == result.rows
    assert len(epochs) == space.fixed.epochs  # the second call loaded the encoder


def test_a_network_that_does_not_exist_is_refused_by_a_single_training(
    demo_data: Path, tmp_path: Path
) -> None:
    write_space(tmp_path / "tiny.yaml", fixed={"backbone": "nonet"})
    with pytest.raises(UserError, match="nonet"):
        raysearch.run_trial(
            raysearch.Configuration(1e-3, 16, 1.0),
            demo_data,
            machine="valve",
            folder=tmp_path / "encoders",
            space=tmp_path / "tiny.yaml",
        )
    assert not (tmp_path / "encoders").exists()


@pytest.mark.slow
def test_a_program_runs_a_search_in_a_thread(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a real search shows that it works off the main thread, and what comes out of it."""
    write_space(tmp_path / "tiny.yaml")
    studies: list[Study] = []
    notes = Notes()

    def work() -> None:
        studies.append(
            raysearch.run(
                demo_data,
                machine="valve",
                callbacks=[notes],
                out=tmp_path / "runs",
                space=tmp_path / "tiny.yaml",
                trials=1,
                dashboard=False,
                quiet=True,
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    [study] = studies
    assert capsys.readouterr().out == ""
    assert (notes.ended, notes.epochs) == (1, study.records[0].epochs)
    assert study.manifest.command.startswith(f"raysearch.run('{demo_data}', machine='valve', out=")
    table = pd.read_csv(tmp_path / "runs" / "valve" / "trials.csv")
    pd.testing.assert_frame_equal(study.trials(), table)
    assert study.winner is not None
    final = study.final_test
    assert final is not None
    assert list(final["id"]) == ["3", "4", "5", "hmean"]
    assert study.final_score is not None
    clip = sorted(demo_data.glob("eval_data/valve/*/section_03*.wav"))[0]
    samples, rate = soundfile.read(clip, dtype="float32")
    detector = study.detector()
    [by_file] = detector.score([clip])
    [by_samples] = detector.score([samples], id="3", rate=rate)
    assert by_samples.score == by_file.score
    assert np.isfinite(by_file.threshold)
    assert study.report().is_file()
