"""Fits weights that were read from a file (weights.py) to a network."""

from pathlib import Path

from timm.models._manipulate import adapt_input_conv
from torch import Tensor, nn

from alexnet_zoo.errors import UserError
from alexnet_zoo.models.weights import read_weights, under_paper_names


def load_pretrained(model: nn.Module, path: Path) -> None:
    """Loads a file's weights into a model; fits conv1 to in_chans, keeps the model's fc8 for other classes."""
    state = dict(read_weights(Path(path)).state_dict)
    own = model.state_dict()
    for name in ("fc8.weight", "fc8.bias"):
        if name in state and (name not in own or len(own[name]) != len(state[name])):
            del state[name]
    if "conv1.weight" in state:
        state["conv1.weight"] = adapt_input_conv(model.in_chans, state["conv1.weight"])
    try:
        missing = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"{path}: does not fit this network: {' '.join(str(error).split())}") from error
    lacking = [name for name in missing.missing_keys if not name.startswith("fc8.")] + missing.unexpected_keys
    if lacking:
        raise UserError(f"{path}: does not fit this network, which differs in {', '.join(lacking)}")


def filter_state_dict(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Turns torchvision's names into the paper's; leaves others (the signature is timm's)."""
    return under_paper_names(state_dict)
