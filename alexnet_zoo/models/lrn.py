"""Local response normalisation (section 3.3), fast and with a closed-form backward.

    b = a / d^beta,   d = k + alpha * (sum of a^2 over the n adjacent maps at the same place)

As printed, alpha is not divided by n; torch.nn.LocalResponseNorm and ONNX's LRN divide, so their alpha is n times ours.
The maps of one column never see those of another: each column lives on its own GPU.

Two forms of one arithmetic, which a test holds equal:
- eager: an autograd.Function that walks the batch two images at a time, so that its dozen passes stay in the cache,
  and saves only the input and d;
- scripted, traced, compiled, exported: plain operations, the sum as a 1x1 convolution with a banded matrix of ones,
  which is also what runs fastest in onnxruntime.
Both take d^0.75 as sqrt(d) * sqrt(sqrt(d)), several times cheaper than pow.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

IMAGES_AT_A_TIME = 2  # measured best on CPUs with 1 MiB of L2 a core; a GPU takes the whole batch


def power(d: Tensor, beta: float) -> Tensor:
    """d ** beta, for d > 0."""
    if beta != 0.75:
        return d.pow(beta)
    root = d.sqrt()
    return root * root.sqrt()


def sum_over_adjacent_maps(x: Tensor, size: int, columns: int, out: Tensor) -> Tensor:
    """out[:, i] = sum of x[:, j] over |j - i| <= size // 2 in i's column; x and out (N, C, ...), contiguous."""
    shape = (x.shape[0] * columns, x.shape[1] // columns, *x.shape[2:])
    x, total = x.view(shape), out.view(shape)
    total.copy_(x)
    for shift in range(1, min(size // 2 + 1, x.shape[1])):
        total[:, shift:] += x[:, :-shift]
        total[:, :-shift] += x[:, shift:]
    return out


class _LocalResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, size: int, alpha: float, beta: float, k: float, columns: int) -> Tensor:
        x = x.contiguous()
        out = torch.empty_like(x)
        d = torch.empty_like(x, dtype=torch.promote_types(x.dtype, torch.float32))  # a^2 overflows fp16 above 256
        step = IMAGES_AT_A_TIME if x.device.type == "cpu" else max(len(x), 1)
        for a, d_chunk, out_chunk in zip(x.split(step), d.split(step), out.split(step)):
            a = a.to(d.dtype)
            sum_over_adjacent_maps(a * a, size, columns, out=d_chunk).mul_(alpha).add_(k)
            out_chunk.copy_(a.div(power(d_chunk, beta)))
        ctx.save_for_backward(x, d)
        ctx.constants = size, alpha, beta, columns, step
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        """grad_a = g d^-beta - 2 alpha beta a * (sum over adjacent maps of g a d^(-beta - 1))."""
        x, all_d = ctx.saved_tensors
        size, alpha, beta, columns, step = ctx.constants
        grad_x = torch.empty_like(x)
        for a, d, g, out in zip(x.split(step), all_d.split(step), grad.contiguous().split(step), grad_x.split(step)):
            a = a.to(d.dtype)
            direct = g / power(d, beta)
            through_d = sum_over_adjacent_maps(direct.mul(a).div_(d), size, columns, out=torch.empty_like(d))
            out.copy_(direct.addcmul_(a, through_d, value=-2 * alpha * beta))
        return grad_x, None, None, None, None, None


def local_response_norm_composite(x: Tensor, size: int, alpha: float, beta: float, k: float, columns: int) -> Tensor:
    """The same in plain operations, for torch.jit, torch.export and torch.compile."""
    a = x if x.dtype == torch.float64 else x.float()
    channels = a.shape[1]
    index = torch.arange(channels, device=x.device)
    own_column = index[: channels // columns]
    # Row i of a column's block is one where its maps lie within the window of map i.
    band = ((index % (channels // columns)).unsqueeze(1) - own_column.unsqueeze(0)).abs() <= size // 2
    weight = band.to(a.dtype).mul(alpha).reshape(channels, channels // columns, 1, 1)
    bias = torch.full([channels], k, dtype=a.dtype, device=x.device)
    d = F.conv2d(a * a, weight, bias, groups=columns)
    return (a / power(d, beta)).to(x.dtype)


@torch.fx.wrap  # a leaf to torch.fx, which cannot trace through an autograd.Function
def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float, columns: int) -> Tensor:
    """Local response normalisation of x (N, C, H, W), in the form that fits how it is called; computes in float32."""
    if torch.jit.is_scripting():
        return local_response_norm_composite(x, size, alpha, beta, k, columns)
    else:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return local_response_norm_composite(x, size, alpha, beta, k, columns)
        return _LocalResponseNorm.apply(x, size, alpha, beta, k, columns)


class LocalResponseNorm(nn.Module):
    """Section 3.3 over x (N, C, H, W), each of `columns` groups of C / columns maps on its own.

    Args: size, the paper's n; alpha, not divided by n; beta; k; columns, groups of maps that do not see each other.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, columns: int = 1):
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.columns = size, alpha, beta, k, columns

    def forward(self, x: Tensor) -> Tensor:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k, self.columns)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, columns={self.columns}"


@torch.fx.wrap  # a leaf to torch.fx, for which the type of x is not known
def map_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    a = x if x.dtype == torch.float64 else x.float()
    mean = F.avg_pool2d(a * a, size, stride=1, padding=size // 2)  # zeros beyond the border count, so size^2 times it
    return (a / power(mean * (alpha * size * size) + k, beta)).to(x.dtype)  # is the sum


class MapNorm(nn.Module):
    """Net 145's second normalisation: a / (k + alpha * sum of a^2 over size x size places of the same map)^beta."""

    def __init__(self, size: int = 5, alpha: float = 1e-3 / 25, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return map_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
