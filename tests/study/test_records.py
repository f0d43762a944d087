"""Records of trials that ended early."""

from raysearch.study.records import Proposal, Record, State
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import Epoch
from tests.tiny import TINY

PROPOSAL = Proposal(7, Configuration(1e-3, 32, 1.0))
CONFIG = PROPOSAL.config("valve", "data", 3, TINY)


def test_a_failed_trial_has_its_encoder_its_cost_and_a_reason() -> None:
    record = Record.failed(
        PROPOSAL, CONFIG, "the loss is NaN", train_seconds=5.0, host="node", devices=0.5
    )
    expected = Record(
        PROPOSAL,
        State.FAIL,
        CONFIG.signature(),
        TINY.epochs,
        3,
        "node",
        train_seconds=5.0,
        error="the loss is NaN",
        devices=0.5,
    )
    assert record == expected
    assert record.device_seconds == 2.5
    assert Record.from_json(record.to_json()) == record


def test_a_pruned_trial_has_the_epoch_of_its_least_validation_loss() -> None:
    losses = (0.9, 0.4, 0.7)
    history = tuple(
        Epoch(number, 1.0, None, None, loss, None, None, 1e-3, 2.0)
        for number, loss in enumerate(losses, start=1)
    )
    record = Record.pruned(PROPOSAL, CONFIG, history, (2,), host="node", devices=2.0)
    assert (record.state, record.best_epoch, record.val_loss) == (State.PRUNED, 2, 0.4)
    assert (record.encoder, record.epochs, record.seed) == (CONFIG.signature(), TINY.epochs, 3)
    assert (record.history, record.resumes, record.rows) == (history, (2,), ())
    assert (record.train_seconds, record.device_seconds) == (6.0, 12.0)
    assert Record.from_json(record.to_json()) == record
