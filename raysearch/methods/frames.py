"""Vectors of successive frames of a spectrogram, and the score of a density or an error of them.

Shape letters: B samples, M mel bands, F frames, N vectors of a sample.
"""

from torch import Tensor

from raysearch.methods.losses import at_least_float32

FRAMES = 5
"""Successive frames of a vector, as in the official baseline of DCASE Task 2."""


def stack_frames(spectrograms: Tensor) -> Tensor:
    """Stack each `FRAMES` successive frames.

    Args:
        spectrograms: (B, 1, M, F) with F >= `FRAMES`.

    Returns:
        (B, N, M * FRAMES) with N = F - `FRAMES` + 1.
    """
    bands = at_least_float32(spectrograms.squeeze(1))
    windows = bands.unfold(2, FRAMES, 1)  # (B, M, N, FRAMES)
    return windows.permute(0, 2, 3, 1).flatten(2)
