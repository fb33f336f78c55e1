"""Computes LRN (section 3.3) on CUDA, with the ReLU before it, in one Triton kernel each way.

    b = a / d^0.75,   d = k + alpha * (sum of a^2 over the n adjacent maps of the column),   a = x or relu(x)
    grad_x = g d^-0.75 - 1.5 alpha a * (sum over the adjacent maps of g a d^-1.75)

Every element is read once and written once, and x alone is saved: 10 bytes of bfloat16 for both ways, where eager
operations move about 310. All arithmetic is float32. There is a kernel for each order in which maps lie in memory:
- NCHW: a thread owns a place and walks the maps of a column, the last ones in registers;
- channels_last: a program owns some places with all maps of a column, which are neighbours in memory.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def inverse_roots(squares, alpha, k):
    """Computes d^-0.5 and d^-0.75 from the sum of squares."""
    root = tl.rsqrt(k + alpha * squares)
    return root, root * tl.sqrt(root)


@triton.jit
def rectified(x):
    return tl.where(x < 0.0, 0.0, x)  # tl.maximum would turn NaN into 0, and hide that training fails


@triton.jit
def nchw(
    x_ptr, g_ptr, out_ptr, places, alpha, k, MAPS: tl.constexpr, REACH: tl.constexpr, RELU: tl.constexpr,
    BACKWARD: tl.constexpr, PLACES: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Computes PLACES places of one column (MAPS, places) of one image: the gradient of x where BACKWARD, else b.

    Step m reads map m, knows d of map m - REACH, and the gradient of map m - 2 REACH.
    """
    column = tl.program_id(0).to(tl.int64) * MAPS * places
    place = tl.program_id(1) * PLACES + tl.arange(0, PLACES)
    x_ptr, g_ptr, out_ptr = x_ptr + column + place, g_ptr + column + place, out_ptr + column + place
    inside, zero = place < places, tl.zeros((PLACES,), tl.float32)
    a = (zero,) * (2 * REACH + 1)  # of the maps m to m - 2 REACH
    g = (zero,) * (REACH + 1)  # of the maps m to m - REACH
    direct = (zero,) * (REACH + 1)  # g d^-0.75 of the maps m - REACH to m - 2 REACH
    through_d = (zero,) * (2 * REACH + 1)  # g a d^-1.75 of the maps m - REACH to m - 3 REACH
    LAG: tl.constexpr = 2 * REACH if BACKWARD else REACH
    for start in range(0, MAPS + LAG, UNROLL):
        for step in tl.static_range(UNROLL):
            m = tl.full((1,), start + step, tl.int32)  # the interpreter would have it as a Python int
            x = tl.load(x_ptr + m * places, inside & (m < MAPS), other=0.0).to(tl.float32)
            a = (rectified(x) if RELU else x,) + a[:-1]
            squares = zero
            for i in tl.static_range(2 * REACH + 1):
                squares += a[i] * a[i]
            root, scale = inverse_roots(squares, alpha, k)
            if BACKWARD:
                g = (tl.load(g_ptr + m * places, inside & (m < MAPS), other=0.0).to(tl.float32),) + g[:-1]
                direct = (scale * g[REACH],) + direct[:-1]
                through_d = (root * root * a[REACH] * direct[0],) + through_d[:-1]
                total = zero
                for i in tl.static_range(2 * REACH + 1):
                    total += through_d[i]
                result = direct[REACH] - (1.5 * alpha) * a[LAG] * total
                if RELU:
                    result = tl.where(a[LAG] <= 0.0, 0.0, result)
            else:
                result = a[REACH] * scale
            written = inside & (m >= LAG) & (m < MAPS + LAG)
            tl.store(out_ptr + (m - LAG) * places, result.to(out_ptr.dtype.element_ty), written)


@triton.jit
def sum_of_neighbours(t, REACH: tl.constexpr):
    """Sums a tile (places, maps), which is zero in the maps beyond the column, over the adjacent maps."""
    maps: tl.constexpr = t.shape[1]
    index = tl.broadcast_to(tl.arange(0, maps)[None, :], t.shape)
    total = t
    for shift in tl.static_range(1, REACH + 1):  # an index that wraps around is a rotation, cheaper than one that stops
        total += tl.where(index >= shift, tl.gather(t, (index + (maps - shift)) % maps, axis=1), 0.0)
        total += tl.where(index < maps - shift, tl.gather(t, (index + shift) % maps, axis=1), 0.0)
    return total


@triton.jit
def channels_last(
    x_ptr, g_ptr, out_ptr, places, alpha, k,
    MAPS: tl.constexpr, REACH: tl.constexpr, RELU: tl.constexpr, BACKWARD: tl.constexpr,
    COLUMNS: tl.constexpr, PLACES: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Computes PLACES places of one column (places, COLUMNS, MAPS): the gradient of x where BACKWARD, else b."""
    place = tl.program_id(0).to(tl.int64) * PLACES + tl.arange(0, PLACES)
    own = tl.arange(0, WIDTH)
    offsets = place[:, None] * (COLUMNS * MAPS) + (tl.program_id(1) * MAPS + own)[None, :]
    mask = (place < places)[:, None] & (own < MAPS)[None, :]
    x = tl.load(x_ptr + offsets, mask, other=0.0).to(tl.float32)
    a = rectified(x) if RELU else x
    root, scale = inverse_roots(sum_of_neighbours(a * a, REACH), alpha, k)
    if BACKWARD:
        direct = scale * tl.load(g_ptr + offsets, mask, other=0.0).to(tl.float32)
        result = direct - (1.5 * alpha) * a * sum_of_neighbours(root * root * a * direct, REACH)
        if RELU:
            result = tl.where(x <= 0.0, 0.0, result)
    else:
        result = a * scale
    tl.store(out_ptr + offsets, result.to(out_ptr.dtype.element_ty), mask)


def plan(shape: torch.Size, size: int, columns: int, relu: bool, backward: bool, last: bool) -> tuple:
    """Says what to launch for x (N, C, H, W): the kernel, its grid, its number of places and its constants.

    NCHW: 256 places are 128 threads with two each, and one image of 55x55 keeps 12 programs busy. channels_last: 2,048
    elements are 16 a thread: more need more registers than let enough programs run at a time, fewer more instructions.
    """
    n, c, places = shape[0], shape[1], shape[2:].numel()
    maps = c // columns
    constants = {"MAPS": maps, "REACH": size // 2, "RELU": relu, "BACKWARD": backward}
    constants |= {"num_warps": 4, "enable_fp_fusion": True}
    if not last:
        constants |= {"PLACES": 256, "UNROLL": 8}
        return nchw, (n * columns, triton.cdiv(places, 256)), places, constants
    width = triton.next_power_of_2(max(maps, size))
    block = max(2048 // width, 1)
    constants |= {"COLUMNS": columns, "PLACES": block, "WIDTH": width}
    return channels_last, (triton.cdiv(n * places, block), columns), n * places, constants


def dense(x: Tensor) -> Tensor:
    """Returns x itself where it is contiguous or channels_last, else a contiguous copy."""
    return x if x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()


def launch(x: Tensor, g: Tensor | None, size: int, alpha: float, k: float, columns: int, relu: bool) -> Tensor:
    """Computes b, or the gradient of x where g, the gradient of b, is given; x and the result are dense."""
    last = not x.is_contiguous()
    out = torch.empty_like(x)
    if x.numel():
        kernel, grid, places, constants = plan(x.shape, size, columns, relu, g is not None, last)
        with torch.cuda.device_of(x):  # Triton starts a kernel on the current device, wherever the tensors are
            kernel[grid](x, x if g is None else g, out, places, alpha, k, **constants)
    return out


@torch.library.custom_op("alexnet_zoo::lrn", mutates_args=())
def lrn(x: Tensor, size: int, alpha: float, k: float, columns: int, relu: bool) -> Tensor:
    """Normalises x, or relu(x), for beta = 0.75."""
    return launch(dense(x), None, size, alpha, k, columns, relu)


@torch.library.custom_op("alexnet_zoo::lrn_backward", mutates_args=())
def lrn_backward(x: Tensor, grad: Tensor, size: int, alpha: float, k: float, columns: int, relu: bool) -> Tensor:
    """Computes the gradient of lrn's x, in x's order of memory."""
    x = dense(x)
    order = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    return launch(x, grad.contiguous(memory_format=order), size, alpha, k, columns, relu)


@lrn.register_fake
@lrn_backward.register_fake
def _(x: Tensor, *_) -> Tensor:
    return torch.empty_like(dense(x))


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.constants = inputs[1:]


def _backward(ctx, grad: Tensor):
    (x,) = ctx.saved_tensors
    return lrn_backward(x, grad, *ctx.constants), None, None, None, None, None


lrn.register_autograd(_backward, setup_context=_save)
