"""Recipes: one TOML file for each number in the paper (folder reproduce/), read and validated here."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, model_validator

from alexnet_zoo.declared import declared, label_of, origins, read_declared, validated
from alexnet_zoo.errors import UserError
from alexnet_zoo.train.differences import DIFFERENCES

Colour = Literal["published", "as_run", "none"]
DataSet = Literal[
    "digits", "photographs", "CIFAR-10", "ILSVRC-2010", "ILSVRC-2012", "ImageNet-Fall-2009", "ImageNet-Fall-2011"
]


class Change(BaseModel):
    """What changes in the middle of training: from a time on, rates of layers or the colour noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_epochs: float | None = Field(None, ge=0)
    after_batches: int | None = Field(None, ge=0)
    layers: list[str] = []  # whose rate `lr` sets; none: of all layers that still learn
    lr: float | None = Field(None, ge=0)
    bias_lr: float | None = Field(None, ge=0)  # likewise, of biases
    colour: Colour | None = None

    @model_validator(mode="after")
    def says_when_and_what(self) -> "Change":
        if (self.after_epochs is None) == (self.after_batches is None):
            raise ValueError("needs one of after_epochs and after_batches")
        if self.lr is None and self.bias_lr is None and self.colour is None:
            raise ValueError("changes nothing: needs lr, bias_lr or colour")
        return self


class Member(BaseModel):
    """A network of an ensemble: trained by this recipe from this seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    seed: int = Field(0, ge=0)
    start_seed: int | None = Field(None, ge=0)  # of the run whose weights it starts from

    @property
    def overrides(self) -> list[str]:
        """What it sets in its recipe, as --set has it."""
        return [f"seed={self.seed}"] + ([] if self.start_seed is None else [f"start_seed={self.start_seed}"])


class Recipe(BaseModel):
    """What one run does. The defaults are the paper's (sections 4 and 5); a recipe states what it changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    reproduces: str = ""  # the row, net or claim of reports/paper.toml that this recipe measures
    data: DataSet = "photographs"  # what the figure is of; a run on other photographs fills no row of the tables
    train_split: str = "train"
    eval_split: str = "val"  # steers the rate
    test_split: str = "val"  # what the exported network is measured on

    eval_every: int = Field(1, gt=0)  # epochs; after the last in any case
    views: list[Literal[1, 10]] = [10, 1]  # crops of a test image: ten (section 4.1), or the centre alone

    model: str = "alexnet_krizhevsky"  # timm's name; "": the network of start_from, with its sizes (start.py)
    model_args: dict[str, Any] = {}  # keyword arguments of the model
    start_from: str = ""  # whose weights: a run's folder, a .safetensors file, a recipe, a published model, hf-hub:...
    start_seed: int | None = Field(None, ge=0)  # of the run of that recipe; none: of the newest, whatever its seed
    start_layers: list[str] = []  # the layers that start from there; none: all
    new_layers: list[str] = []  # but for these, which are drawn anew
    frozen: list[str] = []  # the layers that stay as they start
    members: list[Member] = []  # an ensemble: nothing is trained but its members, whose softmax outputs are averaged

    image_size: int = Field(256, gt=0)  # side of the prepared images, in pixels
    crop_size: int = Field(224, gt=0)  # side of what the network sees
    random_crop: bool = True
    mirror: bool = True
    mean_place: Literal["crop", "centre"] = "crop"  # where of the mean image lies what is subtracted from a crop
    crop_chunk: int = Field(1, gt=0)  # neighbours in a batch that share one crop and mirror decision
    colour: Colour = "published"  # the noise of section 4.1
    input_scale: float = Field(1.0, gt=0)  # pixels less the mean are divided by this; the paper does not

    epochs: float = Field(90, ge=0)
    batch_size: int = Field(128, gt=0)  # over all devices
    precision: Literal["float32", "float64", "bfloat16"] = "float32"
    channels_last: bool = False  # how maps lie in memory: faster for small networks on a CPU
    compile: bool | Literal["reduce-overhead"] = False  # by torch.compile; the latter records CUDA graphs
    optimizer: Literal["paper", "sgd"] = "paper"  # the rate inside the velocity (section 5), or torch's, outside
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0005, ge=0)
    weight_decay_layers: dict[str, float] = {}  # layers with another one
    decay_biases: bool = True
    lr: float = Field(0.01, gt=0)
    bias_lr: float | None = Field(None, gt=0)  # of biases, which then does not drop with their layer's; 0 where that is
    lr_layers: dict[str, float] = {}  # layers that start at another rate
    schedule: Literal["plateau", "fixed"] = "plateau"
    lr_factor: float = Field(0.1, gt=0, lt=1)  # all rates are multiplied by this at each drop
    lr_drops: int = Field(3, ge=0)  # plateau: how many drops at most
    patience: int = Field(5, gt=0)  # plateau: epochs without a lower validation error before a drop
    drop_epochs: list[float] = []  # fixed: after which of them the rates drop
    changes: list[Change] = []
    stop_at_train_err: float = Field(0.0, ge=0, le=100)  # ends after an epoch with no higher training error, in percent

    seed: int = Field(0, ge=0)
    checkpoint_minutes: float = Field(10.0, ge=0)  # besides one at the end of each epoch
    keep_checkpoints: int = Field(2, gt=0)
    watch_every: int = Field(0, ge=0)  # steps; layers.jsonl then says what every layer does (watch.py); 0: never


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Loads the recipe NAME of the folder reproduce/, or the file at a path; overrides are "field=value" in TOML.

    Raises UserError (exit code 2) with the file, the field and what is allowed.
    """
    path = declared("reproduce", name)
    fields = {"name": path.stem, **read_declared("reproduce", path, own=("name", "reproduces"))}
    for override in overrides:
        _override(fields, override)
    label = label_of(path)
    if fields.get("lr_biases", 1.0) != 1.0:  # a multiple, which fell with the rate of the weights
        raise UserError(f"{label}: lr_biases is no field any more; set bias_lr, the biases' own rate, as 0.02", 2)
    recipe = validated(Recipe, path, without_retired(fields))
    if recipe.crop_size > recipe.image_size:
        raise UserError(f"{label}: crop_size {recipe.crop_size} is over image_size {recipe.image_size}; lower it", 2)
    _refuse_idle(recipe, label)
    return recipe


def without_retired(fields: dict[str, Any]) -> dict[str, Any]:
    """Leaves out the fields of an older recipe.toml that are gone and said nothing of the run."""
    return {field: value for field, value in fields.items() if field != "expect" and (field, value) != ("lr_biases", 1)}


def _refuse_idle(recipe: Recipe, label: str) -> None:
    """Raises UserError for a field that another one makes meaningless; its default is written out by older runs."""
    schedule = f'schedule = "{recipe.schedule}"'
    reasons = {
        "drop_epochs": schedule if recipe.schedule == "plateau" else "",
        "patience": schedule if recipe.schedule == "fixed" else "",
        "lr_drops": schedule if recipe.schedule == "fixed" else "",
        "start_layers": "" if recipe.start_from else "no start_from",
        "new_layers": "" if recipe.start_from else "no start_from",
        "watch_every": "compile" if recipe.compile else "",
        "crop_chunk": "" if recipe.random_crop or recipe.mirror else "neither random_crop nor mirror",
    }
    for field, reason in reasons.items():
        value, default = getattr(recipe, field), Recipe.model_fields[field].default
        if reason and value != default:
            raise UserError(f"{label}: {field} = {value} says nothing with {reason}; set {field}={default}", 2)


def save_recipe(recipe: Recipe, path: Path) -> None:
    path.write_text(tomli_w.dumps(recipe.model_dump(exclude_none=True)), "utf-8")


def explain_recipe(name: str | Path) -> str:
    """Writes a recipe, a field a line, with the file that set it; "default" is the paper's value, or none.

    One that builds on as-run-145 is followed by the list of what that run did otherwise than the text.
    """
    recipe = load_recipe(name)
    files = origins("reproduce", declared("reproduce", name), own=("name", "reproduces"))
    lines = []
    for field, value in recipe.model_dump(exclude_none=True).items():
        line = f"{field} = {json.dumps(value)}"
        lines.append(f"{line:60} # {files.get(field, 'default')}")
    if "as-run-145.toml" in files.values():
        lines += ["", "Where net 145, as run, differs from the text:", *map(str, DIFFERENCES)]
    return "\n".join(lines)


def _override(fields: dict[str, Any], override: str) -> None:
    """Puts "epochs=5" or "model_args.pool_size=2" into fields; a value that is not TOML is a string."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override}: not of the form field=value; write for example --set epochs=5", exit_code=2)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *tables, last = key.strip().split(".")
    for table in tables:
        fields[table] = dict(fields.get(table, {}))
        fields = fields[table]
    fields[last] = value
