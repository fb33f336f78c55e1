"""Measures how fast exported networks run in onnxruntime, against peers in the same run."""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import alexnet as torchvision_alexnet

from alexnet_zoo.benchmark.measure import Options, Step, begin, facts_of, rows_of, seconds_of, side_of, timings
from alexnet_zoo.benchmark.training import TorchLocalResponseNorm
from alexnet_zoo.data.batches.noise import Noise
from alexnet_zoo.onnx.evaluate import CROPS_AT_A_TIME, averaged, batches, open_members
from alexnet_zoo.onnx.export import describe, export
from alexnet_zoo.onnx.lrn_forms import with_lrn
from alexnet_zoo.onnx.preprocessing import Preprocessing
from alexnet_zoo.onnx.session import OnnxClassifier
from alexnet_zoo.onnx.target import load_target

PEAK_SIDE = 2048  # of the matrices whose product measures the machine
MEAN = 120.0  # of the random pixels
ALIVE = {"init_std": "he", "init_bias": 0.1}  # random weights with which the logits of two images differ


def inference(options: Options, **model_args) -> list[dict]:
    """Measures images/s of a network with random weights, as `plain` exports it, and of its peers.

    Images come from the host's memory and logits go back there, for all; float32 means float32, for all.
    """
    watch, batch_size = begin(options), options.batch_size or 32
    model = timm.create_model(options.model, **(ALIVE | model_args)).eval()
    side = side_of(model, model_args)
    images = np.random.default_rng(0).integers(0, 256, (batch_size, 3, side, side)).astype(np.float32) - MEAN
    facts = facts_of("inference", options.model, model, batch_size, side)
    macs = {"torchvision alexnet": multiply_adds(torchvision_alexnet(), 224)}
    with tempfile.TemporaryDirectory() as folder, without_tf32():
        steps = onnx_steps(model, images, Path(folder), options)
        steps |= torch_steps(model, images, options.device)
        peak = matrix_peak(options)
        seconds = timings(steps, options.repetitions, options.device, options.clock)
    own = multiply_adds(model, side)
    rows = rows_of(facts, seconds, batch_size, options.device, watch)
    for row in rows:
        row["gmacs"] = round(macs.get(row["peer"], own) / 1e9, 3)
        row["peak_gflops"] = round(peak / 1e9, 1)
        row["peak_share"] = round(2e9 * row["gmacs"] * row["samples_per_sec"] / peak, 3)
    return rows


def onnx_steps(model: nn.Module, images: np.ndarray, folder: Path, options: Options) -> dict[str, Step]:
    """Exports and opens each ONNX peer; returns its step, which runs it on the images."""
    side = images.shape[-1]
    # The default export is what anyone would have without us: torch's exporter on a network with torch's own LRN.
    banded = load_target("plain").model_copy(update={"lrn": "banded"})
    peers = {
        "plain": (model, load_target("plain")),
        "default export": (with_lrn(model, TorchLocalResponseNorm), banded),
        "native LRN": (model, load_target("lrn")),
        "no LRN": (with_lrn(model, lambda lrn: nn.Identity()), banded),
        "torchvision alexnet": (torchvision_alexnet(num_classes=model.num_classes), banded),
        "int8": (model, load_target("int8")),
    }
    on_gpu = options.device == "cuda"
    if on_gpu:
        peers["fp16"] = (model, load_target("fp16"))
        del peers["int8"]  # its operators are the CPU's
    files = {}
    for number, (peer, (network, target)) in enumerate(peers.items()):
        size = (3, 224, 224) if peer == "torchvision alexnet" else (3, side, side)
        files[peer] = export(network, folder / f"{number}.onnx", {}, size, target, images)
    files |= {str(path): path for path in options.against}
    steps = {peer: onnx_step(path, images, options) for peer, path in files.items()}
    for peer in ("plain", "fp16") if on_gpu else ():
        steps[f"{peer}, CUDA graph"] = onnx_step(files[peer], images, options, cuda_graph=True)
    return steps


def onnx_step(path: Path, images: np.ndarray, options: Options, cuda_graph: bool = False) -> Step:
    classifier = OnnxClassifier(path, options.device, options.threads, cuda_graph)
    if classifier.input_size not in (None, images.shape[-1]):
        images = np.resize(images, (len(images), 3, classifier.input_size, classifier.input_size))
    return lambda: classifier.run(images)


def torch_steps(model: nn.Module, images: np.ndarray, device: str) -> dict[str, Step]:
    """Makes the steps of torch, from the host's memory to it: eager, and compiled where torch.compile works here."""
    network, inputs = model.to(device), torch.from_numpy(images)

    @torch.inference_mode()
    def run(network: nn.Module) -> np.ndarray:
        return network(inputs.to(device)).cpu().numpy()

    steps = {"torch eager": lambda: run(network)}
    compiled = torch.compile(network)
    try:
        run(compiled)
    except Exception as error:  # no C++ compiler, most often; torch has many exceptions for it
        print(f"torch compiled: left out: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
    else:
        steps["torch compiled"] = lambda: run(compiled)
    return steps


@contextmanager
def without_tf32() -> Iterator[None]:
    """Keeps torch from computing float32 convolutions in TF32 on CUDA, as it does unless told; our sessions do not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def matrix_peak(options: Options) -> float:
    """Measures floating point operations a second in a product of large matrices, the best of six."""
    a = torch.randn(PEAK_SIDE, PEAK_SIDE, device=options.device)
    best = min(seconds_of(lambda: torch.mm(a, a), options.device, options.clock) for _ in range(6))
    return 2 * PEAK_SIDE**3 / best


def multiply_adds(model: nn.Module, side: int) -> int:
    """Counts the multiply-adds of one image in convolutional and fully connected layers; nothing is computed."""
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).to("meta").eval()(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() // 2


def evaluation(options: Options, **model_args) -> list[dict]:
    """Measures images/s of an evaluation with ten crops, and of its session alone on the same batches in memory."""
    watch, batch_size = begin(options), options.batch_size or CROPS_AT_A_TIME
    model = timm.create_model(options.model, **(ALIVE | model_args))
    side = side_of(model, model_args)
    image_size = side * 8 // 7  # 256 for 224
    data = Noise(4 * batch_size // 10, image_size, [str(i) for i in range(model.num_classes)])
    inputs = Preprocessing(data.classes, image_size, side, np.full((image_size, image_size, 3), MEAN, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        metadata = describe(model, options.model, "", inputs, "")
        path = export(model, Path(folder) / "net.onnx", metadata, (3, side, side))
        members = open_members([path], data, 10, options.device)
        ready = [crops for _, crops in batches(*members[0], data, 10, batch_size)]
        steps = {
            "evaluation": lambda: averaged(members, data, 10, batch_size),
            "its session alone": lambda: [members[0][0].run(crops) for crops in ready],
        }
        seconds = timings(steps, options.repetitions, options.device, options.clock)
    facts = facts_of("evaluation", options.model, model, batch_size, side)
    return rows_of(facts, seconds, len(data.labels), options.device, watch)
