"""The contract of all methods: network, losses, gradients, direct score."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch import config
from raysearch.config import Configuration, Options
from raysearch.methods.lookup import find_method
from raysearch.methods.method import Labels
from tests.methods.labels import one_hot_batch
from tests.tiny import TINY

K, SIZE = 4, 8
SETTINGS: dict[str, dict[str, object]] = {
    "proposed": {},
    "proposed without machine loss": {"machine_loss": False},
    "proposed with all in the product loss": {"product_mask": "all"},
    "serial": {"method": "serial"},
    "serial_aam": {"method": "serial_aam"},
}
CONFIGURATION = Configuration(1e-3, SIZE, 10.0)


@pytest.fixture(params=list(SETTINGS))
def options(request: pytest.FixtureRequest) -> Options:
    return TINY.model_copy(update={"dropout": 0.0, **SETTINGS[request.param]})


def labels_of(options: Options) -> Labels:
    """Labels of a batch as the method sees it in training."""
    products, machine = (tensor.float() for tensor in one_hot_batch(SIZE, K, 0))
    if not find_method(options).uses_others:
        products, machine = torch.eye(K).repeat(SIZE // K, 1), torch.ones(SIZE)
    return Labels(products, machine, SIZE, (machine > 0).sum())


def part(labels: Labels, rows: slice) -> Labels:
    return Labels(labels.products[rows], labels.machine[rows], labels.size, labels.targets)


def spectrograms() -> Tensor:
    return torch.randn(SIZE, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def take(outputs: object, rows: slice) -> object:
    """Return the outputs of a network for some samples."""
    if isinstance(outputs, tuple):
        return tuple(take(each, rows) for each in outputs)
    return outputs[rows] if isinstance(outputs, Tensor) else outputs


def test_every_method_is_under_contract() -> None:
    tested = {str(settings.get("method", "proposed")) for settings in SETTINGS.values()}
    assert tested == set(get_args(config.Method))
    assert set(config.HYPERPARAMETERS_OF) == set(get_args(config.Method))


def test_every_embedding_has_the_dimensions_of_the_options(options: Options) -> None:
    network = find_method(options).network(K, pretrained=False).eval()
    with torch.inference_mode():
        embeddings = network.embed(spectrograms())
    assert embeddings.shape == (SIZE, options.embedding)
    assert embeddings.dtype == torch.float32
    assert torch.isfinite(embeddings).all()


def test_losses_are_finite_and_weighted(options: Options) -> None:
    method, labels = find_method(options), labels_of(options)
    network = method.network(K, pretrained=False)
    losses = method.losses(network(spectrograms()), labels)
    assert losses.keys() == method.weights(CONFIGURATION).keys()
    assert method.over_targets <= losses.keys()
    for loss in losses.values():
        assert loss.shape == ()
        assert torch.isfinite(loss)
        assert loss > 0


def test_the_loss_has_a_gradient_in_every_parameter(options: Options) -> None:
    """DistributedDataParallel waits forever for a parameter without a gradient."""
    method, labels = find_method(options), labels_of(options)
    network = method.network(K, pretrained=False)
    weights = method.weights(CONFIGURATION)
    losses = method.losses(network(spectrograms()), labels)
    torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()  # type: ignore[no-untyped-call]
    missing = [name for name, value in network.named_parameters() if value.grad is None]
    assert missing == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_losses_of_workers_add_up_to_that_of_the_batch(options: Options) -> None:
    method, labels = find_method(options), labels_of(options)
    network = method.network(K, pretrained=False).eval()
    with torch.inference_mode():
        outputs = network(spectrograms())
        whole = method.losses(outputs, labels)
        workers = [
            method.losses(take(outputs, rows), part(labels, rows))
            for rows in (slice(0, None, 2), slice(1, None, 2))
        ]
    for name, loss in whole.items():
        torch.testing.assert_close(sum(losses[name] for losses in workers), loss)


def test_a_seed_gives_the_same_network(options: Options) -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(find_method(options).network(K, pretrained=False).state_dict())
    first, second = networks
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_direct_score_survives_its_arrays(options: Options) -> None:
    """A detector stores the arrays of a score, and restores the score from them."""
    method = find_method(options)
    network = method.network(K, pretrained=False).eval()
    with torch.inference_mode():
        embeddings = network.embed(spectrograms()).double().numpy()
    for product in range(K):
        score = method.direct_score(network, product)
        restored = method.direct(**vars(score))
        np.testing.assert_array_equal(restored.score(embeddings), score.score(embeddings))
        assert score.score(embeddings).shape == (SIZE,)
        assert np.isfinite(score.score(embeddings)).all()


def test_a_trained_network_scores_another_product_id_as_more_anomalous(options: Options) -> None:
    method, labels = find_method(options), labels_of(options)
    torch.manual_seed(0)
    network, images = method.network(K, pretrained=False), spectrograms()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    weights = method.weights(CONFIGURATION)
    for _ in range(30):
        optimiser.zero_grad()
        losses = method.losses(network(images), labels)
        torch.stack([weights[n] * loss for n, loss in losses.items()]).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.inference_mode():
        embeddings = network.embed(images).double().numpy()
    scores = np.array([method.direct_score(network, k).score(embeddings) for k in range(K)])
    products = labels.products.numpy()
    own, other = products.argmax(axis=1), (products.argmax(axis=1) + 1) % K
    for sample in np.flatnonzero(products.any(axis=1)):
        assert scores[own[sample], sample] < scores[other[sample], sample]
