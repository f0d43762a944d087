"""Equations 1 and 2 against plain transcriptions in float64 numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from raysearch.methods.losses import machine_loss, product_loss
from raysearch.methods.mixup import mixup
from tests.methods.labels import mixing_matrix, one_hot_batch

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


@calm
@given(batches())
def test_equations_1_and_2(batch: Batch) -> None:
    logits, targets, machine, machine_logits = batch
    tensors = [torch.from_numpy(array) for array in batch]
    product = product_loss(*tensors[:3])
    binary = machine_loss(tensors[3], tensors[2])
    expected_product = equation_1(logits, targets, machine)
    expected_machine = equation_2(machine_logits, machine)
    assert product.item() == pytest.approx(expected_product, rel=1e-6, abs=1e-6)
    assert binary.item() == pytest.approx(expected_machine, rel=1e-6, abs=1e-6)
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
