"""A network that the workers of one trial train as one worker would, with the whole batch."""

from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, dropout
from torch.nn.parallel import DistributedDataParallel

from raysearch.training.distributed import all_reduce_sum, shard, world_size

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def wrap_encoder(network: nn.Module) -> nn.Module:
    """Makes workers act as one in training: the same weights, mean gradients, one batch norm.

    Batch norm is always that of the whole batch, and dropout draws for the whole batch, so that
    a trial does not depend on the number of its workers; with four of them a batch of 32 would
    else be normalised by eight samples. The network itself stays the one to validate with and to
    save: such layers are replaced in place, parameters and names of its state stay as they were.

    Args:
        network: on its device, before training.

    Returns:
        What to call in training, as the network.
    """
    if world_size() == 1:
        return network
    synchronise(network)
    on_gpu = next(network.parameters()).device.type == "cuda"
    devices = [torch.cuda.current_device()] if on_gpu else None
    # Buffers are the same already; to send them before each step would only cost time.
    known = signature(DistributedDataParallel).parameters
    # One setting, as newer and as older versions of torch call it.
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    settings: dict[str, Any] = {name: False}
    return DistributedDataParallel(network, device_ids=devices, **settings)


def synchronise(network: nn.Module) -> None:
    """Replaces layers that look at a whole batch by such as look at that of all workers."""
    for name, child in network.named_children():
        if isinstance(child, BatchNorm):
            setattr(network, name, GlobalBatchNorm(child))
        elif isinstance(child, nn.Dropout):
            setattr(network, name, GlobalDropout(child.p))
        else:
            synchronise(child)


class GlobalDropout(nn.Dropout):
    """Dropout that draws for the samples of all workers, as one worker would draw for them all.

    Workers must have the same random state, and hold the samples that `shard` gives them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drops values of (B, ...)."""
        if not self.training or self.p == 0:
            return x
        size = int(all_reduce_sum(torch.tensor(len(x), device=x.device)))
        return x * dropout(x.new_ones((size, *x.shape[1:])), self.p)[shard()]


class GlobalBatchNorm(nn.BatchNorm2d):
    """Batch norm over the samples of all workers, which may hold unequal numbers of them.

    torch's SyncBatchNorm wants a GPU, and timm's batch norms apply an activation of their own.
    Parameters, buffers and their names are those of the batch norm that is replaced.
    """

    def __init__(self, replaced: BatchNorm) -> None:
        """Takes the place of another batch norm, and takes over its parameters and buffers."""
        super().__init__(
            replaced.num_features,
            replaced.eps,
            replaced.momentum,
            replaced.affine,
            replaced.track_running_stats,
        )
        for name, parameter in replaced.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in replaced.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.drop = getattr(replaced, "drop", nn.Identity())
        self.act = getattr(replaced, "act", nn.Identity())
        self.train(replaced.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (B, C, ...) by the mean and variance of each channel over all workers."""
        y = self._by_batch(x) if self.training else super().forward(x)
        activated: Tensor = self.act(self.drop(y))
        return activated

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def _by_batch(self, x: Tensor) -> Tensor:
        count, mean, var = _moments(x)
        if self.track_running_stats:
            self._track(count, mean, var)
        kind = torch.promote_types(x.dtype, torch.float32)
        y: Tensor = _Normalise.apply(
            x, self.weight, self.bias, count, mean.to(kind), var.to(kind), self.eps
        )
        return y

    @torch.no_grad()
    def _track(self, count: Tensor, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:  # a cumulative mean
            share = 1 / int(self.num_batches_tracked)
        unbiased = var * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(unbiased.to(self.running_var), share)


@torch.no_grad()
def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values a channel (1,), their mean (C,) and variance (C,) over all workers, in float64."""
    # From means and variances rather than sums of squares, and these joined in float64: where a
    # mean is large beside its deviation, nothing of the variance is lost.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    # What torch's own batch norm calls: with channels_last it takes a twentieth of var_mean.
    mean, var = (m.double() for m in torch.batch_norm_update_stats(wide, None, None, 0.0))
    count = mean.new_full((1,), x.numel() // x.shape[1])
    summed = all_reduce_sum(torch.cat([count, count * mean, count * (var + mean.square())]))
    count = summed[:1]
    mean, square = (summed[1:] / count).chunk(2)
    return count, mean, (square - mean.square()).clamp(min=0)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, where mean and var are those of all x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        count: Tensor,
        mean: Tensor,
        var: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, count, mean, var)
        ctx.eps = eps
        return batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, count, mean, var = ctx.saved_tensors
        wide = x.to(mean.dtype)
        # As if mean and variance were constants, ...
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            grad.to(mean.dtype), wide, weight, mean, var, None, None, False, ctx.eps, [True] * 3
        )
        # ... but they hold every worker's x, so each x feels the gradients of all workers.
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale = torch.rsqrt(var + ctx.eps)
        by_var, by_mean = (all_reduce_sum(torch.stack([of_weight, of_bias]).double()) / count).to(
            mean
        )
        gain = scale if weight is None else scale * weight
        of_x -= (gain * by_mean).view(shape)
        of_x.addcmul_(wide - mean.view(shape), (gain * scale * by_var).view(shape), value=-1)
        # Weight and bias are left to whoever sums all parameters' gradients over the workers.
        affine = (None, None) if weight is None else (of_weight, of_bias)
        return of_x.to(x.dtype), *affine, None, None, None, None
