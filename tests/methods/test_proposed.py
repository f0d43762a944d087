"""Equations 1-3 and Mixup against plain transcriptions in float64 numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import kstest
from torch import Tensor

from raysearch.methods.proposed import machine_loss, mixup, product_loss, total_loss

# A busy machine fails no test, and every run sees the same examples.
calm = settings(deadline=None, derandomize=True)

Floats = NDArray[np.float64]
Batch = tuple[Floats, Floats, Floats, Floats]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def equation_1(logits: Floats, targets: Floats, machine: Floats) -> float:
    ids = logits.shape[1]
    mask = [1 if t > 0 else 0 for t in machine]
    total = 0.0
    for i, m in enumerate(mask):
        for k in range(ids):
            y, s = targets[i, k], sigmoid(logits[i, k])
            total += m * (y * math.log(s) + (1 - y) * math.log(1 - s))
    return -total / (ids * sum(mask)) if sum(mask) else 0.0


def equation_2(logits: Floats, machine: Floats) -> float:
    total = 0.0
    for z, t in zip(logits, machine, strict=True):
        total += t * math.log(sigmoid(z)) + (1 - t) * math.log(1 - sigmoid(z))
    return -total / len(logits)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Logits (B, K), soft targets (B, K), soft machine (B,) with zeros, machine logits (B,)."""
    size, ids = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    logit, share = st.floats(-15, 15), st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
    return (
        draw(arrays(np.float64, (size, ids), elements=logit)),
        draw(arrays(np.float64, (size, ids), elements=share)),
        draw(arrays(np.float64, size, elements=share)),
        draw(arrays(np.float64, size, elements=logit)),
    )


def one_hot_batch(size: int, ids: int, seed: int) -> tuple[Tensor, Tensor]:
    """Targets and machine of a batch, half of it other machines."""
    rng = np.random.default_rng(seed)
    machine = (np.arange(size) % 2).astype(np.float64)
    targets = np.eye(ids)[rng.integers(0, ids, size)] * machine[:, None]
    return torch.from_numpy(targets), torch.from_numpy(machine)


def mixing_matrix(size: int, seed: int, alpha: float = 0.2) -> Tensor:
    """M (B, B) with mixed = M @ batch: what Mixup does to unit vectors."""
    eye = torch.eye(size, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return mixup(eye, eye, torch.ones(size, dtype=torch.float64), alpha, generator)[0]


@calm
@given(batches(), st.sampled_from([0.0, 0.1, 1.0, 10.0]))
def test_equations_1_to_3(batch: Batch, lam: float) -> None:
    logits, targets, machine, machine_logits = batch
    tensors = [torch.from_numpy(array) for array in batch]
    product = product_loss(*tensors[:3])
    binary = machine_loss(tensors[3], tensors[2])
    expected_product = equation_1(logits, targets, machine)
    expected_machine = equation_2(machine_logits, machine)
    assert product.item() == pytest.approx(expected_product, rel=1e-6, abs=1e-6)
    assert binary.item() == pytest.approx(expected_machine, rel=1e-6, abs=1e-6)
    assert total_loss(binary, product, lam).item() == pytest.approx(
        expected_machine + lam * expected_product, rel=1e-6, abs=1e-6
    )
    assert product.shape == binary.shape == ()


@calm
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_a_mixed_sample_counts_as_soon_as_a_target_is_in_the_mix(seed: int, size: int) -> None:
    targets, machine = one_hot_batch(size, 3, seed)
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(size, 3)) * 3)
    generator = torch.Generator().manual_seed(seed)
    _, mixed_targets, mixed_machine = mixup(
        torch.zeros(size, 4, dtype=torch.float64), targets, machine, 0.2, generator
    )
    matrix = mixing_matrix(size, seed).numpy()
    # Who is in the mix, from the matrix alone: not from the mixed labels.
    holds_target = [
        float(any(matrix[i, j] > 0 and machine[j] for j in range(size))) for i in range(size)
    ]
    expected = equation_1(logits.numpy(), matrix @ targets.numpy(), np.array(holds_target))
    loss = product_loss(logits, mixed_targets, mixed_machine)
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_other_machines_do_not_touch_the_product_loss() -> None:
    targets, machine = one_hot_batch(6, 3, 0)
    logits = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    loss = product_loss(logits, targets, machine)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad[machine == 0] == 0).all()
    assert (logits.grad[machine == 1] != 0).all()
    changed = torch.where(machine[:, None] > 0, logits, 7.0)
    assert product_loss(changed, targets, machine).item() == loss.item()


def test_without_a_target_the_product_loss_is_zero_and_has_a_gradient() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = product_loss(logits, torch.zeros(4, 3), torch.zeros(4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_losses_are_stable_for_large_logits() -> None:
    logits = torch.tensor([1e4, -1e4], requires_grad=True)
    wrong = torch.tensor([0.0, 1.0])
    loss = machine_loss(logits, wrong) + product_loss(logits[:, None], wrong[:, None], wrong + 1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert loss.item() == pytest.approx(2e4)
    assert logits.grad.tolist() == pytest.approx([1.0, -1.0])


def test_half_precision_logits_keep_soft_labels() -> None:
    """0.001 is lost beside 1 in bfloat16, as 1 - 0.001 = 1 there."""
    logits, soft = torch.tensor([4.0, -2.0]), torch.tensor([0.999, 0.001])
    expected = machine_loss(logits, soft)
    for dtype in (torch.bfloat16, torch.float16):
        assert machine_loss(logits.to(dtype), soft).item() == expected.item()
        assert product_loss(logits[:, None].to(dtype), soft[:, None], soft).item() == pytest.approx(
            expected.item()
        )


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


@calm
@given(batches(), st.integers(1, 4))
def test_losses_of_parts_add_up_to_those_of_the_batch(batch: Batch, parts: int) -> None:
    logits, targets, machine, machine_logits = (torch.from_numpy(array) for array in batch)
    logits.requires_grad_()
    machine_logits.requires_grad_()
    holders = (machine > 0).sum()
    whole = torch.stack(
        [product_loss(logits, targets, machine), machine_loss(machine_logits, machine)]
    )
    losses_of_parts = [
        torch.stack(
            [
                product_loss(logits[k::parts], targets[k::parts], machine[k::parts], holders),
                machine_loss(machine_logits[k::parts], machine[k::parts], len(machine)),
            ]
        )
        for k in range(min(parts, len(machine)))
    ]
    split = torch.stack(losses_of_parts).sum(dim=0)
    torch.testing.assert_close(split, whole)
    for at_once, summed in zip(
        torch.autograd.grad(whole.sum(), [logits, machine_logits]),
        torch.autograd.grad(split.sum(), [logits, machine_logits]),
        strict=True,
    ):
        torch.testing.assert_close(summed, at_once)
