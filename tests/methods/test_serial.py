"""The serial method: product IDs of the target machine type alone."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from raysearch.methods.method import Labels
from raysearch.methods.serial import Serial
from tests.tiny import TINY

K = 4


def test_the_loss_is_the_binary_cross_entropy_over_product_ids() -> None:
    logits = torch.randn(6, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    products = torch.eye(K, dtype=torch.float64)[[0, 1, 2, 3, 0, 1]]
    labels = Labels(products, torch.ones(6), 6, torch.tensor(6))
    y, s = products.numpy(), expit(logits.numpy())
    expected = -np.mean(y * np.log(s) + (1 - y) * np.log(1 - s))
    method = Serial(TINY)
    losses = method.losses(logits, labels)
    assert float(losses["product"]) == pytest.approx(expected, abs=1e-12)
    assert dict(method.weights(0.1)) == {"product": 1.0}


def test_the_direct_score_is_the_probability_of_other_product_ids() -> None:
    torch.manual_seed(0)
    method = Serial(TINY)
    network = method.network(K, pretrained=False).eval()
    embeddings = torch.randn(5, TINY.embedding)
    logits = (embeddings.double() @ network.product_head.weight[2].double()).detach().numpy()
    scores = method.direct_score(network, 2, embeddings.numpy()).score(embeddings.double().numpy())
    np.testing.assert_allclose(scores, 1 - expit(logits), atol=1e-9)
