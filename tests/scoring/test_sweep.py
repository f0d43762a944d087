import numpy as np
import pytest
from numpy.typing import NDArray

from raysearch.scoring.inlier import BLOCK, FitError, InlierModel, InlierSpec, fit, restore
from raysearch.scoring.sweep import families, score_family, score_sweep

Rows = NDArray[np.float32]
P = (1, 2, 4, 8, 16, 32, 64)


@pytest.fixture
def normal() -> Rows:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6, 40))[np.arange(150) % 6] + 0.5 * rng.standard_normal((150, 40))
    rows[120:] = rows[:30]  # a clip that was repeated
    return np.asarray(rows, np.float32)


@pytest.fixture
def unseen(normal: Rows) -> Rows:
    rng = np.random.default_rng(1)
    rows = 2 * rng.standard_normal((BLOCK + 100, 40), np.float32)
    return np.concatenate([rows, normal[:10]])


def make(spec: InlierSpec, rows: Rows) -> InlierModel:
    return fit(spec, rows, seed=0, reg_covar=1e-6, direct=None)


def test_models_of_a_family_share_a_search() -> None:
    gmms = [InlierSpec("gmm", p) for p in (1, 4)]
    lofs = [InlierSpec("lof", p) for p in (1, 64, 65, 16)]
    knn, cosine = InlierSpec("knn", 5), InlierSpec("knn_cosine", 5)
    rest = [InlierSpec("knn_local", 5), InlierSpec("none", None)]
    assert families([*gmms, *lofs, knn, cosine, *rest]) == [
        (lofs[2],),
        (lofs[1], lofs[3], knn, lofs[0]),
        (cosine,),
        (rest[0],),
        (gmms[1],),
        (gmms[0],),
        (rest[1],),
    ]
    assert families([]) == []
    assert families([knn, knn]) == [(knn,)]


@pytest.mark.parametrize(
    "family",
    [
        [InlierSpec("lof", p) for p in P] + [InlierSpec("knn", p) for p in P],
        [InlierSpec("knn_cosine", p) for p in P],
        [InlierSpec("lof", 100)],
        [InlierSpec("gmm", 2)],
    ],
    ids=str,
)
def test_a_model_scores_with_its_family_as_alone(
    family: list[InlierSpec], normal: Rows, unseen: Rows
) -> None:
    together = score_family([make(spec, normal) for spec in family], unseen)
    for spec, scores in zip(family, together, strict=True):
        alone = make(spec, normal)
        np.testing.assert_array_equal(scores, alone.score(unseen), err_msg=str(spec))
        stored = restore(spec.name, spec.p, alone.arrays())
        np.testing.assert_array_equal(scores, stored.score(unseen), err_msg=str(spec))


def test_no_segments_and_no_models(normal: Rows, unseen: Rows) -> None:
    models = [make(InlierSpec("lof", p), normal) for p in (1, 2)]
    assert [scores.shape for scores in score_family(models, unseen[:0])] == [(0,), (0,)]
    assert score_family([], unseen) == []


def test_embeddings_that_are_not_finite_are_refused(normal: Rows, unseen: Rows) -> None:
    unseen[3, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        score_family([make(InlierSpec("lof", p), normal) for p in (1, 2)], unseen)


def test_a_sweep_gives_the_same_digits_in_several_threads(normal: Rows, unseen: Rows) -> None:
    specs = [InlierSpec(name, p) for name in ("gmm", "gmm_diag", "lof", "knn") for p in P]
    fits = {"0": normal, "1": normal[:100] * 2}
    tests = dict.fromkeys(fits, unseen)

    def fit_one(spec: InlierSpec, identity: str) -> InlierModel:
        return make(spec, fits[identity])

    single, several = (score_sweep(specs, [*fits], tests, fit_one, n) for n in (1, 3))
    assert single.keys() == several.keys() == {(spec, i) for spec in specs for i in fits}
    for (spec, identity), scores in several.items():
        assert isinstance(scores, np.ndarray)
        np.testing.assert_array_equal(scores, single[spec, identity], err_msg=str(spec))
        np.testing.assert_array_equal(scores, fit_one(spec, identity).score(unseen))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_outcome_is_scores_or_nothing_or_a_reason(
    normal: Rows, unseen: Rows, threads: int
) -> None:
    specs = [InlierSpec("lof", p) for p in (1, 64)]
    fits = {"0": normal[:20], "1": normal, "2": normal, "3": normal}
    nan = np.full_like(unseen, np.nan)

    def fit_one(spec: InlierSpec, identity: str) -> InlierModel:
        return make(spec, fits[identity])

    tests = {"0": unseen, "2": unseen, "3": nan}
    outcomes = score_sweep(specs, [*fits], tests, fit_one, threads)
    few, many = specs
    for scored in (outcomes[few, "0"], outcomes[many, "2"]):
        assert isinstance(scored, np.ndarray)
        assert scored.shape == (len(unseen),)
    assert isinstance(outcomes[many, "0"], FitError)
    assert "needs at least 65 segments, has 20" in str(outcomes[many, "0"])
    assert outcomes[few, "1"] is None
    assert [str(outcomes[spec, "3"]) for spec in specs] == ["embeddings are not finite"] * 2
