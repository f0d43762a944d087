"""The losses of the outlier-exposure encoder (equations 1-3 of the paper) and Mixup.

Shape letters: B samples of a batch, K product IDs of the target machine type, T samples of a
waveform. `machine` is 1 for the target machine type and 0 for another; after Mixup it is soft.

Each loss is a mean. For a part of a batch it is divided by the number of the whole batch, so that
the losses of the parts, and their gradients, add up to those of the whole batch.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def product_loss(
    logits: Tensor, targets: Tensor, machine: Tensor, holders: Tensor | None = None
) -> Tensor:
    """Return the binary cross-entropy over product IDs, of samples with the target (equation 1).

    -1 / (K sum_i m_i) sum_i m_i sum_k {y log sigmoid(g) + (1 - y) log(1 - sigmoid(g))}
    with m = 1 where machine > 0: a mixed sample counts as soon as a target is in the mix.

    Args:
        logits: (B, K), g.
        targets: (B, K), y: one-hot product ID, soft after Mixup, zero for other machines.
        machine: (B,), t.
        holders: scalar, number of samples with the target in the whole batch; None if `logits` is
            the whole batch.

    Returns:
        A scalar; 0, still with a graph, if no sample of the batch has the target.
    """
    logits = _at_least_float32(logits)
    assert logits.ndim == 2, logits.shape
    assert logits.shape == targets.shape, (logits.shape, targets.shape)
    assert machine.shape == logits.shape[:1], machine.shape
    mask = (machine > 0).to(logits.dtype)
    terms = binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    count = mask.sum() if holders is None else holders.to(logits.dtype)
    return (mask * terms.mean(dim=1)).sum() / count.clamp(min=1)


def machine_loss(logits: Tensor, machine: Tensor, size: int | None = None) -> Tensor:
    """Return the binary cross-entropy of the machine type (equation 2).

    Args:
        logits: (B,), a ||f||^2 + b.
        machine: (B,), t, may be soft.
        size: number of samples of the whole batch; None if `logits` is the whole batch.

    Returns:
        A scalar.
    """
    logits = _at_least_float32(logits)
    assert logits.ndim == 1, logits.shape
    assert logits.shape == machine.shape, (logits.shape, machine.shape)
    mean = binary_cross_entropy_with_logits(logits, machine.to(logits.dtype))
    return mean if size is None else mean * (len(logits) / size)


def total_loss(machine: Tensor, product: Tensor, lam: float) -> Tensor:
    """Return L = L_machine + λ L_product (equation 3)."""
    return machine + lam * product


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
    # Each copy to a GPU blocks, so there are two of them rather than seven.
    share, partner_share = (draws / draws.sum(dim=0)).to(waveforms.device).unbind()
    partner = torch.randperm(size, generator=generator).to(waveforms.device)

    def mix(batch: Tensor) -> Tensor:
        shape = (size,) + (1,) * (batch.ndim - 1)
        weight = share.to(batch).view(shape)
        partner_weight = partner_share.to(batch).view(shape)
        return weight * batch + partner_weight * batch[partner]

    return mix(waveforms), mix(targets), mix(machine)


def _at_least_float32(logits: Tensor) -> Tensor:
    """Convert half-precision logits to float32, in which soft labels keep their value."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
