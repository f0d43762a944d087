"""Vectors of successive frames."""

import numpy as np
import torch

from raysearch.methods.frames import FRAMES, stack_frames


def test_a_vector_holds_successive_frames_in_order() -> None:
    spectrograms = torch.randn(2, 1, 3, 9, generator=torch.Generator().manual_seed(0))
    vectors = stack_frames(spectrograms)
    assert vectors.shape == (2, 9 - FRAMES + 1, 3 * FRAMES)
    for sample in range(2):
        for start in range(9 - FRAMES + 1):
            frames = [spectrograms[sample, 0, :, start + k] for k in range(FRAMES)]
            np.testing.assert_array_equal(vectors[sample, start], torch.cat(frames))
