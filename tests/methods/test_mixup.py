"""Mixup: one partner and one share a sample, for waveforms and labels alike."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from raysearch.methods.mixup import mixup
from tests.methods.labels import mixing_matrix, one_hot_batch

# A busy machine fails no test, and every run sees the same examples.
calm = settings(deadline=None, derandomize=True)


@calm
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.05, 0.2, 1.0, 8.0]))
def test_mixup_mixes_waveforms_and_labels_in_the_same_shares(
    seed: int, size: int, alpha: float
) -> None:
    targets, machine = one_hot_batch(size, 3, seed)
    waveforms = torch.from_numpy(np.random.default_rng(seed).normal(size=(size, 50)))
    before = [tensor.clone() for tensor in (waveforms, targets, machine)]
    generator = torch.Generator().manual_seed(seed)
    mixed = mixup(waveforms, targets, machine, alpha, generator)
    matrix = mixing_matrix(size, seed, alpha)
    for after, original in zip(mixed, before, strict=True):
        torch.testing.assert_close(after, matrix @ original, rtol=1e-12, atol=1e-12)
    for original, copy in zip((waveforms, targets, machine), before, strict=True):
        assert torch.equal(original, copy)


@calm
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_mixup_takes_one_partner_and_one_share_a_sample(seed: int, size: int) -> None:
    matrix = mixing_matrix(size, seed)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(size, dtype=torch.float64))
    assert (matrix >= 0).all()
    assert ((matrix > 0).sum(dim=1) <= 2).all()
    # One permutation: each sample is the partner of one other at most.
    assert ((matrix - torch.diag(matrix.diagonal()) > 0).sum(dim=0) <= 1).all()


def test_mixup_shares_follow_a_beta_distribution() -> None:
    matrix = mixing_matrix(1500, seed=3)
    mixed = (matrix > 0).sum(dim=1) == 2
    assert kstest(matrix.diagonal()[mixed].numpy(), "beta", args=(0.2, 0.2)).pvalue > 0.01


def test_mixup_keeps_a_target_of_the_least_share() -> None:
    """In float32 1 - share is 0 for some percent of all draws from Beta(0.2, 0.2)."""
    size = 1500
    eye, machine = torch.eye(size), torch.ones(size)
    matrix = mixup(eye, eye, machine, 0.2, torch.Generator().manual_seed(0))[0]
    shares = matrix.diagonal()
    least = torch.where(shares < 0.5, shares, matrix.sum(dim=1) - shares)
    partners = (matrix > 0).sum(dim=1)
    assert (least < 1e-8).sum() > 10
    assert (partners == 2).sum() >= size - 10


def test_mixup_draws_from_its_generator_alone() -> None:
    targets, machine = one_hot_batch(8, 3, 0)
    waveforms = torch.arange(80, dtype=torch.float32).view(8, 10)

    def run(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        mixed = mixup(waveforms, targets, machine, 0.2, torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), state)
        return mixed[0]

    assert torch.equal(run(1, 0), run(1, 99))
    assert not torch.equal(run(1, 0), run(2, 0))


def test_mixup_continues_from_the_state_of_its_generator() -> None:
    """Resumed trials rely on it."""
    targets, machine = one_hot_batch(8, 3, 0)
    waveforms = torch.arange(80, dtype=torch.float32).view(8, 10)
    generator = torch.Generator().manual_seed(5)
    first = mixup(waveforms, targets, machine, 0.2, generator)[0]
    state = generator.get_state()
    second = mixup(waveforms, targets, machine, 0.2, generator)[0]
    resumed = torch.Generator()
    resumed.set_state(state)
    assert not torch.equal(first, second)
    assert torch.equal(mixup(waveforms, targets, machine, 0.2, resumed)[0], second)


def test_mixup_keeps_dtypes() -> None:
    mixed = mixup(
        torch.zeros(4, 10), torch.zeros(4, 3), torch.ones(4), 0.2, torch.Generator().manual_seed(0)
    )
    assert [tensor.dtype for tensor in mixed] == [torch.float32] * 3
    torch.testing.assert_close(mixed[2], torch.ones(4))
