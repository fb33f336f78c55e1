"""Checkpoints: folders of safetensors and JSON, canonical (columns.py), written whole or not at all.

    RUN/checkpoints/step-00001234/  model.safetensors  optimizer.safetensors  state.json

model.safetensors holds the weights alone, so that timm.create_model(..., checkpoint_path=...) takes it;
optimizer.safetensors the optimiser's tensors by parameter and key, "conv1.weight.velocity". state.json holds how far
the run is and the checksums of all three, itself included: damage at any byte is found before use.
"""

import hashlib
import json
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import PARTIAL, sha256_of, written_whole

MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
VELOCITY = "velocity.safetensors"  # in place of OPTIMIZER in older checkpoints: velocities by parameter


def save_checkpoint(
    folder: Path, step: int, weights: dict[str, Tensor], optimizer: dict[str, Tensor], state: dict, keep: int
) -> Path:
    """Writes folder/step-N; then removes all but the newest `keep`, and what writers that were killed left behind.

    Raises UserError where it cannot be written (a full disk); the checkpoints that were there stay.
    """
    final = folder / f"step-{step:08d}"
    with written_whole(final, "make room, then --resume from the checkpoint before") as partial:
        partial.mkdir()
        for name, tensors in ((MODEL, weights), (OPTIMIZER, optimizer)):
            save_file(tensors, partial / name, metadata={"format": "pt"})
        (partial / "state.json").write_text(json.dumps(sealed(state, partial), indent=1))
    for old in (*list_checkpoints(folder)[:-keep], *folder.glob(f".*{PARTIAL}")):
        shutil.rmtree(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Lists the checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*"))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict]:
    """Loads network and optimiser, canonical, and the state; checks every byte, UserError where one is wrong."""
    try:
        held = json.loads((path / "state.json").read_text())
        if held != sealed(held["state"], path):
            raise ValueError("its checksums do not fit")
        weights = load_file(path / MODEL)
        if (path / VELOCITY).exists():
            optimizer = {f"{name}.velocity": tensor for name, tensor in load_file(path / VELOCITY).items()}
        else:
            optimizer = load_file(path / OPTIMIZER)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        before = [other for other in list_checkpoints(path.parent) if other.name < path.name]
        advice = f"remove it to continue from {before[-1].name}" if before else "start the run anew"
        raise UserError(f"{path}: damaged checkpoint ({error}); {advice}") from error
    return weights, optimizer, held["state"]


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Loads the tensors of a .safetensors file; UserError where it is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a whole .safetensors file: {error}; name another") from error


def sealed(state: dict, folder: Path) -> dict:
    """Makes what state.json holds: the state, its checksum, and the checksums of the folder's tensors."""
    text = json.dumps(state, sort_keys=True).encode()
    sums = {path.name: sha256_of(path) for path in folder.glob("*.safetensors")}
    return {"state": state, "sha256": {"state": hashlib.sha256(text).hexdigest(), **sums}}
