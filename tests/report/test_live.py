"""What the terminal shows of a running search."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO

import pytest
from rich.console import Console

from raysearch.backend.resources import Cluster, Node, Share
from raysearch.backend.search_callback import StudyProgress
from raysearch.report.live import LiveView
from raysearch.report.wording import best_result, duration
from raysearch.scoring.spec import InlierSpec
from raysearch.search.budget import Budget
from raysearch.study.records import Proposal, Record, State
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import Epoch, InlierResult

PROPOSALS = [Proposal(n, Configuration(10**-n, 32, 10.0)) for n in range(1, 6)]


def complete(proposal: Proposal, score: float = 0.75) -> Record:
    rows = (
        InlierResult("gmm", 2, score),
        InlierResult("lof", 4, score - 0.1),
        InlierResult("gmm", 64, error="too few segments"),
    )
    return Record(proposal, State.COMPLETE, "abc", 8, 0, "host", rows=rows)


def failed(proposal: Proposal) -> Record:
    return Record(proposal, State.FAIL, "abc", 8, 0, "host", error="TrialError: it [bold] diverged")


def epoch(number: int) -> Epoch:
    loss = 0.5 / number
    return Epoch(number, loss, loss, loss, 1.5 * loss, loss, loss, 1e-3, 1.0)


@dataclass
class Study:
    """Progress of a study."""

    total: int
    records: dict[int, Record]
    name: str = "valve"
    epochs: int = 8
    device_seconds: float = 0.0


def follow(console: Console, total: int, done: Sequence[Record] = ()) -> LiveView:
    return start(console, [Study(total, {r.proposal.number: r for r in done})])


def start(
    console: Console, studies: Sequence[StudyProgress], budget: Budget | None = None
) -> LiveView:
    view = LiveView(console)
    view.on_search_start(studies, budget or Budget())
    return view


def end(view: LiveView, record: Record, study: str = "valve") -> None:
    followed = view.studies[study]
    assert isinstance(followed, Study)
    followed.records[record.proposal.number] = record
    view.on_trial_end(study, record)


def run(console: Console, done: list[Record] | None = None) -> LiveView:
    """A short search: one trial is scored, one fails, one runs."""
    view = follow(console, 6, done or [])
    view.on_cluster_ready(Cluster("", "127.0.0.1:8265", (Node(2),)), Share(1, 1, 0, 2))
    for proposal in PROPOSALS[:3]:
        view.on_trial_start("valve", proposal)
    for number in range(1, 9):
        view.on_epoch_end("valve", 1, epoch(number))
    end(view, complete(PROPOSALS[0]))
    end(view, failed(PROPOSALS[1]))
    view.on_epoch_end("valve", 3, epoch(1))
    view.on_step_end()
    view.on_search_end()
    return view


@pytest.fixture
def lines() -> list[str]:
    file = StringIO()
    run(Console(file=file, width=60))
    return file.getvalue().splitlines()


def test_without_a_terminal_there_are_plain_lines(lines: list[str]) -> None:
    assert lines[0] == "valve: 2 trials at once, 1 CPU each; Ray dashboard at 127.0.0.1:8265"
    assert lines[1] == "trial 1: lr 0.1, batch size 32, λ 10"
    assert not any("\x1b" in line for line in lines)
    assert not any("best so far" in line for line in lines)


def test_plain_lines_tell_some_epochs_and_always_the_last(lines: list[str]) -> None:
    epochs = [line for line in lines if "epoch" in line]
    assert epochs == [
        f"trial 1: epoch {n}/8, training loss {0.5 / n:.4f}, validation loss {0.75 / n:.4f}"
        for n in (2, 4, 6, 8)
    ]


def test_plain_lines_tell_how_trials_ended(lines: list[str]) -> None:
    done = next(line for line in lines if "COMPLETE" in line)
    assert done.startswith("trial 1: COMPLETE 0.7500 with gmm p=2  [1/6, ")
    assert "elapsed" in done
    assert "left" in done
    bad = next(line for line in lines if "FAIL" in line)
    assert bad.startswith("trial 2: FAIL TrialError: it [bold] diverged  [2/6, ")


def test_a_trial_without_a_score_tells_why() -> None:
    file = StringIO()
    view = follow(Console(file=file), 1, [])
    row = InlierResult("gmm", 64, error="too few segments")
    other = InlierResult("lof", 64, error="too few neighbours")
    view.on_trial_start("valve", PROPOSALS[0])
    end(view, replace(complete(PROPOSALS[0]), rows=(row, other, row)))
    assert "COMPLETE too few segments; too few neighbours  [1/1" in file.getvalue()


@pytest.mark.parametrize("width", [60, 200])
def test_a_trial_without_validation_labels_is_told_from_a_failure(width: int) -> None:
    file = StringIO()
    view = follow(Console(file=file, width=width, force_terminal=width > 100), 1, [])
    view.on_trial_start("valve", PROPOSALS[0])
    end(view, replace(complete(PROPOSALS[0]), rows=(InlierResult("gmm", 2),)))
    view.on_search_end()
    if width > 100:
        assert "trained      no validation score  trial 1: lr 0.1" in file.getvalue()
    else:
        assert "trial 1: COMPLETE no validation score with gmm p=2  [1/1" in file.getvalue()


def test_a_score_of_the_heads_alone_is_told() -> None:
    file = StringIO()
    view = follow(Console(file=file), 1, [])
    view.on_trial_start("valve", PROPOSALS[0])
    end(view, replace(complete(PROPOSALS[0]), rows=(InlierResult("none", None, 0.75),)))
    assert "COMPLETE 0.7500 without an inlier model  [1/1" in file.getvalue()


def test_one_trial_at_once_without_a_dashboard() -> None:
    file = StringIO()
    view = follow(Console(file=file), 1, [])
    view.on_cluster_ready(Cluster("", "", (Node(4),)), Share(1, 4, 0, 1))
    assert file.getvalue() == "valve: 1 trial at once, 4 CPUs each\n"


def terminal(file: StringIO) -> Console:
    return Console(file=file, force_terminal=True, color_system=None, width=120, _environ={})


def test_on_a_terminal_there_is_a_table() -> None:
    file = StringIO()
    earlier = [complete(Proposal(0, Configuration(0.5, 64, 0.1), InlierSpec("gmm", 2)), 0.5)]
    run(terminal(file), earlier)
    shown = file.getvalue()
    picture = shown[shown.rindex("valve   ") :].splitlines()
    head, times, titles, running, best, dashboard = (line.rstrip() for line in picture[:6])
    assert head == "valve   1 running, 2 finished, 0 pruned, 1 failed of 6"
    assert "elapsed, about" in times
    assert " ".join(titles.split()) == ("trial lr batch λ epoch train loss val loss score time")
    assert running.split()[:-2] == ["3", "0.001", "32", "10", "1/8", "0.5000", "0.7500"]
    assert best == "best so far  0.7500  trial 1: lr 0.1, batch size 32, λ 10, gmm p=2"
    assert dashboard == "Ray dashboard  127.0.0.1:8265"
    assert "trial 2: FAIL TrialError: it [bold] diverged" in shown
    assert "trial 1: COMPLETE" not in shown  # the table says it


def test_before_anything_ran_the_table_is_a_line() -> None:
    file = StringIO()
    follow(terminal(file), 6, []).on_search_end()
    text = file.getvalue()
    assert "valve   0 running, 0 finished, 0 pruned, 0 failed of 6" in text
    assert "0 s elapsed" in text
    assert "left" not in text
    assert "best so far" not in text


def test_the_terminal_is_given_back() -> None:
    file = StringIO()
    view = follow(terminal(file), 6, [])
    assert view.live.is_started
    view.on_search_end()
    assert not view.live.is_started
    assert file.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_an_epoch_of_a_trial_that_is_over_is_passed_over() -> None:
    file = StringIO()
    view = follow(Console(file=file), 1, [])
    view.on_epoch_end("valve", 7, epoch(8))
    assert file.getvalue() == ""


def test_the_time_left_counts_new_trials_and_begun_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("raysearch.report.live.time.monotonic", lambda: now)
    file = StringIO()
    view = follow(Console(file=file), 6, [complete(Proposal(0, Configuration(0.5, 64, 0.1)))])
    view.on_cluster_ready(Cluster("", "", (Node(2),)), Share(1, 1, 0, 2))
    view.on_trial_start("valve", PROPOSALS[0])
    view.on_trial_start("valve", PROPOSALS[1])
    now += 60
    view.on_epoch_end("valve", 2, epoch(4))  # half a trial
    end(view, complete(PROPOSALS[0]))
    # One and a half of five new trials took a minute; three and a half take 140 s.
    assert "[2/6, 1 min 00 s elapsed, about 2 min 20 s left]" in file.getvalue()


def test_the_best_of_all_is_the_first_of_equals() -> None:
    assert best_result([]) is None
    assert best_result([failed(PROPOSALS[0])]) is None
    records = [complete(p, s) for p, s in zip(PROPOSALS, (0.5, 0.8, 0.8, 0.0), strict=False)]
    best = best_result(records)
    assert best is not None
    assert best[0] is records[1]
    assert (best[1].inlier, best[1].p) == ("gmm", 2)
    zero = best_result([failed(PROPOSALS[0]), complete(PROPOSALS[1], 0.0)])
    assert zero is not None
    assert zero[1].val_score == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (42.4, "42 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def quiet() -> tuple[LiveView, StringIO]:
    file = StringIO()
    return follow(Console(file=file), 9, []), file


def test_a_cluster_that_was_joined_is_named_with_what_a_trial_holds() -> None:
    view, file = quiet()
    view.on_cluster_ready(Cluster("10.0.0.1:6379", "", (Node(4), Node(8, 2))), Share(2, 4, 1, 1))
    assert file.getvalue().splitlines() == [
        "valve: joined the Ray cluster at 10.0.0.1:6379 (2 machines)",
        "valve: 1 trial at once, 2 workers of 1 GPU, 4 CPUs each",
    ]


def test_a_pruned_trial_tells_how_far_it_came() -> None:
    view, file = quiet()
    epochs = tuple(Epoch(n, 1, 1, 0, 1, 1, 0, 1e-3, 1) for n in (1, 2))
    end(view, Record(PROPOSALS[0], State.PRUNED, "abc", 8, 0, "host", history=epochs))
    assert file.getvalue().startswith("trial 1: PRUNED after 2 of 8 epochs  [1/9, ")


def test_a_lost_trial_and_its_machine_are_named() -> None:
    view, file = quiet()
    view.on_trial_restart("valve", 3, "host2", "The actor died")
    assert file.getvalue() == (
        "trial 3: lost on host2 (The actor died); it resumes from its checkpoint\n"
    )


def test_a_machine_that_reads_recordings_says_so() -> None:
    view, file = quiet()
    view.on_trial_start("valve", PROPOSALS[0])
    view.on_recordings_read("valve", 1, "host2", 384)
    view.on_recordings_read("valve", 7, "host2", 384)  # an unknown trial
    assert file.getvalue().splitlines()[1:] == ["trial 1: host2 reads recordings: 384 so far"]


def test_scores_at_rungs_are_told_and_stay() -> None:
    view, file = quiet()
    view.on_trial_start("valve", PROPOSALS[0])
    view.on_epoch_end("valve", 1, replace(epoch(1), val_score=0.6))
    view.on_epoch_end("valve", 1, epoch(2))
    lines = file.getvalue().splitlines()
    assert lines[1].endswith("validation loss 0.7500, validation score 0.6000 so far")
    assert lines[2].endswith("validation loss 0.3750")
    end(view, Record(PROPOSALS[0], State.PRUNED, "abc", 8, 0, "host"))
    assert "PRUNED after 0 of 8 epochs, score 0.6000  [" in file.getvalue()


def test_whose_idea_a_trial_was_is_told() -> None:
    view, file = quiet()
    view.on_trial_start("valve", replace(PROPOSALS[0], origin="runs/fan trial 3"))
    view.on_trial_start("valve", replace(PROPOSALS[1], rerun_of=4, seed=2))
    first, second = file.getvalue().splitlines()
    assert first.endswith("λ 10 (from runs/fan trial 3)")
    assert second.endswith("λ 10 (finalist: trial 4 with seed 2)")


def test_several_studies_share_a_table_and_are_named() -> None:
    file = StringIO()
    studies = [Study(4, {}, "fan"), Study(4, {}, "valve")]
    view = start(terminal(file), studies)
    view.on_trial_start("valve", PROPOSALS[0])
    view.on_trial_start("fan", PROPOSALS[0])
    end(view, complete(PROPOSALS[1]), "fan")
    view.on_search_end()
    shown = file.getvalue()
    picture = [line.rstrip() for line in shown[shown.rindex("2 studies   ") :].splitlines()]
    assert picture[0] == "2 studies   2 running, 1 finished, 0 pruned, 0 failed of 8"
    assert picture[2].split()[:2] == ["study", "trial"]
    assert [line.split()[:2] for line in picture[3:5]] == [["fan", "1"], ["valve", "1"]]
    assert picture[5].startswith("best so far  0.7500  fan trial 2: lr 0.01")
    file = StringIO()
    plain = start(Console(file=file), studies)
    plain.on_trial_start("valve", PROPOSALS[2])
    assert file.getvalue().startswith("valve trial 3: lr 0.001")


def test_budgets_are_told() -> None:
    file = StringIO()
    study = Study(50, {}, device_seconds=1800.0)
    view = start(Console(file=file), [study], Budget(7200.0, 10.0))
    end(view, complete(PROPOSALS[0]))
    assert file.getvalue().endswith("2 h 00 min at most, 0.50 of 10 GPU hours]\n")
