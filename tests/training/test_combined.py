"""The result of one configuration over several machine types."""

from statistics import fmean, harmonic_mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.training.combined import combine_results, combine_rows, machine_key
from raysearch.training.outcome import Epoch, InlierResult, TrialResult

AREAS = st.floats(0.01, 1)
ROWS = st.dictionaries(
    st.sampled_from(["fan", "pump", "valve"]),
    st.dictionaries(st.sampled_from("012"), st.tuples(AREAS, AREAS), min_size=1),
    min_size=1,
)


def row(areas: dict[str, tuple[float, float]], **changes: str) -> InlierResult:
    values = [value for pair in areas.values() for value in pair]
    auc, pauc = ({i: pair[k] for i, pair in areas.items()} for k in (0, 1))
    return InlierResult("gmm", 2, harmonic_mean(values), auc, pauc, **changes)


def epoch(number: int, loss: float, product: float | None = None) -> Epoch:
    return Epoch(number, loss, loss, product, 2 * loss, loss, product, 1e-3, 1.0)


def result(*losses: float, rows: tuple[InlierResult, ...] = ()) -> TrialResult:
    history = tuple(epoch(number, loss) for number, loss in enumerate(losses, 1))
    return TrialResult(rows, history, (1,), 1, min(losses, default=None), 3.0, 2.0)


@given(ROWS)
def test_the_score_is_the_harmonic_mean_of_all_aucs_and_paucs(
    areas: dict[str, dict[str, tuple[float, float]]],
) -> None:
    combined = combine_rows({machine: row(ids) for machine, ids in areas.items()})
    every = [value for ids in areas.values() for pair in ids.values() for value in pair]
    assert combined.val_score == pytest.approx(harmonic_mean(every))
    assert combined.spec == row({"0": (1.0, 1.0)}).spec
    for machine, ids in areas.items():
        for identity, (auc, pauc) in ids.items():
            key = machine_key(machine, identity)
            assert (combined.auc[key], combined.pauc[key]) == (auc, pauc)
    assert len(combined.auc) == len(every) / 2


def test_a_configuration_that_fails_on_a_machine_type_has_no_score() -> None:
    good, bad = row({"0": (0.9, 0.8)}), InlierResult("gmm", 2, error="ID 0: too few clips")
    combined = combine_rows({"fan": good, "valve": bad})
    assert combined == InlierResult("gmm", 2, error="valve: ID 0: too few clips")


def test_a_remark_names_its_machine_type() -> None:
    rows = {"fan": row({"0": (0.9, 0.8)}), "valve": row({"0": (0.9, 0.8)}, remark="few segments")}
    assert combine_rows(rows).remark == "valve: few segments"


def test_a_trial_has_the_mean_losses_and_the_time_of_all_encoders() -> None:
    good = row({"0": (0.9, 0.8)})
    combined = combine_results(
        {"fan": result(4.0, 2.0, rows=(good,)), "valve": result(2.0, 3.0, rows=(good,))}
    )
    assert [(e.epoch, e.train_loss, e.val_loss, e.seconds) for e in combined.history] == [
        (1, 3.0, 6.0, 2.0),
        (2, 2.5, 5.0, 2.0),
    ]
    assert combined.history[0].train_product_loss is None
    assert combined.val_loss == fmean([2.0, 2.0])
    assert (combined.train_seconds, combined.score_seconds) == (6.0, 4.0)
    assert combined.best_epoch is None
    assert combined.resumes == (1, 1)
    assert [r.auc for r in combined.rows] == [{"fan/0": 0.9, "valve/0": 0.9}]


def test_what_is_not_trained_has_no_epochs() -> None:
    good = row({"0": (0.9, 0.8)})
    combined = combine_results({"fan": result(rows=(good,)), "valve": result(rows=(good,))})
    assert (combined.history, combined.val_loss) == ((), None)
