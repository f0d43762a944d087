"""Batches of labels, and the matrix of Mixup."""

import numpy as np
import torch
from torch import Tensor

from raysearch.methods.mixup import mixup


def one_hot_batch(size: int, ids: int, seed: int) -> tuple[Tensor, Tensor]:
    """Targets and machine of a batch, half of it other machines."""
    rng = np.random.default_rng(seed)
    machine = (np.arange(size) % 2).astype(np.float64)
    targets = np.eye(ids)[rng.integers(0, ids, size)] * machine[:, None]
    return torch.from_numpy(targets), torch.from_numpy(machine)


def mixing_matrix(size: int, seed: int, alpha: float = 0.2) -> Tensor:
    """M (B, B) with mixed = M @ batch: what Mixup does to unit vectors."""
    eye = torch.eye(size, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return mixup(eye, eye, torch.ones(size, dtype=torch.float64), alpha, generator)[0]
