"""Measures what an ONNX file's first answer costs, each file in a process that has done nothing before."""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import numpy as np
import torch

from alexnet_zoo.benchmark.measure import leave_out
from alexnet_zoo.onnx.session import OnnxClassifier
from alexnet_zoo.train.profile import peak_bytes


def first_runs(files: dict[str, Path], images: np.ndarray, device: str, threads: int | None) -> dict[str, dict]:
    """Measures each file's first_run on images (N, 3, S, S); leaves out those that fail, and says why."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # it imports, and does no more: a clean start for all
        return pool.submit(_one_after_another, files, images, device, threads).result()


def _one_after_another(files: dict[str, Path], *arguments) -> dict[str, dict]:
    context = get_context("fork" if "fork" in get_all_start_methods() else "spawn")
    costs = {}
    for peer, path in files.items():
        with ProcessPoolExecutor(1, context) as pool:
            try:
                costs[peer] = pool.submit(first_run, path, *arguments).result()
            except Exception as error:  # onnxruntime's have no common base; where it crashes, BrokenProcessPool
                leave_out(peer, error)
    return costs


def first_run(path: Path, images: np.ndarray, device: str, threads: int | None) -> dict[str, float]:
    """Measures load_s, seconds until a session is open; first_ms, its first run; memory_mb, what both take at most."""
    before, began = used_bytes(device), time.perf_counter()
    classifier = OnnxClassifier(path, device, threads)
    loaded = time.perf_counter()
    classifier.run(images_for(classifier, images))
    ended = time.perf_counter()
    memory = (used_bytes(device) - before) / 1e6
    return dict(load_s=round(loaded - began, 3), first_ms=round(1000 * (ended - loaded), 3), memory_mb=round(memory, 1))


def images_for(classifier: OnnxClassifier, images: np.ndarray) -> np.ndarray:
    """Cuts images to the input of a file whose side is another; what is on them does not matter."""
    side = classifier.input_size or images.shape[-1]
    return np.resize(images, (len(images), 3, side, side))


def used_bytes(device: str) -> int:
    """Says how much of the card is in use, of which onnxruntime gives nothing back; or this process's peak."""
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return total - free
    return peak_bytes(torch.device("cpu"))
