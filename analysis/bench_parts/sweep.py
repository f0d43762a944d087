"""The inlier sweep of a trial: all Gaussian mixtures and outlier factors of the default space.

The plain side is a loop over product IDs and settings with scikit-learn, with as many threads as
BLAS and OpenMP take by themselves. The embeddings are synthetic: a product ID is a few states of a
machine, each of a low rank, and an anomaly is a shift of the clip.
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from bench_parts.duel import Duel
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor

from raysearch.scoring.aggregate import aggregate
from raysearch.scoring.inlier import InlierModel, InlierSpec, fit
from raysearch.scoring.metrics import auc_pauc
from raysearch.scoring.sweep import score_sweep

SETTINGS = tuple(InlierSpec(name, p) for name in ("gmm", "lof") for p in (1, 2, 4, 8, 16, 32, 64))
"""Inlier models of search_spaces/default.yaml."""

REG_COVAR = 1e-6
"""Default of the option of the same name."""

STATES, RANK = 6, 16
SHIFTS = (0.8, 1.2, 1.6)
"""Shifts of the anomalies of the judged IDs, from hard to easy."""

Areas = dict[tuple[InlierSpec, str], float]
"""AUC by inlier model and product ID."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a sweep.

    Attributes:
        ids: product IDs that models are fitted for.
        judged: those of them whose test clips are scored.
        fitted: clips that the models of an ID are fitted to.
        tested: test clips of a judged ID, half of them anomalies.
        segments: of a clip.
        dim: dimensions of an embedding.
    """

    ids: int = 6
    judged: int = 3
    fitted: int = 100
    tested: int = 200
    segments: int = 10
    dim: int = 128


@dataclass(frozen=True)
class Machine:
    """A synthetic product ID, which makes embeddings of clips.

    Attributes:
        rng: source of all that is random.
        sizes: of the sweep.
    """

    rng: np.random.Generator
    sizes: Sizes

    @cached_property
    def states(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Centres (K, D) and axes (K, D, R) of the states."""
        dim = self.sizes.dim
        centres = 0.6 * self.rng.standard_normal((STATES, dim))
        return centres, 0.04 * self.rng.standard_normal((STATES, dim, RANK))

    def clips(self, count: int, shifts: NDArray[Any]) -> NDArray[np.float32]:
        """Return the segments (N, D) of clips, which are shifted by some lengths (C,)."""
        segments, dim, normal = self.sizes.segments, self.sizes.dim, self.rng.standard_normal
        centres, axes = self.states
        state = self.rng.integers(STATES, size=count)
        inner = normal((count, 1, RANK)) + 0.5 * normal((count, segments, RANK))
        rows = centres[state][:, None] + np.einsum("csr,cdr->csd", inner, axes[state])
        rows += 0.12 * normal((count, 1, dim)) + 0.1 * normal((count, segments, dim))
        directions = normal((count, 1, dim))
        directions /= np.linalg.norm(directions, axis=2, keepdims=True)
        rows += shifts[:, None, None] * directions
        return np.asarray(rows.reshape(-1, dim), np.float32)


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a sweep.

    Attributes:
        sizes: of the sweep.
        fits: segments (N, D) that models are fitted to, by product ID.
        tests: segments (N, D) that are scored, by product ID.
        labels: of the test clips (C,), 1 for an anomaly.
    """

    sizes: Sizes
    fits: Mapping[str, NDArray[Any]]
    tests: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64]

    def areas(self, scores: Mapping[tuple[InlierSpec, str], NDArray[Any]]) -> Areas:
        """Return the AUC by inlier model and ID from the scores (N,) of segments."""
        counts = np.full(self.sizes.tested, self.sizes.segments)
        return {
            key: auc_pauc(self.labels, aggregate(key[0].name, segments, counts, {}))[0]
            for key, segments in scores.items()
        }


def make_embeddings(sizes: Sizes) -> Embeddings:
    """Make the embeddings of a sweep; equal sizes give equal ones."""
    labels = np.arange(sizes.tested) % 2
    fits, tests = {}, {}
    for k in range(sizes.ids):
        machine = Machine(np.random.default_rng(k), sizes)
        fits[str(k)] = machine.clips(sizes.fitted, np.zeros(sizes.fitted))
        if k < sizes.judged:
            tests[str(k)] = machine.clips(sizes.tested, SHIFTS[k % len(SHIFTS)] * labels)
    return Embeddings(sizes, fits, tests, labels)


def plain_sweep(embeddings: Embeddings) -> Areas:
    """Fit and score every setting for every ID by itself with scikit-learn."""
    scores: dict[tuple[InlierSpec, str], NDArray[Any]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for identity, rows in embeddings.fits.items():
            for spec in SETTINGS:
                assert isinstance(spec.p, int)
                if spec.name == "gmm":
                    model = GaussianMixture(spec.p, reg_covar=REG_COVAR, random_state=0)
                else:
                    model = LocalOutlierFactor(spec.p, novelty=True)
                model.fit(rows.astype(np.float64))
                if identity in embeddings.tests:
                    unseen = embeddings.tests[identity].astype(np.float64)
                    scores[spec, identity] = -model.score_samples(unseen)
    return embeddings.areas(scores)


def our_sweep(embeddings: Embeddings) -> Areas:
    """Fit and score as a trial does, on all CPUs."""

    def fit_one(spec: InlierSpec, identity: str) -> InlierModel:
        rows = embeddings.fits[identity]
        return fit(spec, rows, seed=0, reg_covar=REG_COVAR, direct=None)

    threads = len(os.sched_getaffinity(0))
    outcomes = score_sweep(SETTINGS, [*embeddings.fits], embeddings.tests, fit_one, threads)
    for outcome in outcomes.values():
        if isinstance(outcome, ValueError):
            raise outcome
    return embeddings.areas({k: v for k, v in outcomes.items() if isinstance(v, np.ndarray)})


def sweep_duel(sizes: Sizes | None = None) -> Duel:
    """Return the sweep of a trial of the default space, by default at the size of DCASE 2021."""
    sizes = sizes or Sizes()
    embeddings = make_embeddings(sizes)
    return Duel(
        part="inlier sweep",
        unit="models",
        amount=sizes.ids * len(SETTINGS),
        plain=partial(plain_sweep, embeddings),
        raysearch=partial(our_sweep, embeddings),
        remark=(
            f"{len(SETTINGS)} settings of {sizes.ids} IDs, {sizes.fitted} clips of "
            f"{sizes.segments} segments each; {sizes.judged} IDs scored with {sizes.tested} clips; "
            "scikit-learn with all threads"
        ),
    )


def auc_difference(sizes: Sizes | None = None) -> float:
    """Return the largest difference of AUC between both sides, in points (hundredths)."""
    embeddings = make_embeddings(sizes or Sizes())
    plain, fast = plain_sweep(embeddings), our_sweep(embeddings)
    assert plain.keys() == fast.keys()
    return max(abs(100 * (plain[key] - fast[key])) for key in plain)
