"""Log-mel spectrogram of a waveform.

Shape letters: B waveforms, T samples, M mel bands, F frames.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from raysearch.errors import UserError

COMPRESSIONS: tuple[str, ...] = ("log", "db", "none")

EPS = 1e-5
"""Floor that is added to the mel amplitude before the logarithm.

White noise of variance 1 has amplitudes of about 1 here (the spectrum is divided by the norm of
the window), so the floor is 100 dB lower: less than the noise of a 16-bit recording, and about the
rounding noise of a float32 transform of a loud tone.
"""


@dataclass(frozen=True)
class MelScale:
    """Division of the frequencies into bands.

    Attributes:
        bands: number of mel bands, M.
        f_min: lower edge of the lowest band in Hz.
        f_max: upper edge of the highest band in Hz.
    """

    bands: int = 224
    f_min: float = 50.0
    f_max: float = 7800.0


DEFAULT_SCALE = MelScale()


class LogMel(nn.Module):
    """Compressed mel spectrogram of amplitude: (B, T) -> (B, 1, M, F), F = T // hop + 1.

    Hann window, divided by the window's norm; HTK mel scale, triangles of height 1; frames are
    centred, with the ends reflected. Nothing is trained and nothing is saved in a state dict:
    the settings are the whole front end. It computes in float32, under autocast too.

    2 s at the defaults give 224 x 126.
    """

    def __init__(
        self,
        *,
        rate: int = 16000,
        n_fft: int = 2048,
        hop: int = 256,
        scale: MelScale = DEFAULT_SCALE,
        compression: str = "log",
    ) -> None:
        """Prepare window and filter bank.

        Args:
            rate: sampling rate in Hz.
            n_fft: length of window and Fourier transform in samples.
            hop: step between frames in samples.
            scale: mel bands.
            compression: `log` (natural, of amplitude + EPS), `db` (20 log10 of the same) or
                `none`.

        Raises:
            UserError: an unknown compression, band edges out of order or beyond half the rate,
                or bands so narrow that no frequency of the transform falls into one.
        """
        super().__init__()
        if compression not in COMPRESSIONS:
            raise UserError(
                f"unknown compression {compression!r}: choose from {', '.join(COMPRESSIONS)}"
            )
        n_mels, f_min, f_max = scale.bands, scale.f_min, scale.f_max
        if not 0 <= f_min < f_max <= rate / 2:
            raise UserError(
                f"f_min={f_min} and f_max={f_max} must satisfy 0 <= f_min < f_max <= {rate / 2} Hz"
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filterbank")
            bands = melscale_fbanks(n_fft // 2 + 1, f_min, f_max, n_mels, rate)
        if not (bands > 0).any(dim=0).all():
            raise UserError(
                f"n_mels={n_mels} is too many for n_fft={n_fft}: a mel band between {f_min} and "
                f"{f_max} Hz is empty; lower n_mels or raise n_fft"
            )
        window = torch.hann_window(n_fft)
        self.n_fft, self.hop = n_fft, hop
        self.compression = compression
        self.window: Tensor
        self.bands: Tensor
        self.register_buffer("window", window / window.norm(), persistent=False)
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return spectrograms (B, 1, M, F), float32, of waveforms (B, T) longer than n_fft / 2."""
        assert waveforms.ndim == 2, waveforms.shape
        assert waveforms.shape[1] > self.n_fft // 2, waveforms.shape
        with torch.autocast(device_type=waveforms.device.type, enabled=False):
            spectrum = torch.stft(
                waveforms.float(), self.n_fft, self.hop, window=self.window, return_complex=True
            )
            # Takes half the time of abs() on a CPU; abs() guards against overflow.
            amplitude = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).sqrt_()
            mel = torch.matmul(amplitude.transpose(1, 2), self.bands).transpose(1, 2)
            if self.compression != "none":
                mel = torch.log(mel + EPS)
            if self.compression == "db":
                mel = mel * (20 / math.log(10))
            return mel.unsqueeze(1)
