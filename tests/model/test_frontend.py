import librosa
import numpy as np
import pytest
import torch

from raysearch.errors import UserError
from raysearch.model.frontend import EPS, LogMel

SETTINGS = [
    {},
    {"n_fft": 512, "hop": 160, "n_mels": 40, "f_min": 0.0, "f_max": 8000.0},
    {"rate": 8000, "n_fft": 1024, "hop": 300, "n_mels": 64, "f_min": 20.0, "f_max": 3900.0},
    {"rate": 48000, "n_fft": 4096, "hop": 512, "n_mels": 128, "f_min": 100.0, "f_max": 20000.0},
]
DEFAULTS = {"rate": 16000, "n_fft": 2048, "hop": 256, "n_mels": 224, "f_min": 50.0, "f_max": 7800.0}


@pytest.fixture
def waveforms():
    """Noise of variance 1 and harmonics 60 dB above noise, (2, T), T no multiple of a hop."""
    rng = np.random.default_rng(0)
    time = np.arange(20_011) / 16000
    tone = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 40))
    noise = rng.standard_normal((2, time.size))
    return torch.from_numpy(np.stack([noise[0], tone + 1e-3 * noise[1]])).float()


def librosa_mel(waveform, *, rate, n_fft, hop, n_mels, f_min, f_max):
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
        n_mels=n_mels,
        fmin=f_min,
        fmax=f_max,
        htk=True,
        norm=None,
    )
    window = librosa.filters.get_window("hann", n_fft)
    return mel / np.sqrt(np.sum(window**2))


@pytest.mark.slow  # librosa compiles itself
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("compression", ["log", "db", "none"])
def test_agrees_with_librosa(settings, compression, waveforms):
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


def test_two_seconds_give_224_by_126():
    spectrogram = LogMel()(torch.zeros(3, 32_000))
    assert spectrogram.shape == (3, 1, 224, 126)
    assert spectrogram.dtype == torch.float32


@pytest.mark.parametrize("samples", [1025, 4000, 4095, 4096])
def test_frames_are_one_a_hop_and_one_more(samples):
    assert LogMel()(torch.zeros(1, samples)).shape == (1, 1, 224, samples // 256 + 1)


def test_silence_is_the_logarithm_of_eps():
    silence = torch.zeros(1, 4096)
    assert LogMel()(silence).unique().item() == pytest.approx(np.log(1e-5), abs=1e-5)
    assert LogMel(compression="db")(silence).unique().item() == pytest.approx(-100, abs=1e-4)
    assert LogMel(compression="none")(silence).unique().item() == 0


def test_a_tone_stands_in_its_band():
    time = torch.arange(16_000) / 16_000
    spectrogram = LogMel()(torch.sin(2 * torch.pi * 1000 * time)[None])[0, 0]
    edges = librosa.mel_frequencies(226, fmin=50.0, fmax=7800.0, htk=True)
    band = spectrogram.mean(dim=1).argmax().item()
    assert edges[band] < 1000 < edges[band + 2]


def test_each_waveform_is_transformed_by_itself(waveforms):
    front_end = LogMel()
    torch.testing.assert_close(front_end(waveforms)[1:], front_end(waveforms[1:]))


def test_stays_in_float32_under_autocast(waveforms):
    front_end = LogMel()
    expected = front_end(waveforms)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(waveforms), expected)
    assert front_end(waveforms.to(torch.float64)).dtype == torch.float32


def test_has_nothing_to_train_or_to_save():
    front_end = LogMel()
    assert list(front_end.parameters()) == []
    assert front_end.state_dict() == {}
    assert {b.device.type for b in front_end.to("meta").buffers()} == {"meta"}


def test_gradients_reach_the_waveform():
    waveform = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0)).requires_grad_()
    LogMel()(waveform).mean().backward()
    assert torch.isfinite(waveform.grad).all()
    assert (waveform.grad != 0).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_mels": 300, "n_fft": 512}, "n_mels=300 is too many for n_fft=512"),
        ({"compression": "ln"}, "unknown compression 'ln': choose from log, db, none"),
        ({"f_max": 9000.0}, "f_max=9000.0 must satisfy .* 8000.0 Hz"),
        ({"f_min": 7800.0}, "f_min=7800.0"),
    ],
)
def test_refuses_settings_in_one_line(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        LogMel(**settings)
    assert "\n" not in str(caught.value)
