"""Reads and validates export targets: a TOML file in export/ for each way to deploy a network."""

import textwrap
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from alexnet_zoo.declared import Strict, declared, list_declared, read_declared, validated


class Target(Strict):
    """Says how a network is written. The defaults make `plain`."""

    name: str = "plain"
    runs: str = ""  # where such a file runs, in words
    lrn: Literal["rooted", "banded", "native"] = "rooted"  # the form of normalisation (onnx/lrn_forms.py)
    columns: Literal["grouped", "apart"] = "grouped"  # apart: a path of layers for each (onnx/apart.py)
    layout: Literal["crops", "pixels"] = "crops"  # what goes in: crops less the mean, or whole uint8 images
    precision: Literal["float32", "float16", "int8"] = "float32"
    opset: int = Field(20, ge=18, le=23)
    batch: Literal["dynamic"] | PositiveInt = "dynamic"
    calibration_images: int = Field(128, gt=0)  # int8: from the training split, evenly spread over it


def load_target(name: str | Path) -> Target:
    """Reads the target NAME of the folder export/, or the one in the file at a path.

    Raises UserError (exit code 2), which lists the names there are, or says what a field allows.
    """
    path = declared("export", name)
    return validated(Target, path, {"name": path.stem, **read_declared("export", path, own=("name", "runs"))})


def describe_targets() -> str:
    """Describes the targets in export/: what the file holds, and below it, within 80 columns, where it runs."""
    lines = []
    for target in [load_target(path) for path in list_declared("export")]:
        lines.append(f"{target.name:8} {target.precision:8} {target.layout}")
        lines += textwrap.wrap(f"runs {target.runs}", 80, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)
