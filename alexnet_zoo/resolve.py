"""Opens what a command names: a network (a run, one of its checkpoints, a model of timm's), and images for it."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from alexnet_zoo.data.batches.noise import Noise
from alexnet_zoo.data.prepared.dataset import Images, Prepared, open_prepared
from alexnet_zoo.data.prepared.digits import prepare_digits
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.data.sources.named import is_dataset_name
from alexnet_zoo.errors import UserError, names_there_are
from alexnet_zoo.models import model_names
from alexnet_zoo.onnx.preprocessing import Preprocessing
from alexnet_zoo.progress import say
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.run import Run, load_network, load_weights, open_run

DIGITS = Path("digits")  # the name of the embedded data


@dataclass
class Network:
    """What is exported: a network, where its weights came from, and the images that it is for."""

    model: nn.Module
    name: str
    recipe: str
    weights: Path | None  # None: published with the model, or fresh
    inputs: Preprocessing
    train: Images
    test: Images
    folder: Path  # where its files go unless told otherwise
    stem: str


def check_checkpoint(source: str, checkpoint: Path | None) -> None:
    """Raises UserError where --checkpoint names weights for a run or a file, which have their own."""
    own = source.endswith((".onnx", ".safetensors")) or (Path(source) / "recipe.toml").exists()
    if checkpoint is not None and own:
        raise UserError(f"--checkpoint {checkpoint}: {source} has its own weights; name a model, or no checkpoint", 2)


def open_network(source: str, checkpoint: Path | None, data: Path | None) -> Network:
    """Opens the network of a run, of a .safetensors file within one, or a model of timm's by its name."""
    check_checkpoint(source, checkpoint)
    weights = Path(source) if source.endswith(".safetensors") else None
    run = run_of(weights) if weights else Path(source)
    if (run / "recipe.toml").exists():
        recipe, model, classes, mean = open_run(run, weights)
        inputs = preprocessing_of_run(recipe, classes, mean)
        return network_of(recipe, model, inputs, find_data(recipe, data, run), weights or run / "model.safetensors")
    prepared = open_data(data, image_size_of_model(source)) if data else None
    model = open_model(source, checkpoint, prepared)
    inputs = preprocessing_of(model.pretrained_cfg, model.num_classes, prepared)
    train: Images = Noise(64, inputs.image_size, inputs.classes)
    test = train
    if prepared:
        train, test = splits_for_export(prepared, "train", split_to_test(prepared))
    return Network(model, source, "", checkpoint, inputs, train, test, Path(), source)


def trained_network(run: Run) -> Network:
    """Opens the network of a run whose training has just ended."""
    recipe, prepared, weights = run.recipe, run.prepared, run.folder / "model.safetensors"
    model = load_network(recipe, len(prepared.classes), weights)
    inputs = preprocessing_of_run(recipe, prepared.classes, prepared.mean)
    return network_of(recipe, model, inputs, prepared, weights)


def preprocessing_of_run(recipe: Recipe, classes: list[str], mean: np.ndarray) -> Preprocessing:
    sizes = recipe.image_size, recipe.crop_size
    return Preprocessing(classes, *sizes, mean, recipe.input_scale, mean_place=recipe.mean_place)


def network_of(recipe: Recipe, model: nn.Module, inputs: Preprocessing, prepared: Prepared, weights: Path) -> Network:
    splits = splits_for_export(prepared, recipe.train_split, split_to_test(prepared, recipe))
    return Network(model, recipe.model, recipe.name, weights, inputs, *splits, weights.parent, "model")


def run_around(path: Path) -> Path | None:
    """Finds the run's folder that a path is, or lies in; None where there is none."""
    places = (path, *path.parents) if path.exists() else ()
    return next((folder for folder in places if (folder / "recipe.toml").exists()), None)


def run_of(weights: Path) -> Path:
    """Finds the run that a checkpoint lies in; UserError where it lies in none."""
    if not weights.is_file():
        raise UserError(f"{weights}: no such file")
    if run := run_around(weights.resolve()):
        return run
    raise UserError(f"{weights}: lies in no run's folder; name its model, with --checkpoint and --data")


def image_size_of_model(name: str) -> int:
    """Tells the side of the images whose centre crops a timm model reads; UserError where timm has no such model."""
    if not timm.is_model(name):
        known = names_there_are(name, model_names())
        raise UserError(f"{name}: timm has no such model, and no run lies there; {known}", exit_code=2)
    cfg = timm.get_pretrained_cfg(name)
    return round(cfg.input_size[-1] / cfg.crop_pct)


def open_model(name: str, checkpoint: Path | None, prepared: Prepared | None) -> nn.Module:
    """Makes a timm model with the weights of a file; without one, with its published or, if none, fresh ones."""
    image_size_of_model(name)
    cfg = timm.get_pretrained_cfg(name)
    num_classes, source = cfg.num_classes, checkpoint or name
    if checkpoint is not None:
        try:
            with safe_open(checkpoint, "pt") as file:
                num_classes = file.get_slice("fc8.bias").get_shape()[0]
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{checkpoint}: not a whole .safetensors file of a network ({error}); name another --checkpoint"
            ) from error
    elif prepared and not cfg.url:
        num_classes = len(prepared.classes)
    if prepared and num_classes != len(prepared.classes):
        raise UserError(
            f"{source}: {num_classes} classes, {prepared.folder} has {len(prepared.classes)}; name its own data"
        )
    torch.manual_seed(0)
    try:
        model = timm.create_model(name, num_classes=num_classes, pretrained=bool(cfg.url) and checkpoint is None)
    except OSError as error:
        raise UserError(f"{name}: its weights cannot be downloaded ({error}); name them with --checkpoint") from error
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model


def preprocessing_of(cfg: dict, num_classes: int, prepared: Prepared | None) -> Preprocessing:
    """Tells what a model by name expects: by its configuration if its weights were published or there is no data."""
    crop_size = cfg["input_size"][-1]
    classes = prepared.classes if prepared else [str(number) for number in range(num_classes)]
    image_size = prepared.image_size if prepared else round(crop_size / cfg["crop_pct"])
    if prepared and not cfg.get("url"):
        return Preprocessing(classes, image_size, crop_size, prepared.mean)
    mean = np.broadcast_to(np.float32(cfg["mean"]) * 255, (image_size, image_size, 3))
    return Preprocessing(classes, image_size, crop_size, mean, tuple(255 * std for std in cfg["std"]))


def named_data(recipe: Recipe, data: Path | None, run: Path) -> Path | None:
    """Tells where a recipe's images come from: as the command or the run names it; None where neither does."""
    if data is None and (run / "data.json").exists():
        folder = json.loads((run / "data.json").read_text()).get("folder")  # a published run does not say it
        data = Path(folder) if folder else None
    return DIGITS if data is None and recipe.data == "digits" else data


def find_data(recipe: Recipe, data: Path | None, run: Path) -> Prepared:
    """Opens the prepared images of a recipe, of the size that it needs; UserError where nobody names them."""
    named = named_data(recipe, data, run)
    if named is None:
        raise UserError(f"recipe {recipe.name} needs {recipe.data}: name its folder with --data", exit_code=2)
    return open_data(named, recipe.image_size)


def open_data(data: Path, image_size: int) -> Prepared:
    """Opens what --data names: a prepared folder; photographs, or the embedded "digits", prepared once to a size."""
    if (data / "prepared.json").exists():
        return open_prepared(data)
    folder = cache_of(data, image_size)
    if is_digits(data):
        return prepare_digits(folder, image_size)
    say(f"{data}: photographs, prepared in {folder}")
    return prepare(data, folder, image_size, update=True)


def is_digits(data: Path) -> bool:
    """Tells whether the embedded data is meant; a folder of that name comes first."""
    return data == DIGITS and not data.exists()


def cache() -> Path:
    """Names the folder for what is made or fetched once: $ALEXZOO_CACHE, or ~/.cache/alexnet_zoo."""
    return Path(os.environ.get("ALEXZOO_CACHE") or Path.home() / ".cache" / "alexnet_zoo")


def cache_of(data: Path, image_size: int) -> Path:
    """Names the folder in the cache in which images are prepared to a size."""
    if is_digits(data):
        return cache() / f"{data}-{image_size}"
    source = data if is_dataset_name(data) else data.resolve()
    key = hashlib.sha256(str(source).encode()).hexdigest()[:8]
    return cache() / f"{source.name}-{image_size}-{key}"


def splits_for_export(prepared: Prepared, train: str, test: str) -> tuple[Images, Images]:
    """Opens what an export calibrates on and compares on; the one for the other where photographs have it alone."""
    return prepared.split(train if train in prepared.splits else test), prepared.split(test)


def split_to_test(prepared: Prepared, recipe: Recipe | None = None) -> str:
    """Chooses the split that a network is measured on: the recipe's, or val, or test, whichever the data has."""
    wanted = [recipe.test_split] if recipe else []
    return next((split for split in (*wanted, "val", "test") if split in prepared.splits), "val")
