"""The additive angular margin against a plain transcription in float64."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raysearch.methods.method import Labels
from raysearch.methods.serial_aam import SerialAam, angular_margin_loss
from tests.tiny import TINY

K = 4

# A busy machine fails no test, and every run sees the same examples.
calm = settings(deadline=None, derandomize=True)


def transcription(
    cosines: NDArray[np.float64], products: list[int], margin: float, scale: float
) -> float:
    total = 0.0
    for row, true in zip(cosines, products, strict=True):
        logits = [scale * cosine for cosine in row]
        theta = math.acos(row[true])
        if theta + margin <= math.pi:
            logits[true] = scale * math.cos(theta + margin)
        else:
            logits[true] = scale * (row[true] - margin * math.sin(margin))
        top = max(logits)
        total += top + math.log(sum(math.exp(z - top) for z in logits)) - logits[true]
    return total / len(products)


@calm
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2, 0.5, 1.2]), st.sampled_from([1.0, 30.0]))
def test_the_loss_is_that_of_the_transcription(seed: int, margin: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    cosines, true = rng.uniform(-0.999, 0.999, (5, K)), rng.integers(0, K, 5)
    loss = angular_margin_loss(
        torch.from_numpy(cosines),
        torch.eye(K, dtype=torch.float64)[true],
        margin=margin,
        scale=scale,
        size=5,
    )
    assert float(loss) == pytest.approx(
        transcription(cosines, true.tolist(), margin, scale), abs=1e-9
    )


def test_without_a_margin_it_is_the_cross_entropy_of_cosines() -> None:
    cosines = torch.tensor([[0.9, 0.1], [-0.3, 0.2]], dtype=torch.float64)
    loss = angular_margin_loss(cosines, torch.eye(2).double(), margin=0.0, scale=10.0, size=2)
    expected = torch.nn.functional.cross_entropy(10 * cosines, torch.tensor([0, 1]))
    torch.testing.assert_close(loss, expected)


def test_the_loss_falls_with_the_cosine_over_its_whole_range() -> None:
    cosines = torch.zeros(201, K, dtype=torch.float64)
    cosines[:, 0] = torch.linspace(-1, 1, 201)
    products = torch.eye(K, dtype=torch.float64)[[0]]
    losses = [
        float(angular_margin_loss(row[None], products, margin=0.5, scale=30.0, size=1))
        for row in cosines
    ]
    assert all(after < before for before, after in pairwise(losses))


@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_the_gradient_is_finite_at_the_ends(cosine: float) -> None:
    cosines = torch.tensor([[cosine, 0.0]], requires_grad=True)
    loss = angular_margin_loss(cosines, torch.eye(2)[[0]], margin=0.5, scale=30.0, size=1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert cosines.grad is not None
    assert torch.isfinite(cosines.grad).all()


def test_the_direct_score_is_one_minus_the_cosine_to_the_centre() -> None:
    torch.manual_seed(0)
    method = SerialAam(TINY)
    network = method.network(K, pretrained=False).eval()
    with torch.inference_mode():
        spectrograms = torch.randn(3, 1, 32, 63)
        embeddings, cosines = network.embed(spectrograms), network(spectrograms)
    for product in range(K):
        scores = method.direct_score(network, product, embeddings.numpy()).score(
            embeddings.double().numpy()
        )
        np.testing.assert_allclose(scores, 1 - cosines[:, product].double().numpy(), atol=1e-6)


def test_options_set_margin_and_scale() -> None:
    cosines = torch.tensor([[0.5, 0.2]], dtype=torch.float64)
    labels = Labels(torch.eye(2).double()[[0]], torch.ones(1), 1, torch.tensor(1))
    options = TINY.model_copy(update={"aam_margin": 0.2, "aam_scale": 8.0})
    expected = transcription(cosines.numpy(), [0], 0.2, 8.0)
    assert float(SerialAam(options).losses(cosines, labels)["product"]) == pytest.approx(expected)
