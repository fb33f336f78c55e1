"""Measures how fast exported networks run in onnxruntime, against peers in the same run, and what that costs."""

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import alexnet as torchvision_alexnet

from alexnet_zoo.benchmark.first_run import first_runs, images_for
from alexnet_zoo.benchmark.measure import (
    Options,
    Step,
    begin,
    facts_of,
    leave_out,
    rows_of,
    side_of,
    those_that_run,
    timings,
)
from alexnet_zoo.benchmark.peaks import matrix_peak
from alexnet_zoo.benchmark.training import TorchLocalResponseNorm
from alexnet_zoo.data.batches.noise import Noise
from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import CROPS_AT_A_TIME, averaged, batches, open_members, some_crops
from alexnet_zoo.onnx.export import describe, export
from alexnet_zoo.onnx.lrn_forms import with_lrn
from alexnet_zoo.onnx.preprocessing import Preprocessing
from alexnet_zoo.onnx.session import OnnxClassifier
from alexnet_zoo.onnx.target import load_target
from alexnet_zoo.resolve import open_network

MEAN = 120.0  # of the random pixels
ALIVE = {"init_std": "he", "init_bias": 0.1}  # random weights with which the logits of two images differ
WARM_UPS = 10
CHECKED = 256  # images on which it is counted how often peers name another class
SAME = ("plain", "default export", "native LRN", "int8", "fp16")  # peers that hold the same network


@dataclass
class Subject:
    """Holds the network that is measured; gives inputs (N, 3, side, side) to run it on, and to calibrate 8 bits on."""

    name: str
    model: nn.Module
    side: int
    what: str  # says what the inputs are
    images: Callable[[int], np.ndarray]
    calibration: Callable[[int], np.ndarray]


def subject_of(options: Options, model_args: dict) -> Subject:
    """Opens the trained network of --run, and its own images; else makes one with random weights, and noise."""
    if options.run:
        network = open_network(str(options.run), None, options.photographs)
        test, train = (partial(some_crops, split, network.inputs) for split in (network.test, network.train))
        what = f"images of {network.test.name}, weights of {options.run}"
        return Subject(network.name, network.model.eval(), network.inputs.crop_size, what, test, train)
    torch.manual_seed(0)  # so that the classes of noise are the same each time
    model = timm.create_model(options.model, **(ALIVE | model_args)).eval()
    side = side_of(model, model_args)

    def noise(count: int) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (count, 3, side, side)).astype(np.float32) - MEAN

    return Subject(options.model, model, side, "random images, random weights", noise, noise)


def inference(options: Options, **model_args) -> list[dict]:
    """Measures images/s of a network, as `plain` exports it, and of its peers; also first runs, memory and classes.

    Images come from the host's memory and logits go back there, for all; float32 means float32, for all.
    """
    watch, batch_size = begin(options), options.batch_size or 32
    subject = subject_of(options, model_args)
    model, side, checked = subject.model, subject.side, subject.images(CHECKED)
    images = np.resize(checked, (batch_size, *checked.shape[1:]))
    facts = facts_of("inference", subject.name, model, batch_size, side)
    scenario = "single stream" if batch_size == 1 else "offline"  # MLPerf's names
    facts |= {"scenario": scenario, "checked": f"{len(checked)} {subject.what}"}
    with tempfile.TemporaryDirectory() as folder, without_tf32():
        files = export_peers(subject, Path(folder), options)
        costs = first_runs(files, images, options.device, options.threads)
        opened = open_peers({peer: files[peer] for peer in costs}, options)
        steps = those_that_run({peer: onnx_step(classifier, images) for peer, classifier in opened.items()})
        steps |= torch_steps(model, images, options.device)
        peak = matrix_peak(options)
        seconds = timings(steps, options, WARM_UPS)
        classes = {peer: opened[peer].run(checked).argmax(axis=1) for peer in SAME if peer in steps}
    macs = dict.fromkeys(seconds, multiply_adds(model, side))
    macs["torchvision alexnet"] = multiply_adds(torchvision_alexnet(), 224)
    rows = rows_of(facts, seconds, batch_size, options, watch)
    for row in rows:
        peer = row["peer"]
        row["gmacs"] = round(macs[peer] / 1e9, 3)
        row["peak_gflops"] = round(peak / 1e9, 1)
        row["peak_share"] = round(2e9 * row["gmacs"] * row["samples_per_sec"] / peak, 3)
        row |= costs.get(peer, {})
        if peer in classes and "plain" in classes:
            row["disagreement"] = round(100 * float(np.mean(classes[peer] != classes["plain"])), 3)
    return rows


def export_peers(subject: Subject, folder: Path, options: Options) -> dict[str, Path]:
    """Exports each ONNX peer."""
    model, side = subject.model, subject.side
    # The default export is what anyone would have without us: torch's exporter on a network with torch's own LRN.
    banded = load_target("plain").model_copy(update={"lrn": "banded"})
    peers = {
        "plain": (model, load_target("plain")),
        "default export": (with_lrn(model, TorchLocalResponseNorm), banded),
        "native LRN": (model, load_target("lrn")),
        "no LRN": (with_lrn(model, lambda lrn: nn.Identity()), banded),
        "torchvision alexnet": (torchvision_alexnet(num_classes=model.num_classes), banded),
        "int8": (model, load_target("int8")),
        "fp16": (model, load_target("fp16")),
    }
    if options.device == "cuda":
        del peers["int8"]
        leave_out("int8", UserError("8-bit layers are the CPU's; --device cpu measures them"))
    files = {}
    for number, (peer, (network, target)) in enumerate(peers.items()):
        size = (3, 224, 224) if peer == "torchvision alexnet" else (3, side, side)
        calibration = subject.calibration(target.calibration_images) if target.precision == "int8" else None
        files[peer] = export(network, folder / f"{number}.onnx", {}, size, target, calibration)
    return files | {str(path): path for path in options.against}


def open_peers(files: dict[str, Path], options: Options) -> dict[str, OnnxClassifier]:
    """Opens the files; on CUDA two of them a second time, their work recorded as a graph and played back.

    Leaves out those that cannot be opened, and says why.
    """
    asked = {peer: (path, options.device, options.threads, False) for peer, path in files.items()}
    for peer in ("plain", "fp16"):
        if peer in files and options.device == "cuda":
            asked[f"{peer}, CUDA graph"] = (files[peer], options.device, options.threads, True)
    opened = {}
    for peer, arguments in asked.items():
        try:
            opened[peer] = OnnxClassifier(*arguments)
        except UserError as error:
            leave_out(peer, error)
    return opened


def onnx_step(classifier: OnnxClassifier, images: np.ndarray) -> Step:
    images = images_for(classifier, images)
    return lambda: classifier.run(images)


def torch_steps(model: nn.Module, images: np.ndarray, device: str) -> dict[str, Step]:
    """Makes the steps of torch that work here, from the host's memory to it: eager and compiled."""
    network, inputs = model.to(device), torch.from_numpy(images)

    @torch.inference_mode()
    def run(network: nn.Module) -> np.ndarray:
        return network(inputs.to(device)).cpu().numpy()

    compiled = torch.compile(network)
    return those_that_run({"torch eager": lambda: run(network), "torch compiled": lambda: run(compiled)})


@contextmanager
def without_tf32() -> Iterator[None]:
    """Keeps torch from computing float32 convolutions in TF32 on CUDA, as it does unless told; our sessions do not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


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
        seconds = timings(steps, options)
    facts = facts_of("evaluation", options.model, model, batch_size, side)
    return rows_of(facts, seconds, len(data.labels), options, watch)
