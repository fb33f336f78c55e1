"""Export targets: one TOML file for each way to deploy a network (folder export/), read and validated here."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from alexnet_zoo.declared import Strict, declared, list_declared, read_declared, validated


class Target(Strict):
    """How a network is written. The defaults are those of `fast`."""

    name: str = "fast"
    lrn: Literal["rooted", "banded", "native"] = "rooted"  # the form of normalisation (onnx/lrn_forms.py)
    layout: Literal["crops", "pixels"] = "crops"  # what goes in: crops less the mean, or whole uint8 images
    precision: Literal["float32", "float16", "int8"] = "float32"
    opset: int = Field(20, ge=18, le=23)
    batch: Literal["dynamic"] | PositiveInt = "dynamic"
    calibration_images: int = Field(128, gt=0)  # int8: from the training split, evenly spread over it


def load_target(name: str | Path) -> Target:
    """The target NAME of the folder export/, or in the file at a path.

    Raises UserError (exit code 2) with the names there are, or the field and what is allowed.
    """
    path = declared("export", name)
    return validated(Target, path, {"name": path.stem, **read_declared("export", path)})


def describe_targets() -> str:
    """The targets in export/, a line each."""
    lines = []
    for path in list_declared("export"):
        target = load_target(path)
        lines.append(f"{target.name:10} {target.precision:8} {target.layout:7} {target.lrn:7} opset {target.opset}")
    return "\n".join(lines)
