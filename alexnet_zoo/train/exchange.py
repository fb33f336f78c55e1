"""Where columns meet: a layer that reads the maps of all columns, of which this process holds its own (section 3.5).

While the other columns' maps travel, the layer works on its own; backward, what goes to the others leaves first, and
the rest is worked out while it travels. A meeting point costs the time that is left to wait for.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet_zoo.train.stopwatch import Stopwatch


class _Read(torch.autograd.Function):
    """Sums the layer's output over the columns that it reads; saves the maps of all of them."""

    @staticmethod
    def forward(ctx, own: Tensor, weight: Tensor, bias: Tensor, meeting: "Meeting") -> Tensor:
        column, columns = meeting.column, meeting.columns
        own = own.contiguous()
        arrived = meeting.start(dist.all_gather, own)
        kernels = weight.chunk(columns, dim=1)
        parts = {column: meeting.read(own, kernels[column])}
        maps = arrived()
        maps[column] = own
        parts |= {j: meeting.read(maps[j], kernels[j]) for j in meeting.others}
        out = parts[0]  # summed in the same order by every column: all hold fc8, and must agree to the last bit
        for j in range(1, columns):
            out += parts[j]
        out += bias.view(-1, *[1] * (out.dim() - 2))
        ctx.meeting = meeting
        ctx.save_for_backward(weight, *maps)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        meeting, (weight, *maps) = ctx.meeting, ctx.saved_tensors
        column, columns = meeting.column, meeting.columns
        kernels = weight.chunk(columns, dim=1)
        arrived = None
        if not meeting.read_whole:  # else each column has worked out by itself all that reads its maps
            asked = [torch.empty_like(own) for own in maps]  # this column's own place is not filled, and not read
            for j in meeting.others:
                asked[j] = meeting.gradient_of_maps(grad, maps[j], kernels[j]).contiguous()
            arrived = meeting.start(dist.all_to_all, asked)
        grad_own = meeting.gradient_of_maps(grad, maps[column], kernels[column])
        grad_weight = torch.empty_like(weight)
        for part, own, kernel in zip(grad_weight.chunk(columns, dim=1), maps, kernels):
            part.copy_(meeting.gradient_of_kernels(grad, own, kernel))
        grad_bias = grad.sum([d for d in range(grad.dim()) if d != 1])
        if arrived:
            received = arrived()
            for j in meeting.others:
                grad_own += received[j]
        return grad_own, grad_weight, grad_bias, None


class Meeting(nn.Module):
    """A layer of the network that reads all columns, with its parameters, as one column computes it.

    Args: layer, a Conv2d or Linear with a bias; group, the columns' processes; read_whole, whether each column holds
    all of the layer, as of fc8, so that nothing travels backward; shared, whether they share a CUDA device.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, group: dist.ProcessGroup, read_whole: bool, shared: bool):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.group, self.read_whole, self.shared = group, read_whole, shared
        self.column, self.columns = dist.get_rank(group), dist.get_world_size(group)
        self.others = [j for j in range(self.columns) if j != self.column]
        self.stride, self.padding = getattr(layer, "stride", None), getattr(layer, "padding", None)  # none: Linear
        self.sent_bytes, self.watch = 0, Stopwatch()  # of this column, since the start

    @torch.compiler.disable  # it waits for other processes
    def forward(self, x: Tensor) -> Tensor:
        kind, tensors = x.device.type, [x, self.weight, self.bias]
        if torch.is_autocast_enabled(kind):
            tensors = [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]
        with torch.autocast(kind, enabled=False):
            return _Read.apply(*tensors, self)

    def read(self, maps: Tensor, kernels: Tensor) -> Tensor:
        if self.stride is None:
            return F.linear(maps, kernels)
        return F.conv2d(maps, kernels, None, self.stride, self.padding)

    def gradient_of_maps(self, grad: Tensor, maps: Tensor, kernels: Tensor) -> Tensor:
        if self.stride is None:
            return grad @ kernels
        return nn.grad.conv2d_input(maps.shape, kernels, grad, self.stride, self.padding)

    def gradient_of_kernels(self, grad: Tensor, maps: Tensor, kernels: Tensor) -> Tensor:
        if self.stride is None:
            return grad.T @ maps
        return nn.grad.conv2d_weight(maps, kernels.shape, grad, self.stride, self.padding)

    def start(self, collective: Callable, given: Tensor | list[Tensor]) -> Callable[[], list[Tensor]]:
        """Begins to send, and counts what goes to each other column; returns what waits for what all of them send.

        Args: collective, all_gather of a tensor, or all_to_all of one for each column; all have one shape, contiguous.
        Columns that share a device copy through the host's memory: there alone gloo takes these two, and gather.
        """
        sent = given if isinstance(given, Tensor) else given[self.others[0]]
        with self.timed(sent.device):
            if self.shared:
                given = given.cpu() if isinstance(given, Tensor) else [tensor.cpu() for tensor in given]
            received = [torch.empty_like(sent, device="cpu" if self.shared else None) for _ in range(self.columns)]
            work = collective(received, given, group=self.group, async_op=True)
        if self.training:
            self.sent_bytes += sent.numel() * sent.element_size() * len(self.others)

        def arrived() -> list[Tensor]:
            with self.timed(sent.device):
                work.wait()
                return [tensor.to(sent.device) for tensor in received]

        return arrived

    def timed(self, device: torch.device) -> AbstractContextManager:
        """Counts the time that the exchange keeps this column from computing; validation is no step."""
        return self.watch.running(device) if self.training else nullcontext()
