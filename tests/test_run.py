"""Whole runs by the real command, as somebody who has recordings would type them.

Only a whole run shows that its files agree with each other, that the search depends on nothing but
seed, space and the clips that it may see, and that the same command resumes.
"""

import http.client
import json
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from raysearch.data.ground_truth import read_ground_truth
from raysearch.scoring.metrics import auc_pauc, harmonic_mean
from tests.command import (
    ONE_AT_A_TIME,
    TINY,
    Ended,
    Started,
    Study,
    begin,
    contents,
    copy_without_times,
    digests,
    link,
    openings,
    raysearch,
    settle,
    table,
    write_space,
)
from tests.shared import FINALISTS, TRAIN_CLIPS

pytestmark = pytest.mark.slow

TRIALS = TINY["strategy"]["trials"]
AGAIN = FINALISTS["top"] * (FINALISTS["seeds"] - 1)
"""Trainings of finalists with a further seed."""

COLUMNS = (
    "trial,state,lr,batch_size,lambda,inlier,p,epochs,best_epoch,seed,rerun_of,"
    "origin,val_score,val_auc_0,val_pauc_0,val_auc_1,val_pauc_1,val_auc_2,val_pauc_2,val_loss,"
    "train_seconds,score_seconds,encoder,error"
)


@dataclass(frozen=True)
class Blind(Study):
    """A search that could not have opened the test clips of the test IDs.

    Attributes:
        ended: its first end. The clips of one test ID and all labels were garbage, other clips
            were deleted.
        deleted: its second end, without a trace of any of them.
    """

    deleted: Ended


@pytest.fixture(scope="module")
def plain(finished: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The session's finished study, in a folder to which tests may add outputs."""
    return finished.copy(tmp_path_factory.mktemp("plain") / "home")


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Blind:
    """The same search, from which the test IDs' test clips are hidden in two ways."""
    home = settle(tmp_path_factory.mktemp("blind") / "home", demo_data, copy_without_times)
    hidden = secrets(home / "data")
    for path in hidden:
        if path.suffix == ".csv" or "section_03" in path.name:
            path.write_bytes(b"name.wav,7\n" * 100)
        else:
            path.unlink()
    write_space(home / "tiny.yaml", strategy={"finalists": FINALISTS})
    spoilt = begin(home, "--no-report").wait()
    for path in hidden:
        path.unlink(missing_ok=True)
    return Blind(home, spoilt, begin(home, "--no-report").wait())


@pytest.fixture(scope="module")
def again(blind: Blind, demo_data: Path) -> Study:
    """The search that had no test clips, ended by the same command once they were there."""
    for path in secrets(demo_data):
        shutil.copyfile(path, blind.home / "data" / path.relative_to(demo_data))
    study = Study(blind.home, begin(blind.home).wait())
    assert study.ended.code == 0, study.ended
    return study


def secrets(data: Path) -> list[Path]:
    """Test clips and labels of the test IDs, of every machine type."""
    files = [path for path in (data / "eval_data").rglob("*") if path.is_file()]
    paths = [path for path in files if path.parent.name != "train"]
    assert any(path.suffix == ".csv" for path in paths)
    assert any(path.suffix == ".wav" for path in paths)
    return paths


# What comes out.


def test_run_writes_every_file(plain: Study) -> None:
    names = set(contents(plain.folder))
    submission = {
        f"submission/{kind}_valve_section_0{i}_source_test.csv"
        for kind in ("anomaly_score", "decision_result")
        for i in (3, 4, 5)
    } | {"submission/task2_1.meta.yaml"}
    expected = {
        *("study.json", "study.journal", "trials.csv", "final_test.csv", "test_ledger.jsonl"),
        *("report.html", "final_scores.csv", "evidence/clips.csv", "evidence/wrong/wrong.json"),
        *(f"records/000{n}.json" for n in range(TRIALS + AGAIN)),
        *(f"best_config.{kind}" for kind in ("csv", "md", "tex", "yaml")),
        *("detector/detector.json", "detector/encoder.safetensors"),
        *("detector/inlier.safetensors", *submission),
    }
    assert expected - names == set()
    assert {name for name in names if name.startswith("submission/")} == submission
    assert not [name for name in names if name.endswith("last.safetensors")]


def test_trials_csv_has_a_row_per_trial_inlier_model_and_p(plain: Study) -> None:
    assert (plain.folder / "trials.csv").read_text().splitlines()[0] == COLUMNS
    rows = plain.trials
    inliers = [("gmm", "1"), ("gmm", "2"), ("lof", "2"), ("none", "")]
    assert [(row["trial"], row["inlier"], row["p"]) for row in rows] == [
        (str(trial), *inlier) for trial in range(TRIALS + AGAIN) for inlier in inliers
    ]
    assert {row["state"] for row in rows} == {"COMPLETE"}
    for row in rows:
        values = [float(row[f"val_{kind}_{i}"]) for i in "012" for kind in ("auc", "pauc")]
        assert float(row["val_score"]) == pytest.approx(harmonic_mean(values), abs=1e-12)


def test_study_json_says_what_was_asked(plain: Study) -> None:
    facts = json.loads((plain.folder / "study.json").read_text())
    assert facts["machine"] == "valve"
    assert facts["ids"] == ["0", "1", "2", "3", "4", "5"]
    assert (facts["validation_ids"], facts["test_ids"]) == (["0", "1", "2"], ["3", "4", "5"])
    assert facts["command"] == " ".join(["raysearch", *ONE_AT_A_TIME])
    assert facts["space"]["fixed"]["backbone"] == "test_efficientnet"
    assert {"raysearch", "python", "torch", "ray", "optuna"} <= facts["versions"].keys()
    assert facts["fingerprint"]


def test_final_test_follows_from_submission_and_ground_truth(plain: Study, demo_data: Path) -> None:
    truth = read_ground_truth(demo_data, "valve", ["3", "4", "5"])
    reported = {row["id"]: (float(row["auc"]), float(row["pauc"])) for row in finals(plain)}
    expected = {}
    for identity in "345":
        scores = submission(plain, "anomaly_score", identity)
        labels = np.array([truth[identity, name] for name in scores])
        expected[identity] = auc_pauc(labels, np.array(list(scores.values())))
    aucs, paucs = zip(*expected.values(), strict=True)
    expected["hmean"] = harmonic_mean(aucs), harmonic_mean(paucs)
    assert reported.keys() == expected.keys()
    for identity, values in expected.items():
        assert reported[identity] == pytest.approx(values, abs=1e-9)


def finals(study: Study) -> list[dict[str, str]]:
    return table(study.folder / "final_test.csv")


def test_final_scores_are_those_of_the_submission(plain: Study, demo_data: Path) -> None:
    truth = read_ground_truth(demo_data, "valve", ["3", "4", "5"])
    rows = table(plain.folder / "final_scores.csv")
    for identity in "345":
        id_rows = {row["clip"]: row for row in rows if row["id"] == identity}
        scores = submission(plain, "anomaly_score", identity)
        decisions = submission(plain, "decision_result", identity)
        assert {name: float(row["score"]) for name, row in id_rows.items()} == scores
        assert {name: float(row["decision"]) for name, row in id_rows.items()} == decisions
        assert {n: int(row["label"]) for n, row in id_rows.items()} == {
            n: truth[identity, n] for n in id_rows
        }
    assert {row["id"] for row in rows} == {"3", "4", "5"}


def test_what_the_report_shows_of_clips_is_of_none_of_a_test_id(plain: Study) -> None:
    rows = table(plain.folder / "evidence" / "clips.csv")
    tests = {row["id"] for row in rows if row["machine"] == "valve" and row["part"] == "validation"}
    assert tests == {"0", "1", "2"}
    assert {row["label"] for row in rows if row["id"] in "345"} == {"0"}


def test_study_json_counts_the_clips_of_the_search(plain: Study) -> None:
    clips = json.loads((plain.folder / "study.json").read_text())["clips"]
    assert clips == {
        "training": dict.fromkeys("012345", TRAIN_CLIPS),
        "validation": {identity: {"normal": 6, "anomalous": 6} for identity in "012"},
        "other machine types": dict.fromkeys(["fan", "pump"], 6 * TRAIN_CLIPS),
        "left out": 0,
    }


def submission(study: Study, kind: str, identity: str) -> dict[str, float]:
    path = study.folder / "submission" / f"{kind}_valve_section_0{identity}_source_test.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    assert len({name for name, _ in lines}) == len(lines)
    return {name: float(value) for name, value in lines}


def test_submission_has_every_clip_once(plain: Study, demo_data: Path) -> None:
    folder = demo_data / "eval_data" / "valve" / "source_test"
    thresholds = json.loads((plain.folder / "detector" / "detector.json").read_text())["thresholds"]
    for identity in "345":
        clips = {path.name for path in folder.glob(f"section_0{identity}_*.wav")}
        scores = submission(plain, "anomaly_score", identity)
        decisions = submission(plain, "decision_result", identity)
        assert scores.keys() == decisions.keys() == clips
        assert decisions == {k: float(v > thresholds[identity]) for k, v in scores.items()}


def test_tensorboard_files_and_journal_hold_every_trial(plain: Study) -> None:
    for number in range(TRIALS + AGAIN):
        events = plain.folder.glob(f"tune/trial_{number:04d}/events.out.tfevents.*")
        written = b"".join(path.read_bytes() for path in events)
        assert b"ray/tune/val_loss" in written
        assert b"_hparams_/session_start_info" in written
        assert all(name in written for name in (b"lr", b"batch_size", b"lambda"))
    journal = JournalStorage(JournalFileBackend(str(plain.folder / "study.journal")))
    # Optuna proposes no finalists, so it is not told of them.
    trials = optuna.load_study(study_name=None, storage=journal).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * TRIALS
    for number, trial in enumerate(trials):
        scores = [float(r["val_score"]) for r in plain.trials if r["trial"] == str(number)]
        assert trial.value == max(scores)


# Commands that start from a finished run.


def test_final_opens_the_test_set_again_where_that_is_wanted(plain: Study, tmp_path: Path) -> None:
    copy = plain.copy(tmp_path / "other")
    refused = raysearch("final", "runs/valve", folder=copy.home)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "runs/valve/final_test.csv is the result of the test IDs' first opening" in refused.err
    assert "--reopen-test opens them again, into final_test_2.csv" in refused.err
    assert openings(copy.folder) == openings(plain.folder)
    ended = raysearch("final", "runs/valve", "--reopen-test", folder=copy.home)
    assert ended.code == 0, ended
    first, second = openings(copy.folder)
    assert [first] == openings(plain.folder)
    assert (first["opening"], second["opening"]) == (1, 2)
    assert second["command"] == "raysearch final runs/valve --reopen-test"
    assert second["frozen"] == first["frozen"]
    for name in ("final_test", "final_scores", "reference_test"):
        again = (copy.folder / f"{name}_2.csv").read_bytes()
        assert again == (copy.folder / f"{name}.csv").read_bytes()
        assert again == (plain.folder / f"{name}.csv").read_bytes()
    for name in ("submission", "submission_2"):
        assert digests(copy.folder / name) == digests(plain.folder / "submission")
    assert digests(copy.folder / "detector") == digests(plain.folder / "detector")
    assert digests(copy.folder / "evidence") == digests(plain.folder / "evidence")
    page = (copy.folder / "report.html").read_text("utf-8")
    assert "the first of 2 openings" in page
    assert "raysearch final runs/valve --reopen-test" in page


def test_changed_space_is_refused(plain: Study) -> None:
    before = digests(plain.folder)
    refused = begin(plain.home, "--epochs", 1).wait()
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "fixed.epochs = 2, now it is 1" in refused.err
    assert "--fresh" in refused.err
    assert digests(plain.folder) == before


@pytest.fixture(scope="module")
def fresh(plain: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The finished study, begun anew with one trial and no finalists, then cut short in a second.

    That the first trial has ended before makes the time budget enough on every machine.
    """
    study = plain.copy(tmp_path_factory.mktemp("fresh") / "home")
    write_space(study.home / "tiny.yaml", fixed={"epochs": 1})
    anew = begin(study.home, "--trials", 1, "--fresh", "--no-final", "--no-report").wait()
    assert anew.code == 0, anew
    assert "resuming" not in anew.out
    limits = ("--trials", 500, "--time-budget", "10s", "--no-final", "--no-report")
    return Study(study.home, begin(study.home, *limits).wait())


def test_fresh_starts_anew_and_a_time_budget_ends_it_early_and_well(
    plain: Study, fresh: Study
) -> None:
    assert fresh.ended.code == 0, fresh.ended
    assert {row["epochs"] for row in fresh.trials} == {"1"}
    assert 0 < len({row["trial"] for row in fresh.trials}) < 500
    best = max(float(row["val_score"]) for row in fresh.trials)
    assert f"validation score {best:.4f}" in fresh.ended.out
    assert (fresh.folder / "detector" / "detector.json").exists()
    for name in ("final_test.csv", "final_scores.csv", "submission"):
        assert not (fresh.folder / name).exists()
    assert (fresh.folder / "evidence" / "clips.csv").exists()
    # That the test IDs were opened before cannot be undone.
    ledger = "test_ledger.jsonl"
    assert (fresh.folder / ledger).read_bytes() == (plain.folder / ledger).read_bytes()


def test_best_config_without_finalists_is_the_row_of_the_highest_score(fresh: Study) -> None:
    best = max(fresh.trials, key=lambda row: float(row["val_score"]))
    [row] = table(fresh.folder / "best_config.csv")
    columns = ("lr", "batch_size", "lambda", "inlier", "p", "val_score")
    assert {column: row[column] for column in columns} == {c: best[c] for c in columns}
    assert (row["machine"], row["seeds"], row["std_score"]) == ("valve", "1", "")
    assert row["mean_score"] == best["val_score"]
    assert (row["ci_low"], row["ci_high"]) == ("", "")
    assert "too few clips for an interval: 6 normal, 6 anomalous" in row["note"]
    again = yaml.safe_load((fresh.folder / "best_config.yaml").read_text())
    assert again["search"]["lr"] == float(best["lr"])
    assert again["strategy"]["trials"] == 1


def test_export_writes_tables_over_all_runs(plain: Study) -> None:
    ended = raysearch("export", folder=plain.home)
    assert ended.code == 0, ended
    written = {f"{name}.{kind}" for name in ("best_configs", "results") for kind in KINDS}
    assert {Path(line).name for line in ended.out.split()} == written | {"studies.parquet"}
    rows = {row["parameter"]: row["valve"] for row in table(plain.home / "runs/best_configs.csv")}
    [best] = table(plain.folder / "best_config.csv")
    assert rows == {key: value for key, value in best.items() if key != "machine"}
    [row] = table(plain.home / "runs" / "results.csv")
    values = [float(f[k]) for f in finals(plain) if f["id"] != "hmean" for k in ("auc", "pauc")]
    assert float(row["valve"]) == pytest.approx(harmonic_mean(values), abs=1e-12)
    assert float(row["All"]) == pytest.approx(float(row["valve"]), abs=1e-12)


KINDS = ("csv", "md", "tex")


def test_dashboard_answers_on_loopback_only(plain: Study) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = Started(["dashboard", "runs/valve", "--port", port], plain.home)
    try:
        started.wait_until(lambda: bool(listeners(port)))
        assert listeners(port) == {"0100007F"}
        server = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        server.request("GET", "/api/studies")
        answer = server.getresponse()
        studies = json.loads(answer.read())["study_summaries"]
        server.close()
        assert answer.status == 200
        assert [study["study_name"] for study in studies] == ["valve"]
    finally:
        started.kill()


def listeners(port: int) -> set[str]:
    """Addresses, as the kernel writes them, that somebody listens on at a port."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path("/proc/net", name).read_text().splitlines()[1:]
    ]
    listening = [fields[1].split(":") for fields in lines if fields[3] == "0A"]
    return {address for address, at in listening if int(at, 16) == port}


# What a run may depend on, and the same command again.


def test_search_is_blind_to_garbage_in_place_of_test_clips(plain: Study, blind: Blind) -> None:
    assert blind.trials == plain.trials
    assert blind.ended.code == 2, blind.ended
    assert blind.ended.err.count("\n") == 1
    assert "ground_truth_valve_section_03_source_test.csv:1: expected NAME.wav" in blind.ended.err


def test_search_is_blind_to_deleted_test_clips(plain: Study, blind: Blind) -> None:
    assert blind.deleted.code == 0, blind.deleted
    assert blind.trials == plain.trials
    assert "no final test was possible" in blind.deleted.out
    best = "best_config.csv"
    assert (blind.folder / best).read_bytes() == (plain.folder / best).read_bytes()
    for name in ("final_test.csv", "submission"):
        assert not (blind.folder / name).exists()


def test_same_seed_gives_the_same_trials_and_final_test(plain: Study, again: Study) -> None:
    assert again.trials == plain.trials
    assert finals(again) == finals(plain)
    assert len(plain.trials) == 4 * (TRIALS + AGAIN)


def test_same_command_again_changes_nothing(again: Study) -> None:
    before = digests(again.folder)
    ended = begin(again.home).wait()
    assert ended.code == 0, ended
    after = digests(again.folder)
    assert after.keys() == before.keys()
    # The journal mirrors the records and is written anew, with other time stamps.
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"study.journal"}
    assert "trial 0" not in ended.out
    assert len(openings(again.folder)) == 2  # the first ended at the garbage


def test_moved_detector_gives_the_scores_of_the_submission(
    again: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {
        name: score for i in "345" for name, score in submission(again, "anomaly_score", i).items()
    }
    decisions = {
        name: made for i in "345" for name, made in submission(again, "decision_result", i).items()
    }
    shutil.move(again.folder / "detector", tmp_path / "elsewhere")
    clips = again.home / "data" / "eval_data" / "valve" / "source_test"
    shutil.move(clips, tmp_path / "clips")
    shutil.rmtree(again.home)
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "no cache"))
    files = [f"clips/{name}" for name in scores]
    ended = raysearch("score", "elsewhere", *files, folder=tmp_path)
    assert ended.code == 0, ended
    rows = [line.split(",") for line in ended.out.splitlines()]
    assert rows[0] == ["file", "id", "score", "decision", "error"]
    assert [row[0] for row in rows[1:]] == files
    for file, identity, score, decision, _ in rows[1:]:
        name = Path(file).name
        assert identity == str(int(name.split("_")[1]))
        assert float(score) == pytest.approx(scores[name], abs=1e-9)
        assert int(decision) == decisions[name]


def test_a_network_that_no_trial_can_train_is_refused_and_leaves_nothing(
    tmp_path: Path, demo_data: Path
) -> None:
    """Only a whole run shows it: the first trial's process refuses, and the driver clears up."""
    home = settle(tmp_path / "home", demo_data, link)
    write_space(home / "tiny.yaml", fixed={"n_mels": 900})
    refused = begin(home).wait()
    assert refused.code == 2, refused
    assert refused.err.count("\n") == 1
    assert refused.err.startswith("raysearch: n_mels=900 is too many for n_fft=512")
    assert list((home / "runs").iterdir()) == []
