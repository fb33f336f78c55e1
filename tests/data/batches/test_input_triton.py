"""The kernel that makes the network's input on CUDA: in Triton's interpreter, compiled ahead of time, and on a card."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import alexnet_zoo
from alexnet_zoo.data.batches.augment import draw_crops, to_input

triton = pytest.importorskip("triton", reason="no triton: it comes with torch where torch can use CUDA")
from alexnet_zoo.data.batches import input_triton  # noqa: E402

S, s, BATCH = 34, 30, 9  # 900 places: two programs an image
KINDS = [torch.float32, torch.float64, torch.float16]  # the interpreter's bfloat16 is another: it cuts off
ORDERS = [torch.contiguous_format, torch.channels_last]


def compare(device: str, kinds: list[torch.dtype]) -> None:
    """Every type and order against the CPU's input, bit for bit."""
    torch.manual_seed(0)
    pixels = torch.randint(256, (BATCH, s, s, 3), dtype=torch.uint8)
    mean = torch.rand(S, S, 3) * 255
    crops = draw_crops(torch.Generator().manual_seed(0), BATCH, S, s, components=(torch.rand(3), torch.rand(3, 3)))
    assert 0 < crops.mirror.sum() < BATCH
    moved = [part.to(device) for part in (pixels, crops.packed(), mean)]
    for place, scale in (("crop", 1.0), ("centre", 1.1), ("crop", 58.7)):
        expected = to_input(pixels, crops, mean, scale, mean_place=place)
        for dtype in kinds:
            for order in ORDERS:
                out = torch.empty(BATCH, 3, s, s, dtype=dtype, device=device, memory_format=order)
                input_triton.to_input(*moved, scale, place == "centre", out)
                assert torch.equal(out.cpu(), expected.to(dtype)), (place, dtype, order)
    input_triton.to_input(*(part[:0] for part in moved[:2]), moved[2], 1.0, False, out[:0])


def test_interpreted_it_is_the_input_of_the_cpu():
    root = Path(alexnet_zoo.__file__).parents[1]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.cuda
def test_on_a_card_it_is_the_input_of_the_cpu():
    compare("cuda", [*KINDS, torch.bfloat16])


@pytest.mark.parametrize("chip, dtype", [(80, "bf16"), (90, "bf16"), (90, "fp32"), (90, "fp64")])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("centre", [False, True], ids=["crop", "centre"])
def test_it_compiles_and_does_not_spill(chip, dtype, last, centre, resources):
    from triton.compiler import ASTSource

    kernel = input_triton.crops_to_input
    types = dict(zip(kernel.arg_names, ["*u8", "*fp32", "*fp32", f"*{dtype}", "fp32", "i32", "i32"]))
    fixed = {"CENTRE": centre, "LAST": last, "PLACES": input_triton.PLACES}
    types |= dict.fromkeys(fixed, "constexpr")
    source = ASTSource(kernel, types, {(kernel.arg_names.index(name),): value for name, value in fixed.items()})
    registers, stack = resources(source, chip)
    assert stack == 0 and registers <= 128


if __name__ == "__main__":
    compare("cpu", KINDS)
