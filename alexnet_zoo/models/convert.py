"""Converts public weights to .safetensors under the paper's names: `alexzoo import FILE`."""

from pathlib import Path
from typing import Optional

import timm
import torch

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sha256_of, written_whole
from alexnet_zoo.models.variants import model_names
from alexnet_zoo.models.weights import Weights, read_weights


def import_weights(source: Path, out: Optional[Path] = None, model: Optional[str] = None) -> tuple[Path, str]:
    """Writes the weights of a file as canonical .safetensors; returns where, and the network's name in timm.

    Raises UserError where the file is not whole, fits no network of ours, or fits several and names none.
    """
    from safetensors.torch import save_file

    weights = read_weights(source)
    name = _network_of(source, weights, model)
    out = out or source.with_suffix(".safetensors")
    if out.exists() and out.samefile(source):
        raise UserError(f"{out}: is the file to import; name another one with --out", exit_code=2)
    for parameter, tensor in weights.state_dict.items():
        if not tensor.isfinite().all():
            raise UserError(f"{source}: {parameter} holds values that are not finite; fetch it again")
    metadata = {"format": "pt", "model": name, "source": source.name, "source_sha256": sha256_of(source)}
    state = {parameter: tensor.float().contiguous() for parameter, tensor in weights.state_dict.items()}
    with written_whole(out) as partial:
        save_file(state, partial, metadata=metadata)
    return out, name


def _network_of(source: Path, weights: Weights, model: Optional[str]) -> str:
    """Names the network that the weights are for: as asked, as the file says, or the only one that they fit."""
    shapes = {name: tensor.shape for name, tensor in weights.state_dict.items()}
    fitting = [name for name in model_names() if _shapes_of(name, shapes) == shapes]
    name = model or weights.model
    if name in fitting:
        return name
    if name is None and len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UserError(f"{source}: its layers ({', '.join(list(shapes)[:4])}, ...) fit no network of ours")
    what = f"does not fit {name}" if name else "does not say which network it is for"
    raise UserError(f"{source}: {what}; name one with --model: {', '.join(fitting)}", exit_code=2)


def _shapes_of(name: str, like: dict[str, torch.Size]) -> dict[str, torch.Size]:
    """Returns the shapes of a network's parameters, with as many classes as `like` has."""
    num_classes = like["fc8.bias"].numel() if "fc8.bias" in like else 1000
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=min(num_classes, 10**6))
    return {parameter: tensor.shape for parameter, tensor in model.state_dict().items()}
