"""Computes local response normalisation (section 3.3), fast and with a closed-form backward.

    b = a / d^beta,   d = k + alpha * (sum of a^2 over the n adjacent maps at the same place)

As printed, alpha is not divided by n; torch.nn.LocalResponseNorm and ONNX's LRN divide, so their alpha is n times ours.
The maps of one column never see those of another: each column lives on its own GPU.

It is written in four forms, which compute the same in float32; a test compares them:
- eager: an autograd.Function that walks the batch in pieces, of images or of places as the maps lie in memory, so that
  its dozen passes stay in the cache, and saves nothing but its input: computing d again costs less than fetching it
  from memory;
- on CUDA: the kernels of lrn_triton.py, compiled or not;
- scripted, traced, compiled: plain operations, which sum shifted slices; a compiler makes one loop of them;
- in an ONNX file: the sum as a 1x1 convolution with a banded matrix of ones, which runs fastest in onnxruntime.
All compute d^0.75 by square roots, which cost several times less than pow.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

try:
    from alexnet_zoo.models import lrn_triton
except ImportError:  # triton comes with torch where torch can use CUDA
    lrn_triton = None

PIECE = 2**19  # elements that a CPU works on at a time, measured best; a GPU takes the whole batch


def power(d: Tensor, beta: float) -> Tensor:
    """Computes d ** beta, for d > 0."""
    if beta != 0.75:
        return d.pow(beta)
    root = d.sqrt()
    return root * root.sqrt()


class Workspace:
    """Holds the memory in which LRN works on one piece (n, C, H * W) of a column's maps after another.

    The user fills `summands`; zeros before and after it stand for the maps beyond the column.
    """

    def __init__(self, piece: Tensor, size: int, dtype: torch.dtype):
        n, maps, places = piece.shape
        self.maps, self.reach = maps, size // 2
        self.padded = piece.new_zeros(n, maps + 2 * self.reach, places, dtype=dtype)
        self.summands = self.padded[:, self.reach : self.reach + maps]
        self.pairs = torch.empty_like(self.padded[:, 1:])
        self.first, self.second, self.third = (torch.empty_like(piece, dtype=dtype) for _ in range(3))

    def weighted_sum(self, start: float, weight: float, out: Tensor) -> Tensor:
        """Computes out = start + weight * (sum of the summands over the adjacent maps), two maps at a time."""
        torch.add(self.padded[:, :-1], self.padded[:, 1:], out=self.pairs)
        constant = torch.full((), start, dtype=torch.float64, device=out.device)
        torch.add(constant, self.padded[:, 2 * self.reach :], alpha=weight, out=out)
        for shift in range(0, 2 * self.reach, 2):
            out.add_(self.pairs[:, shift : shift + self.maps], alpha=weight)
        return out

    def inverse_root(self, a: Tensor, alpha: float, k: float, out: Tensor) -> Tensor:
        """Computes d^-0.5 of the maps a."""
        torch.mul(a, a, out=self.summands)
        return self.weighted_sum(k, alpha, out).rsqrt_()


def order_of(x: Tensor) -> torch.memory_format:
    """Tells in which order x (N, C, H, W) lies in memory."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def by_columns(x: Tensor, columns: int) -> Tensor:
    """Views x (N, C, H, W) as (n, C / columns, places): a row a column, of an image or, channels_last, of a place."""
    maps = x.shape[1] // columns
    if order_of(x) is torch.channels_last:
        return x.permute(0, 2, 3, 1).view(-1, maps, 1)
    return x.view(x.shape[0] * columns, maps, x.shape[2:].numel())


def pieces(size: int, columns: int, *tensors: Tensor):
    """Cuts tensors (N, C, H, W) of one order in memory into pieces of columns; yields a Workspace and one of each.

    The first stays in its own precision, to be written.
    """
    out, *inputs = (by_columns(tensor, columns) for tensor in tensors)
    step = max(PIECE // max(out[:1].numel(), 1), 1) if out.device.type == "cpu" else max(len(out), 1)
    dtype = torch.promote_types(out.dtype, torch.float32)  # a^2 overflows fp16 above 256
    work = None
    for piece in zip(*(tensor.split(step) for tensor in (out, *inputs))):
        if work is None or len(piece[0]) < step:  # the last piece may be shorter
            work = Workspace(piece[0], size, dtype)
        yield work, piece[0], *(tensor.to(dtype) for tensor in piece[1:])


class _LocalResponseNorm(torch.autograd.Function):
    """Computes LRN and its gradient for beta = 0.75."""

    @staticmethod
    def forward(ctx, x: Tensor, size: int, alpha: float, k: float, columns: int) -> Tensor:
        x = x.contiguous(memory_format=order_of(x))
        out = torch.empty_like(x)
        for work, b, a in pieces(size, columns, out, x):
            root = work.inverse_root(a, alpha, k, out=work.first)
            scale = torch.sqrt(root, out=work.second).mul_(root)  # d^-0.75
            torch.mul(a, scale, out=b)
        ctx.save_for_backward(x)
        ctx.constants = size, alpha, k, columns
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        """Computes grad_a = g d^-0.75 - 2 alpha 0.75 a * (sum over adjacent maps of g a d^-1.75)."""
        (x,) = ctx.saved_tensors
        size, alpha, k, columns = ctx.constants
        grad_x = torch.empty_like(x)
        for work, grad_a, a, g in pieces(size, columns, grad_x, x, grad.contiguous(memory_format=order_of(x))):
            root = work.inverse_root(a, alpha, k, out=work.first)
            direct = torch.sqrt(root, out=work.second).mul_(root).mul_(g)
            torch.mul(root.square_().mul_(a), direct, out=work.summands)
            through_d = work.weighted_sum(0.0, -1.5 * alpha, out=work.third)
            torch.addcmul(direct, a, through_d, out=grad_a)
        return grad_x, None, None, None, None


def local_response_norm_slices(x: Tensor, size: int, alpha: float, beta: float, k: float, columns: int) -> Tensor:
    """Computes LRN in plain operations, which sum shifted slices; autocast rounds none of them."""
    a = x if x.dtype == torch.float64 else x.float()
    maps, reach = a.shape[1] // columns, size // 2
    squares = F.pad((a * a).unflatten(1, [columns, maps]), [0, 0, 0, 0, reach, reach])
    total = squares[:, :, :maps]
    for shift in range(1, size):
        total = total + squares[:, :, shift : shift + maps]
    return (a / power((total * alpha + k).flatten(1, 2), beta)).to(x.dtype)


def band(a: Tensor, size: int, columns: int) -> Tensor:
    """Makes kernels (C, C / columns, 1, 1) of a convolution that sums maps a (N, C, H, W) over their neighbours.

    The kernel of a map is one where another map of its column is at most size // 2 maps away, and zero elsewhere.
    """
    index = torch.arange(a.shape[1], device=a.device)
    own_column = index[: a.shape[1] // columns]
    near = ((index % (a.shape[1] // columns)).unsqueeze(1) - own_column.unsqueeze(0)).abs() <= size // 2
    return near.to(a.dtype).unsqueeze(2).unsqueeze(3)


def local_response_norm_banded(x: Tensor, size: int, alpha: float, beta: float, k: float, columns: int) -> Tensor:
    """Computes LRN with the sum as a 1x1 convolution by a banded matrix, which runs fastest in onnxruntime."""
    a = x if x.dtype == torch.float64 else x.float()
    weight = band(a, size, columns).mul(alpha)
    bias = torch.full([a.shape[1]], k, dtype=a.dtype, device=x.device)
    with torch.autocast(x.device.type, enabled=False):  # it would convolve in half precision
        d = F.conv2d(a * a, weight, bias, groups=columns)
    return (a / power(d, beta)).to(x.dtype)


def has_kernel(x: Tensor, beta: float) -> bool:
    """Says whether lrn_triton.py can compute LRN of x."""
    return lrn_triton is not None and x.is_cuda and x.dtype != torch.float64 and beta == 0.75


@torch.fx.wrap  # a leaf to torch.fx, which cannot trace through an autograd.Function
def local_response_norm(
    x: Tensor, size: int, alpha: float, beta: float, k: float, columns: int, relu: bool = False
) -> Tensor:
    """Normalises x (N, C, H, W), or relu(x) where `relu`, in the form that fits how it is called; in float32."""
    if torch.jit.is_scripting():
        return local_response_norm_slices(F.relu(x) if relu else x, size, alpha, beta, k, columns)
    else:
        in_file = torch.onnx.is_in_onnx_export()
        if has_kernel(x, beta) and not in_file and not torch.jit.is_tracing():
            return lrn_triton.lrn(x, size, alpha, k, columns, relu)
        a = F.relu(x) if relu else x
        if in_file:
            return local_response_norm_banded(a, size, alpha, beta, k, columns)
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or beta != 0.75:
            return local_response_norm_slices(a, size, alpha, beta, k, columns)
        return _LocalResponseNorm.apply(a, size, alpha, k, columns)


class LocalResponseNorm(nn.Module):
    """Normalises x (N, C, H, W) as section 3.3 does, each of `columns` groups of C / columns maps on its own.

    Args: size, the paper's n; alpha, not divided by n; beta; k; columns, groups of maps that do not see each other.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, columns: int = 1):
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.columns = size, alpha, beta, k, columns
        self.relu = False  # whether it applies the ReLU before it, too (fuse_relu)

    def forward(self, x: Tensor) -> Tensor:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k, self.columns, self.relu)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, columns={self.columns}"


def fuse_relu(model: nn.Module) -> nn.Module:
    """Gives each ReLU right before LRN to the LRN, which on CUDA saves a pass both ways.

    Changes the model, a sequence of layers, and returns it. Names stay, an Identity in the ReLU's place; so do results.
    """
    layers = list(model.named_children())
    for (name, before), (_, norm) in zip(layers, layers[1:]):
        if isinstance(before, nn.ReLU) and isinstance(norm, LocalResponseNorm):
            setattr(model, name, nn.Identity())
            norm.relu = True
    return model


@torch.fx.wrap  # a leaf to torch.fx, for which the type of x is not known
def map_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    a = x if x.dtype == torch.float64 else x.float()
    # The mean counts zeros beyond the border, so size^2 times the mean is the sum.
    mean = F.avg_pool2d(a * a, size, stride=1, padding=size // 2)
    return (a / power(mean * (alpha * size * size) + k, beta)).to(x.dtype)


class MapNorm(nn.Module):
    """Computes a / (k + alpha * (sum of a^2 over size x size places of the same map))^beta, as in net 145."""

    def __init__(self, size: int = 5, alpha: float = 1e-3 / 25, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return map_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
