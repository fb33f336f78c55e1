"""Fixtures that several rooms share. Photographs are never committed: tests that need them skip where they are not."""

import os
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import alexnet_zoo  # noqa: F401  (gives timm the networks)
from alexnet_zoo.data.prepared.dataset import Prepared
from alexnet_zoo.data.prepared.digits import prepare_digits
from alexnet_zoo.onnx.export import describe, export
from alexnet_zoo.onnx.preprocessing import Preprocessing

A_CLASS = 8  # photographs of each class and split in `photographs`


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a card: torch finds no CUDA device")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images and ground truth lists: ALEXZOO_TEST_DATA, else ../shared/data beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALEXZOO_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} is not a folder; ALEXZOO_TEST_DATA can name another")
    return folder


@pytest.fixture(scope="session")
def photographs(data_folder, tmp_path_factory) -> Path:
    """A tree train/WNID/*.JPEG, val/WNID/*.JPEG: 8 photographs of each of Imagenette's ten classes and each split."""
    archives = [data_folder / name for name in ("imagenette-train-0.tar", "imagenette-val.tar")]
    missing = [archive.name for archive in archives if not archive.is_file()]
    if missing:
        pytest.skip(f"no photographs: {data_folder} lacks {', '.join(missing)}")
    tree = tmp_path_factory.mktemp("photographs")
    for archive in archives:
        _unpack_some(archive, tree)
    return tree


def _unpack_some(archive: Path, tree: Path) -> None:
    taken = Counter()
    with tarfile.open(archive) as tar:
        for member in tar:
            folder = Path(member.name).parent
            if not member.isfile() or taken[folder] == A_CLASS:
                continue
            taken[folder] += 1
            (tree / folder).mkdir(parents=True, exist_ok=True)
            (tree / member.name).write_bytes(tar.extractfile(member).read())


# A small network with random weights, exported, and the digits to run it on.

IMAGE, CROP = 128, 112


@dataclass
class Exported:
    model: nn.Module
    path: Path
    metadata: dict[str, str]


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Prepared:
    return prepare_digits(tmp_path_factory.mktemp("digits"), IMAGE)


@pytest.fixture(scope="session")
def exported(tmp_path_factory, digits) -> Exported:
    return export_small(tmp_path_factory.mktemp("onnx") / "one.onnx", digits, seed=1)


@pytest.fixture(scope="session")
def another(tmp_path_factory, digits) -> Exported:
    return export_small(tmp_path_factory.mktemp("onnx") / "another.onnx", digits, seed=2)


def export_small(path: Path, digits: Prepared, seed: int) -> Exported:
    """A quarter of the width; random weights of a size that makes the softmax neither flat nor a step."""
    torch.manual_seed(seed)
    model = timm.create_model(
        "alexnet_krizhevsky", num_classes=10, img_size=CROP, width_mult=0.25, init_std="he", init_bias=0.1
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.bias.uniform_(-0.2, 0.2)
        model.conv1.weight.mul_(0.2)
    inputs = Preprocessing(digits.classes, IMAGE, CROP, digits.mean)
    metadata = describe(model, "alexnet_krizhevsky", "digits", inputs, weights_sha256=f"{seed:064x}")
    return Exported(model, export(model, path, metadata, (3, CROP, CROP)), metadata)
