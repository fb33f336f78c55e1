"""Measures what a device can do at most, which every other figure is held against: copying, products of matrices."""

import numpy as np
import onnx
import torch

from alexnet_zoo.benchmark.measure import Options, begin, facts_of, rows_of, seconds_of, timings
from alexnet_zoo.onnx.session import CPU, open_session

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
    if device == "cpu":
        steps["product, float32, onnxruntime"] = product_in_onnxruntime(options.threads)
    rows = rows_of(facts_of("peaks", "", None, 1, 0), timings(steps, options), 1, options, watch)
    for row in rows:
        if row["peer"] == "copy":
            row["gb_per_s"] = round(2 * COPIED[device] / 1e6 / row["p50"], 3)
        else:
            row["tflops"] = round(2 * SIDES[device] ** 3 / 1e9 / row["p50"], 3)
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


def product_in_onnxruntime(threads: int | None):
    """Makes a step that multiplies two float32 matrices on the CPU; onnxruntime's kernels may be faster."""
    side = SIDES["cpu"]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [side, side]) for name in "abc"]
    node = onnx.helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = onnx.helper.make_graph([node], "product", values[:2], values[2:])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    session = open_session(proto.SerializeToString(), (CPU,), threads=threads)
    a = np.random.default_rng(0).random((side, side), np.float32)
    return lambda: session.run(["c"], {"a": a, "b": a})


def matrix_peak(options: Options) -> float:
    """Measures floating point operations a second in a product of large float32 matrices, the fastest of several."""
    steps = [product("float32", options.device)]
    if options.device == "cpu":
        steps.append(product_in_onnxruntime(options.threads))
    return 2 * SIDES[options.device] ** 3 / min(seconds_of(step, options) for step in steps for _ in range(6))
