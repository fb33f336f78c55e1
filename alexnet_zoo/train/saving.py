"""What a run saves and resumes from: canonical tensors (columns.py), whatever layout and optimiser wrote them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole
from alexnet_zoo.models.timm_model import ToldItsInput
from alexnet_zoo.train import columns, for_timm
from alexnet_zoo.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from alexnet_zoo.train.optim import Schedule
from alexnet_zoo.train.run import Run
from alexnet_zoo.train.step import TrainStep


@dataclass
class Done:
    """How far a run is: whole epochs, steps in the epoch under way, and that epoch's sums over images."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss: float = 0.0
    wrong: float = 0.0
    enough: bool = False  # the training error is as low as the recipe asks for


def save_weights(name: str, run: Run, train_step: TrainStep) -> None:
    """Writes the network's weights, and what they expect; the first process writes, all of replica 0 take part."""
    weights = columns.merge(train_step.model.state_dict(), train_step.layout)
    if weights is not None:
        config = for_timm.config_of(run.recipe, run.prepared)
        ours = isinstance(train_step.model, ToldItsInput)  # others do not know such tensors
        expects = for_timm.tensors_of(run.recipe, run.prepared) if ours else {}
        with written_whole(run.folder / name) as partial:
            save_file({**weights, **expects}, partial, metadata={"format": "pt"})  # of two entries the order may change
        with written_whole(run.folder / "config.json") as partial:
            partial.write_text(json.dumps(config, indent=1) + "\n")


def save(folder: Path, train_step: TrainStep, schedule: Schedule, done: Done) -> None:
    """Writes a checkpoint: the first process, from the columns of replica 0; all wait for it."""
    recipe, layout = train_step.recipe, train_step.layout
    if layout.replica == 0:
        weights = columns.merge(train_step.model.state_dict(), layout)
        optimizer = columns.merge(optimizer_state(train_step), layout)
        if layout.first:
            state = {"done": asdict(done), "schedule": schedule.state_dict(), "optimizer": recipe.optimizer}
            steps = done.epoch * schedule.steps + done.step
            save_checkpoint(folder, steps, weights, optimizer, state, recipe.keep_checkpoints)
    layout.wait_for_all()


def resume(folder: Path, train_step: TrainStep, schedule: Schedule) -> Done:
    """Puts the newest checkpoint's tensors into the network and its optimiser; returns how far that run was.

    Raises UserError where it is damaged, or of another network or optimiser.
    """
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        return Done()
    path, recipe, layout = checkpoints[-1], train_step.recipe, train_step.layout
    weights, optimizer, state = load_checkpoint(path)
    wrote = state.get("optimizer", "paper")
    if wrote != recipe.optimizer:
        raise UserError(f"{path}: written by optimizer={wrote}, the recipe has {recipe.optimizer}; resume with {wrote}")
    try:
        train_step.model.load_state_dict(columns.split(weights, layout))
        load_optimizer_state(train_step, columns.split(optimizer, layout))
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path}: does not fit {recipe.model}: {error}; use its own recipe") from error
    schedule.load_state_dict(state["schedule"])
    return Done(**state["done"])


def optimizer_state(train_step: TrainStep) -> dict[str, Tensor]:
    """Names the optimiser's tensors by parameter and key, for example "conv1.weight.velocity"."""
    return {
        f"{name}.{key}": tensor
        for name, parameter in train_step.model.named_parameters()
        for key, tensor in train_step.optimizer.state[parameter].items()
    }


def load_optimizer_state(train_step: TrainStep, tensors: dict[str, Tensor]) -> None:
    """Puts tensors that optimizer_state named back into the optimiser."""
    parameters = dict(train_step.model.named_parameters())
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition(".")
        own = parameters[name]
        like = own if tensor.dim() else tensor.to(own.device)  # one number, such as a count of steps, has its own type
        train_step.optimizer.state[own][key] = torch.empty_like(like).copy_(tensor)
