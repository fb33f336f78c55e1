"""A small network with random weights, exported, and the digits to run it on."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import alexnet_zoo  # noqa: F401  (gives timm the networks)
from alexnet_zoo.data.dataset import Prepared
from alexnet_zoo.data.digits import prepare_digits
from alexnet_zoo.onnx.export import describe, export
from alexnet_zoo.onnx.preprocessing import Preprocessing

IMAGE, CROP = 128, 112


@dataclass
class Exported:
    model: nn.Module
    path: Path
    metadata: dict[str, str]


@pytest.fixture(scope="package")
def digits(tmp_path_factory) -> Prepared:
    return prepare_digits(tmp_path_factory.mktemp("digits"), IMAGE)


@pytest.fixture(scope="package")
def exported(tmp_path_factory, digits) -> Exported:
    return export_small(tmp_path_factory.mktemp("onnx") / "one.onnx", digits, seed=1)


@pytest.fixture(scope="package")
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
