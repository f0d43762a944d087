"""What Tune is handed: trials as configurations that travel, until the queue is at its end."""

from pathlib import Path

from raysearch.search.study import Proposal
from raysearch.search.tracking import to_config, to_proposal
from raysearch.search.tuning import _Searcher
from tests.search.agendas import end, make_agenda, space


def test_trials_are_handed_out_as_plain_configurations(tmp_path: Path) -> None:
    agenda = make_agenda(tmp_path / "valve", space(trials=1))
    searcher = _Searcher([agenda], 1)
    found = searcher.suggest("a")
    assert isinstance(found, dict)
    [proposal] = agenda.proposals
    facts = {"lr": proposal.lr, "batch_size": proposal.batch_size, "lambda": proposal.lam}
    assert found == {"study": "valve", "number": 0, **facts}
    assert to_proposal(found) == proposal
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


def test_every_part_of_a_proposal_comes_through() -> None:
    proposal = Proposal(7, 1e-3, 32, 10.0, "gmm", 4.0, seed=3, rerun_of=1, origin="fan trial 2")
    config = to_config("valve", proposal)
    assert config["lambda"] == 10.0
    assert None not in config.values()
    assert to_proposal(config) == proposal
    assert to_proposal(to_config("valve", Proposal(0, 1e-3, 32, 10.0))) == Proposal(
        0, 1e-3, 32, 10.0
    )
