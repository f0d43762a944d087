"""The contract of all methods: network, losses, gradients, direct score."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch import config
from raysearch.config import Options
from raysearch.methods.lookup import find_method
from raysearch.methods.method import Labels
from raysearch.model.encoder import BackboneEncoder, Encoder
from raysearch.scoring.direct import LastDimension
from raysearch.training import conditions
from tests.methods.labels import one_hot_batch
from tests.tiny import TINY

K, SIZE = 4, 8
SETTINGS: dict[str, dict[str, object]] = {
    "proposed": {},
    "proposed without machine loss": {"machine_loss": False},
    "proposed with all in the product loss": {"product_mask": "all"},
    "serial": {"method": "serial"},
    "serial_aam": {"method": "serial_aam"},
    "ddcsad": {"method": "ddcsad"},
    "ddcsad as Deep SAD": {"method": "ddcsad", "ddcsad_metric": "deep_sad"},
    "autoencoder": {"method": "autoencoder"},
    "flow": {"method": "flow"},
    "frozen": {"method": "frozen"},
    "baseline": {"method": "baseline"},
}
LAM = 10.0


def options_of(name: str) -> Options:
    return TINY.replace({"dropout": 0.0, **SETTINGS[name]})


@pytest.fixture(params=list(SETTINGS))
def options(request: pytest.FixtureRequest) -> Options:
    return options_of(request.param)


@pytest.fixture(params=[name for name in SETTINGS if find_method(options_of(name)).is_trained])
def trained(request: pytest.FixtureRequest) -> Options:
    """Options of a method that is trained."""
    return options_of(request.param)


NETWORKS = torch.arange(K).repeat_interleave(SIZE // K)
"""Numbers of the networks of the samples of a batch, for a method with several."""


def labels_of(options: Options) -> Labels:
    """Labels of a batch as the method sees it in training."""
    if find_method(options).is_per_product:
        machine = (torch.arange(SIZE) % 2 == 0).float()
        products = torch.eye(K)[NETWORKS] * machine[:, None]
        return Labels(products, machine, SIZE, (machine > 0).sum())
    products, machine = (tensor.float() for tensor in one_hot_batch(SIZE, K, 0))
    if not find_method(options).uses_others:
        products, machine = torch.eye(K).repeat(SIZE // K, 1), torch.ones(SIZE)
    return Labels(products, machine, SIZE, (machine > 0).sum())


def run(network: Encoder, images: Tensor) -> object:
    """Return the outputs of a network for a batch."""
    return network(images, NETWORKS) if network.is_per_product else network(images)


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
    assert tested == set(get_args(config.Method)) - {config.PARALLEL}
    for name in SETTINGS:
        options = options_of(name)
        assert find_method(options).is_trained == (options.method not in config.UNTRAINED)
        assert (options.epochs > 0) == find_method(options).is_trained
        assert find_method(options).is_per_product == (options.method in conditions.PER_PRODUCT)
        network = find_method(options).network(K, pretrained=False)
        assert network.is_per_product == find_method(options).is_per_product


# Trained; a network for each product ID; trained with other machine types; trained with Mixup.
KINDS = {
    "proposed": (True, False, True, True),
    "serial": (True, False, False, False),
    "serial_aam": (True, False, False, False),
    "ddcsad": (True, True, True, False),
    "autoencoder": (True, False, False, False),
    "flow": (True, False, False, False),
    "frozen": (False, False, False, False),
    "baseline": (False, False, False, False),
}


def test_a_method_says_what_it_is_trained_with(options: Options) -> None:
    method = find_method(options)
    kind = (method.is_trained, method.is_per_product, method.uses_others, method.uses_mixup)
    assert kind == KINDS[options.method]


def test_the_embedding_of_a_backbone_has_the_dimensions_of_the_options(trained: Options) -> None:
    network = find_method(trained).network(K, pretrained=False).eval()
    network = network.of_product(0)
    assert isinstance(network, BackboneEncoder) == (trained.method in conditions.WITH_BACKBONE)
    if isinstance(network, BackboneEncoder):
        with torch.inference_mode():
            assert network.embed(spectrograms()).shape == (SIZE, trained.embedding)


def test_embeddings_are_finite_rows(options: Options) -> None:
    network = find_method(options).network(K, pretrained=False).eval()
    with torch.inference_mode():
        embeddings = network.of_product(0).embed(spectrograms())
    assert embeddings.ndim == 2
    assert len(embeddings) == SIZE
    assert embeddings.dtype == torch.float32
    assert torch.isfinite(embeddings).all()


def test_losses_are_finite_and_weighted(trained: Options) -> None:
    method, labels = find_method(trained), labels_of(trained)
    network = method.network(K, pretrained=False)
    losses = method.losses(run(network, spectrograms()), labels)
    assert losses.keys() == method.weights(LAM).keys()
    assert method.over_targets <= losses.keys()
    for loss in losses.values():
        assert loss.shape == ()
        assert torch.isfinite(loss)
        assert loss > 0


def test_the_loss_has_a_gradient_in_every_parameter(trained: Options) -> None:
    """DistributedDataParallel waits forever for a parameter without a gradient."""
    method, labels = find_method(trained), labels_of(trained)
    network = method.network(K, pretrained=False)
    weights = method.weights(LAM)
    losses = method.losses(run(network, spectrograms()), labels)
    torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()  # type: ignore[no-untyped-call]
    missing = [name for name, value in network.named_parameters() if value.grad is None]
    assert missing == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_losses_of_workers_add_up_to_that_of_the_batch(trained: Options) -> None:
    method, labels = find_method(trained), labels_of(trained)
    network = method.network(K, pretrained=False).eval()
    with torch.inference_mode():
        outputs = run(network, spectrograms())
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
        embeddings = network.of_product(0).embed(spectrograms()).double().numpy()
    for product in range(K):
        score = method.direct_score(network, product, embeddings)
        assert (score is None) == (method.direct is None)
        if score is None or method.direct is None:
            continue
        restored = method.direct(**vars(score))
        np.testing.assert_array_equal(restored.score(embeddings), score.score(embeddings))
        assert score.score(embeddings).shape == (SIZE,)
        assert np.isfinite(score.score(embeddings)).all()


def test_a_trained_network_scores_another_product_id_as_more_anomalous(trained: Options) -> None:
    method, labels = find_method(trained), labels_of(trained)
    if method.direct is LastDimension or method.is_per_product:
        pytest.skip("an embedding has the score of one product ID")
    torch.manual_seed(0)
    network, images = method.network(K, pretrained=False), spectrograms()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    weights = method.weights(LAM)
    for _ in range(30):
        optimiser.zero_grad()
        losses = method.losses(run(network, images), labels)
        torch.stack([weights[n] * loss for n, loss in losses.items()]).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.inference_mode():
        embeddings = network.embed(images).double().numpy()
    formulas = [method.direct_score(network, k, embeddings) for k in range(K)]
    scores = np.array([formula.score(embeddings) for formula in formulas if formula is not None])
    products = labels.products.numpy()
    true, other = products.argmax(axis=1), (products.argmax(axis=1) + 1) % K
    for sample in np.flatnonzero(products.any(axis=1)):
        assert scores[true[sample], sample] < scores[other[sample], sample]
