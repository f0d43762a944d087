"""DDCSAD: its losses and scores against transcriptions, and a network for each product ID."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raysearch.methods.ddcsad import Ddcsad, ProductEncoders, keep_from_zero, metric_loss
from raysearch.methods.method import Labels
from raysearch.model.encoder import TrainingInput
from tests.tiny import TINY

K = 3
OPTIONS = TINY.replace({"method": "ddcsad", "embedding": 6, "ddcsad_score_weight": 0.3})

# A busy machine fails no test, and every run sees the same examples.
calm = settings(deadline=None, derandomize=True)


def network() -> ProductEncoders:
    torch.manual_seed(0)
    model = Ddcsad(OPTIONS).network(K, pretrained=False).eval()
    for k in range(K):
        model.of_product(k).centroid.normal_()
        model.of_product(k).other_centroid.normal_()
    return model


def spectrograms(size: int = 6) -> Tensor:
    return torch.randn(size, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@calm
@given(st.integers(0, 10_000), st.booleans())
def test_the_losses_are_those_of_the_transcription(seed: int, deep_sad: bool) -> None:
    rng = np.random.default_rng(seed)
    logits, positive = rng.normal(size=5) * 3, rng.integers(0, 2, 5)
    near, far = rng.uniform(1e-3, 4, (2, 5))
    metric = classification = 0.0
    for z, y, d, e in zip(logits, positive, near, far, strict=True):
        probability = 1 / (1 + math.exp(-z))
        classification -= math.log(probability if y else 1 - probability)
        if deep_sad:
            metric += d if y else 1 / (d + 1e-6)
        else:
            metric += d + 1 / (e + 1e-6) if y else e + 1 / (d + 1e-6)
    outputs = tuple(torch.from_numpy(values) for values in (logits, near, far))
    machine = torch.from_numpy(positive.astype(np.float64))
    labels = Labels(torch.zeros(5, K), machine, 5, machine.sum())
    options = OPTIONS.replace({"ddcsad_metric": "deep_sad" if deep_sad else "centroids"})
    losses = Ddcsad(options).losses((outputs[0], outputs[1], outputs[2]), labels)
    assert float(losses["classification"]) == pytest.approx(classification / 5, rel=1e-9)
    assert float(losses["metric"]) == pytest.approx(metric / 5, rel=1e-9)


def test_outputs_are_distances_and_a_logit() -> None:
    model, images = network(), spectrograms()
    numbers = torch.tensor([2, 0, 1, 1, 2, 0])
    with torch.inference_mode():
        logits, to_positive, to_negative = model(images, numbers)
        for sample, k in enumerate(numbers.tolist()):
            encoder = model.of_product(k)
            f = encoder.embed(images[[sample]])[0].double().numpy()
            weight, bias = encoder.class_head.weight[0], encoder.class_head.bias
            assert float(logits[sample]) == pytest.approx(
                f @ weight.double().numpy() + bias.item(), abs=1e-5
            )
            for distance, centroid in (
                (to_positive, encoder.centroid),
                (to_negative, encoder.other_centroid),
            ):
                expected = np.mean((f - centroid.double().numpy()) ** 2)
                assert float(distance[sample]) == pytest.approx(expected, rel=1e-4)


def test_the_score_is_that_of_the_transcription() -> None:
    model, method = network(), Ddcsad(OPTIONS)
    rng = np.random.default_rng(0)
    normal, rows = rng.normal(size=(10, 6)), rng.normal(size=(4, 6))
    encoder = model.of_product(1)
    c = encoder.centroid.double().numpy()
    w = encoder.class_head.weight[0].detach().double().numpy()
    scale = np.mean([np.mean((f - c) ** 2) for f in normal])
    expected = []
    for f in rows:
        probability = 1 / (1 + math.exp(-(f @ w + encoder.class_head.bias.item())))
        expected.append(0.3 * (1 - probability) + 0.7 * np.mean((f - c) ** 2) / scale)
    scores = method.direct_score(model, 1, normal).score(rows)
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_no_network_depends_on_another() -> None:
    """The loss of a sample has a gradient in the network of its product ID alone."""
    model, images = network(), spectrograms(2)
    labels = Labels(torch.eye(K)[[1, 1]], torch.tensor([1.0, 0.0]), 2, torch.tensor(1))
    outputs = model(images, torch.tensor([1, 1]))
    losses = Ddcsad(OPTIONS).losses(outputs, labels)
    torch.stack([*losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
    for k in range(K):
        gradients = [parameter.grad for parameter in model.of_product(k).parameters()]
        assert all(gradient is not None for gradient in gradients) == (k == 1)
    assert len(model.networks) == K


def test_centroids_are_means_of_initial_embeddings() -> None:
    model, images = network(), spectrograms()
    batch = TrainingInput(
        images, torch.tensor([0, -1, 1, -1, 0, -1]), torch.tensor([0, 0, 1, 1, 0, 0])
    )
    with torch.inference_mode():
        model.prepare([batch])
        embeddings = model.of_product(0).embed(images)
    for centroid, samples in (
        (model.of_product(0).centroid, [0, 4]),
        (model.of_product(0).other_centroid, [1, 5]),
    ):
        torch.testing.assert_close(
            centroid, keep_from_zero(embeddings[samples].mean(dim=0)), rtol=1e-4, atol=1e-5
        )
    untouched = network().of_product(2).centroid
    assert torch.equal(model.of_product(2).centroid, untouched)


def test_a_centroid_keeps_away_from_zero() -> None:
    centroid = keep_from_zero(torch.tensor([0.0, -0.01, 0.07, 0.5, -2.0]))
    torch.testing.assert_close(centroid, torch.tensor([0.1, -0.1, 0.1, 0.5, -2.0]))


def test_the_metric_loss_has_the_weight_of_the_options() -> None:
    options = OPTIONS.replace({"ddcsad_metric_weight": 0.25})
    assert Ddcsad(options).weights(None) == {"classification": 1.0, "metric": 0.25}


def test_a_distance_of_zero_has_a_finite_loss() -> None:
    zero = torch.zeros(2)
    loss = metric_loss(zero, zero, torch.tensor([1.0, 0.0]), size=2, deep_sad=False)
    assert torch.isfinite(loss)
