"""Makes the network's input of a batch on CUDA in one Triton kernel: each pixel is read once and written once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

PLACES = 512  # of an image, that a program computes


@triton.jit
def crops_to_input(
    pixels_ptr, packed_ptr, mean_ptr, out_ptr, scale, size, edge,
    CENTRE: tl.constexpr, LAST: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """Computes PLACES places of one image, all colours: (pixel - mean + colour) / scale, mirrored where asked."""
    image = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * PLACES + tl.arange(0, PLACES)
    inside = place < size * size
    row, column = place // size, place % size
    crop = packed_ptr + image * 6  # Crops.packed: top, left, mirror, red, green, blue
    top, left = tl.load(crop).to(tl.int32), tl.load(crop + 1).to(tl.int32)
    seen = tl.where(tl.load(crop + 2) != 0, size - 1 - column, column)  # the column of the image that comes here
    if CENTRE:
        start = (edge - size) // 2
        under = (start + row) * edge + start + column
    else:
        under = (top + row) * edge + left + seen
    for colour in tl.static_range(3):
        pixel = tl.load(pixels_ptr + (image * size * size + row * size + seen) * 3 + colour, inside, other=0)
        mean = tl.load(mean_ptr + under * 3 + colour, inside, other=0.0)
        value = tl.div_rn(pixel.to(tl.float32) - mean + tl.load(crop + 3 + colour), scale)
        if LAST:
            where = (image * size * size + place) * 3 + colour
        else:
            where = (image * 3 + colour) * size * size + place
        tl.store(out_ptr + where, value.to(out_ptr.dtype.element_ty), inside)


@torch.library.custom_op("alexnet_zoo::to_input", mutates_args=("out",))
def to_input(pixels: Tensor, packed: Tensor, mean: Tensor, scale: float, centre: bool, out: Tensor) -> None:
    """Fills out (B, 3, s, s), of any floating type, contiguous or channels_last; see augment.to_input."""
    batch, size = pixels.shape[:2]
    if batch:
        grid = batch, triton.cdiv(size * size, PLACES)
        last = not out.is_contiguous()
        with torch.cuda.device_of(out):  # Triton starts a kernel on the current device, wherever the tensors are
            crops_to_input[grid](pixels, packed, mean, out, scale, size, mean.shape[1], centre, last, PLACES)


@to_input.register_fake
def _(*_) -> None:
    pass
