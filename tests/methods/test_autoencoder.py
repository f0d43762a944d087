"""The official baseline: its layers, and its error against a transcription in float64."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raysearch.methods.autoencoder import Autoencoder, FrameAutoencoder
from raysearch.methods.method import Labels
from tests.tiny import TINY

OPTIONS = TINY.replace({"method": "autoencoder", "n_mels": 128, "n_fft": 2048})


def network() -> FrameAutoencoder:
    torch.manual_seed(0)
    model = Autoencoder(OPTIONS).network(6, pretrained=False).double()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean = torch.randn_like(layer.weight).double()
            layer.running_var = torch.rand_like(layer.weight).double() + 0.5
    return model.eval()


def sizes(layers: nn.Sequential) -> list[int]:
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return [linear[0].in_features, *(layer.out_features for layer in linear)]


def transcription(model: FrameAutoencoder, spectrogram: NDArray[np.float64]) -> float:
    """Return the mean squared error of a spectrogram (M, F)."""
    errors = []
    for start in range(spectrogram.shape[1] - 4):
        vector = np.concatenate([spectrogram[:, start + k] for k in range(5)])
        x = vector
        for layer in [*model.encoder, *model.decoder]:
            if isinstance(layer, nn.Linear):
                x = layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()
            elif isinstance(layer, nn.BatchNorm1d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                scale = layer.weight.detach().numpy() / np.sqrt(layer.running_var.numpy() + 1e-5)
                x = (x - layer.running_mean.numpy()) * scale + layer.bias.detach().numpy()
            else:
                x = np.maximum(x, 0)
        errors.append(np.mean((x - vector) ** 2))
    return float(np.mean(errors))


def test_its_layers_are_those_of_the_official_baseline() -> None:
    model = network()
    assert sizes(model.encoder) == [640, 128, 128, 128, 128, 8]
    assert sizes(model.decoder) == [8, 128, 128, 128, 128, 640]
    linear = sum(isinstance(layer, nn.Linear) for layer in model.modules())
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in model.modules()) == linear - 1


def test_loss_and_score_are_those_of_the_transcription() -> None:
    model, method = network(), Autoencoder(OPTIONS)
    spectrograms = torch.randn(3, 1, 128, 12, dtype=torch.float64)
    expected = [transcription(model, s[0].numpy()) for s in spectrograms]
    with torch.inference_mode():
        embeddings = model.embed(spectrograms).numpy()
        labels = Labels(torch.eye(6)[:3], torch.ones(3), 3, torch.tensor(3))
        loss = method.losses(model(spectrograms), labels)["reconstruction"]
    np.testing.assert_allclose(
        method.direct_score(model, 0, embeddings).score(embeddings), expected, rtol=1e-9
    )
    assert embeddings.shape == (3, 9)
    np.testing.assert_allclose(float(loss), np.mean(expected), rtol=1e-9)


def test_an_embedding_is_the_mean_of_those_of_its_vectors() -> None:
    model = network()
    spectrograms = torch.randn(2, 1, 128, 9, dtype=torch.float64)
    with torch.inference_mode():
        whole = model.embed(spectrograms)
        vectors = [model.embed(spectrograms[..., start : start + 5]) for start in range(5)]
    torch.testing.assert_close(whole, torch.stack(vectors).mean(dim=0))
