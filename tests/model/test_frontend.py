from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.errors import UserError
from raysearch.model.frontend import EPS, LogMel, MelScale

SETTINGS: list[dict[str, Any]] = [
    {},
    {"n_fft": 512, "hop": 160, "scale": MelScale(40, 0.0, 8000.0)},
    {"rate": 8000, "n_fft": 1024, "hop": 300, "scale": MelScale(64, 20.0, 3900.0)},
    {"rate": 48000, "n_fft": 4096, "hop": 512, "scale": MelScale(128, 100.0, 20000.0)},
]
DEFAULTS: dict[str, Any] = {
    "rate": 16000,
    "n_fft": 2048,
    "hop": 256,
    "scale": MelScale(224, 50.0, 7800.0),
}


@pytest.fixture
def waveforms() -> Tensor:
    """Noise of variance 1 and harmonics 60 dB above noise, (2, T), T no multiple of a hop."""
    rng = np.random.default_rng(0)
    time = np.arange(20_011) / 16000
    tone = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 40))
    noise = rng.standard_normal((2, time.size))
    return torch.from_numpy(np.stack([noise[0], tone + 1e-3 * noise[1]])).float()


def librosa_mel(
    waveform: Tensor, *, rate: int, n_fft: int, hop: int, scale: MelScale
) -> np.ndarray:
    """Mel amplitude (M, F) in float64, the spectrum divided by the norm of the window."""
    mel = librosa.feature.melspectrogram(
        y=waveform.numpy().astype(np.float64),
        sr=rate,
        n_fft=n_fft,
        hop_length=hop,
        window="hann",
        center=True,
        pad_mode="reflect",
        power=1.0,
        n_mels=scale.bands,
        fmin=scale.f_min,
        fmax=scale.f_max,
        htk=True,
        norm=None,
    )
    window = librosa.filters.get_window("hann", n_fft)
    return np.asarray(mel / np.sqrt(np.sum(window**2)))


@pytest.mark.slow  # librosa compiles itself
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("compression", ["log", "db", "none"])
def test_agrees_with_librosa(settings: dict[str, Any], compression: str, waveforms: Tensor) -> None:
    spectrogram = LogMel(**settings, compression=compression)(waveforms).numpy()
    for row, waveform in enumerate(waveforms):
        mel = librosa_mel(waveform, **(DEFAULTS | settings))
        # A relative error of 1e-3 in the amplitude is an absolute one in its logarithm.
        expected, rtol, atol = {
            "none": (mel, 1e-3, 1e-6),
            "log": (np.log(mel + EPS), 0, 1e-3),
            "db": (20 * np.log10(mel + EPS), 0, 20 * np.log10(1.001)),
        }[compression]
        np.testing.assert_allclose(spectrogram[row, 0], expected, rtol=rtol, atol=atol)


def test_two_seconds_give_224_by_126() -> None:
    spectrogram = LogMel()(torch.zeros(3, 32_000))
    assert spectrogram.shape == (3, 1, 224, 126)
    assert spectrogram.dtype == torch.float32


@pytest.mark.parametrize("samples", [1025, 4000, 4095, 4096])
def test_frames_are_one_a_hop_and_one_more(samples: int) -> None:
    assert LogMel()(torch.zeros(1, samples)).shape == (1, 1, 224, samples // 256 + 1)


def test_silence_is_the_logarithm_of_eps() -> None:
    silence = torch.zeros(1, 4096)
    assert LogMel()(silence).unique().item() == pytest.approx(np.log(1e-5), abs=1e-5)
    assert LogMel(compression="db")(silence).unique().item() == pytest.approx(-100, abs=1e-4)
    assert LogMel(compression="none")(silence).unique().item() == 0


def test_a_tone_stands_in_its_band() -> None:
    time = torch.arange(16_000) / 16_000
    spectrogram = LogMel()(torch.sin(2 * torch.pi * 1000 * time)[None])[0, 0]
    edges = librosa.mel_frequencies(226, fmin=50.0, fmax=7800.0, htk=True)
    band = spectrogram.mean(dim=1).argmax().item()
    assert edges[band] < 1000 < edges[band + 2]


def test_each_waveform_is_transformed_by_itself(waveforms: Tensor) -> None:
    front_end = LogMel()
    torch.testing.assert_close(front_end(waveforms)[1:], front_end(waveforms[1:]))


def test_stays_in_float32_under_autocast(waveforms: Tensor) -> None:
    front_end = LogMel()
    expected = front_end(waveforms)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(waveforms), expected)
    assert front_end(waveforms.to(torch.float64)).dtype == torch.float32


def test_has_nothing_to_train_or_to_save() -> None:
    front_end = LogMel()
    assert list(front_end.parameters()) == []
    assert front_end.state_dict() == {}
    assert {b.device.type for b in front_end.to("meta").buffers()} == {"meta"}


def test_gradients_reach_the_waveform() -> None:
    waveform = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0)).requires_grad_()
    LogMel()(waveform).mean().backward()
    assert waveform.grad is not None
    assert torch.isfinite(waveform.grad).all()
    assert (waveform.grad != 0).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": MelScale(bands=300), "n_fft": 512}, "n_mels=300 is too many for n_fft=512"),
        ({"compression": "ln"}, "unknown compression 'ln': choose from log, db, none"),
        ({"scale": MelScale(f_max=9000.0)}, "f_max=9000.0 must satisfy .* 8000.0 Hz"),
        ({"scale": MelScale(f_min=7800.0)}, "f_min=7800.0"),
    ],
)
def test_refuses_settings_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        LogMel(**settings)
    assert "\n" not in str(caught.value)
