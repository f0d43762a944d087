"""What Tune is handed: trials as configurations that travel, until the queue is at its end."""

from pathlib import Path

from raysearch.search.study import Proposal
from raysearch.search.tuning import _Searcher
from tests.search.agendas import end, make_agenda, space


def test_trials_are_handed_out_as_plain_configurations(tmp_path: Path) -> None:
    agenda = make_agenda(tmp_path / "valve", space(trials=1))
    searcher = _Searcher([agenda], 1)
    found = searcher.suggest("a")
    assert isinstance(found, dict)
    proposal = Proposal(**found["proposal"])
    assert found == {"study": "valve", "number": 0, "proposal": found["proposal"]}
    assert agenda.proposals == [proposal]
    # Nothing to do just now is not the end.
    assert searcher.suggest("b") is None
    end(agenda, proposal)
    searcher.on_trial_complete("a")
    assert searcher.suggest("b") == "FINISHED"


def test_a_study_that_is_over_has_nothing_to_hand_out(tmp_path: Path) -> None:
    before = make_agenda(tmp_path / "valve", space(trials=1))
    proposal = before.next(())
    assert proposal is not None
    end(before, proposal)
    again = make_agenda(tmp_path / "valve", space(trials=1))
    assert _Searcher([again], 1).suggest("a") == "FINISHED"
