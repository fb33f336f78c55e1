"""Batch normalisation over the batch of all replicas; torch's SyncBatchNorm runs on GPUs only."""

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """Sums x over the replicas. Each of them goes on with the sum, so the gradient is a sum over the replicas too."""

    @staticmethod
    def forward(ctx, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _Sum.apply(grad.contiguous(), ctx.group), None


class ReplicatedBatchNorm(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d over maps (N, C, H, W); each replica holds an equal part of the images."""

    def __init__(self, norm: nn.BatchNorm2d, group: dist.ProcessGroup):
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias, self.group = norm.weight, norm.bias, group
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    @torch.compiler.disable  # it waits for other processes
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        maps = x if x.dtype == torch.float64 else x.float()
        count = maps[:, 0].numel() * dist.get_world_size(self.group)
        mean = _Sum.apply(maps.sum((0, 2, 3)), self.group) / count
        centred = maps - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3)), self.group) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def sum_statistics(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Makes each batch normalisation of a network take mean and variance over all replicas, in place."""
    for name, layer in model.named_children():
        if isinstance(layer, nn.BatchNorm2d):
            setattr(model, name, ReplicatedBatchNorm(layer, group))
