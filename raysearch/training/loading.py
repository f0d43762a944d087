"""Batches on their way to the device of a training.

Shape letters: B samples of a batch, T samples of a segment, K product IDs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from raysearch.data.batches import Batch
from raysearch.training.step import Inputs


@dataclass(frozen=True)
class Loaded:
    """A batch whose recordings are read; on the CPU, in pinned memory if its device is a GPU.

    Attributes:
        waves: (B, T), float32 and normalised for a CPU; int16 as stored for a GPU, half as much to
            send.
        scale: (B, 2) mean and standard deviation of each segment; None if they are normalised.
        targets: (B, K) product IDs, one-hot, zero for other machine types.
        machine: (B,) 1 for the target machine type, 0 for others.
        networks: (B,) number of the network of each sample; None for one network.
    """

    waves: Tensor
    scale: Tensor | None
    targets: Tensor
    machine: Tensor
    networks: Tensor | None

    def send(self, device: torch.device) -> Inputs:
        """Return the input on its device; a GPU is not waited for."""
        waves, targets, machine = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.waves, self.targets, self.machine)
        )
        if self.scale is not None:
            # The operations of `Batch.waveforms`, so a GPU gets the same digits.
            mean, std = self.scale.to(device, non_blocking=True).T[:, :, None]
            waves = waves.float().sub_(mean).div_(std)
        return Inputs(waves, targets, machine, self.networks)


def load(batch: Batch, products: int, device: torch.device) -> Loaded:
    """Read the recordings of a batch; may run in a thread beside the training.

    Args:
        batch: of segments.
        products: number of product IDs, K.
        device: that the batch is sent to.
    """
    numbers = torch.from_numpy(batch.products)
    machine = (numbers >= 0).float()
    targets = one_hot(numbers.clamp(min=0), products) * machine[:, None]
    networks = None if batch.networks is None else torch.from_numpy(batch.networks)
    if device.type != "cuda":
        return Loaded(torch.from_numpy(batch.waveforms), None, targets, machine, networks)
    waves = torch.empty((batch.size, batch.segment), dtype=torch.int16, pin_memory=True)
    batch.samples(waves.numpy())
    scale = torch.from_numpy(batch.scale).pin_memory()
    return Loaded(waves, scale, targets.pin_memory(), machine.pin_memory(), networks)
