"""Mixup of the waveforms and labels of a batch.

Shape letters: B samples of a batch, K product IDs of the target machine type, T samples of a
waveform. `machine` is 1 for the target machine type and 0 for another; after Mixup it is soft.
"""

import torch
from torch import Tensor


def mixup(
    waveforms: Tensor, targets: Tensor, machine: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each sample with a random partner of its batch, and the labels in the same share.

    The coefficient of each sample is drawn from Beta(alpha, alpha), and all partners are one
    permutation of the batch. All is drawn on the CPU from `generator` alone, so the result does
    not depend on the device. The inputs stay as they are.

    Args:
        waveforms: (B, T), floating point, as the labels are.
        targets: (B, K), product IDs.
        machine: (B,), target machine type or not.
        alpha: both parameters of the Beta distribution, > 0 (0.2 in the paper).
        generator: a CPU generator.

    Returns:
        Mixed waveforms (B, T), targets (B, K) and machine (B,).
    """
    assert alpha > 0, alpha
    assert generator.device.type == "cpu", generator.device
    size = len(waveforms)
    # Beta(a, a) is X / (X + Y) of two Gamma(a) draws. Both shares come from the draws, since
    # 1 - share rounds the smaller one to 0 in float32 and drops its target from the mask.
    # float64 because a small alpha draws below the least float32, where all draws are equal.
    concentration = torch.full((2, size), alpha, dtype=torch.float64)
    draws = torch._standard_gamma(concentration, generator=generator)
    partners = torch.randperm(size, generator=generator).double()
    drawn = torch.cat([draws / draws.sum(dim=0), partners[None]])
    if waveforms.device.type == "cuda":  # From other memory, the CPU would wait for the GPU.
        drawn = drawn.pin_memory()
    share, partner_share, partner = drawn.to(waveforms.device, non_blocking=True).unbind()
    rows = partner.long()

    def mix(batch: Tensor) -> Tensor:
        shape = (size,) + (1,) * (batch.ndim - 1)
        weight = share.to(batch).view(shape)
        partner_weight = partner_share.to(batch).view(shape)
        return weight * batch + partner_weight * batch[rows]

    return mix(waveforms), mix(targets), mix(machine)
