"""Trainings on noise, which measure what a training costs on a device."""

import time

import torch

from raysearch.config import Options
from raysearch.methods.lookup import find_method
from raysearch.training.network import best_device, frontend, new_encoder
from raysearch.training.step import Inputs, Objective, new_step

PRODUCTS = 3
"""Product IDs of the noise."""


class NoiseTraining:
    """A training on one constant batch of noise with random labels.

    Network, loss, precision, step and optimiser are those of a trial; nothing is read.
    """

    def __init__(self, options: Options, batch_size: int) -> None:
        """Build the network on the device of this process.

        Args:
            options: of the trial.
            batch_size: samples of the batch, B.
        """
        self.device, self.batch_size = best_device(), batch_size
        method = find_method(options)
        self.encoder = new_encoder(options, PRODUCTS, pretrained=False).to(self.device).train()
        weights = method.weights(1.0)
        objective = Objective(frontend(options).to(self.device), method, weights)
        self.step = new_step(self.encoder, objective, options)
        self.optimiser = torch.optim.AdamW(
            self.encoder.parameters(), lr=1e-4, fused=self.device.type == "cuda"
        )
        targets = torch.rand(batch_size, PRODUCTS, device=self.device)
        machine = torch.rand(batch_size, device=self.device)
        waves = torch.randn(batch_size, options.segment, device=self.device)
        networks = torch.arange(batch_size) % PRODUCTS if method.is_per_product else None
        self.inputs = Inputs(waves, targets, machine, networks)

    def run(self, seconds: float) -> float:
        """Train for some seconds, one step at least; return clips/s."""
        start, steps, spent = time.perf_counter(), 0, 0.0
        while steps == 0 or spent < seconds:
            self.step(self.inputs)
            self.optimiser.step()
            self._wait()
            steps, spent = steps + 1, time.perf_counter() - start
        return steps * self.batch_size / spent

    def memory(self) -> tuple[int, int]:
        """Return the bytes on the GPU that the training took at most, and the bytes of the GPU.

        Returns:
            0 and 0 without a GPU.
        """
        if self.device.type != "cuda":
            return 0, 0
        return torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()[1]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
