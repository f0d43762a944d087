"""The proposed method: its heads, equation 3, and its ablations."""

from typing import Literal

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor

from raysearch.methods.losses import machine_loss, product_loss
from raysearch.methods.method import Labels
from raysearch.methods.proposed import MachineHead, OutlierExposureEncoder, Proposed
from tests.methods.labels import one_hot_batch
from tests.tiny import TINY

K, D = 5, 12


def network(**options: object) -> OutlierExposureEncoder:
    torch.manual_seed(0)
    changed = TINY.model_copy(update={"embedding": D} | options)
    return Proposed(changed).network(K, pretrained=False).eval()


def batch(size: int = 8) -> tuple[Tensor, Labels]:
    """Product logits (B, K) and labels of a batch, half of it other machines."""
    products, machine = one_hot_batch(size, K, 0)
    logits = torch.randn(
        size, K, dtype=torch.float64, generator=torch.Generator().manual_seed(size)
    )
    return logits, Labels(products, machine, size, (machine > 0).sum())


@pytest.mark.parametrize(("divide", "divisor"), [(True, D), (False, 1)])
def test_the_machine_head_is_affine_in_the_squared_norm(divide: bool, divisor: int) -> None:
    model = network(divide_norm=divide)
    assert model.machine_head is not None
    embeddings = torch.randn(7, D)
    a, b = model.machine_head.weight.item(), model.machine_head.bias.item()
    _, logits = model.heads(embeddings)
    assert logits is not None
    expected = a * (embeddings**2).sum(dim=1) / divisor + b
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("sign", ["signed", "positive"])
def test_the_machine_head_begins_with_the_target_outside(
    sign: Literal["signed", "positive"],
) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        drawn = torch.nn.Linear(1, 1)
        torch.manual_seed(seed)
        head = MachineHead(sign)
        assert head.slope.item() == max(drawn.weight.abs().item(), 0.5)
        assert head.bias.item() == drawn.bias.item()


def test_only_a_signed_machine_head_may_turn() -> None:
    norm, optimum = torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [0.0]])
    slopes = {}
    for sign in ("signed", "positive"):
        torch.manual_seed(0)
        head = Proposed(TINY.model_copy(update={"machine_head": sign})).network(K, pretrained=False)
        assert head.machine_head is not None
        optimiser = torch.optim.Adam(head.machine_head.parameters(), lr=0.1)
        for _ in range(60):  # The sample at the centre is the target.
            optimiser.zero_grad()
            logits = head.machine_head(norm)
            torch.nn.functional.binary_cross_entropy_with_logits(logits, optimum).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        slopes[sign] = head.machine_head.slope.item()
    assert slopes["signed"] < -0.3
    assert slopes["positive"] >= 0


def test_a_machine_head_of_an_earlier_version_is_as_it_was() -> None:
    """Its factor may be negative."""
    model = network()
    state = model.state_dict()
    assert [name for name in state if "machine" in name] == [
        "machine_head.weight",
        "machine_head.bias",
    ]
    state["machine_head.weight"] = torch.tensor([[-0.5]])
    state["machine_head.bias"] = torch.tensor([0.25])
    model.load_state_dict(state)
    _, logits = model.heads(torch.ones(1, D))
    assert logits is not None
    assert logits.item() == -0.25


def test_the_product_head_is_linear_and_has_no_bias() -> None:
    model = network()
    assert model.product_head.bias is None
    embeddings = torch.randn(7, D)
    logits, _ = model.heads(embeddings)
    torch.testing.assert_close(logits, embeddings @ model.product_head.weight.T)
    zero, _ = model.heads(torch.zeros(1, D))
    assert not zero.any()


def test_the_squared_norm_of_a_large_embedding_is_finite_in_half_precision() -> None:
    model = network(divide_norm=False)
    assert model.machine_head is not None
    spectrograms = torch.randn(3, 1, 32, 63, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        embeddings = model.embed(spectrograms)
        _, logits = model.heads(300 * torch.ones(2, D))
    assert embeddings.dtype == torch.float32
    assert logits is not None
    a, b = model.machine_head.weight.item(), model.machine_head.bias.item()
    torch.testing.assert_close(logits, torch.full((2,), a * 90000 * D + b))


@pytest.mark.parametrize("lam", [0.0, 0.1, 10.0])
def test_equation_3(lam: float) -> None:
    method, (logits, labels) = Proposed(TINY), batch()
    machine_logits = logits[:, 0]
    losses = method.losses((logits, machine_logits), labels)
    weights = method.weights(lam)
    total = sum(float(weights[name] * loss) for name, loss in losses.items())
    machine = machine_loss(machine_logits, labels.machine)
    product = product_loss(logits, labels.products, labels.machine)
    assert total == pytest.approx(float(machine + lam * product), abs=1e-12)


def test_without_the_machine_loss_only_product_ids_are_learnt() -> None:
    options = TINY.model_copy(update={"machine_loss": False})
    method, (logits, labels) = Proposed(options), batch()
    model = network(machine_loss=False)
    assert model.machine_head is None
    assert model(torch.randn(2, 1, 32, 63))[1] is None
    losses = method.losses((logits, None), labels)
    assert losses.keys() == method.weights(10.0).keys() == {"product"}
    assert float(losses["product"]) == float(product_loss(logits, labels.products, labels.machine))


def test_the_product_loss_may_be_of_all_samples() -> None:
    """Other machine types count with zero vectors, as in the first author's recipe."""
    method, (logits, labels) = Proposed(TINY.model_copy(update={"product_mask": "all"})), batch()
    y, s = labels.products.numpy(), expit(logits.numpy())
    expected = -np.mean(y * np.log(s) + (1 - y) * np.log(1 - s))
    assert float(method.losses((logits, None), labels)["product"]) == pytest.approx(
        expected, abs=1e-12
    )
    assert method.over_targets == frozenset()
    assert Proposed(TINY).over_targets == {"product"}
