"""A step of a training: the losses of a batch and their gradients.

With `compile: true` torch.compile joins operations. On a GPU, which waits for the CPU to start the
thousand small operations of a step one after the other, a CUDA graph then starts all of them at
once; a graph needs inputs of constant shapes at constant addresses.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.config import Options
from raysearch.errors import TrialError, first_line
from raysearch.methods.method import Labels, Method
from raysearch.training.distributed import shard, world_size

Losses = dict[str, Tensor]
"""Parts of a loss by name."""

WARM_UP = 3
"""Steps before the capture of a graph, in which libraries choose algorithms and take memory."""
TOLERANCE = 0.02
"""Relative difference of losses and gradients that the order of sums makes, in bfloat16 too."""


@dataclass(frozen=True)
class Inputs:
    """Input of a step, on the device.

    Attributes:
        waves: waveforms (B, T), normalised and mixed.
        targets: (B, K) product IDs, soft after Mixup.
        machine: (B,) share of the target machine type.
        networks: (B,) number of the network of each sample, on the CPU; None for one network.
    """

    waves: Tensor
    targets: Tensor
    machine: Tensor
    networks: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """The loss that a training minimises.

    Attributes:
        frontend: from waveforms to spectrograms.
        method: of the trial.
        weights: of the parts of the loss.
    """

    frontend: nn.Module
    method: Method
    weights: Mapping[str, float]

    def losses(self, network: nn.Module, inputs: Inputs, *, bf16: bool) -> Losses:
        """Compute the parts of the loss of this worker's shard.

        Args:
            network: an encoder with its heads.
            inputs: of all workers.
            bf16: compute in bfloat16 where autocast allows that.
        """
        waves, targets, machine = inputs.waves, inputs.targets, inputs.machine
        labels = Labels(targets[shard()], machine[shard()], len(waves), (machine > 0).sum())
        # They stay on the CPU, where selecting the samples of a network waits for no GPU.
        networks = () if inputs.networks is None else (inputs.networks[shard()],)
        with torch.autocast(waves.device.type, dtype=torch.bfloat16, enabled=bf16):
            outputs = network(self.frontend(waves[shard()]), *networks)
        return dict(self.method.losses(outputs, labels))

    def total(self, losses: Losses) -> Tensor:
        """Sum the weighted parts of a loss."""
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()


class Step:
    """Losses and gradients of a batch, computed operation by operation."""

    def __init__(self, network: nn.Module, objective: Objective, *, bf16: bool) -> None:
        """Take the parts of a step.

        Args:
            network: as it is called in training.
            objective: whose gradients are computed.
            bf16: as in `Objective.losses`.
        """
        self.network, self.objective, self.bf16 = network, objective, bf16
        self.parameters = tuple(network.parameters())

    def __call__(self, inputs: Inputs) -> Losses:
        """Set the gradients of all parameters; return the losses. Collective."""
        for parameter in self.parameters:
            parameter.grad = None
        losses = self.objective.losses(self.network, inputs, bf16=self.bf16)
        # Workers' losses add up to that of the batch, but their gradients are averaged.
        loss = self.objective.total(losses) * world_size()
        loss.backward()  # type: ignore[no-untyped-call]
        return {name: part.detach() for name, part in losses.items()}


@dataclass(frozen=True)
class _Graph:
    """A captured step with its inputs and outputs, which keep their addresses."""

    graph: Any
    inputs: Inputs
    losses: Losses
    gradients: tuple[Tensor | None, ...]

    def fill(self, inputs: Inputs) -> None:
        """Replace the inputs."""
        self.inputs.waves.copy_(inputs.waves)
        self.inputs.targets.copy_(inputs.targets)
        self.inputs.machine.copy_(inputs.machine)

    def replay(self, parameters: Sequence[nn.Parameter]) -> None:
        """Compute losses and gradients of the inputs."""
        self.graph.replay()
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient


class GraphStep(Step):
    """Losses and gradients of a batch from a CUDA graph, captured once for each shape."""

    def __init__(self, network: nn.Module, objective: Objective, *, bf16: bool) -> None:
        """Take the parts of a step; see `Step`."""
        super().__init__(network, objective, bf16=bf16)
        self.graphs: dict[torch.Size, _Graph] = {}
        self.memory = torch.cuda.graph_pool_handle()

    def __call__(self, inputs: Inputs) -> Losses:
        """Set the gradients of all parameters; return the losses, which the next call changes.

        Raises:
            TrialError: the step cannot be captured.
        """
        shape = inputs.waves.shape
        if shape not in self.graphs:
            self.graphs[shape] = self._checked(inputs)
        captured = self.graphs[shape]
        captured.fill(inputs)
        captured.replay(self.parameters)
        return captured.losses

    def _checked(self, inputs: Inputs) -> _Graph:
        """Return a captured step that has the losses and gradients of its operations.

        A capture changes neither the network nor the state of the random numbers.
        """
        try:
            with _unchanged(self.network):
                captured = self._capture(inputs)
            with _unchanged(self.network):
                expected = self._size(super().__call__(inputs))
            with _unchanged(self.network):
                captured.replay(self.parameters)
                size = self._size(captured.losses)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise TrialError(_refusal(first_line(error))) from error
        # The operations alone need no memory any more; other trials on the GPU may.
        torch.cuda.empty_cache()
        if not torch.allclose(size, expected, rtol=TOLERANCE, atol=1e-6):
            reason = f"losses and gradient are {size.tolist()} instead of {expected.tolist()}"
            raise TrialError(_refusal(reason))
        return captured

    def _size(self, losses: Losses) -> Tensor:
        """Return the losses and the norm of the gradient."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        return torch.stack([*losses.values(), norm]).float().cpu()

    def _capture(self, inputs: Inputs) -> _Graph:
        assert inputs.networks is None, "the networks of a batch decide on its shapes"
        constant = Inputs(inputs.waves.clone(), inputs.targets.clone(), inputs.machine.clone())
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                super().__call__(constant)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # The thread that reads the next batches takes pinned memory meanwhile.
        with torch.cuda.graph(graph, pool=self.memory, capture_error_mode="thread_local"):
            losses = super().__call__(constant)
        return _Graph(graph, constant, losses, tuple(p.grad for p in self.parameters))


def _refusal(reason: str) -> str:
    return f"the step cannot be a CUDA graph ({reason}); set compile: false"


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """Put back what steps in this block change: running statistics and random numbers."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    state = torch.cuda.get_rng_state()
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
        torch.cuda.set_rng_state(state)


def new_step(network: nn.Module, objective: Objective, options: Options) -> Step:
    """Return the step of a training by a trial's options.

    Args:
        network: on its device, as it is called in training.
        objective: whose gradients are computed.
        options: of the trial.
    """
    on_gpu = next(network.parameters()).device.type == "cuda"
    bf16 = options.precision == "bf16" or (options.precision == "auto" and on_gpu)
    if not options.compile:
        return Step(network, objective, bf16=bf16)
    # The networks of product IDs get batches of any size, and workers exchange gradients.
    is_constant = world_size() == 1 and not objective.method.is_per_product
    compiled: Any = torch.compile(network, dynamic=not is_constant)
    return (GraphStep if on_gpu and is_constant else Step)(compiled, objective, bf16=bf16)
