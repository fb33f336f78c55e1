"""Adds up the gradients of the replicas while the backward pass still works out those of the layers before."""

import torch
import torch.distributed as dist
from torch import nn

from alexnet_zoo.train.columns import Layout, is_whole

BUCKET_BYTES = 25e6  # of gradients that travel as one message, or what one large layer has


class Bucket:
    """Some parameters' gradients in one row of memory; `sums`, parts of it that look like the parameters."""

    def __init__(self, parameters: list[nn.Parameter], shared: bool):
        self.parameters, self.shared = parameters, shared
        first, sizes = parameters[0], [parameter.numel() for parameter in parameters]
        self.row = torch.zeros(sum(sizes), dtype=first.dtype, device=first.device)
        # in the order in which the numbers lie in memory, which is the same in all processes
        parts = zip(parameters, self.row.split(sizes))
        self.sums = {parameter: part.as_strided(parameter.shape, parameter.stride()) for parameter, part in parts}
        self.missing = set(parameters)
        self.work: dist.Work | None = None


class GradientSum:
    """Sums each gradient over the replicas; `finish`, after the backward pass, puts the sums in their place.

    A bucket leaves when the last of its gradients is there, and not before the buckets of later layers: in the same
    order everywhere. What each column holds is added up in the first, which passes it on: sums of three numbers or
    more, made twice, may differ in their rounding, and the columns must agree to the last bit.
    """

    def __init__(self, model: nn.Module, layout: Layout):
        self.layout, self.left = layout, 0  # how many of the buckets have left
        self.buckets: list[Bucket] = []
        if layout.replicas == 1:
            return
        own: list[nn.Parameter] = []
        shared: list[nn.Parameter] = []
        for name, parameter in reversed(list(model.named_parameters())):
            both = layout.columns > 1 and is_whole(name, parameter, model.held_whole)
            if parameter.requires_grad:  # else frozen
                (shared if both else own).append(parameter)
        self.buckets = [Bucket(part, both) for both, kind in ((True, shared), (False, own)) for part in in_parts(kind)]
        for bucket in self.buckets:
            for parameter in bucket.sums:
                parameter.register_post_accumulate_grad_hook(lambda p, bucket=bucket: self.take(bucket, p))

    def take(self, bucket: Bucket, parameter: nn.Parameter) -> None:
        """Takes a gradient that is there into its bucket, and sends what is complete."""
        bucket.sums[parameter].copy_(parameter.grad)
        parameter.grad = None
        bucket.missing.discard(parameter)
        while self.left < len(self.buckets) and not self.buckets[self.left].missing:
            self.send(self.buckets[self.left])

    def send(self, bucket: Bucket) -> None:
        if self.layout.column == 0 or not bucket.shared:
            bucket.work = dist.all_reduce(bucket.row, group=self.layout.data_group, async_op=True)
        self.left += 1

    def finish(self) -> None:
        """Waits for the sums; they are the parameters' gradients from then on."""
        for bucket in self.buckets[self.left :]:  # which lack a gradient that there was none of, in all replicas
            self.send(bucket)
        for bucket in self.buckets:
            if bucket.work is not None:
                bucket.work.wait()
            if bucket.shared:
                dist.broadcast(bucket.row, group=self.layout.column_group, group_src=0)
            for parameter, gradients in bucket.sums.items():
                parameter.grad = None if parameter in bucket.missing else gradients
            bucket.missing, bucket.work = set(bucket.sums), None
        self.left = 0


def in_parts(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Divides parameters into rows of BUCKET_BYTES, or a little more."""
    parts: list[list[nn.Parameter]] = []
    size = BUCKET_BYTES
    for parameter in parameters:
        if size >= BUCKET_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return parts
