"""What the terminal shows of a running search."""

from collections.abc import Mapping
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from raysearch.report.live import LiveView, best_of, duration
from raysearch.search.resources import Cluster, Node, Share
from raysearch.search.study import Proposal, Record, State
from raysearch.train import Epoch
from raysearch.trial import InlierResult

PROPOSALS = [Proposal(n, 10**-n, 32, 10.0) for n in range(1, 6)]


def complete(proposal: Proposal, score: float = 0.75) -> Record:
    rows = (
        InlierResult("gmm", 2, score),
        InlierResult("lof", 4, score - 0.1),
        InlierResult("gmm", 64, error="too few segments"),
    )
    return Record(proposal, State.COMPLETE, "abc", 8, 0, "host", rows=rows)


def failed(proposal: Proposal) -> Record:
    return Record(proposal, State.FAIL, "abc", 8, 0, "host", error="TrialError: it [bold] diverged")


def epoch(number: int) -> Mapping[str, float]:
    return {"epoch": number, "train_loss": 0.5 / number, "val_loss": 0.75 / number}


def run(console: Console, done: list[Record] | None = None) -> LiveView:
    """A short search: one trial is scored, one fails, one runs."""
    view = LiveView(console, "valve", trials=6, epochs=8, done=done or [])
    with view:
        view.cluster(Cluster("", "127.0.0.1:8265", (Node(2),)), Share(1, 1, 0, 2))
        for proposal in PROPOSALS[:3]:
            view.started(proposal)
        for number in range(1, 9):
            view.epoch(1, epoch(number))
        view.finished(complete(PROPOSALS[0]))
        view.finished(failed(PROPOSALS[1]))
        view.epoch(3, epoch(1))
        view.tick()
    return view


@pytest.fixture
def lines() -> list[str]:
    file = StringIO()
    run(Console(file=file, width=60))
    return file.getvalue().splitlines()


def test_without_a_terminal_there_are_plain_lines(lines: list[str]):
    assert lines[0] == "valve: 2 trials at once, 1 CPU each; Ray dashboard at 127.0.0.1:8265"
    assert lines[1] == "trial 1: lr 0.1, batch size 32, λ 10"
    assert not any("\x1b" in line for line in lines)
    assert not any("best so far" in line for line in lines)


def test_plain_lines_tell_some_epochs_and_always_the_last(lines: list[str]):
    epochs = [line for line in lines if "epoch" in line]
    assert epochs == [
        f"trial 1: epoch {n}/8, training loss {0.5 / n:.4f}, validation loss {0.75 / n:.4f}"
        for n in (2, 4, 6, 8)
    ]


def test_plain_lines_tell_how_trials_ended(lines: list[str]):
    done = next(line for line in lines if "COMPLETE" in line)
    assert done.startswith("trial 1: COMPLETE 0.7500 with gmm p=2  [1/6, ")
    assert "elapsed" in done
    assert "left" in done
    bad = next(line for line in lines if "FAIL" in line)
    assert bad.startswith("trial 2: FAIL TrialError: it [bold] diverged  [2/6, ")


def test_a_trial_without_a_score_tells_why():
    file = StringIO()
    view = LiveView(Console(file=file), "valve", 1, 8, [])
    row = InlierResult("gmm", 64, error="too few segments")
    other = InlierResult("lof", 64, error="too few neighbours")
    view.started(PROPOSALS[0])
    view.finished(replace(complete(PROPOSALS[0]), rows=(row, other, row)))
    assert "COMPLETE too few segments; too few neighbours  [1/1" in file.getvalue()


def test_one_trial_at_once_without_a_dashboard():
    file = StringIO()
    view = LiveView(Console(file=file), "valve", 1, 8, [])
    view.cluster(Cluster("", "", (Node(4),)), Share(1, 4, 0, 1))
    assert file.getvalue() == "valve: 1 trial at once, 4 CPUs each\n"


def terminal(file: StringIO) -> Console:
    return Console(file=file, force_terminal=True, color_system=None, width=110, _environ={})


def test_on_a_terminal_there_is_a_table():
    file = StringIO()
    earlier = [complete(Proposal(0, 0.5, 64, 0.1, "gmm", 2), 0.5)]
    run(terminal(file), earlier)
    shown = file.getvalue()
    picture = shown[shown.rindex("valve   ") :].splitlines()
    head, titles, running, best, dashboard = (line.rstrip() for line in picture[:5])
    assert head.startswith("valve   1 running, 2 finished, 0 pruned, 1 failed of 6   ")
    assert "elapsed, about" in head
    assert " ".join(titles.split()) == "trial lr batch λ epoch train loss val loss time"
    assert running.split()[:-2] == ["3", "0.001", "32", "10", "1/8", "0.5000", "0.7500"]
    assert best == "best so far  0.7500  trial 1: lr 0.1, batch size 32, λ 10, gmm p=2"
    assert dashboard == "Ray dashboard  127.0.0.1:8265"
    assert "trial 2: FAIL TrialError: it [bold] diverged" in shown
    assert "trial 1: COMPLETE" not in shown  # the table says it


def test_before_anything_ran_the_table_is_a_line():
    file = StringIO()
    with LiveView(terminal(file), "valve", 6, 8, []):
        pass
    text = file.getvalue()
    assert "valve   0 running, 0 finished, 0 pruned, 0 failed of 6   0 s elapsed" in text
    assert "left" not in text
    assert "best so far" not in text


def test_the_terminal_is_given_back():
    file = StringIO()
    view = LiveView(terminal(file), "valve", 6, 8, [])
    with pytest.raises(KeyboardInterrupt), view:
        raise KeyboardInterrupt
    assert not view.live.is_started
    assert file.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_an_epoch_of_a_trial_that_is_over_is_passed_over():
    file = StringIO()
    view = LiveView(Console(file=file), "valve", 1, 8, [])
    view.epoch(7, epoch(8))
    assert file.getvalue() == ""


def test_the_time_left_counts_new_trials_and_begun_epochs(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr("raysearch.report.live.time.monotonic", lambda: now)
    file = StringIO()
    view = LiveView(Console(file=file), "valve", 6, 8, [complete(Proposal(0, 0.5, 64, 0.1))])
    view.cluster(Cluster("", "", (Node(2),)), Share(1, 1, 0, 2))
    view.started(PROPOSALS[0])
    view.started(PROPOSALS[1])
    now += 60
    view.epoch(2, epoch(4))  # half a trial
    view.finished(complete(PROPOSALS[0]))
    # One and a half of five new trials took a minute; three and a half take 140 s.
    assert "[2/6, 1 min 00 s elapsed, about 2 min 20 s left]" in file.getvalue()


def test_the_best_of_all_is_the_first_of_equals():
    assert best_of([]) is None
    assert best_of([failed(PROPOSALS[0])]) is None
    records = [complete(p, s) for p, s in zip(PROPOSALS, (0.5, 0.8, 0.8, 0.0), strict=False)]
    best = best_of(records)
    assert best is not None
    assert best[0] is records[1]
    assert (best[1].inlier, best[1].p) == ("gmm", 2)
    zero = best_of([failed(PROPOSALS[0]), complete(PROPOSALS[1], 0.0)])
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
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


def quiet() -> tuple[LiveView, StringIO]:
    file = StringIO()
    return LiveView(Console(file=file), "valve", 9, 8, []), file


def test_a_cluster_that_was_joined_is_named_with_what_a_trial_holds():
    view, file = quiet()
    view.cluster(Cluster("10.0.0.1:6379", "", (Node(4), Node(8, 2))), Share(2, 4, 1, 1))
    assert file.getvalue().splitlines() == [
        "valve: joined the Ray cluster at 10.0.0.1:6379 (2 machines)",
        "valve: 1 trial at once, 2 workers of 1 GPU, 4 CPUs each",
    ]


def test_a_pruned_trial_tells_how_far_it_came():
    view, file = quiet()
    epochs = tuple(Epoch(n, 1, 1, 0, 1, 1, 0, 1e-3, 1) for n in (1, 2))
    view.finished(Record(PROPOSALS[0], State.PRUNED, "abc", 8, 0, "host", history=epochs))
    assert file.getvalue().startswith("trial 1: PRUNED after 2 of 8 epochs  [1/9, ")


def test_a_lost_trial_and_its_machine_are_named():
    view, file = quiet()
    view.lost(3, "host2", "The actor died")
    assert file.getvalue() == (
        "trial 3: lost on host2 (The actor died); it goes on from its checkpoint\n"
    )


def test_a_machine_that_fails_one_trial_after_the_other_is_named():
    view, file = quiet()
    bad = [replace(failed(proposal), host="bad") for proposal in PROPOSALS]
    view.finished(bad[0])
    view.lost(1, "bad", "it died")
    view.finished(replace(complete(PROPOSALS[1]), host="good"))
    assert "in a row" not in file.getvalue()
    view.finished(bad[2])
    assert file.getvalue().splitlines()[-1].startswith("bad failed 3 times in a row; look at it")


def test_a_trial_that_succeeds_clears_its_machine():
    view, file = quiet()
    for proposal in PROPOSALS:
        view.finished(failed(proposal))
        view.finished(complete(proposal))
    assert "in a row" not in file.getvalue()


def test_a_machine_that_reads_recordings_says_so():
    view, file = quiet()
    view.started(PROPOSALS[0])
    view.reading(1, "host2", 384)
    view.reading(7, "host2", 384)  # nobody knows it
    assert file.getvalue().splitlines()[1:] == ["trial 1: host2 reads recordings: 384 so far"]
