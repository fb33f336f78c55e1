"""Measures what a device can do at most, which every other figure is held against: copying, products of matrices."""

import torch

from alexnet_zoo.benchmark.measure import Options, begin, facts_of, rows_of, seconds_of, timings

SIDES = {"cpu": 2048, "cuda": 8192}  # of the matrices; smaller ones do not fill a card
COPIED = {"cpu": 2**28, "cuda": 2**32}  # bytes; far more than any cache
TYPES = {"cpu": ["float32", "bfloat16"], "cuda": ["float32", "TF32", "bfloat16", "float16"]}


def peaks(options: Options) -> list[dict]:
    """Measures GB/s of copying, reading and writing counted, and TFLOP/s of matrix products in each number format."""
    watch, device = begin(options), options.device
    source = torch.zeros(COPIED[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    steps = {"copy": lambda: target.copy_(source)}
    steps |= {f"product, {name}": product(name, device) for name in TYPES[device]}
    rows = rows_of(facts_of("peaks", "", None, 1, 0), timings(steps, options), 1, options, watch)
    amounts = [2 * COPIED[device]] + [2 * SIDES[device] ** 3] * len(TYPES[device])
    for row, amount in zip(rows, amounts, strict=True):
        key, unit = ("gb_per_s", 1e9) if row["peer"] == "copy" else ("tflops", 1e12)
        row[key] = round(amount / unit / (row["p50"] / 1000), 3)
        for name in [name for name in row if name.startswith(("samples_per_sec", "ratio"))]:
            del row[name]  # there are no images
    return rows


def product(name: str, device: str):
    """Makes a step that multiplies two matrices in a number format."""
    dtype = torch.float32 if name == "TF32" else getattr(torch, name)
    a = torch.randn(SIDES[device], SIDES[device], device=device).to(dtype)

    def step() -> None:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = name == "TF32"
        torch.mm(a, a)
        torch.backends.cuda.matmul.allow_tf32 = before

    return step


def matrix_peak(options: Options) -> float:
    """Measures floating point operations a second in a product of large matrices in float32, the best of six."""
    step = product("float32", options.device)
    return 2 * SIDES[options.device] ** 3 / min(seconds_of(step, options) for _ in range(6))
