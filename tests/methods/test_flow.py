"""The normalising flow: an invertible map, and the density that its determinant gives."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raysearch.methods.flow import Coupling, Flow, FrameFlow
from raysearch.methods.frames import stack_frames
from raysearch.methods.method import Labels
from tests.tiny import TINY

OPTIONS = TINY.replace({"method": "flow", "n_mels": 3, "n_fft": 64})


def randomise(model: nn.Module) -> None:
    """Move a flow away from the identity."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)


def network() -> FrameFlow:
    model = Flow(OPTIONS).network(6, pretrained=False)
    randomise(model)
    assert model.standardise.running_mean is not None
    assert model.standardise.running_var is not None
    model.standardise.running_mean += 0.5
    model.standardise.running_var *= 2
    return model.double().eval()


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_coupling_has_the_determinant_of_its_jacobian(size: int, flipped: bool) -> None:
    coupling = Coupling(size, flipped=flipped).double()
    randomise(coupling)
    x = torch.randn(1, size, dtype=torch.float64)

    def single(values: Tensor) -> Tensor:
        z: Tensor = coupling(values[None])[0][0]
        return z

    jacobian = torch.autograd.functional.jacobian(single, x[0])  # type: ignore[no-untyped-call]
    _, log_determinant = torch.linalg.slogdet(jacobian)
    torch.testing.assert_close(coupling(x)[1][0], log_determinant)


def test_a_flow_begins_as_the_identity() -> None:
    x = torch.randn(4, 6)
    z, log_determinant = Coupling(6, flipped=False)(x)
    torch.testing.assert_close(z, x)
    assert not log_determinant.any()


def test_the_likelihood_is_that_of_the_transcription() -> None:
    model, method = network(), Flow(OPTIONS)
    spectrograms = torch.randn(2, 1, 3, 10, dtype=torch.float64)
    expected = np.empty((2, 6))
    for sample, rows in enumerate(stack_frames(spectrograms).numpy()):
        for row, vector in enumerate(rows):
            z, log_determinant = (vector - 0.5) / math.sqrt(2 + 1e-5), 0.0
            for number, coupling in enumerate(model.couplings):
                half = len(z) // 2
                first, second = z[:half], z[half:]
                given, changed = (second, first) if number % 2 else (first, second)
                with torch.inference_mode():
                    assert isinstance(coupling, Coupling)
                    output = coupling.network(torch.from_numpy(given)).numpy()
                scale, shift = np.tanh(output[: len(changed)]), output[len(changed) :]
                changed = changed * np.exp(scale) + shift
                z = np.concatenate([changed, given] if number % 2 else [given, changed])
                log_determinant += scale.sum()
            density = -0.5 * (z @ z + len(z) * math.log(2 * math.pi)) + log_determinant
            expected[sample, row] = -density / len(z)
    with torch.inference_mode():
        values, embeddings = model(spectrograms), model.embed(spectrograms).numpy()
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9)
    scores = method.direct_score(model, 0, embeddings).score(embeddings)
    np.testing.assert_allclose(scores, expected.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(embeddings[:, 0], expected.max(axis=1), rtol=1e-9)
    labels = Labels(torch.eye(6)[:2], torch.ones(2), 2, torch.tensor(2))
    loss = float(method.losses(values, labels)["likelihood"])
    assert loss == pytest.approx(expected.mean(), rel=1e-9)


def test_a_density_is_of_full_precision_where_others_are_of_half() -> None:
    model = network().float()
    spectrograms = torch.randn(2, 1, 3, 12)
    with torch.inference_mode():
        expected = model(spectrograms)
        with torch.autocast("cpu", torch.bfloat16):
            values = model(spectrograms)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, expected, rtol=0, atol=0)
