"""Data-parallel training with the result of one worker on the whole batch."""

from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, dropout
from torch.nn.parallel import DistributedDataParallel

from raysearch.training.distributed import all_reduce_sum, shard, world_size

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def wrap_encoder(network: nn.Module) -> nn.Module:
    """Wrap a network for data-parallel training: equal weights, mean gradients, one batch norm.

    Batch norm and dropout are those of the whole batch, so that a trial does not depend on its
    world size; with four workers a batch of 32 would otherwise be normalised by eight samples.
    The layers are replaced in place, with the same parameters and names of the state: validate
    and save the network itself. Collective.

    Args:
        network: on its device, before training.

    Returns:
        The module to call in training.
    """
    if world_size() == 1:
        return network
    synchronise(network)
    on_gpu = next(network.parameters()).device.type == "cuda"
    devices = [torch.cuda.current_device()] if on_gpu else None
    # Buffers are equal already; sending them before each step would only cost time.
    parameters = signature(DistributedDataParallel).parameters
    # The name of this setting in newer and in older versions of torch.
    name = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    settings: dict[str, Any] = {name: False}
    return DistributedDataParallel(network, device_ids=devices, **settings)


def synchronise(network: nn.Module) -> None:
    """Replace batch norm and dropout by those of the batch of all workers."""
    for name, child in network.named_children():
        if isinstance(child, BatchNorm):
            setattr(network, name, GlobalBatchNorm(child))
        elif isinstance(child, nn.Dropout):
            setattr(network, name, GlobalDropout(child.p))
        else:
            synchronise(child)


class GlobalDropout(nn.Dropout):
    """Dropout with the draws that one worker would make for the samples of all workers.

    Workers must have the same random state, and the samples of their `shard`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop values of (B, ...). Collective in training."""
        if not self.training or self.p == 0:
            return x
        size = int(all_reduce_sum(torch.tensor(len(x), device=x.device)))
        return x * dropout(x.new_ones((size, *x.shape[1:])), self.p)[shard()]


class GlobalBatchNorm(nn.BatchNorm2d):
    """Batch norm over the samples of all workers, which may hold unequal numbers of them.

    torch's SyncBatchNorm needs a GPU, and timm's batch norms include an activation.
    Parameters, buffers and their names are those of the batch norm that is replaced.
    """

    def __init__(self, replaced: BatchNorm) -> None:
        """Replace another batch norm, with its parameters and buffers."""
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
        """Normalise (B, C, ...) by mean and variance of each channel. Collective in training."""
        y = self._normalise(x) if self.training else super().forward(x)
        activated: Tensor = self.act(self.drop(y))
        return activated

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def _normalise(self, x: Tensor) -> Tensor:
        moments = _global_moments(x)
        if self.track_running_stats:
            self._track(moments)
        dtype = torch.promote_types(x.dtype, torch.float32)
        moments = replace(moments, mean=moments.mean.to(dtype), var=moments.var.to(dtype))
        y: Tensor = _Normalise.apply(x, self.weight, self.bias, moments, self.eps)
        return y

    @torch.no_grad()
    def _track(self, moments: "_Moments") -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:  # a cumulative mean
            share = 1 / int(self.num_batches_tracked)
        count = moments.count
        unbiased = moments.var * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(moments.mean.to(self.running_mean), share)
        self.running_var.lerp_(unbiased.to(self.running_var), share)


@dataclass(frozen=True)
class _Moments:
    """Moments of the values of each channel over all workers.

    Attributes:
        count: values a channel (1,).
        mean: (C,).
        var: (C,).
    """

    count: Tensor
    mean: Tensor
    var: Tensor


@torch.no_grad()
def _global_moments(x: Tensor) -> _Moments:
    """Compute the moments of (B, C, ...), in float64. Collective."""
    # From means and variances rather than sums of squares, combined in float64: a mean much larger
    # than the deviation would cancel the variance.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    # What torch's own batch norm calls: with channels_last it takes a twentieth of var_mean.
    mean, var = (m.double() for m in torch.batch_norm_update_stats(wide, None, None, 0.0))
    count = mean.new_full((1,), x.numel() // x.shape[1])
    summed = all_reduce_sum(torch.cat([count, count * mean, count * (var + mean.square())]))
    count = summed[:1]
    mean, square = (summed[1:] / count).chunk(2)
    return _Moments(count, mean, (square - mean.square()).clamp(min=0))


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and var over all workers."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        moments: _Moments,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, moments.count, moments.mean, moments.var)
        ctx.eps = eps
        return batch_norm(x, moments.mean, moments.var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, count, mean, var = ctx.saved_tensors
        wide = x.to(mean.dtype)
        # As if mean and variance were constants, ...
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad.to(mean.dtype), wide, weight, mean, var, None, None, False, ctx.eps, [True] * 3
        )
        # ... but they depend on the x of every worker, so each x has gradients of all workers.
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale = torch.rsqrt(var + ctx.eps)
        sums = all_reduce_sum(torch.stack([grad_weight, grad_bias]).double())
        by_var, by_mean = (sums / count).to(mean)
        gain = scale if weight is None else scale * weight
        grad_x -= (gain * by_mean).view(shape)
        grad_x.addcmul_(wide - mean.view(shape), (gain * scale * by_var).view(shape), value=-1)
        # DistributedDataParallel averages the gradients of weight and bias over the workers.
        affine = (None, None) if weight is None else (grad_weight, grad_bias)
        return grad_x.to(x.dtype), *affine, None, None
