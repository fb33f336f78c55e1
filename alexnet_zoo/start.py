"""The weights that a run starts from, wherever they lie: a run, a file, a published model, the Hub."""

import json
from pathlib import Path

import timm
from huggingface_hub import hf_hub_download, logging
from safetensors.torch import save_file

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole
from alexnet_zoo.progress import say
from alexnet_zoo.resolve import cache, open_model, run_around
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.run import RUNS, newest_run_folder

HUB = "hf-hub:"  # timm's word for a repository there
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def with_network_of_start(recipe: Recipe) -> Recipe:
    """Fills in the network of a recipe that has `model = ""`: that of its start, with its sizes and its scale.

    What the recipe says in model_args is added to it.

    Raises UserError where the recipe names no start, or another size or scale than the start's.
    """
    if recipe.model:
        return recipe
    for field in ("image_size", "crop_size", "input_scale"):
        if getattr(recipe, field) != Recipe.model_fields[field].default:
            raise UserError(f"{field}: the network of start_from brings its own; leave it out, or --set model too", 2)
    if not recipe.start_from:
        raise UserError(f'recipe {recipe.name}: model = "" is the network of start_from, which names none', 2)
    config = config_of(recipe)
    expects = config["pretrained_cfg"]
    crop_size, std = expects["input_size"][-1], expects["std"]
    return recipe.model_copy(
        update={
            "model": config["architecture"],
            "model_args": {**(config.get("model_args") or {}), **recipe.model_args},
            "image_size": round(crop_size / expects["crop_pct"]),
            "crop_size": crop_size,
            "input_scale": round(255 * sum(std) / len(std), 4),  # of one number for all channels
        }
    )


def config_of(recipe: Recipe) -> dict:
    """Reads what timm's config.json says of the network that a recipe starts from; downloads no weights."""
    named = recipe.start_from
    if is_published(named):
        return {"architecture": named, "pretrained_cfg": timm.get_pretrained_cfg(named).to_dict()}
    file = from_hub(named, CONFIG) if named.startswith(HUB) else beside(start_of(recipe))
    try:
        return json.loads(file.read_text())
    except OSError as error:
        lacking = f"{file}: not there, and nothing else says which network {named} is"
        raise UserError(f"{lacking}; --set model, model_args, image_size, crop_size and input_scale") from error


def beside(weights: Path) -> Path:
    """Finds the config.json of a file of weights: its run's, or in its folder."""
    return (run_around(weights) or weights.parent) / CONFIG


def start_of(recipe: Recipe) -> Path | None:
    """Finds the file of weights that a recipe starts from, and fetches what is not here.

    Raises UserError where a recipe is named of which there is no run, or the weights cannot be had.
    """
    named = recipe.start_from
    if not named or named.endswith(".safetensors"):
        return Path(named) if named else None
    if named.startswith(HUB):
        return from_hub(named, WEIGHTS)
    if Path(named).is_dir():
        return Path(named) / WEIGHTS
    if is_published(named):
        return published(named)
    try:
        return newest_run_folder(RUNS, named, recipe.start_seed) / WEIGHTS
    except UserError as error:
        seed = "" if recipe.start_seed is None else f" --set seed={recipe.start_seed}"
        first = f"run first: alexzoo reproduce {named}{seed}, or --set start_from=RUN"
        there = "there is no such folder, no such published model, and of that recipe no run"
        raise UserError(f"recipe {recipe.name} starts from {named}: {there}; {first}") from error


def is_published(named: str) -> bool:
    """Tells whether a model of timm's has public weights."""
    return timm.is_model(named) and bool(timm.get_pretrained_cfg(named).has_weights)


def published(name: str) -> Path:
    """Finds the public weights of a model, as .safetensors under the paper's names; downloads them once."""
    path = cache() / f"{name}.safetensors"
    if not path.exists():
        say(f"{name}: its public weights, kept in {path}")
        with written_whole(path) as partial:
            save_file(open_model(name, None, None).state_dict(), partial, metadata={"format": "pt"})
    return path


def from_hub(named: str, file: str) -> Path:
    """Downloads a file of "hf-hub:owner/name" once; UserError where it cannot be had."""
    logging.set_verbosity_error()  # its client would say each try anew
    say(f"{named}: its {file}, from the Hub")
    try:
        return Path(hf_hub_download(named.removeprefix(HUB), file))
    except Exception as error:  # those of its client have no class in common
        reason = " ".join(str(error).split())[:120]
        problem = f"its {file} cannot be had ({type(error).__name__}: {reason})"
        raise UserError(f"{named}: {problem}; mend its name or the connection") from error
