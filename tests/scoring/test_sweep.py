import numpy as np
import pytest
from numpy.typing import NDArray

from raysearch.scoring.fitting import in_parallel
from raysearch.scoring.inlier import BLOCK, InlierModel, InlierSpec, fit, load, restore
from raysearch.scoring.sweep import families, score_family

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
    specs = [InlierSpec(name, p) for name in ("gmm", "lof", "knn") for p in P]
    for spec in specs:
        load(spec)

    def score(family: tuple[InlierSpec, ...]) -> list[NDArray[np.float64]]:
        return score_family([make(spec, normal) for spec in family], unseen)

    jobs = families(specs)
    single, several = (in_parallel(score, jobs, threads) for threads in (1, 3))
    for expected, scores in zip(single, several, strict=True):
        np.testing.assert_array_equal(np.stack(scores), np.stack(expected))
