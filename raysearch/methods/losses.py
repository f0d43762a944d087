"""The binary cross-entropies of the paper (equations 1 and 2).

Shape letters: B samples of a batch, K product IDs of the target machine type. `machine` is 1 for
the target machine type and 0 for another; after Mixup it is soft.

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
    logits = at_least_float32(logits)
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
    logits = at_least_float32(logits)
    assert logits.ndim == 1, logits.shape
    assert logits.shape == machine.shape, (logits.shape, machine.shape)
    mean = binary_cross_entropy_with_logits(logits, machine.to(logits.dtype))
    return mean if size is None else mean * (len(logits) / size)


def at_least_float32(values: Tensor) -> Tensor:
    """Convert half-precision values to float32, in which soft labels keep their value."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
